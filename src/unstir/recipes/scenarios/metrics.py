"""How good forecasts are: displacement errors of the best of n, collisions, near misses, speeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unstir.recipes.scenarios.scenes import Scenes

Floats = NDArray[np.floating]

TOUCH = 0.2
"""Distance of the middles of two pedestrians below which they have collided, metres.

Source: Kothari et al. 2021, "Human trajectory forecasting in crowds", section 5.1 (a radius of 0.1 m each).
"""


@dataclass(frozen=True)
class BestOf:
    """Errors of the best of n forecasts, metres.

    Attributes:
        ade: (agents,) mean distance over the frames, of each agent's forecast with the least of it.
        fde: (agents,) distance in the last frame, of each agent's forecast with the least of that.
        joint_ade: (scenes,) mean over a scene's agents and frames, of the scene's joint forecast with the
            least of it.
        joint_fde: (scenes,) mean over a scene's agents in the last frame, likewise.
        scene: (agents,) number of the scene that an agent is in.
    """

    ade: Floats
    fde: Floats
    joint_ade: Floats
    joint_fde: Floats
    scene: NDArray[np.int64]


def best_of(forecasts: Floats, scenes: Scenes) -> BestOf:
    """Displacement errors of the best of n.

    Source: Gupta et al. 2018, section 4 (best of 20 for each agent; ADE and FDE choose for themselves); joint
    errors as in Weng et al. 2023, "Joint metrics matter", section 3.2.

    Args:
        forecasts: (scenes, n, agents, future, 2) metres.
        scenes: with what really came.

    Raises:
        ValueError: for forecasts of another shape.
    """
    wanted = (len(scenes), scenes.agents, scenes.future, 2)
    if forecasts.ndim != 5 or (forecasts.shape[0], *forecasts.shape[2:]) != wanted:
        raise ValueError(
            f"forecasts have shape (scenes, n, agents, future, 2), here {(wanted[0], 'n', *wanted[1:])}, "
            f"got {forecasts.shape}"
        )
    distance = np.linalg.norm(forecasts - scenes.followed[:, None], axis=-1)
    mean, last, there = distance.mean(axis=3), distance[..., -1], scenes.present
    counts = np.maximum(there.sum(axis=1), 1)
    joint, joint_last = (
        (np.where(there[:, None], d, 0.0).sum(axis=2) / counts[:, None]).min(axis=1) for d in (mean, last)
    )
    ade, fde = mean.min(axis=1)[there], last.min(axis=1)[there]
    return BestOf(ade, fde, joint, joint_last, np.nonzero(there)[0])


def closest(tracks: Floats) -> Floats:
    """Least distance of any two agents, who move straight from each frame to the next.

    Args:
        tracks: (..., agents, frames, 2) metres, at least 2 frames, NaN for absent agents.

    Returns:
        (..., agents, agents) metres, the least over the frames; infinite with oneself and absent ones.
    """
    apart = tracks[..., :, None, :, :] - tracks[..., None, :, :, :]
    start, step = apart[..., :-1, :], np.diff(apart, axis=-2)
    squared = np.maximum(np.square(step).sum(axis=-1), 1e-12)
    share = np.clip(-(start * step).sum(axis=-1) / squared, 0.0, 1.0)
    least = np.linalg.norm(start + share[..., None] * step, axis=-1).min(axis=-1)
    agents = tracks.shape[-3]
    return np.where(np.isnan(least) | np.eye(agents, dtype=bool), np.inf, least)


def collisions(tracks: Floats, *, touch: float = TOUCH) -> NDArray[np.bool_]:
    """Which agents come nearer to another one than they can.

    Args:
        tracks: (..., agents, frames, 2) metres, NaN for absent agents.
        touch: distance of a collision, metres.

    Returns:
        (..., agents) bool; false for absent agents.
    """
    return np.asarray((closest(tracks) < touch).any(axis=-1))


def speeds(tracks: Floats, dt: float) -> Floats:
    """Speeds (..., frames - 1) in m/s."""
    return np.asarray(np.linalg.norm(np.diff(tracks, axis=-2), axis=-1) / dt)


def accelerations(tracks: Floats, dt: float) -> Floats:
    """Sizes of accelerations (..., frames - 2) in m/s^2."""
    return np.asarray(np.linalg.norm(np.diff(tracks, n=2, axis=-2), axis=-1) / dt**2)


def ceiling(values: Floats, share: float = 0.99) -> float:
    """The value that a share of the finite ones stays below."""
    return float(np.quantile(values[np.isfinite(values)], share))


def share_below(values: Floats, bound: float) -> float:
    """Share of the finite values that are at most ``bound``."""
    known = values[np.isfinite(values)]
    return float(np.mean(known <= bound))
