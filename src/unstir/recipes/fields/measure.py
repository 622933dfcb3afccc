"""The numbers of a trained model on held-out pairs, beside linear estimates and exact ones."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unstir.model import Model
from unstir.recipes.domain import Options
from unstir.recipes.fields.baseline import Ensemble
from unstir.recipes.fields.data import load, options_of
from unstir.recipes.fields.exact import exact_posterior
from unstir.recipes.fields.methods import event_of, find_method, guided
from unstir.recipes.fields.metrics import honesty, relative_errors
from unstir.recipes.fields.options import FieldOptions
from unstir.recipes.fields.poisson import PoissonProblem
from unstir.recipes.fields.problems import problem_of
from unstir.recipes.fields.residual import measurement_of
from unstir.recipes.fields.sensors import Seen, scattered
from unstir.recipes.fields.task import solve
from unstir.recipes.numbers import Number, bootstrap_mean
from unstir.recipes.settings import DataSettings, RunSettings
from unstir.training import ArrayData

PAIRS = 4096
"""Training pairs that the linear estimate sees at most."""
CASES = 16
GUIDED = 4
"""Cases where the posteriors come by guidance, some 8 seconds each on a core."""
SENSORS = 32
DRAWS = 64


@dataclass(frozen=True, eq=False)
class Held:
    """What a model is measured on.

    Attributes:
        train: (n, channels, *space) pairs for the linear estimate.
        heldout: (m, channels, *space) that training never saw.
        options: of the recipe.
        first: channels of the first field.
        made: whether the pairs were made here, so that the problem is known.
    """

    train: Tensor
    heldout: Tensor
    options: FieldOptions
    first: int
    made: bool


def measure(model: Model, settings: RunSettings, options: Options) -> dict[str, Number]:
    """The numbers of a model: solving for the second field, and inferring both from sensors.

    Args:
        model: trained by the settings.
        settings: of its run.
        options: ``n`` is the number of held-out cases with sensors, 16 by default.
    """
    held = held_out(settings.data)
    numbers = solution_numbers(model, held, options)
    if held.options.mode == "joint":
        numbers |= sensor_numbers(model, held, options)
    return numbers


def held_out(data: DataSettings) -> Held:
    """The pairs of a run, as both fields whatever its mode."""
    splits = load(data)
    options = options_of(data)
    # Jointly, the training pairs come ``draws`` times over, with other known entries.
    different = len(splits.train) // (options.draws if options.mode == "joint" else 1)
    train, heldout = _pairs(splits.train, min(PAIRS, different)), _pairs(splits.heldout, None)
    first = splits.train.conditions["source"].shape[0] if options.mode == "conditional" else 1
    return Held(train, heldout, options, first, data.path is None)


def solution_numbers(model: Model, held: Held, options: Options) -> dict[str, Number]:
    """The second field from the whole first one, beside ridge regression."""
    first, truth = held.heldout[:256, : held.first], held.heldout[:256, held.first :]
    started = time.perf_counter()
    found = solve(model, first, steps=options.steps, seed=options.seed)
    seconds = (time.perf_counter() - started) / len(first)
    errors = relative_errors(found, truth)
    linear = relative_errors(Ensemble(held.train).second_of(first), truth.double())
    value, interval = bootstrap_mean(errors.tolist())
    numbers = {
        "solution_error": Number(
            value,
            baseline=float(linear.mean()),
            interval=interval,
            meaning="relative L2 error of the second field given the first; baseline: ridge regression",
        )
    }
    exact = None
    if held.made:
        problem = problem_of(held.options)
        started = time.perf_counter()
        problem.solve(first[:, 0].double())
        exact = (time.perf_counter() - started) / len(first)
    numbers["solution_seconds"] = Number(
        seconds,
        reference=exact,
        meaning=f"seconds a solve, {len(first)} at once"
        + ("" if exact is None else "; reference: the exact solver"),
    )
    return numbers


def sensor_numbers(model: Model, held: Held, options: Options) -> dict[str, Number]:
    """Both fields from noisy sensors in the second one."""
    cases = min(options.n or (CASES if held.options.shares[1] > 0 else GUIDED), len(held.heldout))
    truths = held.heldout[:cases]
    seen = sensed(model, held, truths, options.seed)
    samples = posteriors(model, held, seen, DRAWS, steps=options.steps, seed=options.seed)
    ensemble = Ensemble(held.train)
    linear = torch.cat([ensemble.given(each).mean for each in seen])
    exact = None
    if held.made and held.options.problem == "poisson":
        problem = problem_of(held.options)
        assert isinstance(problem, PoissonProblem)
        exact = torch.stack([exact_posterior(problem, s.y, s.operator, s.noise).mean for s in seen])
    numbers = {}
    for name, channel in (("first", 0), ("second", held.first)):
        honest = honesty(samples, truths, channel)
        reference = None if exact is None else _error(exact, truths, channel)
        numbers[f"sensors_{name}_error"] = Number(
            honest.error,
            baseline=_error(linear, truths, channel),
            reference=reference,
            meaning=f"relative L2 error of the posterior mean of the {name} field from {SENSORS} noisy "
            "sensors in the second; baseline: linear estimate from the training pairs"
            + ("" if exact is None else "; reference: the exact posterior mean"),
        )
        numbers[f"sensors_{name}_coverage"] = Number(
            honest.coverage,
            reference=honest.level,
            meaning=f"share of the {name} field within its central 90 % intervals",
        )
        numbers[f"sensors_{name}_error_over_deviation"] = Number(
            honest.error_over_deviation,
            reference=1.0,
            meaning=f"error of the {name} field over the samples' own deviation; above 1 is too sure",
        )
    return numbers


def sensed(model: Model, held: Held, truths: Tensor, seed: int) -> list[Seen]:
    """What 32 sensors of the noise that the model was trained on say of the second field, in each case."""
    count = min(SENSORS, math.prod(truths.shape[2:]))
    scale = model.scaling.scale
    level = held.options.noise * scale[held.first if len(scale) > 1 else 0]
    return [
        scattered(truth, count, level, channel=held.first, seed=seed, index=case).on(tuple(truth.shape))
        for case, truth in enumerate(truths)
    ]


def posteriors(
    model: Model, held: Held, seen: list[Seen], n: int, *, steps: int | None = None, seed: int = 0
) -> list[Tensor]:
    """n samples of each case: by the condition ``known`` where sensors were taught, else by MMPS."""
    if held.options.shares[1] > 0:
        return learned_posteriors(model, seen, n, steps=steps, seed=seed)
    method, event = find_method("mmps", model), event_of(model)
    samples = []
    for case, each in enumerate(seen):
        measured = measurement_of(model.scaling, event, each, None, held.first)
        found = guided(model, method, measured, n, steps=steps, seed=seed, first_index=case * n)
        samples.append(found.x)
    return samples


def learned_posteriors(
    model: Model, seen: list[Seen], n: int, *, steps: int | None = None, seed: int = 0
) -> list[Tensor]:
    """n samples of each case by the network's own condition ``known``, all cases in one run."""
    known = torch.cat([each.event for each in seen]).repeat_interleave(n, dim=0)
    x = model.solve(len(known), condition={"known": known}, steps=steps, seed=seed).x
    return list(x.reshape(len(seen), n, *x.shape[1:]))


def _error(found: Tensor, truths: Tensor, channel: int) -> float:
    return float(relative_errors(found[:, channel], truths[:, channel].double()).mean())


def _pairs(data: ArrayData, limit: int | None) -> Tensor:
    """Both fields of some rows, (n, channels, *space)."""
    rows = slice(0, len(data) if limit is None else min(limit, len(data)))
    x = torch.from_numpy(np.asarray(data.x[rows], dtype=np.float32))
    if "source" not in data.conditions:
        return x
    first = torch.from_numpy(np.asarray(data.conditions["source"].values[rows], dtype=np.float32))
    return torch.cat([first, x], dim=1)
