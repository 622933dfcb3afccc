"""Plug-and-play restoration by diffusion: the estimate is drawn to the measurement by a proximal step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unstir.denoisers import Denoiser, Posterior
from unstir.guidance.gram import ITERATIONS, solve_gram
from unstir.guidance.krylov import conjugate_gradients
from unstir.guidance.measurement import Measurement
from unstir.guidance.operators import Local, Map, Operator
from unstir.guidance.tilt import NOISIEST
from unstir.processes import Schedule, expand


class DiffPIR(Denoiser):
    r"""The clean estimate that also fits the measurement, each weighed by its uncertainty.

    .. math:: \hat x_0 = \arg\min_x \lVert R^{-1/2} (y - A x) \rVert^2
              + \lambda \frac{\alpha^2}{\sigma^2} \lVert x - E[x_0 | x_t] \rVert^2
              = \hat x + c A^T (c A A^T + R)^{-1} (y - A \hat x),\quad c = \frac{\sigma^2}{\lambda \alpha^2}

    in closed form where the operator has its singular values at hand or is small, else by conjugate
    gradients. No gradient passes the denoiser, so it costs no more than sampling. Where the measurement tells
    nothing, nothing moves at this step: the rest follows through the denoiser at the next.

    Source: Zhu, Zhang, Liang, Cao, Wen, Timofte & Van Gool 2023, "Denoising diffusion models for
    plug-and-play image restoration", eq. 12 and 13 and algorithm 1. Use it with `samplers.DDIM`, as in the
    source, whose zeta is the share of the noise variance that a step from t to s renews,
    :math:`\zeta = \eta^2 (1 - SNR_t / SNR_s)`: for large steps eta^2, so zeta = 0.3 is DDIM(0.55). A
    nonlinear A is linearised at the mean (one step of Gauss and Newton). Under a schedule that blurs the
    distance to the mean is weighed by each mode's own alpha / sigma.

    It is not the posterior: a proximal step has no spread of its own. On a correlated mixture of 6 entries, 3
    of them measured, the energy distance to exact samples was 0.26 with DDIM(0.55) and 0.13 with DDIM(1), in
    100 steps, where unguided samples had 2.4 and two exact sets have 0.002.

    Args:
        denoiser: any, conditional or not; it need not be differentiable.
        y: (*measured), shared by all samples, or (batch, *measured).
        operator: a `LinearOperator`, a matrix, or a differentiable function.
        noise: standard deviation, above 0; a number or one for each entry of a measurement.
        strength: lambda, above 0; 8 in the paper, about: less follows the measurement more closely. 1 takes
            the estimate for as uncertain as sigma / alpha, which it is only at low noise.

    Raises:
        ValueError: for a strength that is not above 0, or as in `Measurement`.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        y: Tensor,
        operator: Operator | Tensor | Map,
        noise: float | Tensor,
        *,
        strength: float = 8.0,
    ) -> None:
        super().__init__()
        if not 0.0 < strength < float("inf"):
            raise ValueError(f"the strength of DiffPIR is above 0 (8 in the paper), got {strength}")
        self.denoiser = denoiser
        self.schedule: Schedule = denoiser.schedule
        self.sigma_data = denoiser.sigma_data
        self.unconditional = denoiser.unconditional
        self.measurement = Measurement(y, operator, noise)
        self.strength = strength

    def cost(self, t: float) -> int:
        return self.denoiser.cost(t)

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        mean = self.denoiser(x_t, t, **condition).mean
        local = self.measurement.operator.near(mean)
        r = self.measurement.residual(local.value)
        process = self.schedule.modes(x_t.shape[1:])
        alpha, sigma = process.alpha(t), process.sigma(t)
        c = (sigma / torch.maximum(alpha, math.exp(0.5 * NOISIEST) * sigma)) ** 2 / self.strength
        if process is self.schedule:
            v = solve_gram(self.measurement, local, c, r)
            return Posterior(mean + expand(c, mean) * local.adjoint(v))
        return Posterior(mean + self._in_modes(local, c, r))

    def _in_modes(self, local: Local, c: Tensor, r: Tensor) -> Tensor:
        """C A^T (A C A^T + R)^{-1} r, for C diagonal in the modes with the numbers c."""
        variance = self.measurement.variance(r)

        def spread(v: Tensor) -> Tensor:
            return self.schedule.from_modes(self.schedule.to_modes(v) * expand(c, v))

        def apply(v: Tensor) -> Tensor:
            return local.apply(spread(local.adjoint(v))) + variance * v

        solved = conjugate_gradients(
            apply, r, ITERATIONS, precondition=lambda v: v / variance, tolerance=1e-6
        )
        return spread(local.adjoint(solved.x))
