"""Correlations of many states with many patterns at once, their null distributions and bootstraps."""

from __future__ import annotations

import torch
from torch import Tensor


def correlations(states: Tensor, values: Tensor) -> Tensor:
    """Pearson's correlation of states (..., n) with values (n,), 0 where a state is uniform."""
    return standard(states) @ standard(values)


def standard(x: Tensor) -> Tensor:
    """Centred, of length 1; 0 where x is uniform to round-off."""
    centred = x - x.mean(-1, keepdim=True)
    length = centred.norm(dim=-1, keepdim=True)
    flat = length <= 1e-11 * x.norm(dim=-1, keepdim=True)
    return torch.where(flat, 0.0, centred / torch.where(flat, 1.0, length))


def ranks_of(x: Tensor) -> Tensor:
    """Ranks along the last dimension, those of equal values averaged."""
    from scipy.stats import rankdata

    return torch.from_numpy(rankdata(x.numpy(), axis=-1)).double()


def largest(states: Tensor, values: Tensor) -> Tensor:
    """The largest correlation of any state (T, S, n) with each of the values (count, n), (count,)."""
    flat = standard(states).flatten(0, 1)
    parts = torch.split(standard(values), 200)
    return torch.cat([(flat @ part.mT).amax(0) for part in parts])


def p_value(null: Tensor, observed: float) -> float:
    """(1 + number at least as large) / (1 + count): Davison & Hinkley 1997, eq. 4.11."""
    return (1 + int((null >= observed - 1e-12).sum())) / (1 + len(null))


def bootstrap_times(
    states: Tensor, y: Tensor, counts: Tensor, times: Tensor, which: int, level: float
) -> tuple[tuple[float, float], Tensor]:
    """The interval of beta t of one seed over resampled regions, and how often each seed is the best."""
    total = counts.sum(1)
    centred = states - states.mean(-1, keepdim=True)
    z = y - y.mean()
    mean, mean_z = centred @ counts.mT / total, counts @ z / total
    covariance = (centred * z) @ counts.mT / total - mean * mean_z
    variance = (centred**2 @ counts.mT / total - mean**2).clamp(min=0.0)
    variance_z = (counts @ z**2 / total - mean_z**2).clamp(min=1e-300)
    tiny = 1e-20 * states.square().mean(-1, keepdim=True)
    r = torch.where(variance > tiny, covariance / (variance * variance_z).clamp(min=1e-300).sqrt(), 0.0)
    shares = torch.bincount(r.amax(0).argmax(0), minlength=states.shape[1]).double() / len(counts)
    found = times[r[:, which].argmax(0)]
    tails = torch.tensor([0.5 - level / 2, 0.5 + level / 2], dtype=torch.float64)
    low, high = found.log().quantile(tails).exp().tolist()
    return (low, high), shares
