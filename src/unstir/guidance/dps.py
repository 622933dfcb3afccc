"""Diffusion posterior sampling: the gradient of the measurement's misfit through the denoiser."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.denoisers import Denoiser, Posterior
from unstir.guidance.measurement import Measurement
from unstir.guidance.operators import Map, Operator
from unstir.guidance.strength import Weight, check_weight
from unstir.guidance.tilt import seen, shifted, watched
from unstir.processes import Schedule, as_float64


class DPS(Denoiser):
    r"""Guidance by the misfit of the estimate, y - A(E[x_0 | x_t]), whose size sets the scale.

    .. math:: \nabla \log p(y | x_t) \approx -\frac{w}{2 \hat v} \nabla_{x_t}
              \lVert R^{-1/2} (y - A \hat x) \rVert^2,\qquad
              \hat v = 1 + \frac1m \lVert R^{-1/2} (y - A \hat x) \rVert^2

    The paper's p(y | x_t) = p(y | x_0 = \hat x) has v = 1, which no affordable step size can follow while
    the estimate is rough; it then divides the step by the norm of the misfit, which makes the result depend
    on the number of steps. Here the estimate's own uncertainty is read off its misfit, sample by sample: the
    scale is the paper's where the estimate fits, and that of a normalised gradient where it does not.

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
            mean = self.denoiser(x, when, **condition).mean
            r = self.measurement.residual(self.measurement.operator(mean))
            misfit = (r**2 / self.measurement.variance(r)).flatten(1)
            scale = as_float64(self.weight).to(r) / (1.0 + misfit.detach().mean(1))
            (g,) = torch.autograd.grad((-0.5 * scale * misfit.sum(1)).sum(), x, create_graph=nested)
            mean = mean + shifted(self.schedule, x, when, g)
        return Posterior(mean if nested else mean.detach())
