"""Linear measurements of Gaussians and mixtures, whose posteriors are known in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir import noise
from unstir.denoisers import Gaussian, GaussianMixture, given
from unstir.evaluation.problems import benchmark_schedules
from unstir.processes import Schedule


@dataclass(frozen=True, eq=False)
class Problem:
    """A distribution under a schedule, and what is measured of it.

    Attributes:
        name: for the tables.
        schedule_name: a key of `benchmark_schedules`.
        prior: the distribution as an exact denoiser.
        matrix: (m, d) of flattened events.
        noise: standard deviation of the measurements' noise.
        mask: (d,) whether an entry is measured, where the matrix picks entries.
    """

    name: str
    schedule_name: str
    prior: GaussianMixture
    matrix: Tensor
    noise: float
    mask: Tensor | None = None

    @property
    def gaussian(self) -> bool:
        """Whether the posterior is Gaussian."""
        return len(self.prior.means) == 1

    def measurements(self, count: int, *, seed: int = 0) -> Tensor:
        """``count`` measurements of draws of the prior, (count, m) float64."""
        x = self.prior.sample_data(count, seed=seed).flatten(1)
        stream = noise.Stream.SIMULATE
        z = noise.normal(
            (len(self.matrix),), seed=seed, index=torch.arange(count), stream=stream, dtype=torch.float64
        )
        return x @ self.matrix.T + self.noise * z

    def posterior(self, y: Tensor) -> GaussianMixture:
        """The exact distribution of x_0 given y (m,)."""
        return given(self.prior, y, self.matrix, self.noise)


def problems() -> list[Problem]:
    """The problems of the table."""
    return [
        _problem("gaussian-16, noise 0.2", "vp", gaussian(16, 0.05, seed=1), _matrix(8, 16, seed=2), 0.2),
        _problem("gaussian-16, noise 0.02", "vp", gaussian(16, 0.05, seed=1), _matrix(8, 16, seed=2), 0.02),
        _masked("field-8x8, noise 0.1", "vp", field(8, 2.0), 0.4, 0.1, seed=3),
        _problem("mixture-4 in 2-d, noise 0.3", "vp", few, torch.tensor([[1.0, 0.3]]), 0.3),
        _problem("mixture-25 in 8-d, noise 0.1", "vp", many(25, 8), _matrix(2, 8, seed=5), 0.1),
        _problem("mixture-4 in 2-d, flow, noise 0.1", "flow", few, torch.tensor([[0.2, 1.0]]), 0.1),
    ]


def tuning_problems() -> list[Problem]:
    """The problems that settings are chosen on."""
    return [
        _problem("gaussian-12, noise 0.1", "vp", gaussian(12, 0.1, seed=11), _matrix(6, 12, seed=12), 0.1),
        _masked("field-6x6, noise 0.05", "vp", field(6, 1.5), 0.5, 0.05, seed=13),
        _problem("mixture-3 in 3-d, noise 0.2", "vp", triangle, _matrix(1, 3, seed=14), 0.2),
        _problem("mixture-9 in 6-d, flow, noise 0.2", "flow", many(9, 6), _matrix(3, 6, seed=15), 0.2),
    ]


Prior = Callable[[Schedule], GaussianMixture]


def gaussian(d: int, least: float, *, seed: int) -> Prior:
    """A correlated Gaussian, its deviations geometric from 1.5 down to ``least``."""

    def make(schedule: Schedule) -> GaussianMixture:
        basis, _ = torch.linalg.qr(_random(d, d, seed=seed))
        deviations = torch.logspace(math.log10(1.5), math.log10(least), d, dtype=torch.float64)
        covariance = basis * deviations**2 @ basis.mT
        return Gaussian(schedule, 0.5 * _random(d, seed=seed + 1), covariance=covariance)

    return make


def field(side: int, length: float) -> Prior:
    """A Gaussian random field of unit deviation on a square, correlations exp(-(distance / length)^2 / 2)."""

    def make(schedule: Schedule) -> GaussianMixture:
        axis = torch.arange(side, dtype=torch.float64)
        points = torch.cartesian_prod(axis, axis)
        distances = torch.cdist(points, points)
        covariance = (-0.5 * (distances / length) ** 2).exp()
        # A field that is smooth has directions of almost no variance: a little roughness keeps it regular.
        covariance = 0.99 * covariance + 0.01 * torch.eye(side * side, dtype=torch.float64)
        return Gaussian(schedule, torch.zeros(side, side, dtype=torch.float64), covariance=covariance)

    return make


def few(schedule: Schedule) -> GaussianMixture:
    """Four components in the plane, of different shapes and weights."""
    means = torch.tensor([[-1.2, 0.9], [0.2, -1.1], [1.3, 0.8], [0.1, 1.4]], dtype=torch.float64)
    roots = torch.tensor(
        [
            [[0.25, 0.0], [0.1, 0.15]],
            [[0.4, 0.0], [-0.1, 0.12]],
            [[0.15, 0.0], [0.0, 0.3]],
            [[0.2, 0.0], [0.15, 0.2]],
        ],
        dtype=torch.float64,
    )
    weights = torch.tensor([0.35, 0.3, 0.15, 0.2], dtype=torch.float64)
    return GaussianMixture(schedule, means, covariances=roots @ roots.mT, weights=weights)


def triangle(schedule: Schedule) -> GaussianMixture:
    """Three round components in three dimensions."""
    means = torch.tensor([[1.0, 1.0, 0.0], [-1.0, 0.2, 0.8], [0.1, -1.2, -0.7]], dtype=torch.float64)
    stds = torch.tensor([0.3, 0.2, 0.4])
    return GaussianMixture(schedule, means, stds=stds, weights=torch.tensor([0.5, 0.2, 0.3]))


def many(count: int, d: int) -> Prior:
    """Narrow components on a square grid that repeats along the axes, of random weights, about unit variance.

    Source: Cardoso, Janati El Idrissi, Le Corff & Moulines 2024, "Monte Carlo guided diffusion for Bayesian
    linear inverse problems", section 5 (there at 11 times the scale).
    """

    def make(schedule: Schedule) -> GaussianMixture:
        side = math.isqrt(count)
        axis = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
        axis = axis / axis.square().mean().sqrt()
        means = torch.cartesian_prod(axis, axis).repeat(1, d // 2)
        weights = _random(count, seed=31).square() + 0.05
        return GaussianMixture(schedule, means, stds=torch.full((count,), 0.09), weights=weights)

    return make


def _problem(name: str, schedule: str, prior: Prior, matrix: Tensor, deviation: float) -> Problem:
    return Problem(name, schedule, prior(benchmark_schedules()[schedule]), matrix.double(), deviation)


def _masked(name: str, schedule: str, prior: Prior, share: float, deviation: float, *, seed: int) -> Problem:
    denoiser = prior(benchmark_schedules()[schedule])
    d = denoiser.means.shape[1]
    mask = torch.zeros(d, dtype=torch.bool)
    mask[_random(d, seed=seed).argsort()[: round(share * d)]] = True
    return Problem(name, schedule, denoiser, torch.eye(d, dtype=torch.float64)[mask], deviation, mask)


def _matrix(m: int, d: int, *, seed: int) -> Tensor:
    """Random directions, scaled so that a measurement of white data has unit variance."""
    return _random(m, d, seed=seed) / math.sqrt(d)


def _random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)
