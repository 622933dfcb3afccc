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
HARD = (3.0, 5.5)
"""Hard braking, m/s^2: twice the comfortable 1.5 m/s^2 of Treiber & Kesting 2013, table 11.2, or more, and
well within the 8 m/s^2 of tyres on a dry road."""
HARD_FRAMES = 2
"""Frames over which it lasts: a single one may be a jerk."""
INSIDE = (0.2, 0.8)
"""Share of the range in which values are asked for, so that what is missed by a little still counts."""
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
        strained: (n,) number of the agent of which it asks more than the usual acceleration, or None.
    """

    value: Callable[[Tensor], Tensor]
    low: Tensor
    high: Tensor
    strained: Tensor | None = None

    def happens(self, tracks: Tensor) -> Tensor:
        """Whether it does, (n,) bool."""
        value = self.value(tracks)
        return ((value >= self.low.to(value)) & (value <= self.high.to(value))).all(1)

    def miss(self, tracks: Tensor) -> Tensor:
        """Half the squared distances of the numbers to the middle `INSIDE` of their ranges, (n,); 0 there."""
        value = self.value(tracks)
        low, high = self.low.to(value), self.high.to(value)
        below = low + INSIDE[0] * (high - low) - value
        above = value - low - INSIDE[1] * (high - low)
        return 0.5 * torch.maximum(below, above).clamp(min=0.0).square().sum(1)


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
        who = (each.to(tracks.device) for each in (kinds, first, second))
        return clearance(tracks, *who, past=past).amin(1, keepdim=True)

    return Event(value, ends[:, :1], ends[:, 1:])


def hard_braking(agent: Tensor, *, past: int, dt: float) -> Event:
    """An agent's speed falls by `HARD`, on average over `HARD_FRAMES` frames, where it falls most.

    Args:
        agent: (n,) number of the agent in each scene.
        past: frames of the past.
        dt: seconds between frames.
    """

    def value(tracks: Tensor) -> Tensor:
        own = tracks[torch.arange(len(tracks)), agent][:, past - 2 :]
        speed = ((own.diff(dim=1) ** 2).sum(-1) + 1e-8).sqrt() / dt
        falls = speed[:, :-HARD_FRAMES] - speed[:, HARD_FRAMES:]
        return falls.amax(1, keepdim=True) / (HARD_FRAMES * dt)

    ends = torch.tensor(HARD).expand(len(agent), 2)
    return Event(value, ends[:, :1], ends[:, 1:], agent)


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
        axes = torch.stack([left, ahead], dim=1).to(tracks)
        aside, along = (apart[:, None] * axes).sum(2).unbind(1)
        return torch.stack([aside, along - LENGTH], dim=1)

    low = torch.tensor([-LANE_HELD, SHORT[0]]).expand(len(tracks), 2)
    high = torch.tensor([LANE_HELD, SHORT[1]]).expand(len(tracks), 2)
    return Event(value, low, high)
