"""The numbers of the default recipe: rare events with and without guidance, and what stays valid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from unstir.recipes.numbers import Number, mean_of, proportion
from unstir.recipes.scenarios import rare
from unstir.recipes.scenarios.baseline import tuned
from unstir.recipes.scenarios.clearance import closest_pair
from unstir.recipes.scenarios.default import SimulationSettings, settings, simulated
from unstir.recipes.scenarios.events import Event, cut_in, hard_braking, near_miss
from unstir.recipes.scenarios.metrics import best_of
from unstir.recipes.scenarios.scenes import PEDESTRIAN, Scenes
from unstir.recipes.scenarios.simulate import simulate
from unstir.recipes.scenarios.task import forecasts
from unstir.recipes.scenarios.tokens import TOKENS, tokens_of

if TYPE_CHECKING:
    from unstir.model import Model
    from unstir.recipes.domain import Plan

TEST, TEST_SEED = 1500, 20_000
"""New scenes that the check measures on, and the seed that makes them."""
REACH = 1.5
"""Metres of clearance on straight courses below which a pair may be asked for a near miss."""

Chosen = tuple[Scenes, Event, Tensor]
"""Scenes, an event of each, and the numbers of the agents that take part (n, agents)."""


def near_misses(scenes: Scenes) -> Chosen:
    """The pair that would come nearest if nobody changed course, one of it on foot, if within `REACH`."""
    first, second, least = rare.likely_pair(scenes)
    kinds = torch.from_numpy(scenes.kinds).long()
    rows = torch.arange(len(scenes))
    on_foot = (kinds[rows, first] == PEDESTRIAN) | (kinds[rows, second] == PEDESTRIAN)
    on_foot &= least < REACH
    kept = scenes.take(on_foot.numpy())
    first, second, kinds = first[on_foot], second[on_foot], kinds[on_foot]
    return kept, near_miss(kinds, first, second, past=scenes.past), torch.stack([first, second], 1)


def brakings(scenes: Scenes) -> Chosen:
    """The fastest vehicle of each scene, if it is faster than 5 m/s."""
    agent, speed = rare.fastest_vehicle(scenes)
    fits = speed > 5.0
    kept = scenes.take(fits.numpy())
    return kept, hard_braking(agent[fits], past=scenes.past, dt=scenes.dt), agent[fits][:, None]


def cut_ins(scenes: Scenes) -> Chosen:
    """A vehicle and one beside and a little behind it."""
    changer, follower = rare.neighbours(scenes)
    fits = changer >= 0
    kept = scenes.take(fits.numpy())
    tracks, _ = rare.whole(kept)
    changer, follower = changer[fits], follower[fits]
    event = cut_in(tracks[:, :, : scenes.past], changer, follower, past=scenes.past)
    return kept, event, torch.stack([changer, follower], 1)


EVENTS: dict[str, tuple[Callable[[Scenes], Chosen], str]] = {
    "near_miss": (near_misses, "two agents pass within 0.2 m, or 0.5 m with a vehicle, and do not touch"),
    "hard_braking": (brakings, "a vehicle's speed falls by 1.6 to 2.2 m/s^2"),
    "cut_in": (cut_ins, "a vehicle moves 1 to 12 m before another one of the lane beside"),
}
"""Events by name: who takes part, and what happens."""


@dataclass(frozen=True)
class Ranges:
    """The peaks that 99 of 100 agents keep below, by kind: speed in m/s, acceleration in m/s^2."""

    speed: tuple[float, float]
    acceleration: tuple[float, float]

    @classmethod
    def of(cls, scenes: Scenes) -> Ranges:
        """Of the futures of all agents of each kind; infinite for a kind that is not there."""
        tracks, kinds = rare.whole(scenes)
        values = moved(tracks, scenes.past, scenes.dt)
        return cls(*(_quantiles(value, kinds) for value in values))

    def share(self, tracks: Tensor, kinds: Tensor, past: int, dt: float) -> tuple[Tensor, Tensor]:
        """Whether the peaks of speed and acceleration of each agent are within, (...) bool each.

        Args:
            tracks: (..., frames, 2) metres.
            kinds: (...).
            past: frames of the past.
            dt: seconds between frames.
        """
        shares = []
        for value, bounds in zip(moved(tracks, past, dt), (self.speed, self.acceleration), strict=True):
            bound = torch.tensor(bounds)[kinds.clamp(min=0)]
            shares.append(value.amax(-1) <= bound)
        return shares[0], shares[1]


def moved(tracks: Tensor, past: int, dt: float) -> tuple[Tensor, Tensor]:
    """Speeds (..., future) in m/s and sizes of accelerations (..., future) in m/s^2, of the future."""
    velocity = tracks[..., past - 2 :, :].diff(dim=-2) / dt
    return velocity[..., 1:, :].norm(dim=-1), (velocity.diff(dim=-2) / dt).norm(dim=-1)


def _quantiles(values: Tensor, kinds: Tensor) -> tuple[float, float]:
    found = []
    for kind in (0, 1):
        own = values[kinds == kind].amax(-1).numpy() if bool((kinds == kind).any()) else np.empty(0)
        found.append(float(np.quantile(own, 0.99)) if own.size else float("inf"))
    return found[0], found[1]


@dataclass(frozen=True)
class Rates:
    """An event in the scenes of one model and seed.

    Attributes:
        guided: (n,) whether it happens with guidance.
        free: (n,) whether it does without.
        data: (n,) whether it does in the data.
        touch: (n,) whether those who take part touch, guided.
        speed: (n * participants,) whether the peak is within the data's range, guided.
        acceleration: likewise.
    """

    guided: Tensor
    free: Tensor
    data: Tensor
    touch: Tensor
    speed: Tensor
    acceleration: Tensor


def rates(model: Model, name: str, scenes: Scenes, ranges: Ranges, *, seed: int = 0) -> Rates:
    """Sample one future of each scene that fits the event, with guidance and without.

    Args:
        model: trained on scenes.
        name: one of `EVENTS`.
        scenes: held out, with their futures.
        ranges: of the training scenes.
        seed: of the samples.
    """
    kept, event, members = EVENTS[name][0](scenes)
    kinds = torch.from_numpy(kept.kinds).long()
    data, _ = rare.whole(kept)
    free = rare.sample_scenes(model, kept, seed=seed)
    guided = rare.sample_scenes(model, kept, event, seed=seed)
    rows = torch.arange(len(kept))[:, None]
    inside = ranges.share(guided[rows, members], kinds[rows, members], kept.past, kept.dt)
    return Rates(
        event.happens(guided),
        event.happens(free),
        event.happens(data),
        touching(guided, kinds, kept.past),
        inside[0].flatten(),
        inside[1].flatten(),
    )


def touching(tracks: Tensor, kinds: Tensor, past: int) -> Tensor:
    """Whether any two bodies of a scene overlap in the future, (n,) bool."""
    return closest_pair(tracks, kinds, past=past)[2] < 0.0


def event_numbers(name: str, found: Sequence[Rates]) -> dict[str, Number]:
    """The numbers of an event over several models and seeds.

    Args:
        name: one of `EVENTS`.
        found: of each.
    """
    what = EVENTS[name][1]
    guided, free, data = (torch.cat([getattr(r, f) for r in found]) for f in ("guided", "free", "data"))
    rate, interval = proportion(int(guided.sum()), len(guided))
    usual, _ = proportion(int(free.sum()), len(free))
    real, _ = proportion(int(data.sum()), len(data))
    ratios = [
        float(r.guided.float().mean() / r.free.float().mean().clamp(min=1.0 / len(r.free))) for r in found
    ]
    ratio, spread = mean_of(ratios)
    return {
        f"{name}_ratio": Number(
            ratio, ">= 3", 1.0, None, spread, f"rate with guidance over that without: {what}"
        ),
        f"{name}_rate": Number(rate, "", usual, real, interval, "with guidance; baseline: without it"),
    }


def validity_numbers(found: Sequence[Rates]) -> dict[str, Number]:
    """How far guided agents stay in the data's range, over all events."""
    result = {}
    for field, unit in (("speed", "m/s"), ("acceleration", "m/s^2")):
        values = torch.cat([getattr(r, field) for r in found])
        mean, interval = proportion(int(values.sum()), len(values))
        result[f"guided_{field}_in_range"] = Number(
            mean,
            ">= 0.95",
            None,
            0.99,
            interval,
            f"share of the steered agents whose peak {field} ({unit}) is one that 99 % of the data's keep",
        )
    return result


def measured(model: Model, scenes: Scenes, train: Scenes, *, seed: int = 0) -> dict[str, Rates]:
    """Every event in held-out scenes, with and without guidance.

    Args:
        model: trained on scenes like these.
        scenes: held out.
        train: those whose speeds and accelerations are the range.
        seed: of the samples.
    """
    ranges = Ranges.of(train)
    return {name: rates(model, name, scenes, ranges, seed=seed) for name in EVENTS}


def rare_numbers(found: Sequence[dict[str, Rates]]) -> dict[str, Number]:
    """The numbers of all events, and of what they leave valid."""
    result: dict[str, Number] = {}
    for name in EVENTS:
        result |= event_numbers(name, [each[name] for each in found])
    return result | validity_numbers([r for each in found for r in each.values()])


def collision_number(
    models: Sequence[Model], scenes: Scenes, many: Scenes, *, seed: int = 0
) -> dict[str, Number]:
    """Share of the sampled scenes in which bodies overlap, beside that of the data.

    The limit is the data's rate and its chance: what two samples of that rate differ by in 19 of 20 cases.

    Args:
        models: of several seeds.
        scenes: held out, one future is sampled of each.
        many: more scenes, for the data's rate.
        seed: of the samples.
    """
    kinds = torch.from_numpy(scenes.kinds).long()

    def share(apart: bool) -> tuple[int, int]:
        touched = [
            touching(rare.sample_scenes(m, scenes, apart=apart, seed=seed), kinds, scenes.past)
            for m in models
        ]
        return int(torch.cat(touched).sum()), len(models) * len(scenes)

    tracks, every = rare.whole(many)
    real = float(touching(tracks, every, many.past).float().mean())
    hits, count = share(apart=True)
    value, interval = proportion(hits, count)
    chance = 1.96 * (real * (1.0 - real) * (1.0 / count + 1.0 / len(many))) ** 0.5
    alone = share(apart=False)
    what = "share of the scenes in which bodies overlap; baseline: without keeping them apart"
    return {
        "collision_rate": Number(value, f"<= {real + chance:.5f}", alone[0] / alone[1], real, interval, what)
    }


def token_number(models: Sequence[Model], scenes: Scenes, *, seed: int = 0) -> dict[str, Number]:
    """How far from the place that it is told one agent of each scene ends; baseline: without being told.

    Args:
        models: of several seeds.
        scenes: held out; the first agent of each is told where it really ends.
        seed: of the samples.
    """
    asked = np.full((*scenes.kinds.shape, len(TOKENS)), np.nan, dtype=np.float32)
    asked[:, 0, :2] = tokens_of(scenes)[:, 0, :2]
    tracks, _ = rare.whole(scenes)
    ends: dict[bool, list[float]] = {True: [], False: []}
    for model in models:
        for told in ends:
            given = replace(scenes, tokens=asked if told else np.full_like(asked, np.nan))
            drawn = rare.sample_scenes(model, given, seed=seed)
            ends[told].append(float((drawn - tracks)[:, 0, -1].norm(dim=-1).median()))
    value, interval = mean_of(ends[True])
    baseline, _ = mean_of(ends[False])
    what = "median distance (m) of an agent's end from where it is told to end; baseline: not told"
    return {"told_end_error": Number(value, f"<= {0.5 * baseline:.4g}", baseline, None, interval, what)}


def forecast_number(
    models: Sequence[Model], scenes: Scenes, train: Scenes, *, seed: int = 0
) -> dict[str, Number]:
    """minADE20 of simulated scenes against constant velocity and noise, which is tuned on training scenes.

    Args:
        models: of several seeds.
        scenes: held out.
        train: for the baseline's noise.
        seed: of the samples.
    """
    straight = tuned(train)
    best = float(best_of(straight.forecast(scenes, 20, seed=seed), scenes).ade.mean())
    errors = [float(best_of(forecasts(model, scenes, 20, seed=seed), scenes).ade.mean()) for model in models]
    value, interval = mean_of(errors)
    what = "metres, best of 20 for each agent; baseline: constant velocity and noise"
    return {"min_ade20": Number(value, f"< {best:.4g}", best, None, interval, what)}


def default_numbers(plan: Plan) -> dict[str, Number]:
    """Train the default recipe with each seed, and measure all of the above on scenes that are new.

    Args:
        plan: of the check.
    """
    train, _ = simulated(SimulationSettings(), 0.15, 0)
    scenes = simulate(TEST, seed=TEST_SEED, tokens=0.0)
    models = []
    for seed in plan.seeds:
        run = settings()
        training = run.training.model_copy(update={"seed": seed})
        models.append(plan.train(run.model_copy(update={"training": training}), f"scenarios-{seed}"))
    plan.say(f"measuring rare events in {TEST:,} new scenes")
    found = [
        measured(model, scenes, train, seed=seed) for seed, model in zip(plan.seeds, models, strict=True)
    ]
    few = scenes.take(slice(0, TEST // 3))
    return (
        rare_numbers(found)
        | collision_number(models, scenes, train)
        | token_number(models, scenes)
        | forecast_number(models, few, train.take(slice(0, TEST // 3)))
    )
