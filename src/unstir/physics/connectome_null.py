"""What chance would give: values on shuffled regions, and networks rewired with every degree kept."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir import noise
from unstir.noise import Stream

_SWEEPS = 20
"""The random numbers of sweeps are those of steps 0 to 19; step 20 shuffles the strengths."""


def shuffle(values: Tensor, count: int, seed: int) -> Tensor:
    """``count`` random relabellings of values (n,), as (count, n)."""
    index = torch.arange(count)
    keys = noise.uniform((len(values),), seed=seed, index=index, stream=Stream.CONNECTOME_SHUFFLE)
    return values[keys.argsort(dim=1)]


def resample(n: int, count: int, seed: int) -> Tensor:
    """``count`` bootstrap samples of 0 ... n - 1 with replacement, (count, n) int64."""
    index = torch.arange(count)
    draws = noise.uniform((n,), seed=seed, index=index, stream=Stream.CONNECTOME_BOOTSTRAP)
    return (draws * n).long().clamp(max=n - 1)


def rewire(adjacency: Tensor, *, seed: int, index: int, sweeps: int = _SWEEPS) -> tuple[Tensor, float]:
    """A random network in which every node has the number of connections that it had.

    Pairs of edges a-b, c-d become a-d, c-b, each with its strength, unless such an edge exists; in a sweep
    all edges are paired at once. The strengths as a set are kept, those of a node are not exactly.

    Source: Maslov & Sneppen 2002, "Specificity and stability in topology of protein networks".

    Args:
        adjacency: (n, n) symmetric, at least 0; the diagonal is ignored.
        seed: of the random numbers.
        index: number of this network within the seed.
        sweeps: how often every edge is tried, at most 20.

    Returns:
        (n, n), and the share of the edges that are new: near 0 where the network is full.
    """
    n = len(adjacency)
    ends = torch.triu(adjacency, 1).nonzero()
    weights = adjacency[ends[:, 0], ends[:, 1]]
    first = _codes(ends, n)
    for sweep in range(sweeps):
        ends = _sweep(ends, n, seed, index, sweep)
    new = torch.zeros_like(adjacency)
    new[ends[:, 0], ends[:, 1]] = weights
    same = torch.isin(_codes(ends, n), first).double().mean() if len(first) else torch.ones(())
    return new + new.mT, 1.0 - float(same)


def shuffle_strengths(adjacency: Tensor, *, seed: int, index: int) -> Tensor:
    """The same connections with their strengths in random order: for networks too full to be rewired.

    Args:
        adjacency: (n, n) symmetric, at least 0; the diagonal is ignored.
        seed: of the random numbers.
        index: number of this network within the seed.
    """
    ends = torch.triu(adjacency, 1).nonzero()
    number = torch.tensor([index])
    keys = noise.uniform((len(ends),), seed=seed, index=number, stream=Stream.CONNECTOME_REWIRE, step=_SWEEPS)
    new = torch.zeros_like(adjacency)
    new[ends[:, 0], ends[:, 1]] = adjacency[ends[:, 0], ends[:, 1]][keys[0].argsort()]
    return new + new.mT


def _sweep(ends: Tensor, n: int, seed: int, index: int, sweep: int) -> Tensor:
    m = len(ends)
    number = torch.tensor([index])
    draws = noise.uniform((2, m), seed=seed, index=number, stream=Stream.CONNECTOME_REWIRE, step=sweep)[0]
    turned = torch.where(draws[0, :, None] < 0.5, ends, ends.flip(1))
    order = draws[1].argsort()
    one, other = order[: m // 2], order[m // 2 : 2 * (m // 2)]
    a, b, c, d = turned[one, 0], turned[one, 1], turned[other, 0], turned[other, 1]
    swapped = torch.stack([torch.stack([a, d], dim=1), torch.stack([c, b], dim=1)])
    codes = torch.stack([_codes(pair, n) for pair in swapped])
    among = codes.flatten().sort().values
    seen = torch.searchsorted(among, codes, right=True) - torch.searchsorted(among, codes)
    fine = (swapped[..., 0] != swapped[..., 1]) & (seen == 1) & ~torch.isin(codes, _codes(ends, n))
    accept = fine.all(0)
    new = ends.clone()
    new[one[accept]], new[other[accept]] = swapped[0, accept], swapped[1, accept]
    return new


def _codes(ends: Tensor, n: int) -> Tensor:
    """One number for each undirected edge."""
    return ends.amin(1) * n + ends.amax(1)
