"""Moment matching posterior sampling: measurements weighed by the denoiser's own covariance."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from unstir.denoisers import Denoiser, Posterior
from unstir.guidance.gram import is_cheap, round_variance, solve_gram
from unstir.guidance.krylov import conjugate_gradients, gmres
from unstir.guidance.measurement import Measurement
from unstir.guidance.operators import Map, Operator
from unstir.guidance.tilt import seen, shifted, watched
from unstir.processes import Schedule, expand


class MMPS(Denoiser):
    r"""The posterior mean given x_t and a measurement, if x_0 given x_t is Gaussian.

    .. math:: E[x_0 | x_t, y] \approx \hat x + \Sigma A^T (A \Sigma A^T + R)^{-1} (y - A \hat x),\qquad
              \Sigma = Var[x_0 | x_t] = \frac{\sigma^2}{\alpha} \frac{\partial \hat x}{\partial x_t}

    exact for Gaussian data. Products with Sigma are products with the denoiser's Jacobian, by automatic
    differentiation; the system is solved by a few Krylov steps, whose by-products also give the last product
    with Sigma. Where the operator has fast singular values, the steps start from the solution for an
    isotropic Sigma (that of PiGDM), so that few are enough for ill-conditioned operators.

    A learned Jacobian is not symmetric: the default is GMRES; conjugate gradients stop where the curvature
    is not positive.

    Source: Rozet, Andry, Lanusse & Louppe 2024, "Learning diffusion priors from observations by expectation
    maximization", eq. 13 to 19 and algorithm 3. For a nonlinear A it is linearised at the mean.

    Args:
        denoiser: differentiable, conditional or not.
        y: (*measured), shared by all samples, or (batch, *measured).
        operator: a `LinearOperator`, a matrix, or a differentiable function.
        noise: standard deviation, above 0; a number or one for each entry of a measurement.
        iterations: Krylov steps, each one backward pass through the denoiser; at least 1.
        method: "gmres" or "cg".

    Raises:
        ValueError: for fewer than 1 iteration, another method, or as in `Measurement`.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        y: Tensor,
        operator: Operator | Tensor | Map,
        noise: float | Tensor,
        *,
        iterations: int = 2,
        method: Literal["gmres", "cg"] = "gmres",
    ) -> None:
        super().__init__()
        if iterations < 1:
            raise ValueError(f"MMPS takes at least 1 iteration, got {iterations}")
        if method not in ("gmres", "cg"):
            raise ValueError(f"the linear solver is 'gmres' or 'cg', got {method!r}")
        self.denoiser = denoiser
        self.schedule: Schedule = denoiser.schedule
        self.sigma_data = denoiser.sigma_data
        self.unconditional = denoiser.unconditional
        self.measurement = Measurement(y, operator, noise)
        self.iterations = iterations
        self.method = method

    def cost(self, t: float) -> int:
        """One evaluation, and each backward pass counts as one more."""
        return self.denoiser.cost(t) * (1 + self.iterations)

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        when = seen(self.schedule, t)
        with torch.enable_grad():
            x, nested = watched(x_t)
            posterior: Posterior = self.denoiser(x, when, **condition)
            mean = posterior.mean
            local = self.measurement.operator.near(mean if nested else mean.detach())
            r = self.measurement.residual(local.value)
            variance = self.measurement.variance(r)
            shifts: list[Tensor] = []

            def apply(v: Tensor) -> Tensor:
                (g,) = torch.autograd.grad(mean, x, local.adjoint(v), retain_graph=True, create_graph=nested)
                shifts.append(shifted(self.schedule, x, when, g))  # Sigma A^T v
                return local.apply(shifts[-1]) + variance * v

            precondition = None
            if is_cheap(self.measurement):
                c = round_variance(self.denoiser, posterior, x_t, when)
                precondition = partial(solve_gram, self.measurement, local, c)
            solve = conjugate_gradients if self.method == "cg" else gmres
            solved = solve(apply, r, self.iterations, precondition=precondition)
            for coefficient, shift in zip(solved.coefficients, shifts, strict=True):
                mean = mean + expand(coefficient, shift) * shift
        return Posterior(mean if nested else mean.detach())
