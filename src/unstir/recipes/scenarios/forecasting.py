"""The numbers of recorded tracks: errors of the best of 20 on the held-out place, and collisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unstir.recipes.numbers import Number, bootstrap_mean, pooled
from unstir.recipes.scenarios.baseline import tuned
from unstir.recipes.scenarios.heldout import ALIASES
from unstir.recipes.scenarios.load import scenes_for
from unstir.recipes.scenarios.metrics import (
    TOUCH,
    BestOf,
    accelerations,
    best_of,
    ceiling,
    collisions,
    share_below,
    speeds,
)
from unstir.recipes.scenarios.recorded import settings
from unstir.recipes.scenarios.scenes import Scenes
from unstir.recipes.scenarios.task import forecasts
from unstir.recipes.scenarios.tracks import read_recordings
from unstir.recipes.settings import DataSettings, RunSettings
from unstir.recipes.splits import evenly

if TYPE_CHECKING:
    from unstir.model import Model
    from unstir.recipes.domain import Plan

Floats = NDArray[np.floating]

SAMPLES = 20
FREE = 5
"""Futures of each scene that are drawn without keeping agents apart, for comparison."""
APART = 0.3
"""Metres that forecasts keep agents apart, above `metrics.TOUCH` for what lies between two frames."""
LIMITS = {"min_ade20": 0.27, "min_fde20": 0.48}
"""On crowds_zara01, metres."""
HELD = ALIASES["zara1"]


def track_settings(path: str, seed: int) -> RunSettings:
    """The recipe for tracks at a path: zara1 held out if it is among them, else the end of each."""
    base = settings()
    names = {recording.name for recording in read_recordings(path)}
    options = {**base.data.options, "heldout": "zara1" if HELD in names and len(names) > 1 else None}
    return base.model_copy(
        update={
            "data": base.data.model_copy(update={"path": path, "options": options}),
            "training": base.training.model_copy(update={"seed": seed}),
        }
    )


def track_check(plan: Plan) -> dict[str, Number]:
    """Train on recorded tracks with each seed of the plan and measure; ``plan.data`` is their path."""
    if plan.data is None:
        raise ValueError("recorded tracks need a path: give --data")
    runs = []
    for seed in plan.seeds:
        recipe = track_settings(plan.data, seed)
        model = plan.train(recipe, f"tracks-{seed}")
        runs.append(track_numbers(model, recipe.data, seed=seed))
    return pooled(runs)


def track_numbers(
    model: Model,
    data: DataSettings,
    *,
    seed: int = 0,
    n: int | None = None,
    steps: int | None = None,
) -> dict[str, Number]:
    """The numbers of one model on the held-out scenes of its data.

    Args:
        model: trained on the training scenes.
        data: its settings.
        seed: of the forecasts and of the baseline's noise.
        n: at most so many scenes, spread evenly; None for all.
        steps: of the solver.
    """
    train, heldout = scenes_for(data)
    heldout = heldout.take(evenly(len(heldout) if n is None else n, len(heldout)))
    usual = tuned(train.take(slice(0, None, 10))).forecast(heldout, SAMPLES, seed=seed)
    free = forecasts(model, heldout, FREE, seed=seed, steps=steps)
    ours = forecasts(model, heldout, SAMPLES, seed=seed, steps=steps, apart=APART)
    limited = data.options.get("heldout") in ("zara1", HELD)
    return {
        **_errors(best_of(ours, heldout), best_of(usual, heldout), heldout.stretches, limited=limited),
        **_validity(ours, free, usual, heldout, train),
    }


def _errors(ours: BestOf, usual: BestOf, stretches: NDArray[np.int64], *, limited: bool) -> dict[str, Number]:
    """Errors of the best; scenes of one stretch are drawn together for the intervals."""
    what = f"metres, best of {SAMPLES} for each agent"
    numbers = {}
    for name, field in (("min_ade20", "ade"), ("min_fde20", "fde")):
        value, interval = bootstrap_mean(getattr(ours, field).tolist(), stretches[ours.scene].tolist())
        baseline = float(getattr(usual, field).mean())
        meaning = (
            f"{'mean' if field == 'ade' else 'last'} displacement error, {what}; baseline: constant velocity"
        )
        limit = f"<= {LIMITS[name]}" if limited else ""
        numbers[name] = Number(value, limit, baseline, None, interval, meaning)
        numbers[f"{name}_ratio"] = Number(
            value / baseline,
            "< 1",
            1.0,
            None,
            None,
            f"{name} over that of constant velocity with tuned noise",
        )
    for name, field in (("joint_min_ade20", "joint_ade"), ("joint_min_fde20", "joint_fde")):
        value, interval = bootstrap_mean(getattr(ours, field).tolist(), stretches.tolist())
        baseline = float(getattr(usual, field).mean())
        meaning = f"metres, best of {SAMPLES} joint futures of each scene"
        numbers[name] = Number(value, "", baseline, None, interval, meaning)
    return numbers


def _validity(ours: Floats, free: Floats, usual: Floats, scenes: Scenes, train: Scenes) -> dict[str, Number]:
    """Collisions, held to the data's rate, and speeds."""
    real = scenes.followed[:, None]
    rates = [_collision_rate(f, scenes) for f in (ours, free, usual, real)]
    meaning = f"share of agents that come within {TOUCH} m of another one in a future"
    numbers = {
        "collision_rate": Number(rates[0], f"<= {rates[3]:.4g}", rates[2], rates[3], None, meaning),
        "collision_rate_unguided": Number(
            rates[1], "", rates[2], rates[3], None, f"{meaning}, without keeping agents {APART} m apart"
        ),
    }
    for name, measure in (("speed", speeds), ("acceleration", accelerations)):
        bound = ceiling(measure(_moving(train.followed[:, None], train), train.dt))
        value, baseline, reference = (
            share_below(measure(_moving(f, scenes), scenes.dt), bound) for f in (ours, usual, real)
        )
        meaning = f"share of frames with a {name} that 99 % of the training tracks keep"
        numbers[f"{name}_in_range"] = Number(value, "", baseline, reference, None, meaning)
    return numbers


def _moving(futures: Floats, scenes: Scenes) -> Floats:
    """Futures (scenes, n, agents, future, 2) with the last given frame before them."""
    last = np.broadcast_to(scenes.given[:, None, :, -1:], (*futures.shape[:3], 1, 2))
    return np.concatenate([last, futures], axis=3)


def _collision_rate(futures: Floats, scenes: Scenes) -> float:
    hit = collisions(_moving(futures, scenes))
    there = np.broadcast_to(scenes.present[:, None], hit.shape)
    return float(hit[there].mean())
