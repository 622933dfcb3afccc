"""The analytic variance of ancestral steps: what is left unknown of the data at each noise level."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir import noise
from unstir.denoisers import Denoiser, Posterior

_NOISIEST, _CLEANEST, _LEVELS = -12.0, 14.0, 66
"""Default levels in log-SNR: sigma/alpha from 400 to 0.001, in steps of 0.4."""


@dataclass(frozen=True)
class AnalyticVariance:
    r"""Var[x_0 | x_t] averaged over the data and the entries, as a function of the log-SNR.

    The logarithm is interpolated linearly between the levels. Beyond the noisiest level the variance is
    that of this level, which there is the data's; beyond the cleanest it falls as sigma^2 / alpha^2.

    Attributes:
        log_snr: the levels, strictly increasing.
        variance: at least 0 at each level, in squared units of the data.
        error: standard error of each variance over the samples of data.

    Raises:
        ValueError: for lengths that differ, no level, levels that do not increase or a negative variance.
    """

    log_snr: tuple[float, ...]
    variance: tuple[float, ...]
    error: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.log_snr) == len(self.variance) == len(self.error) > 0:
            raise ValueError(
                f"an analytic variance has as many levels as variances and errors, at least one; got "
                f"{len(self.log_snr)}, {len(self.variance)} and {len(self.error)}"
            )
        rising = all(low < high for low, high in itertools.pairwise(self.log_snr))
        if not (rising and all(map(math.isfinite, self.log_snr))):
            raise ValueError("the levels of an analytic variance are finite log-SNRs that increase strictly")
        if not all(0 <= v < math.inf for v in self.variance):
            raise ValueError("an analytic variance is finite and at least 0 at every level")

    def __call__(self, log_snr: float) -> float:
        """The mean posterior variance at a log-SNR; -inf is pure noise."""
        levels = self.log_snr
        if log_snr <= levels[0]:
            return self.variance[0]
        if log_snr >= levels[-1]:
            return self.variance[-1] * math.exp(levels[-1] - log_snr)
        i = bisect.bisect_right(levels, log_snr)
        share = (log_snr - levels[i - 1]) / (levels[i] - levels[i - 1])
        # Data that is a single point has no variance at all, and no logarithm of it.
        low, high = (math.log(max(v, 1e-300)) for v in self.variance[i - 1 : i + 1])
        return math.exp(low + share * (high - low))


@torch.no_grad()
def analytic_variance(
    denoiser: Denoiser,
    data: Tensor,
    log_snr: Sequence[float] | Tensor | None = None,
    *,
    seed: int = 0,
    draws: int = 1,
    batch: int = 256,
    condition: Mapping[str, Tensor] | None = None,
) -> AnalyticVariance:
    r"""Estimate the mean posterior variance of each noise level from data, for ``Ancestral(variance=...)``.

    .. math:: v(\lambda) = E \| x_0 - D(x_t) \|^2 / d
        = \frac{\sigma^2}{\alpha^2} \left(1 - \sigma^2 E \| \nabla \log p_t(x_t) \|^2 / d\right)

    in d entries, the second for the exact D = E[x_0 | x_t]. Steps of variance beta-tilde + a^2 v are
    optimal among those of one variance for all entries: theorem 1 of Bao et al. 2022a (Analytic-DPM). The
    first form is estimated, since it has no cancellation at high noise and stays optimal for a denoiser
    that is not exact (Bao et al. 2022b, "Estimating the optimal covariance with imperfect mean").

    Args:
        denoiser: the one that will be sampled with.
        data: (n, *event), a few hundred or more samples of the data it was trained on.
        log_snr: the levels, in any order, within the range of the schedule; by default 66 from -12 (or
            the schedule's noisiest) to 14.
        seed: of the noise; sample i of the data has the same noise whatever ``batch``.
        draws: noises for each sample and level.
        batch: samples processed at once.
        condition: (n, ...) tensors that the denoiser takes by name, such as ``label``.

    Returns:
        The table of the variances and their standard errors over the samples.

    Raises:
        ValueError: for data of fewer than 2 samples, a level outside the schedule's range, ``draws`` or
            ``batch`` below 1, or a condition of another length.
        FloatingPointError: if the denoiser's answer is not finite at a level.
    """
    condition = condition or {}
    _check(data, draws, batch, condition)
    levels = _levels(denoiser, log_snr)
    variances, errors = [], []
    for number, level in enumerate(levels):
        chunks = [
            _square_errors(denoiser, data, start, batch, level, number * draws + draw, seed, condition)
            for draw in range(draws)
            for start in range(0, len(data), batch)
        ]
        squares = torch.cat(chunks).reshape(draws, len(data)).mean(0)
        if not bool(torch.isfinite(squares).all()):
            raise FloatingPointError(
                f"the denoiser's posterior mean is not finite at log-SNR {level:.4g}; check the denoiser "
                "there, or leave that level out"
            )
        variances.append(float(squares.mean()))
        errors.append(float(squares.std()) / math.sqrt(len(squares)))
    return AnalyticVariance(tuple(levels), tuple(variances), tuple(errors))


def _square_errors(
    denoiser: Denoiser,
    data: Tensor,
    start: int,
    batch: int,
    level: float,
    step: int,
    seed: int,
    condition: Mapping[str, Tensor],
) -> Tensor:
    """The mean square of x_0 - D(x_t) over the entries of each sample, float64."""
    x_0 = data[start : start + batch]
    index = torch.arange(start, start + len(x_0), device=data.device)
    z = noise.normal(
        x_0.shape[1:], seed=seed, index=index, stream=noise.Stream.VARIANCE, step=step, dtype=x_0.dtype
    )
    t = float(denoiser.schedule.time(level))
    mean, std = denoiser.schedule.marginal(x_0, t)
    known = {name: value[start : start + batch] for name, value in condition.items()}
    posterior: Posterior = denoiser(mean + std * z, t, **known)
    error = x_0 - posterior.mean
    return error.reshape(len(x_0), -1).double().square().mean(1)


def _levels(denoiser: Denoiser, log_snr: Sequence[float] | Tensor | None) -> list[float]:
    noisiest = float(denoiser.schedule.log_snr(1.0))
    if log_snr is None:
        return torch.linspace(max(noisiest, _NOISIEST), _CLEANEST, _LEVELS, dtype=torch.float64).tolist()
    levels = sorted(float(level) for level in log_snr)
    if not levels or not all(noisiest - 1e-9 <= level < math.inf for level in levels):
        raise ValueError(
            f"the levels of an analytic variance are finite log-SNRs from {noisiest:.4g}, the noisiest of "
            f"the schedule, upwards; got {levels}"
        )
    return levels


def _check(data: Tensor, draws: int, batch: int, condition: Mapping[str, Tensor]) -> None:
    if data.ndim < 1 or len(data) < 2 or not data.is_floating_point():
        raise ValueError(
            f"an analytic variance is estimated from real data (n, *event) of at least 2 samples, got "
            f"{data.dtype} of shape {tuple(data.shape)}"
        )
    if draws < 1 or batch < 1:
        raise ValueError(f"draws and batch are at least 1, got {draws} and {batch}")
    for name, value in condition.items():
        if len(value) != len(data):
            raise ValueError(f"condition {name!r} has {len(value)} entries for {len(data)} samples of data")
