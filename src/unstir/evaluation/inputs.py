"""What every figure of this package demands of its inputs, said once."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir import noise


def flat(x: Tensor, name: str, least: int = 2) -> Tensor:
    """Events as rows of float64 numbers.

    Args:
        x: (n, *event), real, finite.
        name: what the caller calls it, for the error's sentence.
        least: smallest n.

    Returns:
        (n, d) float64, d = prod(event) >= 1.

    Raises:
        ValueError: for fewer than ``least`` samples, empty events, complex or non-finite values.
    """
    if x.ndim == 0 or x.is_complex() or (x.ndim > 1 and x[:0].flatten(1).shape[1] == 0):
        raise ValueError(f"{name} must be real samples of shape (n, *event), got {tuple(x.shape)} {x.dtype}")
    if len(x) < least:
        raise ValueError(f"{name} needs at least {least} samples, got {len(x)}")
    finite = x.reshape(len(x), -1).isfinite().all(dim=1)
    if not bool(finite.all()):
        raise ValueError(
            f"{name} has values that are not finite, first in sample {int(finite.int().argmin())}"
        )
    return x.detach().reshape(len(x), -1).double()


def flat_pair(a: Tensor, b: Tensor, names: tuple[str, str], least: int = 2) -> tuple[Tensor, Tensor]:
    """Two sets of events of one shape, each as in `flat`.

    Raises:
        ValueError: as in `flat`, and for different event shapes or devices.
    """
    rows = flat(a, names[0], least), flat(b, names[1], least)
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(
            f"{names[0]} and {names[1]} must be events of one shape, "
            f"got {tuple(a.shape[1:])} and {tuple(b.shape[1:])}"
        )
    if a.device != b.device:
        raise ValueError(f"{names[0]} and {names[1]} must be on one device, got {a.device} and {b.device}")
    return rows


def class_labels(labels: Tensor, count: int, classes: int, name: str) -> Tensor:
    """Labels as (count,) int64 in 0 ... classes - 1.

    Raises:
        ValueError: for another shape, a type that is not integer, or a class out of range.
    """
    if labels.shape != (count,) or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"{name} must be {count} integers, one class for each sample, "
            f"got shape {tuple(labels.shape)} of {labels.dtype}"
        )
    labels = labels.long()
    if count and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(
            f"{name} must lie between 0 and {classes - 1}, got {int(labels.min())} to {int(labels.max())}"
        )
    return labels


def subset(x: Tensor, count: int, *, seed: int, step: int = 0, labels: Tensor | None = None) -> Tensor:
    """``count`` random rows of x, or x itself if it has no more; the shares of labels (n,) are kept."""
    if len(x) <= count:
        return x
    order = noise.permutation(len(x), seed=seed, stream=noise.Stream.SPLIT, step=step)
    if labels is not None:
        by_label = order[labels.cpu()[order].argsort(stable=True)]
        order = by_label[torch.arange(count) * len(x) // count]
    return x[order[:count].to(x.device)]


def rows_at_once(columns: int, limit: int = 2**22) -> int:
    """How many rows of a distance matrix fit in ``limit`` numbers (32 MiB of float64 by default)."""
    return max(1, limit // max(1, columns))


def pairwise(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances (n, m) of float64 rows, as one matrix product whatever the sizes.

    Round-off is about 1e-8 of the largest distance from the mean of b, which is subtracted first.
    """
    centre = b.mean(0)
    return torch.cdist(a - centre, b - centre, compute_mode="use_mm_for_euclid_dist")
