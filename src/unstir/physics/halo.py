"""Constant coefficients on a grid with copies of the edge cells round it, laid out as one line of memory.

A neighbour is then a shift of the line, which the machine reads at full speed; with as many rounds of copies
as steps, several steps need no look at the boundary. Periodic axes wrap, reflecting ones mirror.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.physics.stencil import Stencil


@dataclass(frozen=True)
class Halo:
    """The layout of a padded grid.

    Attributes:
        shape: of the grid.
        width: cells of padding on each side of each axis.
        wraps: for each axis, whether it is periodic (else it reflects).
    """

    shape: tuple[int, ...]
    width: int
    wraps: tuple[bool, ...]

    @property
    def padded(self) -> tuple[int, ...]:
        return tuple(n + 2 * self.width for n in self.shape)

    @property
    def strides(self) -> tuple[int, ...]:
        """How far along the line the next cell of each axis is."""
        return tuple(math.prod(self.padded[k + 1 :]) for k in range(len(self.shape)))

    def line(self, u: Tensor) -> Tensor:
        """(..., *shape) to (..., cells of the padded grid), the padding not yet filled."""
        batch = u.shape[: u.ndim - len(self.shape)]
        padded = u.new_zeros(*batch, *self.padded)
        self._inner(padded).copy_(u)
        return padded.reshape(*batch, -1)

    def grid(self, line: Tensor) -> Tensor:
        """The inverse of `line`, a view."""
        return self._inner(line.view(*line.shape[:-1], *self.padded))

    def fill(self, line: Tensor) -> None:
        """Copy the edges into the padding, in place; the corners follow axis by axis."""
        padded, m = line.view(*line.shape[:-1], *self.padded), self.width
        for k, (n, wrap) in enumerate(zip(self.shape, self.wraps, strict=True)):
            axis = k - len(self.shape)
            low, high = padded.narrow(axis, 0, m), padded.narrow(axis, n + m, m)
            first, last = padded.narrow(axis, m, m), padded.narrow(axis, n, m)
            low.copy_(last if wrap else first.flip(axis))
            high.copy_(first if wrap else last.flip(axis))

    def _inner(self, padded: Tensor) -> Tensor:
        for k, n in enumerate(self.shape):
            padded = padded.narrow(k - len(self.shape), self.width, n)
        return padded


def halo(
    stencils: Sequence[Stencil], periodic: Sequence[bool], shape: tuple[int, ...], width: int
) -> Halo | None:
    """The layout if every stencil has constant coefficients and every axis wraps or mirrors, else None.

    Args:
        stencils: of the species.
        periodic: for each axis.
        shape: of the grid.
        width: of the padding, the number of steps between two fillings.
    """
    if min(shape) < width:
        return None
    for s in stencils:
        fields = [field for field in (s.sink, s.source) if field is not None]
        if any(field.ndim for field in fields):
            return None
        for k, (pair, wrap) in enumerate(zip(s.gains, periodic, strict=True)):
            if (len(pair) > 1 or pair[0].ndim) if wrap else not _mirrors(pair, k, len(shape)):
                return None
    return Halo(tuple(shape), width, tuple(periodic))


def conductances(stencil: Stencil) -> tuple[Tensor, ...]:
    """The one exchange rate of each axis, scalars; for stencils that `halo` accepts."""
    return tuple(pair[0].flatten()[0] for pair in stencil.gains)


def spread(line: Tensor, gains: Sequence[Tensor], strides: Sequence[int]) -> Tensor:
    """A u on the line without the first and the last ``strides[0]`` cells."""
    reach, size = strides[0], line.shape[-1]
    centre = line[..., reach : size - reach]
    total = torch.zeros_like(centre)
    for gain, s in zip(gains, strides, strict=True):
        before, after = line[..., reach - s : size - reach - s], line[..., reach + s : size - reach + s]
        total = total + gain * (before + after - 2.0 * centre)
    return total


def _mirrors(pair: tuple[Tensor, ...], axis: int, dims: int) -> bool:
    """Whether an axis' rates are one constant, with nothing beyond its two ends."""
    if len(pair) == 1 or pair[0].ndim != dims or pair[0].numel() != pair[0].shape[axis]:
        return False
    if pair[1].shape != pair[0].shape:
        return False
    above, below = pair[0].flatten(), pair[1].flatten()
    if float(above[-1]) != 0.0 or float(below[0]) != 0.0:
        return False
    inner = torch.cat([above[:-1], below[1:]])
    return bool(((inner - inner[0]).abs() <= 1e-12 * inner[0].abs()).all())
