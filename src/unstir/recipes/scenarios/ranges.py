"""What speeds and accelerations are usual: the range that 99 of 100 frames of the data keep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unstir.recipes.scenarios.scenes import PEDESTRIAN, VEHICLE, Scenes

SHARE = 0.99
"""Of the data's frames, below the range's end."""
ROOM = 0.97
"""Share of the range to which what is beyond it is led back: descent comes near its aim, not on to it."""


@dataclass(frozen=True)
class Ranges:
    """Ends of the usual ranges by kind: speed in m/s and size of the acceleration in m/s^2, from 0.

    Attributes:
        speed: of pedestrians and of vehicles.
        acceleration: likewise.
        dt: seconds between frames.
    """

    speed: tuple[float, float]
    acceleration: tuple[float, float]
    dt: float

    @classmethod
    def of(cls, scenes: Scenes) -> Ranges:
        """The 99 % quantiles over all future frames of each kind; infinite for a kind that is not there."""
        tracks = torch.from_numpy(np.nan_to_num(scenes.tracks))
        kinds = torch.from_numpy(scenes.kinds).long()
        speed, acceleration = moved(tracks, scenes.past, scenes.dt)
        return cls(_quantiles(speed, kinds), _quantiles(acceleration, kinds), scenes.dt)

    def within(self, tracks: Tensor, kinds: Tensor, past: int) -> tuple[Tensor, Tensor]:
        """Whether speed and acceleration are in the range, (..., future) bool each.

        Args:
            tracks: (..., frames, 2) metres.
            kinds: (...).
            past: frames of the past.
        """
        speed, acceleration = moved(tracks, past, self.dt)
        return speed <= _by_kind(self.speed, kinds), acceleration <= _by_kind(self.acceleration, kinds)

    def excess(self, tracks: Tensor, kinds: Tensor, strained: Tensor, *, past: int) -> Tensor:
        r"""Half the squared ways beyond the range, summed over agents and frames, (n,) square metres.

        .. math:: E = \tfrac12 \sum \max(0, (|v| - v_{99})\,\Delta t)^2 +
                      \tfrac12 \sum \max(0, (|a| - a_{99})\,\Delta t^2)^2

        Nobody is held to less than the speed at the end of the past. Differentiable.

        Args:
            tracks: (n, agents, frames, 2) metres, finite.
            kinds: (n, agents), -1 for absent ones.
            strained: (n, agents) bool, whose acceleration is not held to the range.
            past: frames of the past.
        """
        velocity = tracks[:, :, past - 2 :].diff(dim=2) / self.dt
        speed = (velocity.square().sum(-1) + 1e-8).sqrt()
        acceleration = ((velocity.diff(dim=2) / self.dt).square().sum(-1) + 1e-8).sqrt()
        usual = torch.maximum(ROOM * _by_kind(self.speed, kinds), speed[..., :1]).detach()
        fast = ((speed[..., 1:] - usual) * self.dt).clamp(min=0.0)
        hard = ((acceleration - ROOM * _by_kind(self.acceleration, kinds)) * self.dt**2).clamp(min=0.0)
        there = (kinds >= 0).to(tracks)
        fast, hard = fast * there[..., None], hard * (there * ~strained)[..., None]
        return 0.5 * (fast.square() + hard.square()).sum((1, 2))


def moved(tracks: Tensor, past: int, dt: float) -> tuple[Tensor, Tensor]:
    """Speeds (..., future) in m/s and sizes of accelerations (..., future) in m/s^2, of the future."""
    velocity = tracks[..., past - 2 :, :].diff(dim=-2) / dt
    return velocity[..., 1:, :].norm(dim=-1), (velocity.diff(dim=-2) / dt).norm(dim=-1)


def _by_kind(ends: tuple[float, float], kinds: Tensor) -> Tensor:
    return torch.tensor(ends, device=kinds.device)[kinds.clamp(min=0)][..., None]


def _quantiles(values: Tensor, kinds: Tensor) -> tuple[float, float]:
    found = []
    for kind in (PEDESTRIAN, VEHICLE):
        own = values[kinds == kind].numpy()
        found.append(float(np.quantile(own, SHARE)) if own.size else float("inf"))
    return found[0], found[1]
