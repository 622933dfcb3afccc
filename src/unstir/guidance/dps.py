"""Diffusion posterior sampling: the gradient of the measurement's misfit through the denoiser."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.denoisers import Denoiser, Posterior
from unstir.guidance.gram import mean_gain, round_variance
from unstir.guidance.measurement import Measurement
from unstir.guidance.operators import Map, Operator
from unstir.guidance.strength import Weight, check_weight
from unstir.guidance.tilt import seen, shifted, watched
from unstir.processes import Schedule, as_float64


class DPS(Denoiser):
    r"""Guidance by the misfit of the estimate, y - A(E[x_0 | x_t]), whose size sets the scale.

    .. math:: \nabla \log p(y | x_t) \approx -\frac{w}{v} \nabla_{x_t} \lVert \rho \rVert^2,\qquad
              \rho = R^{-1/2} (y - A \hat x),\quad
              v = 1 + \sqrt{\frac{\lVert \rho \rVert^2}{m}\ c\,a},\quad
              a = \frac1m \mathrm{tr}(R^{-1} A A^T)

    The paper's p(y | x_t) = p(y | x_0 = \hat x) has w = 1/2 and v = 1, which no affordable step size can
    follow while the estimate is rough; it then divides each step by the norm of the misfit, which makes the
    result depend on the number of steps. Here the uncertainty of A x_0 stands in v, as the geometric mean of
    what the sample's misfit says and of what the noise level says: c is the variance of x_0 given x_t
    (`gram.round_variance`), and for noise of several levels a is that of the misfit's own direction
    (`gram.mean_gain`). The default weight was chosen on Gaussians and mixtures, see
    `benchmarks/guidance.py`.

    Source: Chung, Kim, Mccann, Klasky & Ye 2023, "Diffusion posterior sampling for general noisy inverse
    problems", eq. 11 to 16. A may be any differentiable function.

    Args:
        denoiser: differentiable, conditional or not.
        y: (*measured), shared by all samples, or (batch, *measured).
        operator: a `LinearOperator`, a matrix, or a differentiable function.
        noise: standard deviation, above 0; a number or one for each entry of a measurement.
        weight: w, at least 0; a number or one for each sample.

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
    ) -> None:
        super().__init__()
        check_weight(weight, "0 means no guidance")
        self.denoiser = denoiser
        self.schedule: Schedule = denoiser.schedule
        self.sigma_data = denoiser.sigma_data
        self.unconditional = denoiser.unconditional
        self.measurement = Measurement(y, operator, noise)
        self.weight = weight

    def cost(self, t: float) -> int:
        """One evaluation, and the backward pass counts as one more."""
        return 2 * self.denoiser.cost(t)

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        when = seen(self.schedule, t)
        with torch.enable_grad():
            x, nested = watched(x_t)
            posterior: Posterior = self.denoiser(x, when, **condition)
            mean = posterior.mean
            r = self.measurement.residual(self.measurement.operator(mean))
            misfit = (r**2 / self.measurement.variance(r)).flatten(1).sum(1)
            scale = self._scale(r.detach(), posterior, x_t.detach(), when)
            (g,) = torch.autograd.grad((-scale.to(r) * misfit).sum(), x, create_graph=nested)
            mean = mean + shifted(self.schedule, x, when, g)
        return Posterior(mean if nested else mean.detach())

    def _scale(self, r: Tensor, posterior: Posterior, x_t: Tensor, t: Tensor | float) -> Tensor:
        """w / v of every sample, (batch,) float64."""
        operator, deviation = self.measurement.operator, self.measurement.noise.to(r)
        white = (r / deviation).double()
        c = round_variance(self.denoiser, posterior, x_t, t)
        local = operator.near(posterior.mean.detach())
        # One noise level leaves A as it is; with several, directions are weighed as the residual is.
        if deviation.ndim:
            back = local.adjoint(r / deviation**2).double().flatten(1).square().sum(1)
            gain = back / white.flatten(1).square().sum(1).clamp(min=1e-300)
        else:
            gain = mean_gain(operator, local, r) / float(deviation) ** 2
        v = 1.0 + (white.flatten(1).square().mean(1) * c.to(white) * gain.to(white)).sqrt()
        return as_float64(self.weight).to(v) / v
