"""A generator on a grid as a stencil: every cell exchanges with its neighbours along each axis.

The fastest way to take many short explicit steps: coefficients that do not vary are kept as numbers or rows,
and the whole step compiles into one pass over memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.generators import Generator
from unstir.generators.faces import Parts
from unstir.spaces import Grid

Gains = tuple[tuple[Tensor, ...], ...]
"""For each axis (from the next cell, from the previous cell), or a single entry where both are the same."""


@dataclass(frozen=True, eq=False)
class Stencil:
    """A u + source by shifts of u.

    Attributes:
        gains: exchange rates, 1 / time; each a scalar or of a shape that broadcasts to the grid's, 0 where
            there is no neighbour.
        sink: what a constant density loses, 1 / time, or None for nothing.
        source: or None.
    """

    gains: Gains
    sink: Tensor | None
    source: Tensor | None

    def __call__(self, u: Tensor) -> Tensor:
        return exchanged(u, self.gains, self.sink, self.source)

    def to(self, u: Tensor) -> Stencil:
        """The same stencil in the type and on the device of u."""
        sink = None if self.sink is None else self.sink.to(u)
        source = None if self.source is None else self.source.to(u)
        return Stencil(tuple(tuple(gain.to(u) for gain in pair) for pair in self.gains), sink, source)


def exchanged(u: Tensor, gains: Gains, sink: Tensor | None, source: Tensor | None) -> Tensor:
    """A u + source as in `Stencil`, written without mutation so that it compiles into one pass."""
    d = len(gains)
    total = torch.zeros_like(u) if sink is None else -sink * u
    for k, pair in enumerate(gains):
        after, before = u.roll(-1, k - d), u.roll(1, k - d)
        if len(pair) == 1:
            total = total + pair[0] * (after + before - 2.0 * u)
        else:
            total = total + (pair[0] * (after - u) + pair[1] * (before - u))
    return total if source is None else total + source


def stencil(generator: Generator) -> Stencil:
    """The stencil of a finite-volume generator on a grid.

    Raises:
        ValueError: for a graph, a bare chain, a kernel with long jumps, or the spectral scheme.
    """
    grid = generator.space
    if not isinstance(grid, Grid):
        raise ValueError("a stencil needs a grid; a graph or a chain has no neighbours along axes")
    parts = generator.parts()
    gains = _gains(parts, grid)
    row_sum = parts.diagonal.detach().reshape(grid.shape) + sum(a + b for a, b in gains)
    lost = torch.where(row_sum.abs() > 1e-12 * generator.rate, -row_sum, 0.0)
    pairs: list[tuple[Tensor, ...]] = []
    for above, below in gains:
        one, other = _reduced(above, generator.rate), _reduced(below, generator.rate)
        same = one.ndim == 0 and other.ndim == 0 and bool((one - other).abs() <= 1e-13 * generator.rate)
        pairs.append((one,) if same else (one, other))
    source = None if generator.source is None else generator.source.detach()
    return Stencil(tuple(pairs), _reduced(lost, generator.rate) if bool((lost != 0).any()) else None, source)


def _gains(parts: Parts, grid: Grid) -> list[tuple[Tensor, Tensor]]:
    """Rates from the next and the previous cell along each axis, fields of the grid's shape."""
    rows = torch.stack(torch.unravel_index(parts.rows, grid.shape))
    cols = torch.stack(torch.unravel_index(parts.cols, grid.shape))
    length = torch.tensor(grid.shape)[:, None]
    step = (cols - rows) % length
    rates = parts.rates.detach()
    gains, used = [], torch.zeros(len(rates), dtype=torch.bool)
    for k in range(len(grid.shape)):
        others = (step != 0).sum(0) == (step[k] != 0).long()
        pair = []
        for move in (1, grid.shape[k] - 1):
            chosen = others & (step[k] == move) & ~used
            used |= chosen
            field = torch.zeros(len(parts.diagonal), dtype=torch.float64)
            pair.append(field.index_add(0, parts.rows[chosen], rates[chosen]).reshape(grid.shape))
        gains.append((pair[0], pair[1]))
    if not bool(used[rates != 0].all()):
        raise ValueError("a stencil joins neighbours only, but this generator has jumps over cells")
    return gains


def _reduced(field: Tensor, size: float) -> Tensor:
    """The field with one cell along axes where it varies by no more than round-off; or a scalar."""
    for k in range(field.ndim):
        first = field.narrow(k, 0, 1)
        if float((field - first).abs().max()) <= 1e-13 * size:
            field = first
    return field.reshape(()) if field.numel() == 1 else field
