"""Autoguidance: away from what a weaker model predicts."""

from __future__ import annotations

from torch import Tensor

from unstir.denoisers import Denoiser, Posterior, Rescheduled
from unstir.guidance.contrast import pushed, weight_at
from unstir.guidance.strength import Weight, check_weight, check_window


class Autoguidance(Denoiser):
    r"""Push a model's prediction away from that of a weaker one for the same data and condition.

    .. math:: D = (1 + w)\,D_1(x_t, t, y) - w\,D_0(x_t, t, y)

    where both err alike, the weaker one errs further the same way, so their difference points away from the
    error. The score is that of p_1 (p_1 / p_0)^w at every noise level. A weaker model is a smaller one, or
    one that was trained for a shorter time. The posterior's variance stays that of the stronger model.

    Source: Karras et al. 2024, "Guiding a diffusion model with a bad version of itself", section 4: their
    extrapolation of two denoisers, D_w = w D_1 + (1 - w) D_0, with a weaker model as D_0 (their w is 1 + w
    here).

    Args:
        denoiser: the stronger model; with a condition or without.
        weaker: the weaker one, which takes the same conditions; if its schedule is another one, it is asked
            through `Rescheduled`.
        weight: w >= 0, a number or one for each sample, (batch,); 0 is the stronger model alone, to the last
            bit and in one evaluation.
        window: (low, high), the share of the log-SNR range -12 (noise) to 12 (data) in which to guide.

    Raises:
        ValueError: for a negative weight, a window that is not 0 <= low < high <= 1, or two different
            schedules of which one blurs; when called, for weights of another number than the samples.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        weaker: Denoiser,
        weight: Weight,
        window: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__()
        check_weight(weight, "0 means the stronger model alone")
        check_window(window)
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.sigma_data = denoiser.sigma_data
        self.unconditional = denoiser.unconditional
        self.weaker = weaker if weaker.schedule == self.schedule else Rescheduled(weaker, self.schedule)
        self.weight = weight
        self.window = window

    def cost(self, t: float) -> int:
        both = bool((weight_at(self.weight, self.schedule, t, self.window) > 0).any())
        return self.denoiser.cost(t) + (self.weaker.cost(t) if both else 0)

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        posterior: Posterior = self.denoiser(x_t, t, **condition)
        weight = weight_at(self.weight, self.schedule, t, self.window)
        if not bool((weight > 0).any()):
            return posterior
        weak: Posterior = self.weaker(x_t, t, **condition)
        return Posterior(pushed(weak.mean, posterior.mean, weight), posterior.variance)
