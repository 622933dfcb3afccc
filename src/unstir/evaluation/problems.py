"""Exact problems to measure samplers on: mixtures and Gaussians whose denoiser is known in closed form.

The reference is the probability flow from the same noise, solved to a tolerance far below every error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unstir.denoisers import Gaussian, GaussianMixture
from unstir.processes import VE, Flow, Schedule, cosine_betas, from_betas, linear_betas


def benchmark_schedules() -> dict[str, Schedule]:
    """The four schedules of the benchmark; the two tables are those of 1,000 steps that the field uses."""
    return {
        "vp": from_betas(linear_betas()),
        "cosine": from_betas(cosine_betas()),
        "ve": VE(sigma_min=0.002, sigma_max=80.0),
        "flow": Flow(),
    }


@dataclass(frozen=True, eq=False)
class ExactProblem:
    """A distribution under a schedule, with the noise to start from.

    Attributes:
        name: of the distribution.
        schedule_name: a key of `benchmark_schedules`.
        denoiser: exact, with ``denoiser.schedule``.
        x_T: (batch, d) float64, noise at t = 1.
    """

    name: str
    schedule_name: str
    denoiser: GaussianMixture
    x_T: Tensor

    @cached_property
    def reference(self) -> Tensor:
        """The end of the probability flow from ``x_T`` at t = 1, (batch, d) float64 (see `exact_flow`)."""
        return exact_flow(self.denoiser, self.x_T)

    def error(self, x: Tensor) -> float:
        """Root mean square distance of final states (batch, d) from the reference, an entry."""
        return float((x.double() - self.reference).square().mean().sqrt())


def exact_flow(denoiser: GaussianMixture, x_T: Tensor, *, tolerance: float = 1e-9) -> Tensor:
    r"""The probability flow from t = 1 to data, by scipy's DOP853.

    In y = x / sqrt(alpha^2 + sigma^2) and the angle phi = arctan(sigma / alpha) it is regular at both ends:

    .. math:: dy / d\phi = (y \cos\phi - E[x_0 | x_t]) / \sin\phi

    (Song et al. 2021, eq. 13, in the variables of Salimans & Ho 2022, appendix D). The last 1e-7 of the angle
    are a step to the posterior mean, with an error of their square.

    Args:
        denoiser: an exact denoiser.
        x_T: (batch, *event) at t = 1.
        tolerance: relative and absolute, of the adaptive solver.

    Returns:
        (batch, *event) float64.
    """
    from scipy.integrate import solve_ivp

    schedule, shape = denoiser.schedule, x_T.shape
    one = torch.ones((), dtype=torch.float64)
    alpha, sigma = float(schedule.alpha(one)), float(schedule.sigma(one))
    last = 1e-7

    def mean(y: Tensor, phi: float) -> Tensor:
        alpha, sigma = torch.tensor([math.cos(phi), math.sin(phi)], dtype=torch.float64).reshape(2, 1, 1, 1)
        return denoiser.posterior_at(y, alpha, sigma).mean

    def slope(phi: float, y: NDArray[np.float64]) -> NDArray[np.float64]:
        state = torch.from_numpy(y).reshape(shape)
        change = (state * math.cos(phi) - mean(state, phi)) / math.sin(phi)
        return change.flatten().numpy()

    start = x_T.double() / math.hypot(alpha, sigma)
    solution = solve_ivp(
        slope,
        (math.atan2(sigma, alpha), last),
        start.flatten().numpy(),
        method="DOP853",
        rtol=tolerance,
        atol=tolerance,
    )
    y = torch.from_numpy(np.ascontiguousarray(solution.y[:, -1])).reshape(shape)
    return mean(y, last)


def _random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _covariances(count: int, d: int, *, seed: int, low: float, high: float) -> Tensor:
    """Random covariances whose deviations are geometric from ``low`` to ``high``."""
    basis, _ = torch.linalg.qr(_random(count, d, d, seed=seed))
    spectrum = torch.logspace(math.log10(high), math.log10(low), d, dtype=torch.float64) ** 2
    covariances: Tensor = basis * spectrum @ basis.mT
    return covariances


def gaussian_2(schedule: Schedule) -> GaussianMixture:
    """A correlated Gaussian in the plane."""
    covariance = torch.tensor([[0.8, 0.5], [0.5, 0.4]], dtype=torch.float64)
    return Gaussian(schedule, torch.tensor([0.3, -0.6], dtype=torch.float64), covariance=covariance)


def ring_2(schedule: Schedule) -> GaussianMixture:
    """Eight narrow components on a circle."""
    angles = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    means = torch.stack([angles.cos(), angles.sin()], 1)
    return GaussianMixture(schedule, means, stds=torch.full((8,), 0.1))


def mixture_8(schedule: Schedule) -> GaussianMixture:
    """Five round components of different widths and weights in 8 dimensions."""
    return GaussianMixture(
        schedule,
        0.8 * _random(5, 8, seed=11),
        stds=torch.tensor([0.15, 0.25, 0.35, 0.45, 0.55]),
        weights=torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0]),
    )


def mixture_32(schedule: Schedule) -> GaussianMixture:
    """Ten elongated components in 32 dimensions."""
    covariances = _covariances(10, 32, seed=12, low=0.05, high=0.8)
    return GaussianMixture(schedule, 0.7 * _random(10, 32, seed=13), covariances=covariances)


def gaussian_64(schedule: Schedule) -> GaussianMixture:
    """A Gaussian field of 8 x 8 pixels whose spectrum falls like that of natural images."""
    k = torch.fft.fftfreq(8, dtype=torch.float64) * 8
    power = (1.0 + k[:, None] ** 2 + k[None] ** 2) ** -1.5
    delta = torch.zeros(8, 8, dtype=torch.float64)
    delta[0, 0] = 1.0
    kernel = torch.fft.ifft2(power * torch.fft.fft2(delta)).real
    rows = [torch.roll(kernel, (i, j), (0, 1)).flatten() for i in range(8) for j in range(8)]
    covariance = torch.stack(rows)
    covariance = 0.5 * (covariance + covariance.mT) / covariance[0, 0]
    return Gaussian(schedule, torch.zeros(64, dtype=torch.float64), covariance=0.5 * covariance)


def mixture_256(schedule: Schedule) -> GaussianMixture:
    """Twenty components near planes of a few dimensions in 256 dimensions."""
    d, count, rank = 256, 20, 12
    factors = _random(count, d, rank, seed=14) / math.sqrt(rank)
    covariances = 0.25 * factors @ factors.mT + 0.04**2 * torch.eye(d, dtype=torch.float64)
    return GaussianMixture(schedule, 0.6 * _random(count, d, seed=15), covariances=covariances)


DISTRIBUTIONS = {
    "gaussian-2": gaussian_2,
    "ring-2": ring_2,
    "mixture-8": mixture_8,
    "mixture-32": mixture_32,
    "gaussian-64": gaussian_64,
    "mixture-256": mixture_256,
}
"""The distributions of the benchmark by name: schedule -> exact denoiser."""


def benchmark_problems(batch: int = 256, *, seed: int = 0) -> list[ExactProblem]:
    """Every distribution under every schedule.

    Args:
        batch: noises a problem; in 256 dimensions a quarter of them.
        seed: of the noise.
    """
    from unstir import noise

    problems = []
    for name, build in DISTRIBUTIONS.items():
        for schedule_name, schedule in benchmark_schedules().items():
            denoiser = build(schedule)
            size = batch if denoiser.means.shape[1] < 256 else batch // 4
            z = noise.normal(
                denoiser.event,
                seed=seed,
                index=torch.arange(size),
                stream=noise.Stream.START,
                dtype=torch.float64,
            )
            problems.append(ExactProblem(name, schedule_name, denoiser, z * schedule.sigma(1.0)))
    return problems
