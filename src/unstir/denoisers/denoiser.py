"""The contract of everything that sees through noise: (x_t, t) -> posterior of x_0."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unstir.processes import (
    EPSILON,
    SCORE,
    VELOCITY,
    X0,
    Blurring,
    Schedule,
    Target,
    as_float64,
    convert,
    expand,
)


class Posterior(NamedTuple):
    """What is known of x_0 given x_t.

    Attributes:
        mean: E[x_0 | x_t], (batch, *event).
        variance: Var[x_0 | x_t] of every entry, (batch, *event), or None if it is not known.
    """

    mean: Tensor
    variance: Tensor | None = None


class Denoiser(nn.Module, ABC):
    """Estimates the clean data behind a noisy state.

    A subclass sets ``schedule`` and gives `forward`. Every other prediction follows from the mean.
    ``sigma_data`` is the standard deviation of the data, all entries about their mean: the noise level
    around which structure appears, so the unit of the default time grid. It is 1 unless a subclass knows.
    ``unconditional`` is whether it also knows the data without their condition; a network does if it was
    trained with condition dropout, and only then can it be guided away from that.
    """

    schedule: Schedule
    sigma_data: float = 1.0
    unconditional: bool = True

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        """The posterior of x_0 given ``x_t``.

        Args:
            x_t: (batch, *event).
            t: scalar or (batch,), in [0, 1].
            **condition: (batch, ...) tensors by name, such as ``label``.
        """

    def cost(self, t: float) -> int:
        """Network evaluations that one call at time ``t`` takes."""
        return 1

    def no_condition(self, condition: dict[str, Tensor]) -> dict[str, Tensor] | None:
        """The rows that say "no condition" in the place of ``condition``, or None.

        Conditional and unconditional rows then share one evaluation; so a denoiser that gives them treats
        every row for itself. With None it is asked in an evaluation of its own, with no condition given.

        Args:
            condition: (batch, ...) tensors by name.
        """
        return None

    def predict(self, target: Target, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        """The posterior mean expressed as another target, (batch, *event)."""
        mean = self(x_t, t, **condition).mean
        return convert(mean, X0, target, self.schedule, x_t, t)

    def epsilon(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        """E[epsilon | x_t], (batch, *event); needs sigma(t) > 0."""
        return self.predict(EPSILON, x_t, t, **condition)

    def score(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        r"""grad log p_t(x_t) = (alpha E[x_0 | x_t] - x_t) / sigma^2; needs sigma(t) > 0.

        Source: Tweedie's formula (Robbins 1956; Efron 2011, eq. 2.8).
        """
        return self.predict(SCORE, x_t, t, **condition)

    def velocity(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        """dx/dt of the probability flow (Song et al. 2021, eq. 13), (batch, *event)."""
        return self.predict(VELOCITY, x_t, t, **condition)


class Rescheduled(Denoiser):
    r"""A denoiser seen through another schedule: the currency is the log-SNR.

    States of equal log-SNR differ by a scale only, so x_t of the new schedule is scaled to the norm
    sqrt(alpha^2 + sigma^2) of the old one at the old one's time of that log-SNR. Beyond the noisiest
    level of the old schedule, the old one's last time is used.

    Source: Karras et al. 2022, section 2 (scaled noise levels); Kingma et al. 2021, appendix F.

    Args:
        denoiser: any denoiser.
        schedule: the schedule to sample under.

    Raises:
        ValueError: if one of the schedules blurs and the other is not the same: their states of equal log-SNR
            differ by more than a scale.
    """

    def __init__(self, denoiser: Denoiser, schedule: Schedule) -> None:
        super().__init__()
        old = denoiser.schedule
        if schedule != old and (isinstance(old, Blurring) or isinstance(schedule, Blurring)):
            raise ValueError(
                f"a denoiser under {type(old).__name__} cannot be sampled under {type(schedule).__name__}: a "
                "schedule that blurs also decides how blurred the data are at each noise level; sample it "
                "under its own schedule, or train one under the other"
            )
        self.denoiser = denoiser
        self.schedule = schedule
        self.sigma_data = denoiser.sigma_data
        self.unconditional = denoiser.unconditional

    def cost(self, t: float) -> int:
        return self.denoiser.cost(float(self.denoiser.schedule.time(self.schedule.log_snr(t))))

    def no_condition(self, condition: dict[str, Tensor]) -> dict[str, Tensor] | None:
        return self.denoiser.no_condition(condition)

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        old, new = self.denoiser.schedule, self.schedule
        t_old = old.time(new.log_snr(t))
        norm_old = (old.alpha(t_old) ** 2 + old.sigma(t_old) ** 2).sqrt()
        norm_new = (new.alpha(t) ** 2 + new.sigma(t) ** 2).sqrt()
        posterior: Posterior = self.denoiser(x_t * expand(norm_old / norm_new, x_t), t_old, **condition)
        return posterior


def blank(condition: dict[str, Tensor], *names: str) -> dict[str, Tensor] | None:
    """Rows that say "no condition": -1 for integers, NaN for real numbers.

    Args:
        condition: (batch, ...) tensors by name.
        names: those for which these values are known to mean it; with any other the answer is None.
    """
    if not condition.keys() <= set(names):
        return None
    return {
        name: torch.full_like(value, math.nan if value.is_floating_point() else -1)
        for name, value in condition.items()
    }


def times(t: Tensor | float, batch: int, device: torch.device) -> Tensor:
    """A scalar or (batch,) time as a (batch,) float64 tensor on a device."""
    return as_float64(t).to(device).expand(batch)
