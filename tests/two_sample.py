"""A two-sample test that sees any difference of distribution: kernel means, judged by permutation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def kernel_test(x: Tensor, y: Tensor, *, permutations: int = 300, seed: int = 0) -> float:
    """The p-value of "x and y are of one distribution" by the maximum mean discrepancy.

    The kernel is the mean of two Gaussians, as wide as the median distance and half of it. Under the
    hypothesis all ways of dealing the pooled samples into two are alike, so the p-value is exact at any
    number of samples: at most the level in that share of all tests.

    Source: Gretton, Borgwardt, Rasch, Schölkopf & Smola 2012, "A kernel two-sample test", eq. 5 (the biased
    estimate, of which the permuted values are the null).

    Args:
        x: (n, *event).
        y: (m, *event).
        permutations: deals of the pooled samples; the smallest p-value is 1 / (permutations + 1).
        seed: of the deals.
    """
    pooled = torch.cat([x.reshape(len(x), -1), y.reshape(len(y), -1)]).double()
    squared = torch.cdist(pooled, pooled).square()
    median = squared[: len(x), len(x) :].median().clamp(min=1e-300)
    kernel = (torch.exp(-squared / (2.0 * median)) + torch.exp(-2.0 * squared / median)) / 2.0
    # As weights 1/n for one sample and -1/m for the other, the discrepancy is w K w.
    weights = np.repeat([1.0 / len(x), -1.0 / len(y)], [len(x), len(y)])
    deals = np.random.default_rng(seed).permuted(np.tile(weights, (permutations, 1)), axis=1)
    w = torch.from_numpy(np.vstack([weights, deals]))
    values = ((w @ kernel) * w).sum(1)
    return float((1 + (values[1:] >= values[0]).sum()) / (permutations + 1))
