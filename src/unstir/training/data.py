"""Training data: an array (in memory or memory-mapped), its labels, and how it is scaled."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unstir.networks.conditions import How, check_factors, check_name
from unstir.networks.embeddings import NO_LABEL

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Scaling:
    """Between the units of the data and those of the network: internal = (data - shift) / scale.

    Attributes:
        shift: one number, or one for each entry of the event's first axis (channels or features).
        scale: likewise, above 0.
    """

    shift: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not self.shift or len(self.shift) != len(self.scale) or not all(s > 0 for s in self.scale):
            raise ValueError("a scaling has as many shifts as scales, and every scale is above 0")
        if not all(map(math.isfinite, (*self.shift, *self.scale))):
            raise ValueError(f"a scaling is finite, got shift {self.shift} and scale {self.scale}")

    def _factors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        def shaped(values: tuple[float, ...]) -> Tensor:
            tensor = torch.tensor(values, dtype=x.dtype, device=x.device)
            return tensor.reshape(-1, *[1] * (x.ndim - 2)) if len(values) > 1 else tensor[0]

        return shaped(self.shift), shaped(self.scale)

    def to_internal(self, x: Tensor) -> Tensor:
        """(batch, *event) in data units to the network's units."""
        shift, scale = self._factors(x)
        return (x - shift) / scale

    def to_data(self, x: Tensor) -> Tensor:
        """(batch, *event) in the network's units to data units."""
        shift, scale = self._factors(x)
        return torch.addcmul(shift, x, scale)

    def log_volume(self, event: tuple[int, ...]) -> float:
        """log |d internal / d data| of an event, -sum log scale: what a log-density in data units gains."""
        return -math.prod(event) / len(self.scale) * sum(math.log(s) for s in self.scale)


@dataclass(frozen=True)
class ConditionArray:
    """A named condition of every sample.

    Attributes:
        values: (n, *shape), without infinities; a NaN is "not given".
        how: how it enters the network (`networks.conditions`).
        scaling: between its units and those of the network; one number, or one for each entry of the first
            axis of ``shape``.
        drop: share of the samples, 0 to 1, that are trained without this condition, beside those that are
            trained without any.

    Raises:
        ValueError: for values without a shape or with infinities (of an array in memory), an unknown way in,
            a scaling of another length, or a share out of its range.
    """

    values: Array
    how: How = "embed"
    scaling: Scaling = Scaling()
    drop: float = 0.0

    def __post_init__(self) -> None:
        if self.values.ndim < 2 or 0 in self.shape:
            raise ValueError(
                "the values of a condition are an array (samples, ...) with at least one entry a sample, got "
                f"{self.values.shape}"
            )
        if self.how not in get_args(How):
            raise ValueError(f"a condition enters by {', '.join(get_args(How))}; got {self.how!r}")
        check_factors(self.shape, len(self.scaling.shift), len(self.scaling.scale))
        if not 0.0 <= self.drop <= 1.0:
            raise ValueError(f"a condition is dropped for a share of the samples, 0 to 1, got {self.drop}")
        # Arrays that are read when asked for are not gone through.
        if type(self.values) is np.ndarray and self.values.dtype.kind == "f" and np.isinf(self.values).any():
            raise ValueError("the values of a condition are finite, or NaN where not given; got an infinity")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample's condition."""
        return tuple(self.values.shape[1:])


@dataclass(frozen=True)
class ArrayData:
    """Samples as rows of an array.

    Attributes:
        x: (n, *event) of any numeric type, finite; may be a memory map.
        labels: (n,) integers 0 ... classes - 1, or None.
        vectors: (n, length) condition vectors, or None.
        scaling: applied to every batch.
        flip: mirror the last axis of a random half of the samples, in training, and of their conditions of
            kind ``channels``.
        conditions: further conditions by name.

    Raises:
        ValueError: if the array is empty, labels, vectors or conditions do not match it, a condition has a
            name that cannot be one, or samples are mirrored with a condition that cannot be.
    """

    x: Array
    labels: Array | None = None
    vectors: Array | None = None
    scaling: Scaling = Scaling()
    flip: bool = False
    conditions: Mapping[str, ConditionArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.x.ndim < 2 or len(self.x) == 0:
            raise ValueError(
                f"training data is an array (samples, ...) with at least one sample, got {self.x.shape}"
            )
        named = {f"values of {name!r}": c.values for name, c in self.conditions.items()}
        for name, value in {"labels": self.labels, "vectors": self.vectors, **named}.items():
            if value is not None and len(value) != len(self.x):
                raise ValueError(f"there are {len(self.x)} samples but {len(value)} {name}")
        for name, c in self.conditions.items():
            check_name(name)
            if self.flip and c.how in ("image", "own"):
                raise ValueError(
                    f"mirrored samples would not fit their condition {name!r} of kind {c.how!r}; leave flip "
                    "out"
                )

    def __len__(self) -> int:
        return len(self.x)

    @property
    def event(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.x.shape[1:])

    def batch(self, rows: Tensor | slice) -> tuple[Tensor, dict[str, Tensor]]:
        """The samples of some rows, scaled, float32, and their conditions.

        Args:
            rows: (batch,) int64, or a slice.

        Returns:
            x (batch, *event) and the conditions: ``label`` and ``vector`` where there are any, and the others
            by name.
        """
        key = rows if isinstance(rows, slice) else rows.numpy()
        x = self.scaling.to_internal(torch.from_numpy(np.asarray(self.x[key], dtype=np.float32)))
        condition = {}
        if self.labels is not None:
            condition["label"] = torch.from_numpy(np.asarray(self.labels[key], dtype=np.int64))
        if self.vectors is not None:
            condition["vector"] = torch.from_numpy(np.asarray(self.vectors[key], dtype=np.float32))
        for name, c in self.conditions.items():
            values = torch.from_numpy(np.asarray(c.values[key], dtype=np.float32))
            condition[name] = c.scaling.to_internal(values)
        return x, condition

    def unscaled(self) -> ArrayData:
        """The same data whose batches are in data units, the conditions in theirs."""
        conditions = {name: replace(c, scaling=Scaling()) for name, c in self.conditions.items()}
        return replace(self, scaling=Scaling(), conditions=conditions)

    def chunks(self, size: int = 4096) -> Iterator[Tensor]:
        """All samples in order, scaled, at most ``size`` at once."""
        for start in range(0, len(self), size):
            part = np.asarray(self.x[start : start + size], dtype=np.float32)
            yield self.scaling.to_internal(torch.from_numpy(part))

    def internal_std(self) -> float:
        """Standard deviation of all entries about their common mean, in the network's units."""
        count, total, squares = 0, 0.0, 0.0
        for x in self.chunks():
            count += x.numel()
            total += float(x.double().sum())
            squares += float(x.double().square().sum())
        return float(max(squares / count - (total / count) ** 2, 1e-12) ** 0.5)


def drop_at_random(
    data: ArrayData, condition: dict[str, Tensor], draws: Tensor, share: float
) -> dict[str, Tensor]:
    """Condition dropout: all conditions of a share of a batch's rows, and each alone in its own share.

    Args:
        data: where the conditions came from; says how often each is dropped alone.
        condition: (batch, ...) by name.
        draws: (batch, 1 + named conditions) uniform numbers: for all together, then for each in its order.
        share: of the rows that lose all.
    """
    named = data.conditions
    alone = {name: draws[:, 1 + k] < c.drop for k, (name, c) in enumerate(named.items())}
    return drop_conditions(condition, draws[:, 0] < share, alone)


def knows_nothing(data: ArrayData, *, most: int = 1024) -> bool:
    """Whether some sample of the data comes without any condition, so that a model learns that, too.

    Args:
        data: with at least one condition.
        most: samples that are looked at, spread evenly over the data.
    """
    rows = torch.linspace(0, len(data) - 1, min(most, len(data)), dtype=torch.float64).round().long()
    nothing = torch.ones(len(rows), dtype=torch.bool)
    for part, found in zip(rows.split(128), nothing.split(128), strict=True):  # type: ignore[no-untyped-call]
        for name, value in data.batch(part)[1].items():
            blank = value.isnan() if value.is_floating_point() else value == NO_LABEL
            whole = name in data.conditions and data.conditions[name].how in ("channels", "own")
            flat = blank.reshape(len(part), -1)
            found &= flat.all(1) if whole else flat.any(1)
    return bool(nothing.any())


def drop_conditions(
    condition: dict[str, Tensor], dropped: Tensor, alone: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Conditions of a batch in which some rows are "not given": -1 for labels, NaN for all others.

    Args:
        condition: (batch, ...) by name.
        dropped: (batch,) bool, rows without any condition.
        alone: rows without this condition, by name.
    """
    result = {}
    for name, value in condition.items():
        rows = dropped | alone[name] if alone and name in alone else dropped
        blank = math.nan if value.is_floating_point() else NO_LABEL
        result[name] = value.masked_fill(rows.reshape(-1, *[1] * (value.ndim - 1)), blank)
    return result
