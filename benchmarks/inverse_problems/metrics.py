"""How far samples are from the exact posterior that they should come from."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, fields
from itertools import combinations

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from inverse_problems.problems import Problem
from unstir.denoisers import GaussianMixture
from unstir.evaluation import sliced_wasserstein

PROJECTIONS = 64
SETS = 3
"""Exact sets of samples that every set is compared with."""


@dataclass(frozen=True)
class Scores:
    """The figures of one set of samples; exact samples have 1, 1, 0.5, 0.9 and about 0.

    Attributes:
        ratio: sliced Wasserstein distance to exact sets of the same size, over that between exact sets.
        deviation: standard deviation of an entry over the exact one, mean over entries.
        half: share of exact draws within the samples' central 50 % interval, mean over entries.
        most: the same for 90 %.
        weights: total variation distance of the components' shares, by responsibility under the prior.
    """

    ratio: float
    deviation: float
    half: float
    most: float
    weights: float


class Judge:
    """Scores samples of one posterior.

    Args:
        problem: what was measured.
        y: (m,).
        count: size of the sets that will be judged.
        seed: of the exact draws.
    """

    def __init__(self, problem: Problem, y: Tensor, count: int, *, seed: int) -> None:
        self.prior = problem.prior
        posterior = problem.posterior(y)
        exact = posterior.sample_data(SETS * count + 20_000, seed=seed).flatten(1)
        self.sets = list(exact[: SETS * count].split(count))
        self.many = exact[SETS * count :]
        self.least = statistics.fmean(_distance(a, b) for a, b in combinations(self.sets, 2))
        self.shares = component_shares(self.prior, self.many)
        self.exact = posterior.sample_data(count, seed=seed + 1).flatten(1)
        """One more exact set, to be judged as a method would be."""

    def __call__(self, x: Tensor) -> Scores:
        """The scores of samples (count, d)."""
        distance = statistics.fmean(_distance(x, a) for a in self.sets)
        return Scores(
            distance / self.least,
            float((x.std(0) / self.many.std(0)).mean()),
            self._inside(x, 0.5),
            self._inside(x, 0.9),
            0.5 * float((component_shares(self.prior, x) - self.shares).abs().sum()),
        )

    def _inside(self, x: Tensor, share: float) -> float:
        ends = torch.tensor([0.5 - 0.5 * share, 0.5 + 0.5 * share], dtype=torch.float64)
        low, high = x.quantile(ends, dim=0)
        return float(((self.many >= low) & (self.many <= high)).double().mean())


def component_shares(mixture: GaussianMixture, x: Tensor) -> Tensor:
    """Mean responsibilities of the components of a mixture for samples (n, d), (K,)."""
    components = MultivariateNormal(mixture.means, mixture.covariances)
    joint: Tensor = components.log_prob(x[:, None]) + mixture.log_weights
    return joint.softmax(1).mean(0)


def average(scores: list[Scores]) -> tuple[Scores, Scores]:
    """Means over runs, and their standard errors."""
    means, errors = [], []
    for item in fields(Scores):
        values = [getattr(s, item.name) for s in scores]
        means.append(statistics.fmean(values))
        errors.append(statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan"))
    return Scores(*means), Scores(*errors)


def _distance(a: Tensor, b: Tensor) -> float:
    return sliced_wasserstein(a, b, projections=PROJECTIONS if a.shape[1] > 2 else 32)
