"""The learned denoiser: a torch module with preconditioning for any schedule and prediction target."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unstir.denoisers.denoiser import Denoiser, Posterior, blank, times
from unstir.processes import EPSILON, V_PREDICTION, VELOCITY, X0, Blurring, Schedule, Target, expand

LOG_VARIANCE_RANGE = (-12.0, 4.0)
"""Range of the variance head: the log of Var[x_0 | x_t] over that of Gaussian data."""

LOG_SNR_LIMIT = 20.0
"""Noise levels beyond this log-SNR look alike to the network."""


class Network(Denoiser):
    r"""A torch module that sees and predicts numbers of unit variance at every noise level.

    With s = sigma_data and n = sqrt(alpha^2 s^2 + sigma^2), the module is given x_t / n and the log-SNR,
    and predicts the target scaled to unit variance, F; x_t / n comes in the type of the module's parameters
    (float16, bfloat16), the log-SNR in that of the state, and everything outside the module stays there:

    ==========  =======================================  =====================================
    target      E[x_0 | x_t]                             notes
    ==========  =======================================  =====================================
    v           (alpha s^2 x_t - sigma s n F) / n^2      EDM's c_skip and c_out, up to F's sign
    epsilon     (x_t - sigma F) / alpha                  infinite at alpha = 0
    x0          s F
    velocity    by the schedule's alpha', sigma'         F is scaled by its standard deviation
    ==========  =======================================  =====================================

    Source: Karras et al. 2022, table 1 and appendix B.6, for general alpha; v is that of the data scaled
    to unit variance. The score is epsilon up to a factor that this scaling removes.

    Under a schedule that blurs, alpha and n are those of each mode, so that F is of unit variance in every
    mode of white data, and the module sees the log-SNR of the mode that is not blurred.

    The second head, if the module has one, is the log of the posterior variance in units of that of
    Gaussian data, sigma^2 s^2 / n^2; so it serves any pair of steps (see `samplers.Ancestral`), and zero
    is a sane start. Source: Bao et al. 2022, "Estimating the optimal covariance", eq. 8 to 10.

    Args:
        module: (x, log_snr, **condition) -> (batch, C, ...), with 2 C if ``module.variance`` is true. "No
            condition" is -1 in a row of ``label``, NaN in one of ``vector`` or of a condition that is named
            in ``module.conditions``, as condition dropout trains it.
        schedule: the forward process it is trained under.
        target: what it predicts.
        sigma_data: standard deviation of the data, above 0.

    Raises:
        ValueError: if sigma_data is not positive.
    """

    def __init__(
        self,
        module: nn.Module,
        schedule: Schedule,
        target: Target = V_PREDICTION,
        sigma_data: float = 1.0,
    ) -> None:
        super().__init__()
        if not sigma_data > 0:
            raise ValueError(f"sigma_data is the standard deviation of the data, above 0; got {sigma_data}")
        self.module = module
        self.schedule = schedule
        self.target = target
        self.sigma_data = float(sigma_data)

    def no_condition(self, condition: dict[str, Tensor]) -> dict[str, Tensor] | None:
        return blank(condition, "label", "vector", *getattr(self.module, "conditions", ()))

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Any) -> Posterior:
        schedule = self.schedule
        one = isinstance(t, float) and not isinstance(schedule, Blurring)
        c = self._scalars(float(t)) if one else self._tensors(t, x_t)
        log_snr = c.log_snr if isinstance(c.log_snr, Tensor) else x_t.new_full((len(x_t),), c.log_snr)
        u = schedule.to_modes(x_t)
        x = schedule.from_modes(u * c.enter)
        kind = self._kind()
        raw = self.module(x if kind is None else x.to(kind), log_snr, **condition)
        head = None
        if getattr(self.module, "variance", False):
            raw, head = raw.chunk(2, dim=1)
        raw = schedule.to_modes(raw.to(x_t.dtype))
        if isinstance(c.out, float):  # one operation less, which a small state notices
            mean = torch.add(u * c.skip, raw, alpha=c.out)
        else:
            mean = schedule.from_modes(u * c.skip + raw * c.out)
        if head is None:
            return Posterior(mean)
        return Posterior(mean, head.to(x_t.dtype).clamp(*LOG_VARIANCE_RANGE).exp() * c.variance)

    def _kind(self) -> torch.dtype | None:
        """The type that the module computes in, if it has parameters."""
        for parameter in self.module.parameters():
            return parameter.dtype
        return None

    def _tensors(self, t: Tensor | float, x_t: Tensor) -> _Coefficients:
        process = self.schedule.modes(x_t.shape[1:])
        time = times(t, len(x_t), x_t.device)
        log_snr = self.schedule.log_snr(time).clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT)
        # At one time all samples have the coefficients of the first.
        when = time[:1] if isinstance(t, float) else time
        values = _coefficients(process, self.target, self.sigma_data, when)
        enter, skip, out, variance = (expand(value, x_t) for value in values)
        if process is not self.schedule:  # that of an entry is the mean of those of modes
            variance = variance.mean(dim=tuple(range(1, variance.ndim)), keepdim=True)
        return _Coefficients(log_snr.to(x_t.dtype), enter, skip, out, variance)

    def _scalars(self, t: float) -> _Coefficients:
        return _cached_coefficients(self.schedule, self.target, self.sigma_data, t)


class _Coefficients(NamedTuple):
    """mean = skip x_t + out F(enter x_t, log_snr); variance is that of Gaussian data."""

    log_snr: Tensor | float
    enter: Tensor | float
    skip: Tensor | float
    out: Tensor | float
    variance: Tensor | float


def _coefficients(schedule: Schedule, target: Target, s: float, t: Tensor) -> tuple[Tensor, ...]:
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    norm = ((alpha * s) ** 2 + sigma**2).sqrt()
    if target == V_PREDICTION:
        skip, out = alpha * s**2 / norm**2, -sigma * s / norm
    elif target == X0:
        skip, out = torch.zeros_like(alpha), torch.full_like(alpha, s)
    elif target == VELOCITY:
        p, q = VELOCITY.mixture(schedule, t)
        skip, out = VELOCITY.inverse(schedule, t)
        scale = ((p * s) ** 2 + q**2).sqrt()
        # Where sigma' is infinite (t = 0), out * scale tends to -sigma / alpha = 0.
        out = torch.where(scale.isinf(), 0.0, out * scale)
    else:
        skip, out = EPSILON.inverse(schedule, t)
    return 1.0 / norm, skip, out, (sigma * s / norm) ** 2


@lru_cache(maxsize=4096)
def _cached_coefficients(schedule: Schedule, target: Target, s: float, t: float) -> _Coefficients:
    values = _coefficients(schedule, target, s, torch.tensor(t, dtype=torch.float64))
    log_snr = float(schedule.log_snr(t).clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT))
    return _Coefficients(log_snr, *(float(value) for value in values))
