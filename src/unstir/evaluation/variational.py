"""The variational bound on the negative log-likelihood of a discrete reverse chain, term by term."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir import noise
from unstir.denoisers import Denoiser, Posterior
from unstir.evaluation.likelihood import evaluation_mode
from unstir.processes import Schedule, expand
from unstir.samplers.grids import check_grid
from unstir.training.bound import bound_term, prior_term


@dataclass(frozen=True, eq=False)
class Bound:
    """An estimate of the bound -log p(x_0) <= prior + sum of terms + reconstruction, in nats a sample.

    Attributes:
        prior: KL(q(x_1 | x_0) || N(0, sigma_1^2)), (batch,) float64, exact.
        terms: the KL divergences of the steps from noise towards data, (batch, steps - 1).
        reconstruction: E[-log p(x_0 | x_t)] of the last step, (batch,).
        error: standard error of `total` over the draws, (batch,); NaN for a single draw.
    """

    prior: Tensor
    terms: Tensor
    reconstruction: Tensor
    error: Tensor

    @property
    def total(self) -> Tensor:
        """The bound, (batch,)."""
        return self.prior + self.terms.sum(1) + self.reconstruction


@torch.no_grad()
def variational_bound(
    denoiser: Denoiser,
    x_0: Tensor,
    grid: Tensor,
    *,
    seed: int = 0,
    first_index: int = 0,
    draws: int = 1,
    bins: int | None = None,
    condition: Mapping[str, Tensor] | None = None,
) -> Bound:
    r"""The bound of the reverse chain along a grid, from independent noise for every term and draw.

    .. math:: -\log p(x_0) \le L_T + \sum_{i} KL(q(x_s | x_t, x_0) \| p(x_s | x_t)) - \log p(x_0 | x_{t_1})

    The steps' variances are those of `training.bound.bound_term`: of the denoiser's posterior variance if it
    gives one. Source: Sohl-Dickstein et al. 2015, eq. 14; Ho et al. 2020, eq. 5.

    Args:
        denoiser: any denoiser.
        x_0: (batch, *event) real numbers in the denoiser's units.
        grid: (steps + 1,) times, strictly decreasing from 1 to 0.
        seed: sample i of a seed has the same noise whatever the batch.
        first_index: number of the first sample within the seed.
        draws: noises for every term, at least 1; two give a standard error.
        bins: for integers scaled linearly to [-1, 1], their number of values, at least 2: the last step is
            then the discretised Gaussian of Ho et al. 2020, eq. 13, and the bound is one on -log P(k).
            By default the last step is a density.
        condition: (batch, ...) tensors that the denoiser takes by name.

    Returns:
        A `Bound`.

    Raises:
        ValueError: for a bad grid, fewer than 1 draw or 2 bins, or data that are not such integers.
        FloatingPointError: if a term is not finite, with the time and the log-SNR.
    """
    times = check_grid(grid)
    if float(times[0]) != 1.0 or float(times[-1]) != 0.0:
        raise ValueError(
            f"the bound's grid runs from noise, t = 1, to data, t = 0; got {float(times[0]):g} to "
            f"{float(times[-1]):g}"
        )
    if draws < 1:
        raise ValueError(f"the number of draws of the bound is at least 1, got {draws}")
    if bins is not None:
        _check_lattice(x_0, bins)
    for name, value in (condition or {}).items():
        if len(value) != len(x_0):
            raise ValueError(f"condition {name!r} has {len(value)} entries for {len(x_0)} samples")
    schedule, size = denoiser.schedule, math.prod(x_0.shape[1:])
    index = torch.arange(first_index, first_index + len(x_0), device=x_0.device)
    steps = len(times) - 1
    rows = torch.zeros(draws, steps, len(x_0), dtype=torch.float64, device=x_0.device)
    with evaluation_mode(denoiser):
        for number in range(draws * steps):
            draw, step = divmod(number, steps)
            t, s = (times[i].to(x_0.device).expand(len(x_0)) for i in (step, step + 1))
            eps = noise.normal(
                x_0.shape[1:],
                seed=seed,
                index=index,
                stream=noise.Stream.BOUND,
                step=number,
                dtype=torch.float64,
            )
            mean, std = schedule.marginal(x_0.double(), t)
            posterior = denoiser((mean + std * eps).to(x_0.dtype), t, **(condition or {}))
            wide = Posterior(
                posterior.mean.double(), None if posterior.variance is None else posterior.variance.double()
            )
            if bins is not None and step == steps - 1:
                term = discretised_term(schedule, x_0.double(), wide, t, bins)
            else:
                term = size * bound_term(schedule, x_0.double(), wide, s, t)
            if not bool(torch.isfinite(term).all()):
                raise FloatingPointError(
                    f"the bound's term from t = {float(t[0]):.6g} (log-SNR "
                    f"{float(schedule.log_snr(t[0])):.4g}) to {float(s[0]):.6g} is not finite; check the "
                    "denoiser there, or take another grid"
                )
            rows[draw, step] = term
    totals = rows.sum(1)
    error = totals.std(0) / math.sqrt(draws) if draws > 1 else torch.full_like(totals[0], math.nan)
    mean = rows.mean(0)
    return Bound(size * prior_term(schedule, x_0), mean[:-1].T, mean[-1], error)


def discretised_term(schedule: Schedule, x_0: Tensor, posterior: Posterior, t: Tensor, bins: int) -> Tensor:
    r"""-log P(x_0 | x_t): the Gaussian of the posterior, integrated over the bin of each entry.

    A bin reaches half-way to its neighbours, the first and last to infinity. Without a posterior variance
    that of x_0 given x_t alone, (sigma/alpha)^2, is taken. Source: Ho et al. 2020, eq. 13.

    Args:
        schedule: the forward process.
        x_0: (batch, *event) float64, integers scaled linearly to [-1, 1].
        posterior: the denoiser's, for x_t.
        t: (batch,).
        bins: number of values that an entry can take.

    Returns:
        (batch,) nats, summed over the event.
    """
    if posterior.variance is None:
        std = expand(schedule.sigma(t) / schedule.alpha(t), x_0).expand_as(x_0)
    else:
        std = posterior.variance.clamp(min=1e-300).sqrt()
    half = 1.0 / (bins - 1)
    lower = torch.where(x_0 < -1.0 + half, -torch.inf, (x_0 - half - posterior.mean) / std)
    upper = torch.where(x_0 > 1.0 - half, torch.inf, (x_0 + half - posterior.mean) / std)
    # In the upper tail both are near 1 and their difference is lost; the mirror image keeps it.
    mirrored = lower > 0
    low, high = torch.where(mirrored, -upper, lower), torch.where(mirrored, -lower, upper)
    log_high = torch.special.log_ndtr(high)
    log_share = torch.log(-torch.expm1(torch.special.log_ndtr(low) - log_high))
    total: Tensor = -(log_high + log_share).reshape(len(x_0), -1).sum(1)
    return total


def _check_lattice(x_0: Tensor, bins: int) -> None:
    if bins < 2:
        raise ValueError(f"integers scaled to [-1, 1] have at least 2 bins, got {bins}")
    k = (x_0.double() + 1.0) * (bins - 1) / 2.0
    off = ((k - k.round()).abs() > 1e-3) | (k < -1e-3) | (k > bins - 1 + 1e-3)
    if bool(off.any()):
        raise ValueError(
            f"with bins={bins} the data are {bins} integers scaled linearly to [-1, 1], but hold "
            f"{float(x_0[off][0]):g}; leave bins out for real numbers"
        )
