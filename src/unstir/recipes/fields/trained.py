"""What `unstir check fields` measures of the trained model, on pairs that no training saw."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unstir.model import Model
from unstir.recipes.domain import Plan
from unstir.recipes.fields.baseline import Ensemble
from unstir.recipes.fields.data import options_of
from unstir.recipes.fields.defaults import settings
from unstir.recipes.fields.exact import ExactPosterior, exact_posterior
from unstir.recipes.fields.methods import ExactModel
from unstir.recipes.fields.metrics import apart, relative_errors
from unstir.recipes.fields.poisson import PoissonProblem
from unstir.recipes.fields.problems import problem_of
from unstir.recipes.fields.sensors import Seen, Sensors, scattered
from unstir.recipes.fields.task import infer, solve
from unstir.recipes.numbers import Number, pooled
from unstir.recipes.settings import RunSettings

SEED = 20_000
"""Of the pairs to judge by; training takes others."""
SOLVED = 256
CASES = 8
SENSORS = 32
NOISE = 0.1
"""Of the sensors, in deviations of the potential."""
DRAWS = 64
PAIRS = 4096
"""That the linear estimate sees."""
FIELDS = ("source", "potential")


@dataclass(frozen=True, eq=False)
class Inverse:
    """One pair, sensors in its potential, and what they mean exactly.

    Attributes:
        pair: (2, *shape).
        sensors: 32 of them.
        seen: the same as a measurement.
        exact: the posterior in closed form.
    """

    pair: Tensor
    sensors: Sensors
    seen: Seen
    exact: ExactPosterior


def trained_numbers(plan: Plan, recipe: RunSettings | None = None) -> dict[str, Number]:
    """Train once for each seed, and measure solving and inferring.

    Args:
        plan: of the check.
        recipe: of Poisson's equation; the default one if left out.
    """
    recipe = recipe or settings()
    problem = problem_of(options_of(recipe.data))
    assert isinstance(problem, PoissonProblem)
    ensemble = Ensemble(torch.cat(problem.draw(PAIRS, recipe.data.seed), dim=1))
    runs = []
    for seed in plan.seeds:
        training = recipe.training.model_copy(update={"seed": seed})
        model = plan.train(recipe.model_copy(update={"training": training}), f"fields-{seed}")
        cases = inverse_cases(problem, CASES, first=CASES * seed)
        plan.say(f"solving for the potential, and inferring both fields from {SENSORS} noisy sensors")
        runs.append(
            solution_numbers(model, problem, ensemble, seed=seed)
            | inference_numbers(model, cases, ensemble, seed=seed)
        )
    numbers = pooled(runs)
    # How busy a machine was is not spread normally: an interval of seconds could begin below 0.
    timed = {name: replace(number, interval=None) for name, number in numbers.items() if "seconds" in name}
    return numbers | timed


def solution_numbers(
    model: Model | ExactModel, problem: PoissonProblem, ensemble: Ensemble, *, n: int = SOLVED, seed: int = 0
) -> dict[str, Number]:
    """The potential of a source that is known everywhere: one sample for each of n pairs.

    Args:
        model: trained, or exact.
        problem: whose exact solver is the truth.
        ensemble: the linear estimate, for the baseline.
        n: number of pairs.
        seed: of the samples.
    """
    source, potential = problem.draw(n, SEED)
    started = time.perf_counter()
    found = solve(model, source, seed=seed)
    seconds = (time.perf_counter() - started) / n
    started = time.perf_counter()
    problem.solve(source[:, 0])
    exact_seconds = (time.perf_counter() - started) / n
    errors = relative_errors(found, potential)
    linear = relative_errors(ensemble.second_of(source), potential)
    whole = float((found - potential).norm() / potential.norm())
    return {
        "relative_l2": Number(
            float(errors.mean()),
            "<= 0.04",
            baseline=float(linear.mean()),
            reference=0.0,
            meaning=f"relative L2 error of the potential of a known source, one sample each, mean of {n} "
            f"pairs; baseline: ridge regression on {PAIRS} pairs; reference: the exact solver",
        ),
        "relative_l2_pooled": Number(
            whole, meaning="the same with all pairs as one vector, where pairs of small norm weigh less"
        ),
        "solve_seconds": Number(
            seconds, reference=exact_seconds, meaning="seconds a solve, many at once; reference: exact solver"
        ),
    }


def inverse_cases(problem: PoissonProblem, n: int, *, first: int = 0) -> list[Inverse]:
    """Pairs of the prior with noisy sensors in the potential.

    Args:
        problem: the equation and the prior.
        n: number of cases.
        first: number of the first.
    """
    pairs = torch.cat(problem.draw(n, SEED + 1, first_index=first), dim=1)
    cases = []
    for index, pair in enumerate(pairs):
        level = NOISE * problem.deviations[1]
        sensors = scattered(pair, SENSORS, level, channel=1, seed=SEED, index=first + index)
        seen = sensors.on(tuple(pair.shape))
        exact = exact_posterior(problem, seen.y, seen.operator, seen.noise)
        cases.append(Inverse(pair, sensors, seen, exact))
    return cases


def inference_numbers(
    model: Model | ExactModel,
    cases: Sequence[Inverse],
    ensemble: Ensemble,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Number]:
    """Both fields from the sensors, by MMPS with the trained denoiser, beside the exact posterior.

    Args:
        model: trained, or exact.
        cases: what is measured.
        ensemble: the linear estimate, for the baseline.
        draws: samples of each posterior.
        seed: of the samples.
    """
    started = time.perf_counter()
    samples = [
        infer(model, case.sensors, n=draws, method="mmps", seed=seed * len(cases) + k).samples
        for k, case in enumerate(cases)
    ]
    seconds = (time.perf_counter() - started) / len(cases)
    truth = torch.stack([case.pair for case in cases]).double()
    means = torch.stack([each.double().mean(0) for each in samples])
    exact = torch.stack([case.exact.mean for case in cases])
    linear = torch.cat([ensemble.given(case.seen).mean for case in cases])
    numbers: dict[str, Number] = {}
    for channel, name in enumerate(FIELDS):
        covered = [
            apart(each, case.exact, channel).coverage for each, case in zip(samples, cases, strict=True)
        ]
        wide = [
            float((each[:, channel].double().std(0) / case.exact.deviation[channel]).mean())
            for each, case in zip(samples, cases, strict=True)
        ]
        best = _error(exact, truth, channel)
        numbers |= {
            f"sensor_error_ratio_{name}": Number(
                _error(means, truth, channel) / best,
                "<= 1.3",
                baseline=_error(linear, truth, channel) / best,
                reference=1.0,
                meaning=f"error of the mean of {draws} samples of the {name}, from {SENSORS} sensors of "
                f"{NOISE:.0%} noise in the potential, over the exact posterior mean's; baseline: linear "
                f"estimate from {PAIRS} pairs",
            ),
            f"coverage_90_{name}": Number(
                sum(covered) / len(covered),
                "0.85 to 0.95",
                reference=0.9,
                meaning=f"exact probability of the central 90 % intervals of {draws} samples of the {name}, "
                "mean of all cells: how often the truth lies within",
            ),
            f"deviation_ratio_{name}": Number(
                sum(wide) / len(wide),
                "0.8 to 1.25",
                reference=1.0,
                meaning=f"deviation of the samples of the {name} over the exact posterior's, cell mean",
            ),
        }
    numbers["infer_seconds"] = Number(seconds, meaning=f"seconds for {draws} samples of a posterior")
    return numbers


def _error(found: Tensor, truth: Tensor, channel: int) -> float:
    """Root mean square over cells and cases."""
    return float((found[:, channel].double() - truth[:, channel]).square().mean().sqrt())
