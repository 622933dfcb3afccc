"""What a model of (source, potential) is told in training: nothing, a whole field, or noisy sensors."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unstir import noise
from unstir.noise import Stream
from unstir.training.data import Array

KINDS = ("nothing", "sensors", "first", "second")
"""Of the condition ``known``: no entry, scattered noisy ones, or all of the first or second field."""


class Known:
    """The condition ``known`` of pairs of fields, made when asked for: enough of an array for `ArrayData`.

    Row r has a kind, a number of sensors (log-uniform), their cells, which fields they are in (the first, the
    second, or each of them in either), and their noise, all decided by (seed, r). What is not known is NaN.

    Args:
        pairs: (n, fields, *space) of any array type.
        rows: which row of ``pairs`` belongs to each row here, (rows,); all in order if left out.
        noise_levels: standard deviation of the sensors' noise, one for each field.
        shares: how often each of `KINDS` comes, summing to 1.
        counts: least and largest number of sensors.
        seed: of it all.

    Raises:
        ValueError: for shares that do not sum to 1, or numbers of sensors that the grid does not hold.
    """

    def __init__(
        self,
        pairs: Array,
        *,
        rows: NDArray[np.int64] | None = None,
        noise_levels: tuple[float, ...],
        shares: tuple[float, float, float, float] = (0.4, 0.3, 0.2, 0.1),
        counts: tuple[int, int] = (8, 128),
        seed: int = 0,
    ) -> None:
        cells = math.prod(pairs.shape[2:])
        if min(shares) < 0 or abs(sum(shares) - 1.0) > 1e-6:
            raise ValueError(f"the shares of {', '.join(KINDS)} sum to 1, got {shares}")
        if not 1 <= counts[0] <= counts[1] <= cells:
            raise ValueError(f"a grid of {cells} cells holds 1 to {cells} sensors, got {counts}")
        self.pairs, self.noise_levels, self.shares, self.counts = pairs, noise_levels, shares, counts
        self.seed = seed
        self.rows = np.arange(len(pairs)) if rows is None else rows
        self.shape = (len(self.rows), *pairs.shape[1:])
        self.ndim, self.dtype = pairs.ndim, np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: slice | NDArray[np.int64]) -> Array:
        index = torch.arange(len(self))[key] if isinstance(key, slice) else torch.as_tensor(key)
        x = torch.from_numpy(np.asarray(self.pairs[self.rows[index.numpy()]], dtype=np.float32))
        known = torch.full_like(x, math.nan)
        kind = self._kinds(index)
        for field in (0, 1):
            whole = kind == 2 + field
            known[whole, field] = x[whole, field]
        sensed = kind == 1
        if bool(sensed.any()):
            known[sensed] = self._sensed(x[sensed], index[sensed])
        return known.numpy()

    def _uniform(self, event: tuple[int, ...], index: Tensor, step: int) -> Tensor:
        return noise.uniform(event, seed=self.seed, index=index, stream=Stream.FIELD_KNOWN, step=step)

    def _kinds(self, index: Tensor) -> Tensor:
        edges = torch.tensor(self.shares, dtype=torch.float64).cumsum(0)[:-1]
        return torch.bucketize(self._uniform((), index, 0), edges, right=True)

    def _sensed(self, x: Tensor, index: Tensor) -> Tensor:
        """Values with noise at the sensors of some rows, NaN elsewhere."""
        space = tuple(x.shape[2:])
        count, where = self._uniform((2,), index, 1).T
        low, high = self.counts
        number = (low * ((high + 1) / low) ** count).floor().clamp(max=high)
        order = self._uniform((math.prod(space),), index, 2).argsort(dim=1).argsort(dim=1)
        chosen = (order < number[:, None]).reshape(-1, *space)
        # A third each: in the first field, in the second, each sensor in one of them by chance.
        second = self._uniform(space, index, 3) < (where * 3.0).floor().reshape(-1, *[1] * len(space)) / 2.0
        mask = torch.stack([chosen & ~second, chosen & second], dim=1)
        e = noise.normal(
            x.shape[1:], seed=self.seed, index=index, stream=Stream.FIELD_KNOWN, step=4, dtype=x.dtype
        )
        level = torch.tensor(self.noise_levels, dtype=x.dtype).reshape(-1, *[1] * len(space))
        return torch.where(mask, x + level * e, math.nan)
