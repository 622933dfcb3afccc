"""The numbers of the default recipe: rare events, what stays valid, and forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from unstir.recipes.numbers import Number, bootstrap_mean, mean_of, proportion
from unstir.recipes.scenarios import rare
from unstir.recipes.scenarios.baseline import tuned
from unstir.recipes.scenarios.default import SimulationSettings, settings, simulated
from unstir.recipes.scenarios.metrics import best_of
from unstir.recipes.scenarios.ranges import SHARE, Ranges
from unstir.recipes.scenarios.rates import EVENTS, NoScene, Rates, rates, touching
from unstir.recipes.scenarios.scenes import TOKENS, Scenes
from unstir.recipes.scenarios.simulate import simulate
from unstir.recipes.scenarios.task import forecasts
from unstir.recipes.scenarios.tokens import tokens_of

if TYPE_CHECKING:
    from unstir.model import Model
    from unstir.recipes.domain import Plan

TEST, TEST_SEED = 400, 20_000
"""New scenes that the check measures on, and the seed that makes them."""


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
            ratio,
            ">= 3",
            1.0,
            None,
            spread,
            "rate with guidance over that without, which counts as one of "
            f"{len(found[0].free)} scenes at least: {what}",
        ),
        f"{name}_rate": Number(
            rate, "", usual, real, interval, f"in {len(guided)} scenes, with guidance; baseline: without it"
        ),
    }


def validity_numbers(found: Sequence[Rates]) -> dict[str, Number]:
    """How far guided agents stay in the data's range, over all events, by frames and by their peaks."""
    result: dict[str, Number] = {}
    peaks: dict[str, Number] = {}
    for field, unit in (("speed", "m/s"), ("acceleration", "m/s^2")) if found else ():
        guided, free, data = (
            torch.cat([getattr(getattr(r, which), field) for r in found])
            for which in ("inside", "inside_free", "inside_data")
        )
        if not len(guided):
            continue
        # Frames of an agent are not independent, so chance is counted by agents.
        mean, interval = bootstrap_mean(guided.float().mean(1).tolist())
        what = f"share of the steered agents' frames whose {field} ({unit}) is below the data's 99 % quantile"
        if field == "acceleration":
            what += ", but for those who are asked to brake hard"
        usual, real = (float(part.float().mean()) for part in (free, data))
        limit, what = f">= {SHARE - 0.01:.2f}", f"{what}; baseline: not steered"
        result[f"guided_{field}_in_range"] = Number(mean, limit, usual, real, interval, what)
        kept = guided.all(1)
        mean, interval = proportion(int(kept.sum()), len(kept))
        usual, real = (float(part.all(1).float().mean()) for part in (free, data))
        what = f"share of the steered agents whose peak {field} is below it"
        peaks[f"guided_{field}_peak_in_range"] = Number(mean, "", usual, real, interval, what)
    return result | peaks


def measured(
    model: Model, scenes: Scenes, train: Scenes, *, seed: int = 0, steps: int | None = None
) -> dict[str, Rates]:
    """Every event that some held-out scene fits, with and without guidance.

    Args:
        model: trained on scenes like these.
        scenes: held out.
        train: those whose speeds and accelerations are the range.
        seed: of the samples.
        steps: of the solver; the model's own by default.
    """
    ranges = Ranges.of(train)
    found = {}
    for name in EVENTS:
        with suppress(NoScene):
            found[name] = rates(model, name, scenes, ranges, seed=seed, steps=steps)
    return found


def rare_numbers(found: Sequence[dict[str, Rates]]) -> dict[str, Number]:
    """The numbers of all events, and of what they leave valid; of several models in the same scenes."""
    result: dict[str, Number] = {}
    for name in found[0]:
        result |= event_numbers(name, [each[name] for each in found])
    return result | validity_numbers([r for each in found for r in each.values()])


def collision_number(
    models: Sequence[Model], scenes: Scenes, many: Scenes, *, seed: int = 0, steps: int | None = None
) -> dict[str, Number]:
    """Share of the sampled scenes in which bodies overlap, beside that of the data.

    The limit is the data's rate and its chance: what two samples of that rate differ by in 19 of 20 cases.

    Args:
        models: of several seeds.
        scenes: held out, one future is sampled of each.
        many: more scenes, for the data's rate.
        seed: of the samples.
        steps: of the solver; the model's own by default.
    """
    kinds = torch.from_numpy(scenes.kinds).long()

    def share(apart: bool) -> tuple[int, int]:
        touched = [
            touching(rare.sample_scenes(m, scenes, apart=apart, seed=seed, steps=steps), kinds, scenes.past)
            for m in models
        ]
        return int(torch.cat(touched).sum()), len(models) * len(scenes)

    tracks, every = rare.whole(many)
    real = float(touching(tracks, every, many.past).float().mean())
    hits, count = share(apart=True)
    value, interval = proportion(hits, count)
    chance = 1.96 * (real * (1.0 - real) * (1.0 / count + 1.0 / len(many))) ** 0.5
    alone = share(apart=False)
    what = (
        f"share of {count} scenes in which bodies overlap; baseline: without keeping them apart; the limit "
        "is the data's rate and its chance in so many"
    )
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
    nothing = np.full((*scenes.kinds.shape, len(TOKENS)), np.nan, dtype=np.float32)
    asked = nothing.copy()
    asked[:, 0, :2] = tokens_of(scenes)[:, 0, :2]
    tracks, _ = rare.whole(scenes)

    def off(tokens: NDArray[np.float32], met: bool) -> list[float]:
        drawn = [
            rare.sample_scenes(model, replace(scenes, tokens=tokens), met=met, seed=seed) for model in models
        ]
        return [float((one - tracks)[:, 0, -1].norm(dim=-1).median()) for one in drawn]

    usual, _ = mean_of(off(nothing, True))
    what = "median distance (m) of an agent's end from where it is told to end"
    value, interval = mean_of(off(asked, True))
    numbers = {"told_end_error": Number(value, "<= 0.1", usual, 0.0, interval, f"{what}; baseline: not told")}
    value, interval = mean_of(off(asked, False))
    what += ", by what the network learned alone; baseline: not told"
    return numbers | {"told_end_error_learned": Number(value, "", usual, 0.0, interval, what)}


def forecast_number(
    models: Sequence[Model], scenes: Scenes, train: Scenes, *, seed: int = 0, steps: int | None = None
) -> dict[str, Number]:
    """minADE20 of simulated scenes against constant velocity and noise, which is tuned on training scenes.

    Args:
        models: of several seeds.
        scenes: held out.
        train: for the baseline's noise.
        seed: of the samples.
        steps: of the solver; the model's own by default.
    """
    straight = tuned(train)
    best = float(best_of(straight.forecast(scenes, 20, seed=seed), scenes).ade.mean())
    drawn = [forecasts(model, scenes, 20, seed=seed, steps=steps) for model in models]
    errors = [float(best_of(futures, scenes).ade.mean()) for futures in drawn]
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
    few = scenes.take(slice(0, TEST // 4))
    return (
        rare_numbers(found)
        | collision_number(models, scenes, train)
        | token_number(models, scenes)
        | forecast_number(models, few, train.take(slice(0, TEST)))
    )
