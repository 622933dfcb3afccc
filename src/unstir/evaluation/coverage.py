"""Are samples where the data are, and are the data all reached: precision, recall, density, coverage.

Neighbourhoods are balls round each point that reach its k-th nearest neighbour of the same set.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.evaluation.inputs import flat_pair, pairwise, rows_at_once


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision, recall and coverage in [0, 1]; density from 0, about 1 for samples like the data.

    Precision: share of samples within the balls of the data. Recall: share of the data within the balls
    of the samples. Density: how many balls of the data hold a sample, over k. Coverage: share of the
    balls of the data that hold a sample.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    k: int


def precision_recall(samples: Tensor, data: Tensor, k: int = 5) -> PrecisionRecall:
    """Precision and recall of Kynkäänniemi et al. 2019 (eq. 1-3), density and coverage of Naeem et al. 2020.

    All four depend on the sizes of the sets (a larger set covers more): compare only values from sets of
    the same sizes. Naeem et al. 2020, eq. 4 and 5, are less upset by outliers than precision and recall.

    Args:
        samples: (n, *event), usually features (n, d).
        data: (m, *event).
        k: which neighbour a ball reaches, at least 1.

    Returns:
        The four figures.

    Raises:
        ValueError: for k < 1, no more than k samples in a set, different event shapes, or values that
            are not finite.
    """
    if k < 1:
        raise ValueError(f"the number of the neighbour k is at least 1, got {k}")
    x, y = flat_pair(samples, data, ("samples", "data"), least=k + 1)
    radius_x, radius_y = _radii(x, k), _radii(y, k)
    covered = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    recalled = torch.zeros_like(covered)
    precise, held = 0, 0
    rows = rows_at_once(len(y))
    for some, radius in zip(torch.split(x, rows), torch.split(radius_x, rows), strict=True):
        distances = pairwise(some, y)
        inside = distances <= radius_y
        precise += int(inside.any(dim=1).sum())
        held += int(inside.sum())
        covered |= inside.any(dim=0)
        recalled |= (distances <= radius[:, None]).any(dim=0)
    return PrecisionRecall(
        precision=precise / len(x),
        recall=int(recalled.sum()) / len(y),
        density=held / (k * len(x)),
        coverage=int(covered.sum()) / len(y),
        k=k,
    )


def _radii(x: Tensor, k: int) -> Tensor:
    """Distance of each row to its k-th nearest other row, (n,)."""
    radii, rows = [], rows_at_once(len(x))
    for start in range(0, len(x), rows):
        distances = pairwise(x[start : start + rows], x)
        distances.diagonal(start).fill_(torch.inf)
        radii.append(distances.topk(k, dim=1, largest=False).values[:, -1])
    return torch.cat(radii)
