"""Which noise levels to train on: uniform, log-normal, stratified, and drawn by the loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from unstir import noise
from unstir.denoisers.network import LOG_SNR_LIMIT
from unstir.processes import Schedule

GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


class Distribution(Protocol):
    """Quantiles of a distribution of times."""

    def times(self, schedule: Schedule, u: Tensor) -> Tensor:
        """Times (batch,) for shares ``u`` in (0, 1), float64."""


@dataclass(frozen=True)
class Uniform:
    """Uniform in t, as in Ho et al. 2020 and Song et al. 2021.

    Attributes:
        whole: from t = 0 on, as the steps of the variational bound want it; else cut where log-SNR exceeds
            20, beyond which no network can tell levels apart.
    """

    whole: bool = False

    def times(self, schedule: Schedule, u: Tensor) -> Tensor:
        first = 0.0 if self.whole else float(schedule.time(LOG_SNR_LIMIT))
        return first + (1.0 - first) * u


@dataclass(frozen=True)
class LogNormal:
    """log(sigma / alpha) is normal (Karras et al. 2022, table 1: mean -1.2, std 1.2 for std 0.5 data).

    Attributes:
        mean: of log(sigma / alpha).
        std: of log(sigma / alpha), above 0.
    """

    mean: float = -0.4
    std: float = 1.2

    def times(self, schedule: Schedule, u: Tensor) -> Tensor:
        log_ratio = self.mean + self.std * torch.special.ndtri(u)
        return schedule.time((-2.0 * log_ratio).clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT))


class NoiseLevels:
    r"""Draws training times for numbered samples.

    Stratified shares are u_i = frac(u_0 + i g) with the golden ratio g, so that any run of neighbouring
    samples covers (0, 1) evenly, however it is cut into batches (a rank-1 lattice, Niederreiter 1992,
    chapter 5; the purpose is that of Kingma et al. 2021, appendix I.1).

    Loss-aware levels follow the histogram p of the root mean square loss over 64 bins of u, mixed with a
    tenth of the uniform density, and are reweighted by 1 / p: the objective stays the same, its estimate
    has less variance (Nichol & Dhariwal 2021, section 3.3).

    Args:
        distribution: of the times, before the loss is looked at.
        stratified: spread the shares evenly.
        loss_aware: follow the loss.
    """

    bins = 64

    def __init__(
        self, distribution: Distribution, *, stratified: bool = True, loss_aware: bool = False
    ) -> None:
        self.distribution = distribution
        self.stratified = stratified
        self.loss_aware = loss_aware
        self.squares = torch.zeros(self.bins, dtype=torch.float64)
        self.counts = torch.zeros(self.bins, dtype=torch.float64)

    def density(self) -> Tensor:
        """The density of u in each bin, (bins,) with mean 1."""
        if not self.loss_aware or bool((self.counts < 10).any()):
            return torch.ones(self.bins, dtype=torch.float64)
        root = (self.squares / self.counts).sqrt()
        return 0.1 + 0.9 * root / root.mean().clamp(min=1e-300)

    def draw(self, schedule: Schedule, *, seed: int, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Times for the samples ``index``.

        Returns:
            t (batch,) float64, importance weights (batch,), and shares u (batch,) for `observe`.
        """
        if self.stratified:
            zero = torch.zeros(1, dtype=torch.int64, device=index.device)
            first = noise.uniform((), seed=seed, index=zero, stream=noise.Stream.TRAIN_TIME)
            # In integers first: i times g loses its fraction for large i.
            turns = (index * round(GOLDEN * 2**31)) % 2**31
            u = (first + turns.double() / 2**31) % 1.0
            u = u.clamp(1e-9, 1.0 - 1e-9)
        else:
            u = noise.uniform((), seed=seed, index=index, stream=noise.Stream.TRAIN_TIME)
        density = self.density().to(u.device)
        cumulative = torch.cat([density.new_zeros(1), density.cumsum(0)]) / self.bins
        bin_ = (torch.searchsorted(cumulative, u, right=True) - 1).clamp(0, self.bins - 1)
        u = (bin_ + (u - cumulative[bin_]) / (density[bin_] / self.bins)) / self.bins
        u = u.clamp(1e-9, 1.0 - 1e-9)
        return self.distribution.times(schedule, u), 1.0 / density[bin_], u

    def observe(self, u: Tensor, losses: Tensor) -> None:
        """Tell the weighted losses (batch,), before importance weights, at shares ``u``."""
        if not self.loss_aware:
            return
        bin_ = (u.cpu() * self.bins).long().clamp(0, self.bins - 1)
        fade = 0.99
        hits = torch.zeros_like(self.counts).index_add_(0, bin_, torch.ones_like(u.cpu()))
        squares = torch.zeros_like(self.squares).index_add_(0, bin_, losses.detach().cpu().double() ** 2)
        seen = hits > 0
        self.counts[seen] = self.counts[seen] * fade + hits[seen]
        self.squares[seen] = self.squares[seen] * fade + squares[seen]
