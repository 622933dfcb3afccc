"""Forecasting: several futures of all agents of a scene together, from what they did so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from unstir.denoisers import Denoiser, Posterior
from unstir.guidance import Constrained
from unstir.guidance.operators import Map
from unstir.processes import Schedule
from unstir.recipes.scenarios.apart import keep_apart
from unstir.recipes.scenarios.data import conditions_of, future_frames, futures
from unstir.recipes.scenarios.ends import in_turn, reach_ends
from unstir.recipes.scenarios.scenes import ABSENT, Scenes

if TYPE_CHECKING:
    from unstir.model import Model

Floats = NDArray[np.float32]
Guide = Callable[[Denoiser], Denoiser]

BY_AGENT = ("past", "kind", "tokens")
"""Conditions with a row for each agent."""
STEP, LAST = 4, 32
"""Most iterations of the projection at each step, and of the last one, which few samples need."""


def forecast(
    model: Model,
    past: Floats | Tensor,
    kinds: Sequence[int] | NDArray[np.int8] | None = None,
    *,
    n: int = 20,
    seed: int = 0,
    tokens: Floats | Tensor | None = None,
    map: Floats | Tensor | None = None,  # noqa: A002 - its name everywhere else
    apart: float | None = None,
    guide: Guide | None = None,
    steps: int | None = None,
) -> Floats:
    """Joint futures of one scene.

    Args:
        model: trained on scenes.
        past: (agents, past, 2) metres, at most as many agents as the model knows; in its time step.
        kinds: of each agent, 0 pedestrian or 1 vehicle; pedestrians by default.
        n: futures.
        seed: future i of a seed is the same whatever ``n``.
        tokens: (agents, length) what is asked of whom, NaN for nothing; for models with tokens. Ends are met
            (`ends.reach_ends`), unless ``apart`` is in the way.
        map: (segments, 4) line segments in metres; for models with a map.
        apart: keep agents so many metres apart (`apart.keep_apart`); None to leave them to the model.
        guide: further guidance, as in `Model.solve`, of ``n`` states at once.
        steps: of the solver; the model's own by default.

    Returns:
        (n, agents, future, 2) metres in the frame of the past.

    Raises:
        ValueError: for tracks with gaps, too many agents, another number of frames, or tokens or a map that
            do not fit the model.
    """
    scene = _scene(model, np.asarray(past, dtype=np.float32), kinds, tokens, map)
    drawn = forecasts(model, scene, n, seed=seed, apart=apart, guide=guide, steps=steps)
    return drawn[0, :, : len(past)]


def forecasts(
    model: Model,
    scenes: Scenes,
    n: int = 20,
    *,
    seed: int = 0,
    apart: float | None = None,
    guide: Guide | None = None,
    steps: int | None = None,
    batch: int = 256,
) -> Floats:
    """Joint futures of many scenes; arguments as in `forecast`.

    Args:
        model: trained on scenes.
        scenes: with as many rows for agents as the model has.
        n: futures of each scene.
        seed: of the samples.
        apart: metres.
        guide: of all samples of a batch at once.
        steps: of the solver.
        batch: samples run at once, at least ``n``.

    Returns:
        (scenes, n, agents, future, 2) metres, NaN for absent agents.
    """
    future, at_once = future_frames(model), max(1, batch // n)
    parts = []
    for start in range(0, len(scenes), at_once):
        part = scenes.take(slice(start, start + at_once))
        conditions = conditions_of(part, n)
        rows = int(np.flatnonzero(part.present.any(axis=0)).max(initial=0)) + 1
        step, last = (_projection(model, conditions, rows, apart, iterations) for iterations in (STEP, LAST))
        x = model.solve(
            len(part) * n,
            condition=conditions,
            guide=partial(_steered, rows, guide, step),
            seed=seed,
            first_index=start * n,
            batch=len(part) * n,
            steps=steps,
        ).x
        if last is not None:  # the solver joins its last estimates, so they are moved once more
            x = model.scaling.to_data(last(model.scaling.to_internal(x).to(model.device))).cpu()
        parts.append(futures(x, part, future).reshape(len(part), n, part.agents, future, 2).numpy())
    return np.concatenate(parts)


class FirstRows(Denoiser):
    """A denoiser of scenes whose other rows hold nobody, so that they are left out and their estimate is 0.

    Args:
        denoiser: of scenes, for which rows are interchangeable.
        rows: number of the first rows that hold all agents.
    """

    def __init__(self, denoiser: Denoiser, rows: int) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.rows = rows
        self.schedule: Schedule = denoiser.schedule
        self.sigma_data = denoiser.sigma_data
        self.unconditional = denoiser.unconditional

    def cost(self, t: float) -> int:
        return self.denoiser.cost(t)

    def no_condition(self, condition: dict[str, Tensor]) -> dict[str, Tensor] | None:
        return self.denoiser.no_condition(condition)

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        fewer = {
            name: value[:, : self.rows] if name in BY_AGENT else value for name, value in condition.items()
        }
        mean = self.denoiser(x_t[..., : self.rows], t, **fewer).mean
        return Posterior(pad(mean, (0, x_t.shape[2] - self.rows)))


def _projection(
    model: Model, conditions: dict[str, Tensor], rows: int, apart: float | None, iterations: int
) -> Map | None:
    """Onto futures of the first rows that end where tokens say and keep apart; None if neither is asked."""
    tokens = conditions.get("tokens")
    future = future_frames(model)
    project = reach_ends(None if tokens is None else tokens[:, :rows], model.scaling, future)
    if apart is not None:
        past = conditions["past"][:, :rows].to(model.device)
        valid = keep_apart(past, model.scaling, future, distance=apart, iterations=iterations)
        project = in_turn(project, valid)
    return None if project is None else partial(_on_first, rows, project)


def _on_first(rows: int, project: Map, x: Tensor) -> Tensor:
    """A projection of the first rows, with the others as they are."""
    return torch.cat([project(x[..., :rows]), x[..., rows:]], dim=-1)


def _steered(rows: int, guide: Guide | None, project: Map | None, denoiser: Denoiser) -> Denoiser:
    steered: Denoiser = FirstRows(denoiser, rows)
    if guide is not None:
        steered = guide(steered)
    return steered if project is None else Constrained(steered, project)


def _scene(
    model: Model,
    past: Floats,
    kinds: Sequence[int] | NDArray[np.int8] | None,
    tokens: Floats | Tensor | None,
    map: Floats | Tensor | None,  # noqa: A002
) -> Scenes:
    """One scene with all the rows that the model has."""
    future_frames(model)  # says so if this is no model of scenes
    takes = model.config.conditions
    rows, frames, _ = takes["past"].shape
    if past.ndim != 3 or past.shape[1:] != (frames, 2):
        raise ValueError(f"the past has shape (agents, {frames}, 2) for this model, got {past.shape}")
    agents = len(past)
    if not 1 <= agents <= rows:
        raise ValueError(f"this model forecasts 1 to {rows} agents together, got {agents}")
    if not np.isfinite(past).all():
        agent, frame, _ = np.argwhere(~np.isfinite(past))[0]
        raise ValueError(f"agent {agent} has no position in frame {frame} of its past; fill the gap first")
    kinds = np.zeros(agents, dtype=np.int8) if kinds is None else np.asarray(kinds, dtype=np.int8)
    if kinds.shape != (agents,) or not np.isin(kinds, (0, 1)).all():
        raise ValueError(f"kinds are {agents} numbers, 0 (pedestrian) or 1 (vehicle), got {kinds.tolist()}")
    tracks = np.full((1, rows, frames, 2), np.nan, dtype=np.float32)
    tracks[0, :agents] = past
    every = np.full((1, rows), ABSENT, dtype=np.int8)
    every[0, :agents] = kinds
    return Scenes(
        tracks,
        every,
        1.0,
        frames,
        map=_padded(takes, "map", map),
        tokens=_padded(takes, "tokens", tokens, agents),
    )


def _padded(takes: Any, name: str, value: Floats | Tensor | None, rows: int | None = None) -> Floats | None:
    """A condition (1, rows, length) of the model's size, NaN where nothing is given; None if not taken."""
    if name not in takes:
        if value is not None:
            raise ValueError(f"this model was trained without {name}, but some are given")
        return None
    places, length = takes[name].shape
    result = np.full((1, places, length), np.nan, dtype=np.float32)
    if value is not None:
        given = np.asarray(value, dtype=np.float32)
        wanted = f"({rows if rows is not None else f'at most {places}'}, {length})"
        fits = given.ndim == 2 and given.shape[1] == length
        if not fits or len(given) > places or (rows is not None and len(given) != rows):
            raise ValueError(f"{name} have shape {wanted} here, got {given.shape}")
        result[0, : len(given)] = given
    return result
