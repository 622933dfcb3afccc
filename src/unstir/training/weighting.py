r"""Weightings of the loss over noise levels.

Each is a factor of the squared error of the data estimate, |E[x_0|x_t] - x_0|^2, so that one network may
be trained with any of them: predictions of another target differ by ``Target.error_scale`` only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from unstir.processes import Schedule, Target


class Weighting(Protocol):
    """A weight of the squared error of x_0 for each time."""

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor:
        """Weights, float64, of the shape of ``t``."""


@dataclass(frozen=True)
class UniformWeighting:
    """Equal weight of the target's own error: for epsilon Ho et al. 2020, eq. 14 (L_simple).

    Attributes:
        target: the network's prediction target.
    """

    target: Target

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor:
        return self.target.error_scale(schedule, t) ** 2


@dataclass(frozen=True)
class SNRWeighting:
    """SNR(t) times the error of x_0, which is the error of epsilon (Salimans & Ho 2022, section 4)."""

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor:
        return schedule.log_snr(t).exp()


@dataclass(frozen=True)
class MinSNRWeighting:
    """min(SNR, gamma) times the error of x_0 (Hang et al. 2023, eq. 9).

    Attributes:
        gamma: the cap.
    """

    gamma: float = 5.0

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor:
        return schedule.log_snr(t).exp().clamp(max=self.gamma)


@dataclass(frozen=True)
class EDMWeighting:
    r"""1 / c_out^2: with the target v every level starts with loss 1 (Karras et al. 2022, table 1).

    With r = sigma / alpha it is (r^2 + s^2) / (r s)^2.

    Attributes:
        sigma_data: s, the data's standard deviation.
    """

    sigma_data: float = 1.0

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor:
        return schedule.log_snr(t).exp() + self.sigma_data**-2


@dataclass(frozen=True)
class SigmoidWeighting:
    """sigmoid(bias - log-SNR) times the error of epsilon (Kingma & Gao 2023; Hoogeboom et al. 2024).

    Attributes:
        bias: noise levels above exp(bias / 2) = alpha / sigma count in full.
    """

    bias: float = 0.0

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor:
        log_snr = schedule.log_snr(t)
        return torch.sigmoid(self.bias - log_snr) * log_snr.exp()
