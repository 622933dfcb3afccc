"""Traffic of highway-env as scenes: its own drivers, on its own road (extra ``driving``)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unstir.extras import needed
from unstir.recipes.scenarios.frames import AGENTS, DT, FUTURE, PAST, SEGMENTS
from unstir.recipes.scenarios.scenes import ABSENT, VEHICLE, Scenes
from unstir.recipes.scenarios.tokens import chosen, tokens_of

VEHICLES, LANES = 14, 3
"""Vehicles and lanes of a road."""
FREQUENCY = 15
"""Steps of the simulation a second; 6 of them are a frame."""
START = 3.0
"""Seconds before the first frame."""
GROUPS = 4
"""Scenes that are cut from one road: the neighbours of so many vehicles."""
LANE = 4.0
"""Width of highway-env's lanes, metres."""


def highway(n: int, *, seed: int = 0, tokens: float = 1.0) -> Scenes:
    """Scenes of 2 to 6 neighbouring vehicles on a road with three lanes, driven by highway-env's drivers.

    Args:
        n: scenes, at least 1; about four a second.
        seed: of the roads and of what is cut from them.
        tokens: share of the agents whose tokens are given.

    Raises:
        ModuleNotFoundError: if highway-env is not installed.
        ValueError: for no scene.
    """
    if n < 1:
        raise ValueError(f"the number of scenes is at least 1, got {n}")
    env = _environment()
    rng = np.random.default_rng(seed)
    tracks: list[NDArray[np.float32]] = []
    while len(tracks) < n:
        road = _road(env, int(rng.integers(2**31)))
        centres = rng.permutation(len(road))[: min(GROUPS, n - len(tracks))]
        sizes = rng.integers(2, AGENTS + 1, len(centres))
        tracks += [_group(road, int(c), int(size)) for c, size in zip(centres, sizes, strict=True)]
    env.close()
    every = np.stack(tracks)
    kinds = np.where(np.isnan(every[:, :, 0, 0]), ABSENT, VEHICLE).astype(np.int8)
    # Each scene is cut out where its agents are when the past ends; the lines go on for 150 m both ways.
    middle = np.nanmean(every[:, :, PAST - 1, 0], axis=1)
    every[..., 0] -= middle[:, None, None]
    lines = np.full((n, SEGMENTS, 4), np.nan, dtype=np.float32)
    for row in range(LANES + 1):
        side = LANE * (row - 0.5)
        lines[:, row] = (-150.0, side, 150.0, side)
    scenes = Scenes(every, kinds, DT, PAST, lines)
    known = tokens_of(scenes)
    return Scenes(every, kinds, DT, PAST, lines, known if tokens >= 1.0 else chosen(known, tokens, rng))


def _environment() -> Any:
    try:
        import gymnasium
        import highway_env  # noqa: F401  (registers its roads)
    except ModuleNotFoundError:
        raise needed("highway-env", "driving") from None
    config = {"vehicles_count": VEHICLES, "lanes_count": LANES, "simulation_frequency": FREQUENCY}
    return gymnasium.make("highway-v0", config=config)


def _road(env: Any, seed: int) -> NDArray[np.float32]:
    """The tracks (vehicles, frames, 2) of the traffic of one road, in metres; none that crashed."""
    env.reset(seed=seed)
    road, own = env.unwrapped.road, env.unwrapped.vehicle
    road.vehicles.remove(own)  # who waits for actions is no traffic

    def advance(steps: int) -> None:
        for _ in range(steps):
            road.act()
            road.step(1.0 / FREQUENCY)

    advance(round(START * FREQUENCY))
    frames = []
    for frame in range(PAST + FUTURE):
        if frame:
            advance(round(DT * FREQUENCY))
        frames.append([vehicle.position.copy() for vehicle in road.vehicles])
    whole = np.array([not vehicle.crashed for vehicle in road.vehicles])
    kept: NDArray[np.float32] = np.stack(frames, axis=1)[whole].astype(np.float32)
    return kept


def _group(road: NDArray[np.float32], centre: int, size: int) -> NDArray[np.float32]:
    """A vehicle and its nearest neighbours at the end of the past, (AGENTS, frames, 2), NaN for none."""
    here = road[:, PAST - 1]
    nearest = np.linalg.norm(here - here[centre], axis=1).argsort()[:size]
    result = np.full((AGENTS, *road.shape[1:]), np.nan, dtype=np.float32)
    result[: len(nearest)] = road[nearest]
    return result
