"""The two halves of every data set: what training sees, and what it never does."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unstir.training import ArrayData, Scaling
from unstir.training.data import Array


@dataclass(frozen=True)
class Splits:
    """Training and held-out data, and what is known of both.

    Attributes:
        train: what training sees.
        heldout: what it does not.
        classes: names of the classes; empty without labels.
        bounds: range of valid values in data units, or None.
        integer: whether the data are integers.
    """

    train: ArrayData
    heldout: ArrayData
    classes: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    integer: bool = False


def split(data: ArrayData, share: float, *, seed: int = 0) -> tuple[ArrayData, ArrayData]:
    """Split into training and held-out rows, the same share of each class; both keep the file's order.

    Args:
        data: all samples.
        share: of the held-out part, in (0, 1).
        seed: of the split.

    Raises:
        ValueError: if a part would be empty.
    """
    from sklearn.model_selection import train_test_split

    n = len(data)
    if round(n * share) < 1 or round(n * share) >= n:
        raise ValueError(f"{n} samples cannot be split: a held-out share of {share} leaves a part empty")
    labels = data.labels
    if labels is not None:
        counts = np.bincount(np.asarray(labels).astype(np.int64))
        if counts[counts > 0].min() < 2 or round(n * share) < np.count_nonzero(counts):
            labels = None
    train, heldout = train_test_split(np.arange(n), test_size=share, random_state=seed, stratify=labels)
    return take(data, np.sort(train)), take(data, np.sort(heldout))


def take(data: ArrayData, rows: NDArray[np.int64]) -> ArrayData:
    """The samples of some rows; what is read when asked for, such as a memory map, stays so."""
    return replace(
        data,
        x=_some(data.x, rows),
        conditions={name: replace(c, values=_some(c.values, rows)) for name, c in data.conditions.items()},
        labels=None if data.labels is None else np.asarray(data.labels)[rows],
        vectors=None if data.vectors is None else np.asarray(data.vectors)[rows],
    )


def evenly(n: int, count: int) -> NDArray[np.int64]:
    """At most ``n`` rows out of ``count``, spread over all of them: files of one class are often in a row."""
    return np.linspace(0, count - 1, min(n, count)).round().astype(np.int64)


def _some(values: Array, rows: NDArray[np.int64]) -> Array:
    return values[rows] if type(values) is np.ndarray else Rows(values, rows)  # type: ignore[return-value]


class Rows:
    """Some rows of an array that is read when asked for; enough of an array for `ArrayData`.

    Args:
        base: a memory map, or anything else with the shape and rows of an array.
        rows: (n,) which of its rows.
    """

    def __init__(self, base: Array, rows: NDArray[np.int64]) -> None:
        self.base, self.rows = base, rows
        self.shape = (len(rows), *base.shape[1:])
        self.ndim, self.dtype = base.ndim, base.dtype

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: slice | NDArray[np.int64]) -> Array:
        return np.asarray(self.base[self.rows[key]])


def range_scaling(low: float, high: float) -> Scaling:
    """The scaling that maps [low, high] to [-1, 1]."""
    return Scaling(((low + high) / 2.0,), ((high - low) / 2.0,))
