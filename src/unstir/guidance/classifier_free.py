"""Classifier-free guidance."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.denoisers import Denoiser, Posterior
from unstir.processes import Schedule, expand

NOISE_RANGE = (-12.0, 12.0)
"""The log-SNR range that a guidance window is a share of."""


def check_window(window: tuple[float, float]) -> None:
    """Check a guidance window.

    Raises:
        ValueError: unless it is (low, high) with 0 <= low < high <= 1.
    """
    low, high = window
    if not 0.0 <= low < high <= 1.0:
        raise ValueError(f"a guidance window is (low, high) with 0 <= low < high <= 1, got {window}")


class ClassifierFree(Denoiser):
    r"""Classifier-free guidance: push the conditional prediction away from the unconditional one.

    .. math:: \hat\epsilon = (1 + w)\,\epsilon(x_t, t, y) - w\,\epsilon(x_t, t)

    Source: Ho & Salimans 2022, eq. 6. The combination is linear, so it is done on the posterior mean.
    The posterior's variance stays that of the conditional model.

    Args:
        denoiser: trained with condition dropout.
        weight: w >= 0; 0 is the conditional model (1 + w is called guidance_scale elsewhere).
        window: (low, high), the share of the log-SNR range -12 (noise) to 12 (data) in which to guide,
            Kynkäänniemi et al. 2024; outside it the conditional model is used.

    Raises:
        ValueError: for a negative weight or a window that is not 0 <= low < high <= 1.
    """

    def __init__(self, denoiser: Denoiser, weight: float, window: tuple[float, float] = (0.0, 1.0)) -> None:
        super().__init__()
        if not weight >= 0:
            raise ValueError(f"guidance weight must be at least 0 (0 means conditional only), got {weight}")
        check_window(window)
        self.denoiser = denoiser
        self.schedule: Schedule = denoiser.schedule
        self.sigma_data = denoiser.sigma_data
        self.weight = weight
        self.window = window

    def active(self, t: Tensor | float) -> Tensor:
        """Where guidance acts: booleans of the shape of ``t``."""
        first, last = NOISE_RANGE
        share = ((self.schedule.log_snr(t) - first) / (last - first)).clamp(0.0, 1.0)
        return (share >= self.window[0]) & (share <= self.window[1])

    def cost(self, t: float) -> int:
        both = self.weight > 0 and bool(self.active(t))
        return self.denoiser.cost(t) * (2 if both else 1)

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        conditional: Posterior = self.denoiser(x_t, t, **condition)
        active = self.active(t)
        if self.weight == 0 or not condition or not bool(active.any()):
            return conditional
        unconditional: Posterior = self.denoiser(x_t, t)
        weight = expand(1.0 + self.weight * active.double(), x_t)
        return Posterior(torch.lerp(unconditional.mean, conditional.mean, weight), conditional.variance)
