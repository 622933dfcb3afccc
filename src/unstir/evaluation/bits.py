"""Bits per dimension of integer data, by uniform dequantisation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir import noise
from unstir.training import Scaling

Density = Callable[[Tensor, int], Tensor]
"""(x (batch, *event) float64 in the model's units, number of the draw) -> log-density in nats, (batch,)."""


@dataclass(frozen=True, eq=False)
class Bits:
    """Bounds on the log-probability of integer samples.

    Attributes:
        nats: E_u log p(k + u) <= log P(k) of each sample, (batch,) float64.
        error: its standard error over the draws, (batch,); NaN for a single draw.
        importance: log of the mean over the draws of p(k + u), (batch,); its expectation is at most log P(k),
            which it reaches as the draws grow. A random divergence makes it too high.
        dimensions: d, entries of an event.
    """

    nats: Tensor
    error: Tensor
    importance: Tensor
    dimensions: int

    @property
    def per_sample(self) -> Tensor:
        """-nats / (d log 2), (batch,): at least the bits per dimension of log P(k)."""
        return self._bits(self.nats)

    @property
    def value(self) -> float:
        """Mean bits per dimension of the batch."""
        return float(self.per_sample.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of `value` as an estimate of the mean over all data; NaN for one sample."""
        return standard_error(self.per_sample)

    @property
    def importance_value(self) -> float:
        """Mean bits per dimension by the importance-weighted bound, at most `value`."""
        return float(self._bits(self.importance).mean())

    @property
    def importance_standard_error(self) -> float:
        """As `standard_error`, of `importance_value`."""
        return standard_error(self._bits(self.importance))

    def _bits(self, nats: Tensor) -> Tensor:
        return -nats / (self.dimensions * math.log(2.0))


def bits_per_dimension(
    density: Density,
    k: Tensor,
    *,
    bins: int = 256,
    low: int = 0,
    offset: float = 0.0,
    scaling: Scaling | None = None,
    draws: int = 4,
    seed: int = 0,
    first_index: int = 0,
) -> Bits:
    r"""Bounds on log P(k) of integers from the density of k + u, u uniform on [0, 1) for every entry.

    .. math:: \log P(k) = \log \int p(k + u) \, du \ge E_u \log \tfrac1m \sum_{j=1}^m p(k + u_j)
              \ge E_u \log p(k + u),\quad p(x) = p_{model}((x - shift) / scale) / scale

    Source: Uria, Murray & Larochelle 2013, "RNADE"; Theis, van den Oord & Bethge 2016, section 3.1; Burda,
    Grosse & Salakhutdinov 2016, eq. 8, for the middle bound with m draws.

    Args:
        density: of the model, such as ``lambda x, draw: log_density(denoiser, x, seed=draw).nats``.
        k: (batch, *event) integers, low ... low + bins - 1, of any type.
        bins: number of values that an entry can take, at least 1.
        low: the smallest.
        offset: added to k + u; -1/2 for a model that was trained on the integers themselves, whose density
            is heaped about k and not about k + 1/2.
        scaling: from k + u + offset to the model's units; none by default.
        draws: m, at least 1.
        seed: of u; sample i of a seed has the same u whatever the batch.
        first_index: number of the first sample within the seed.

    Returns:
        `Bits`.

    Raises:
        ValueError: for numbers that are not integers of that range, or fewer than 1 draw or bin.
    """
    if draws < 1:
        raise ValueError(f"the number of dequantisation draws is at least 1, got {draws}")
    check_integers(k, bins, low)
    scaling = scaling or Scaling()
    event = tuple(k.shape[1:])
    index = torch.arange(first_index, first_index + len(k), device=k.device)
    rows = []
    for draw in range(draws):
        u = noise.uniform(event, seed=seed, index=index, stream=noise.Stream.DEQUANTISE, step=draw)
        rows.append(density(scaling.to_internal(k.double() + u + offset), draw).double())
    each = torch.stack(rows, dim=1) + scaling.log_volume(event)
    importance = each.logsumexp(1) - math.log(draws)
    error = each.std(1) / math.sqrt(draws) if draws > 1 else torch.full_like(importance, math.nan)
    return Bits(each.mean(1), error, importance, math.prod(event))


def check_integers(k: Tensor, bins: int, low: int = 0) -> None:
    """Check that all entries are integers low ... low + bins - 1.

    Raises:
        ValueError: if one is not, or there are fewer than 1 bins, or no events.
    """
    if bins < 1:
        raise ValueError(f"integer data have at least 1 bin, got {bins}")
    if k.ndim < 2:
        raise ValueError(f"expected integers of shape (batch, *event), got {tuple(k.shape)}")
    values = k.double()
    inside = (values == values.round()) & (values >= low) & (values < low + bins)
    if not bool(inside.all()):
        raise ValueError(
            f"the data are integers {low} to {low + bins - 1}, but hold {float(values[~inside][0]):g}; "
            "give the range of the data, or use log_density for real numbers"
        )


def standard_error(values: Tensor) -> float:
    """Of the mean of independent values (batch,); NaN for a single one."""
    return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan
