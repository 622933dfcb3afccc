"""Pseudoinverse-guided diffusion: measurements weighed by an isotropic uncertainty of the estimate."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.denoisers import Denoiser, Posterior
from unstir.guidance.gram import round_variance, solve_gram
from unstir.guidance.measurement import Measurement
from unstir.guidance.operators import Map, Operator
from unstir.guidance.strength import Weight, check_weight
from unstir.guidance.tilt import seen, shifted, watched
from unstir.processes import Schedule, as_float64, expand


class PiGDM(Denoiser):
    r"""Guidance by p(y | x_t) of an estimate with the same uncertainty c in all directions.

    .. math:: \nabla \log p(y | x_t) \approx J^T A^T (c A A^T + R)^{-1} (y - A \hat x),\qquad
              J = \frac{\partial \hat x}{\partial x_t},\quad
              c = \frac{\sigma^2 s^2}{\alpha^2 s^2 + \sigma^2}

    exact for white Gaussian data of deviation s = ``sigma_data``; c is the mean of the denoiser's own
    variance where it gives one. As R goes to 0 the inverse becomes the pseudoinverse of the method's name.

    Source: Song, Vahdat, Mardani & Kautz 2023, "Pseudoinverse-guided diffusion models for inverse problems",
    eq. 7 and 8; their further weight r_t^2 on the step of DDIM is left out, so that this is a score for any
    solver. For a nonlinear A it is linearised at the mean.

    Where data are smooth, many measurements share one uncertainty: m sensors of one number have m times the
    variance c together that they are taken to have, and the mean overshoots by that factor. Small steps of a
    solver make up for it, but beyond an overshoot of some 4 / h, with h the step in log-SNR of a first-order
    solver (less for others), the error changes sign at every step and grows. ``damped`` limits the move of
    the mean, Sigma A^T v with v = (c A A^T + R)^{-1} r, to the length at which the measurements agree best,

    .. math:: \min\left(1, \frac{v^T r}{v^T (A \Sigma A^T + R)\,v}\right),\qquad
              \Sigma = \frac{\sigma^2}{\alpha} J,

    which costs no evaluation, because Sigma A^T v is the step itself, and changes nothing where c is right.
    Source: the first step of preconditioned conjugate gradients, Saad 2003, algorithm 9.1, for the system of
    `MMPS`; ours to limit it to 1.

    Args:
        denoiser: differentiable, conditional or not.
        y: (*measured), shared by all samples, or (batch, *measured).
        operator: a `LinearOperator`, a matrix, or a differentiable function.
        noise: standard deviation, above 0; a number or one for each entry of a measurement.
        weight: of the gradient, at least 0; a number or one for each sample. 1 is p(y | x_t) itself.
        damped: limit the step where measurements share their uncertainty.

    Raises:
        ValueError: for a negative weight, or as in `Measurement`.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        y: Tensor,
        operator: Operator | Tensor | Map,
        noise: float | Tensor,
        *,
        weight: Weight = 1.0,
        damped: bool = False,
    ) -> None:
        super().__init__()
        check_weight(weight, "0 means no guidance")
        self.weight = weight
        self.damped = damped
        self.denoiser = denoiser
        self.schedule: Schedule = denoiser.schedule
        self.sigma_data = denoiser.sigma_data
        self.unconditional = denoiser.unconditional
        self.measurement = Measurement(y, operator, noise)

    def cost(self, t: float) -> int:
        """One evaluation, and the backward pass counts as one more."""
        return 2 * self.denoiser.cost(t)

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        when = seen(self.schedule, t)
        with torch.enable_grad():
            x, nested = watched(x_t)
            posterior: Posterior = self.denoiser(x, when, **condition)
            mean = posterior.mean
            local = self.measurement.operator.near(mean if nested else mean.detach())
            r = self.measurement.residual(local.value)
            c = round_variance(self.denoiser, posterior, x, when)
            v = solve_gram(self.measurement, local, c, r)
            (g,) = torch.autograd.grad(mean, x, local.adjoint(v), create_graph=nested)
            step = shifted(self.schedule, x, when, g)
            if self.damped:
                step = expand(self._length(v, r, local.apply(step)), step) * step
            mean = mean + expand(as_float64(self.weight), x) * step
        return Posterior(mean if nested else mean.detach())

    def _length(self, v: Tensor, r: Tensor, seen_step: Tensor) -> Tensor:
        """The share of a step to take, (batch,); ``seen_step`` is A Sigma A^T v."""
        wide = v.double()
        gain = (wide * r).flatten(1).sum(1)
        curvature = (wide * (seen_step + self.measurement.variance(r) * v)).flatten(1).sum(1)
        # A learned Jacobian may have a curvature that is not positive; no length is best then.
        return torch.where(curvature > gain, gain / curvature, 1.0).clamp(min=0.0)
