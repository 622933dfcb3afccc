"""Rare events as numbers that torch can differentiate: near misses, hard braking, cut-ins.

Each is a value of the tracks with a range in which the event happens. The range has two ends on purpose:
guidance that pushed "nearer" or "harder" without end would leave what agents can do, one that asks for a
value within the range does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.recipes.scenarios.clearance import clearance, headings
from unstir.recipes.scenarios.scenes import VEHICLE
from unstir.recipes.scenarios.vehicles import LENGTH

NEAR = ((0.03, 0.2), (0.03, 0.5))
"""Clearance of a near miss, metres: of two pedestrians, and where a vehicle takes part."""
HARD = (1.6, 2.2)
"""Hard braking, m/s^2: beyond comfort (1.5 m/s^2), within what the simulated drivers do."""
LANE_HELD = 1.0
"""Metres to the side within which one vehicle is in the way of another."""
SHORT = (1.0, 12.0)
"""Bumper to bumper after a cut-in, metres."""


@dataclass(frozen=True)
class Event:
    """An event of scenes, one of each.

    Attributes:
        value: tracks (n, agents, frames, 2) in metres to (n, numbers); differentiable. Rows of absent agents
            are finite and of no meaning.
        low: (n, numbers) lower ends of the ranges in which it happens.
        high: (n, numbers) upper ends.
    """

    value: Callable[[Tensor], Tensor]
    low: Tensor
    high: Tensor

    def happens(self, tracks: Tensor) -> Tensor:
        """Whether it does, (n,) bool."""
        value = self.value(tracks)
        return ((value >= self.low.to(value)) & (value <= self.high.to(value))).all(1)


def near_miss(kinds: Tensor, first: Tensor, second: Tensor, *, past: int) -> Event:
    """Two agents come near each other and do not touch: their least clearance is within `NEAR`.

    Args:
        kinds: (n, agents).
        first: (n,) number of one agent of each scene.
        second: (n,) of the other.
        past: frames of the past.
    """
    rows = torch.arange(len(kinds))
    driven = (kinds[rows, first] == VEHICLE) | (kinds[rows, second] == VEHICLE)
    ends = torch.tensor(NEAR)[driven.long()]

    def value(tracks: Tensor) -> Tensor:
        return clearance(tracks, kinds, first, second, past=past).amin(1, keepdim=True)

    return Event(value, ends[:, :1], ends[:, 1:])


def hard_braking(agent: Tensor, *, past: int, dt: float) -> Event:
    """An agent's speed falls by `HARD` at its hardest, from frame to frame.

    Args:
        agent: (n,) number of the agent in each scene.
        past: frames of the past.
        dt: seconds between frames.
    """

    def value(tracks: Tensor) -> Tensor:
        own = tracks[torch.arange(len(tracks), device=tracks.device), agent][:, past - 2 :]
        speed = ((own.diff(dim=1) ** 2).sum(-1) + 1e-8).sqrt() / dt
        return (-speed.diff(dim=1) / dt).amax(1, keepdim=True)

    ends = torch.tensor(HARD).expand(len(agent), 2)
    return Event(value, ends[:, :1], ends[:, 1:])


def cut_in(tracks: Tensor, changer: Tensor, follower: Tensor, *, past: int) -> Event:
    """At the end one vehicle is in the way of another that was beside its lane, and close ahead of it.

    The two numbers are the place of the first to the side of the second's course, within `LANE_HELD`, and the
    gap from bumper to bumper, within `SHORT`, both in the last frame.

    Args:
        tracks: (n, agents, at least past frames, 2) metres; the second's heading is that of its past.
        changer: (n,) number of the vehicle that changes lanes, in each scene.
        follower: (n,) of the other.
        past: frames of the past.
    """
    rows = torch.arange(len(tracks))
    ahead = headings(tracks[rows, follower][:, :past])[:, -1]
    left = torch.stack([-ahead[:, 1], ahead[:, 0]], dim=1)

    def value(tracks: Tensor) -> Tensor:
        apart = (tracks[rows, changer] - tracks[rows, follower])[:, -1]
        return torch.stack([(apart * left).sum(1), (apart * ahead).sum(1) - LENGTH], dim=1)

    low = torch.tensor([-LANE_HELD, SHORT[0]]).expand(len(tracks), 2)
    high = torch.tensor([LANE_HELD, SHORT[1]]).expand(len(tracks), 2)
    return Event(value, low, high)
