"""Rare events in sampled scenes: who takes part, whether they happen, and what stays valid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unstir.recipes.scenarios import rare
from unstir.recipes.scenarios.clearance import closest_pair
from unstir.recipes.scenarios.events import Event, cut_in, hard_braking, near_miss
from unstir.recipes.scenarios.ranges import Ranges
from unstir.recipes.scenarios.scenes import PEDESTRIAN, Scenes

if TYPE_CHECKING:
    from unstir.model import Model

REACH = 1.5
"""Metres of clearance on straight courses below which a pair may be asked for a near miss."""

Chosen = tuple[Scenes, Event, Tensor]
"""Scenes, an event of each, and the numbers of the agents that take part (n, agents)."""


class NoScene(ValueError):  # noqa: N818 - says what it is about
    """An event was asked for in scenes none of which has whom it takes."""


def _kept(scenes: Scenes, fits: Tensor, whom: str) -> Scenes:
    if not bool(fits.any()):
        raise NoScene(f"none of these {len(scenes)} scenes has {whom}: give more scenes")
    return scenes.take(fits.numpy())


def near_misses(scenes: Scenes) -> Chosen:
    """The pair that would come nearest if nobody changed course, one of it on foot, if within `REACH`."""
    first, second, least = rare.likely_pair(scenes)
    kinds = torch.from_numpy(scenes.kinds).long()
    rows = torch.arange(len(scenes))
    on_foot = (kinds[rows, first] == PEDESTRIAN) | (kinds[rows, second] == PEDESTRIAN)
    on_foot &= least < REACH
    kept = _kept(scenes, on_foot, "a pair on its way to come near")
    first, second, kinds = first[on_foot], second[on_foot], kinds[on_foot]
    return kept, near_miss(kinds, first, second, past=scenes.past), torch.stack([first, second], 1)


def brakings(scenes: Scenes) -> Chosen:
    """The fastest vehicle of each scene that drives towards a pedestrian (`rare.towards_people`)."""
    agent = rare.towards_people(scenes)
    fits = agent >= 0
    kept = _kept(scenes, fits, "a vehicle that drives towards a pedestrian")
    return kept, hard_braking(agent[fits], past=scenes.past, dt=scenes.dt), agent[fits][:, None]


def cut_ins(scenes: Scenes) -> Chosen:
    """A vehicle and one beside and a little behind it."""
    changer, follower = rare.neighbours(scenes)
    fits = changer >= 0
    kept = _kept(scenes, fits, "a vehicle beside and before another one")
    tracks, _ = rare.whole(kept)
    changer, follower = changer[fits], follower[fits]
    event = cut_in(tracks[:, :, : scenes.past], changer, follower, past=scenes.past)
    return kept, event, torch.stack([changer, follower], 1)


EVENTS: dict[str, tuple[Callable[[Scenes], Chosen], str]] = {
    "near_miss": (near_misses, "two agents pass within 0.2 m, or 0.5 m with a vehicle, and do not touch"),
    "hard_braking": (brakings, "a vehicle's speed falls by 3 to 5.5 m/s^2 over 0.8 s"),
    "cut_in": (cut_ins, "a vehicle moves 1 to 12 m before another one of the lane beside"),
}
"""Events by name: who takes part, and what happens."""


@dataclass(frozen=True)
class Inside:
    """Which frames of those who take part are in the data's range, (m, future) bool each.

    Attributes:
        speed: of all who take part.
        acceleration: of those of whom the event does not ask more.
    """

    speed: Tensor
    acceleration: Tensor


@dataclass(frozen=True)
class Rates:
    """An event in the scenes of one model and seed.

    Attributes:
        guided: (n,) whether it happens with guidance.
        free: (n,) whether it does without.
        data: (n,) whether it does in the data.
        touch: (n,) whether any two bodies touch, guided.
        inside: of those who take part, guided.
        inside_free: the same without guidance.
        inside_data: the same in the data.
    """

    guided: Tensor
    free: Tensor
    data: Tensor
    touch: Tensor
    inside: Inside
    inside_free: Inside
    inside_data: Inside


def rates(
    model: Model, name: str, scenes: Scenes, ranges: Ranges, *, seed: int = 0, steps: int | None = None
) -> Rates:
    """Sample a future of each scene that fits the event: guided and held to the range, and neither of both.

    Args:
        model: trained on scenes.
        name: one of `EVENTS`.
        scenes: held out, with their futures.
        ranges: of the training scenes.
        seed: of the samples.
        steps: of the solver; the model's own by default.
    """
    kept, event, members = EVENTS[name][0](scenes)
    kinds = torch.from_numpy(kept.kinds).long()
    data, _ = rare.whole(kept)
    free = rare.sample_scenes(model, kept, seed=seed, steps=steps)
    guided = rare.sample_scenes(model, kept, event, ranges=ranges, seed=seed, steps=steps)
    rows = torch.arange(len(kept))[:, None]
    usual = torch.ones_like(members, dtype=torch.bool)
    if event.strained is not None:
        usual = members != event.strained[:, None]

    def inside(tracks: Tensor) -> Inside:
        speed, acceleration = ranges.within(tracks[rows, members], kinds[rows, members], kept.past)
        return Inside(speed.flatten(0, 1), acceleration[usual])

    return Rates(
        event.happens(guided),
        event.happens(free),
        event.happens(data),
        touching(guided, kinds, kept.past),
        inside(guided),
        inside(free),
        inside(data),
    )


def touching(tracks: Tensor, kinds: Tensor, past: int) -> Tensor:
    """Whether any two bodies of a scene overlap in the future, (n,) bool."""
    return closest_pair(tracks, kinds, past=past)[2] < 0.0
