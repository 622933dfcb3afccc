"""What `unstir check fields` holds against limits: guidance against the closed form; the trained model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from unstir.processes import VP
from unstir.recipes.domain import Plan
from unstir.recipes.fields.exact import ExactPosterior, PairDenoiser, exact_posterior
from unstir.recipes.fields.methods import ExactModel
from unstir.recipes.fields.metrics import Apart, apart
from unstir.recipes.fields.poisson import PoissonProblem
from unstir.recipes.fields.sensors import Sensors, scattered
from unstir.recipes.fields.task import infer
from unstir.recipes.numbers import Number, mean_of

SENSORS = 32
NOISE = 0.1
"""Of the sensors, in deviations of the potential."""
SAMPLES = 2048


@dataclass(frozen=True, eq=False)
class Case:
    """A pair that was drawn, what sensors in its potential say, and what that means exactly."""

    pair: torch.Tensor
    sensors: Sensors
    exact: ExactPosterior


def check(plan: Plan) -> dict[str, Number]:
    """Every number of the recipe."""
    from unstir.recipes.fields.trained import trained_numbers

    plan.say("measuring guidance with the exact denoiser against the closed-form posterior")
    return {**exact_numbers(plan.seeds), **trained_numbers(plan)}


def cases(problem: PoissonProblem, seeds: Sequence[int]) -> list[Case]:
    """One case a seed: a pair of the prior, and noisy sensors in its potential."""
    result = []
    for seed in seeds:
        pair = torch.cat(problem.draw(1, seed + 100), dim=1)[0]
        level = NOISE * problem.deviations[1]
        sensors = scattered(pair, SENSORS, level, channel=1, seed=seed + 100)
        seen = sensors.on(tuple(pair.shape))
        exact = exact_posterior(problem, seen.y, seen.operator, seen.noise)
        result.append(Case(pair, sensors, exact))
    return result


def exact_numbers(seeds: Sequence[int], *, size: int = 32, samples: int = SAMPLES) -> dict[str, Number]:
    """MMPS with the exact denoiser held against the closed-form posterior, the worse of the two fields.

    Args:
        seeds: one case each.
        size: cells along each side.
        samples: of each posterior. A mean of n samples is itself uncertain: what exact samples have is beside
            it.
    """
    problem = PoissonProblem(size)
    model = ExactModel(PairDenoiser(VP(), problem))
    found: list[tuple[Apart, Apart]] = []
    ideal: list[tuple[Apart, Apart]] = []
    seconds, evaluations = 0.0, 0
    for seed, case in zip(seeds, cases(problem, seeds), strict=True):
        started = time.perf_counter()
        inference = infer(model, case.sensors, n=samples, method="mmps", seed=seed)
        seconds += (time.perf_counter() - started) / len(seeds)
        evaluations = inference.nfe
        found.append((apart(inference.samples, case.exact, 0), apart(inference.samples, case.exact, 1)))
        draws = case.exact.sample(samples, seed=seed)
        ideal.append((apart(draws, case.exact, 0), apart(draws, case.exact, 1)))
    error, interval = mean_of([max(one.mean_error for one in pair) for pair in found])
    # Of all cases and fields the worst: in a mean, one that is too wide makes up for one that is too narrow.
    ratio = _farthest([one.deviation_ratio for pair in found for one in pair], 1.0)
    coverage = _farthest([one.coverage for pair in found for one in pair], 0.9)
    return {
        "exact_mmps_mean_error": Number(
            error,
            "<= 0.03",
            reference=mean_of([max(one.mean_error for one in pair) for pair in ideal])[0],
            interval=interval,
            meaning=f"relative error of the posterior mean of {samples} samples by MMPS with the exact "
            f"denoiser, {SENSORS} sensors, worse field; reference: exact samples",
        ),
        "exact_mmps_deviation_ratio": Number(
            ratio,
            "0.95 to 1.05",
            reference=_farthest([one.deviation_ratio for pair in ideal for one in pair], 1.0),
            meaning="deviation of the samples over the exact one, of all cases and fields the farthest "
            "from 1; reference: exact samples",
        ),
        "exact_mmps_coverage": Number(
            coverage,
            "0.85 to 0.95",
            reference=_farthest([one.coverage for pair in ideal for one in pair], 0.9),
            meaning="exact probability of the samples' central 90 % intervals, the farthest from 0.9; "
            "reference: exact samples",
        ),
        "exact_mmps_seconds": Number(
            seconds, meaning=f"seconds a case of {samples} samples, {evaluations} evaluations each"
        ),
    }


def _farthest(values: Sequence[float], ideal: float) -> float:
    return max(values, key=lambda value: abs(value - ideal))
