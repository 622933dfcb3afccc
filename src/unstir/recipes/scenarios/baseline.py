"""The baseline that is hard to beat: everybody goes on as they go, give or take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from unstir import noise
from unstir.recipes.scenarios.metrics import best_of
from unstir.recipes.scenarios.scenes import Scenes

Floats = NDArray[np.floating]

TURNS = (5.0, 10.0, 15.0, 20.0, 25.0, 30.0)
"""Deviations of the angle that are tried, degrees."""
PACES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
"""Deviations of the factor of the speed that are tried."""


@dataclass(frozen=True)
class ConstantVelocity:
    """Each agent keeps its last displacement, turned by a random angle and multiplied by a random factor.

    Source: Schöller et al. 2020, "What the constant velocity model can teach us about pedestrian motion
    prediction", section III-D (there the angle alone); the first forecast is the course itself.

    Attributes:
        turn: deviation of the angle, degrees.
        pace: deviation of the factor, about 1.
    """

    turn: float = 25.0
    pace: float = 0.0

    def forecast(self, scenes: Scenes, n: int = 20, *, seed: int = 0) -> Floats:
        """n forecasts of each scene, (scenes, n, agents, future, 2) metres.

        Args:
            scenes: with ``future`` frames to fill.
            n: forecasts.
            seed: of the angles and factors; scene i of a seed has the same.
        """
        past = scenes.given.astype(np.float64)
        index = torch.arange(len(scenes))
        z = noise.normal((2, n, scenes.agents), seed=seed, index=index, stream=noise.Stream.SCENARIO_BASELINE)
        angle, factor = z.double().numpy().transpose(1, 0, 2, 3)
        angle[:, 0], factor[:, 0] = 0.0, 0.0
        angle, factor = np.deg2rad(self.turn) * angle, np.maximum(1.0 + self.pace * factor, 0.0)
        step = (past[:, :, -1] - past[:, :, -2])[:, None]
        cos, sin = factor * np.cos(angle), factor * np.sin(angle)
        x, y = step[..., 0], step[..., 1]
        turned = np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)
        frames = np.arange(1, scenes.future + 1)[:, None]
        return past[:, None, :, -1:] + frames * turned[..., None, :]  # type: ignore[no-any-return]


def tuned(
    scenes: Scenes,
    *,
    n: int = 20,
    turns: Sequence[float] = TURNS,
    paces: Sequence[float] = PACES,
    seed: int = 0,
) -> ConstantVelocity:
    """The noise with the least error of the best of n on some scenes, by the mean distance over the frames.

    Args:
        scenes: of the training part.
        n: forecasts.
        turns: deviations of the angle to try.
        paces: deviations of the factor to try.
        seed: of the noise.
    """
    tried = [ConstantVelocity(turn, pace) for turn in turns for pace in paces]

    def error(baseline: ConstantVelocity) -> float:
        return float(best_of(baseline.forecast(scenes, n, seed=seed), scenes).ade.mean())

    return min(tried, key=error)
