"""CFG++: classifier-free guidance that renoises with the unconditional prediction."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.denoisers import Denoiser, Posterior
from unstir.guidance.classifier_free import check_unconditional
from unstir.guidance.contrast import together
from unstir.processes import as_float64, expand
from unstir.samplers.grids import check_grid


class PlusPlus(Denoiser):
    r"""CFG++: the data are guided, the noise that is put back is the unconditional prediction's.

    .. math:: x_s = \alpha_s \hat x_0^\lambda + \sigma_s\, \epsilon(x_t, t),\qquad
              \hat x_0^\lambda = \frac{x_t - \sigma_t\,\epsilon^\lambda}{\alpha_t},\quad
              \epsilon^\lambda = \epsilon(x_t, t)
              + \lambda\,\bigl(\epsilon(x_t, t, y) - \epsilon(x_t, t)\bigr)

    Source: Chung et al. 2024, "CFG++: manifold-constrained classifier free guidance for diffusion models",
    algorithm 2. With r = sigma / alpha, a DDIM step is x_s / alpha_s = x_t / alpha_t - (r_t - r_s) epsilon;
    so the same step is one of classifier-free guidance whose weight depends on it,

    .. math:: 1 + w = \frac{\lambda}{1 - r_s / r_t}

    which is what this denoiser answers: exact for DDIM on this grid, and for other solvers guidance that is
    strong at high noise and falls to 1 + w = lambda in the last step, to data. Under a schedule that blurs
    every mode has its own r, so its own weight. The posterior's variance stays that of the conditional model.

    Args:
        denoiser: trained with condition dropout.
        strength: lambda in [0, 1]; 0 is the unconditional model.
        grid: (steps + 1,), the times of the sampling run, strictly decreasing. For a time between two of
            them the step goes to the next one below; from the last on, to data.

    Raises:
        ValueError: for a strength outside [0, 1], a grid that is none, or a denoiser that was trained without
            condition dropout.
    """

    grid: Tensor

    def __init__(self, denoiser: Denoiser, strength: float, grid: Tensor) -> None:
        super().__init__()
        if not 0.0 <= strength <= 1.0:
            raise ValueError(f"the strength of CFG++ lies between 0 (unconditional) and 1, got {strength}")
        check_unconditional(denoiser)
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.sigma_data = denoiser.sigma_data
        self.strength = strength
        self.register_buffer("grid", check_grid(grid), persistent=False)

    def next(self, t: Tensor | float) -> Tensor:
        """The grid's largest time below ``t``, of its shape; 0 where there is none."""
        rising = self.grid.flip(0)
        below = torch.searchsorted(rising, as_float64(t).to(rising.device).contiguous())
        return torch.cat([rising.new_zeros(1), rising])[below]

    def cost(self, t: float) -> int:
        return self.denoiser.cost(t) * 2

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        if not condition:
            alone: Posterior = self.denoiser(x_t, t)
            return alone
        conditional, unconditional = together(self.denoiser, x_t, t, [condition, {}])
        schedule = self.schedule
        difference = schedule.to_modes(conditional.mean - unconditional.mean)
        change = schedule.from_modes(expand(self._scale(x_t, t), x_t) * difference)
        return Posterior(unconditional.mean + change, conditional.variance)

    def _scale(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """1 + w, a scalar or (batch,), or of every mode, (1 or batch, *event)."""
        process, time = self.schedule.modes(x_t.shape[1:]), as_float64(t).to(self.grid.device)
        s = self.next(time)
        kept = torch.exp(0.5 * (process.log_snr(time) - process.log_snr(s)))  # r_s / r_t
        last = s >= time
        if kept.ndim > last.ndim:
            last = last.reshape(-1, *[1] * (kept.ndim - 1))
        # A step to data keeps nothing of r, where the logarithms would be infinite both.
        return self.strength / (1.0 - torch.where(last, 0.0, kept))
