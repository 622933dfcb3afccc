"""Does a model copy its training data: samples' nearest training points against held-out data's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.evaluation.inputs import flat_pair, pairwise, rows_at_once


@dataclass(frozen=True, eq=False)
class Memorisation:
    """How near samples lie to the training data, beside how near held-out data lie.

    Attributes:
        mean_distance: mean distance of a sample to its nearest training point.
        heldout_mean_distance: the same for held-out points.
        ratio: their quotient; 1 for samples like fresh data, 0 for copies, None where the second is 0.
        share_nearer: share of samples nearer than 99 % of the held-out points; 0.01 for fresh data.
        z: the rank statistic of `memorisation_test`; standard normal for fresh data, negative for copies.
        p_value: probability that fresh data lie as near as the samples do.
        nearest: (n,) int64, index of each sample's nearest training point.
        distances: (n,) float64, the distance to it.
    """

    mean_distance: float
    heldout_mean_distance: float
    ratio: float | None
    share_nearer: float
    z: float
    p_value: float
    nearest: Tensor
    distances: Tensor

    @property
    def significant(self) -> bool:
        """Whether samples lie nearer to the training data than held-out data do (p < 0.001)."""
        return self.p_value < 1e-3

    def to_dict(self) -> dict[str, Any]:
        """The numbers, without the tensors."""
        names = ("mean_distance", "heldout_mean_distance", "ratio", "share_nearer", "z", "p_value")
        return {name: getattr(self, name) for name in names} | {"significant": self.significant}


def memorisation_test(samples: Tensor, train: Tensor, heldout: Tensor) -> Memorisation:
    r"""Compare distances to the nearest training point of samples and of held-out data by rank.

    With U the number of pairs in which the sample is the farther one (Mann & Whitney 1947), and n samples
    and m held-out points,

    .. math:: z = \frac{U - n m / 2}{\sqrt{n m (n + m + 1) / 12}}

    Source: Meehan, Chaudhuri & Dasgupta 2020, section 4.1, there in cells of a partition. A small distance
    alone proves no copying: blurred samples lie near to everything. Look at the pairs and at recall, too.

    Args:
        samples: (n, *event), n >= 1; pixels or features.
        train: (k, *event).
        heldout: (m, *event), m >= 2, not seen in training.

    Returns:
        The figures, and the nearest training point of each sample.

    Raises:
        ValueError: for sets that are too small, different event shapes, or values that are not finite.
    """
    from scipy.stats import mannwhitneyu

    x, points = flat_pair(samples, train, ("samples", "train"), least=1)
    y, _ = flat_pair(heldout, train, ("heldout", "train"), least=1)
    if len(y) < 2:
        raise ValueError(f"heldout needs at least 2 samples, got {len(y)}")
    distances, nearest = nearest_points(x, points)
    reference, _ = nearest_points(y, points)
    n, m = len(x), len(y)
    if bool((torch.cat([distances, reference]) == reference[0]).all()):
        statistic, p_value = n * m / 2, 1.0  # all ranks are tied, for which scipy has no variance
    else:
        test = mannwhitneyu(
            distances.cpu().numpy(), reference.cpu().numpy(), alternative="less", method="asymptotic"
        )
        statistic, p_value = float(test.statistic), float(test.pvalue)
    mean, expected = float(distances.mean()), float(reference.mean())
    return Memorisation(
        mean_distance=mean,
        heldout_mean_distance=expected,
        ratio=mean / expected if expected > 0 else None,
        share_nearer=float((distances < reference.quantile(0.01)).double().mean()),
        z=(statistic - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12),
        p_value=p_value,
        nearest=nearest,
        distances=distances,
    )


def nearest_points(x: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Distance (n,) float64 and index (n,) int64 of the nearest of ``points`` (k, *event) for each of x."""
    x, points = flat_pair(x, points, ("x", "points"), least=1)
    found = [pairwise(some, points).argmin(dim=1) for some in torch.split(x, rows_at_once(len(points)))]
    nearest = torch.cat(found)
    # Recomputed as a plain difference: the matrix product would give a copy a distance of 1e-8, not 0.
    return (x - points[nearest]).norm(dim=1), nearest
