r"""Measurements of something uncertain: their covariance :math:`c A A^T + R`, and its inverse."""

from __future__ import annotations

import math

from torch import Tensor

from unstir.denoisers import Denoiser, Posterior
from unstir.guidance.krylov import conjugate_gradients
from unstir.guidance.measurement import Measurement
from unstir.guidance.operators import LinearOperator, Local, Operator
from unstir.processes import expand

SMALL = 2**18
"""Entries of a matrix whose singular values are soon found."""

ITERATIONS = 200
"""Most products with an operator that has no fast singular value decomposition."""


def isotropic_variance(denoiser: Denoiser, x_t: Tensor, t: Tensor | float) -> Tensor:
    r"""Var[x_0 | x_t] of white Gaussian data of deviation s, scalar or (batch,) float64.

    .. math:: c = \frac{\sigma^2 s^2}{\alpha^2 s^2 + \sigma^2}

    The r_t^2 of Song et al. 2023 (PiGDM), section 3.2, for any schedule and s = ``sigma_data``. Under a
    schedule that blurs it is the mean over the modes.
    """
    process, s = denoiser.schedule.modes(x_t.shape[1:]), denoiser.sigma_data
    alpha, sigma = process.alpha(t), process.sigma(t)
    c = (sigma * s) ** 2 / ((alpha * s) ** 2 + sigma**2)
    return c.flatten(1).mean(1) if c.ndim > 1 else c


def round_variance(denoiser: Denoiser, posterior: Posterior, x_t: Tensor, t: Tensor | float) -> Tensor:
    """One variance of x_0 given x_t for all entries of a sample, scalar or (batch,) float64.

    The mean of the denoiser's own where it gives one, else that of white data (`isotropic_variance`).
    """
    if posterior.variance is None:
        return isotropic_variance(denoiser, x_t, t)
    return posterior.variance.detach().double().flatten(1).mean(1)


def mean_gain(operator: Operator, local: Local, r: Tensor) -> Tensor:
    r"""How much a measurement magnifies a variance: the mean diagonal of A A^T, scalar or (batch,) float64.

    Where the singular values are not at hand it is the Rayleigh quotient :math:`|A^T r|^2 / |r|^2`.
    """
    if isinstance(operator, LinearOperator) and is_small(operator):
        return (operator.singular.values**2).sum() / math.prod(operator.measured)
    back = local.adjoint(r).double().flatten(1).square().sum(1)
    return back / r.double().flatten(1).square().sum(1).clamp(min=1e-300)


def solve_gram(measurement: Measurement, local: Local, c: Tensor, r: Tensor) -> Tensor:
    """(c A A^T + R)^-1 r.

    Args:
        measurement: whose noise variance is R.
        local: the operator near the estimate.
        c: at least 0, scalar or (batch,).
        r: (batch, *measured).
    """
    operator = measurement.operator
    if isinstance(operator, LinearOperator) and is_cheap(measurement):
        return _by_singular_values(operator, float(measurement.noise), c, r)
    variance = measurement.variance(r)

    def apply(v: Tensor) -> Tensor:
        return expand(c, r) * local.apply(local.adjoint(v)) + variance * v

    def precondition(v: Tensor) -> Tensor:
        return v / variance

    solved = conjugate_gradients(apply, r, ITERATIONS, precondition=precondition, tolerance=1e-6)
    return solved.x


def is_cheap(measurement: Measurement) -> bool:
    """Whether `solve_gram` needs no iterations: singular values at hand or soon found, one noise level."""
    operator = measurement.operator
    return isinstance(operator, LinearOperator) and measurement.noise.ndim == 0 and is_small(operator)


def is_small(operator: LinearOperator) -> bool:
    """Whether singular values are at hand or soon found."""
    return operator.diagonal or math.prod(operator.event) * math.prod(operator.measured) <= SMALL


def _by_singular_values(operator: LinearOperator, noise: float, c: Tensor, r: Tensor) -> Tensor:
    """U (U^T r / (c s^2 + R)), and r / R outside the range of A."""
    s = operator.singular
    # In float64 and without a difference of large parts, which nearly cancel where the noise is small.
    wide = r.double()
    inside = s.left(wide)
    c = c.to(r.device).reshape(-1, 1) if c.ndim else c.to(r.device)
    solved = s.from_left(inside / (c * s.values.to(r.device) ** 2 + noise**2))
    if inside.shape[1] < math.prod(r.shape[1:]):
        solved = solved + (wide - s.from_left(inside)) / noise**2
    return solved.to(r)
