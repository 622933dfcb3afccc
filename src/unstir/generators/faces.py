"""From a space and its coefficients to rates between cells: Scharfetter-Gummel fluxes through faces.

With the conductance c of a face between cells i and j (area times diffusivity over distance) and the drop
p = V_i - V_j + w h / D of the potential and the drift along it, the flux from i to j is

    c (B(-p) u_i - B(p) u_j),  B(x) = x / (exp(x) - 1).

It is exact for a constant field between the two centres, its rates are positive and conserve mass for any
field, and it vanishes for u ~ exp(-V), so the stationary density is exact. Source: Scharfetter & Gummel 1969,
eq. 12; positivity and order: Heida, Kantner & Stephan 2021, section 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.spaces import Axis, Graph, Grid
from unstir.spaces.boundary import bernoulli


@dataclass
class Parts:
    """A generator as numbers: du/dt = A u + source on flattened cells.

    Attributes:
        rows: (m,) int64, cells that gain.
        cols: (m,) int64, cells that lose.
        rates: (m,) entries of A off the diagonal, at least 0.
        diagonal: (N,) at most 0.
        source: (N,) or None.
        log_scale: (N,) log s such that s_i A_ij / s_j is symmetric, or None if there is none.
        volumes: (N,).
        leaks: whether some cell loses to the outside (a sink or an open boundary).
    """

    rows: Tensor
    cols: Tensor
    rates: Tensor
    diagonal: Tensor
    source: Tensor | None
    log_scale: Tensor | None
    volumes: Tensor
    leaks: bool


@dataclass
class Coefficients:
    """What spreads and how, on a grid: one entry for each axis, each a scalar or a field."""

    D: list[Tensor]
    potential: Tensor | None
    drift: list[Tensor] | None
    sink: Tensor

    @property
    def tensors(self) -> list[Tensor]:
        extra = [] if self.potential is None else [self.potential]
        return [*self.D, *(self.drift or []), *extra, self.sink]


def assemble_grid(grid: Grid, c: Coefficients) -> Parts:
    """Rates between the cells of a grid."""
    number = torch.arange(grid.volumes.numel()).reshape(grid.shape)
    flat_volumes = grid.volumes.reshape(-1)
    present = torch.ones(grid.shape, dtype=torch.bool) if grid.mask is None else grid.mask
    rows, cols, rates = [], [], []
    loss = torch.zeros_like(flat_volumes) + c.sink.expand(grid.shape).reshape(-1) * present.reshape(-1)
    source = torch.zeros_like(flat_volumes)
    has_source, leaks = False, bool((c.sink > 0).any())
    for k, axis in enumerate(grid.axes):
        i, j, conductance, drop = _inner(grid, c, k, number, present)
        forward, backward = conductance * bernoulli(-drop), conductance * bernoulli(drop)
        rows += [j, i]
        cols += [i, j]
        rates += [forward / flat_volumes[j], backward / flat_volumes[i]]
        loss = loss.index_add(0, i, forward / flat_volumes[i]).index_add(0, j, backward / flat_volumes[j])
        for upper in () if axis.periodic else (False, True):
            cells, out, gain = _end(grid, c, k, upper, number, present)
            loss = loss.index_add(0, cells, out / flat_volumes[cells])
            source = source.index_add(0, cells, gain / flat_volumes[cells])
            has_source = has_source or bool((gain.detach() != 0).any())
            leaks = leaks or bool((out.detach() != 0).any())
    scale = 0.5 * flat_volumes.log()
    if c.potential is not None:
        scale = scale + 0.5 * c.potential.detach().reshape(-1)
    parts = Parts(
        torch.cat(rows),
        torch.cat(cols),
        torch.cat(rates),
        -loss,
        source if has_source else None,
        scale,
        flat_volumes,
        leaks,
    )
    if c.drift is not None:
        parts.log_scale = _chain_scale(grid, parts)
    return parts


def assemble_graph(graph: Graph, D: Tensor, potential: Tensor | None, sink: Tensor) -> Parts:
    """Rates D w_ij B(V_j - V_i) between the nodes of a graph."""
    start, end = graph.index
    drop = torch.zeros_like(graph.weights) if potential is None else potential[start] - potential[end]
    rates = D * graph.weights * bernoulli(-drop)
    loss = torch.zeros(graph.shape, dtype=torch.float64) + sink
    loss = loss.index_add(0, start, rates)
    scale = torch.zeros(graph.shape, dtype=torch.float64)
    if potential is not None:
        scale = scale + 0.5 * potential.detach()
    return Parts(
        end,
        start,
        rates,
        -loss,
        None,
        None if graph.directed else scale,
        graph.volumes,
        bool((sink > 0).any()),
    )


def _shifted(field: Tensor, shape: tuple[int, ...], axis: int, start: int, length: int) -> Tensor:
    """A slice of a field along an axis; a scalar stays one number for each cell."""
    return field.expand(shape).narrow(axis, start, length)


def _inner(
    grid: Grid, c: Coefficients, k: int, number: Tensor, present: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(i, j, conductance, drop) of the faces across axis k, between cells that exist."""
    axis, shape, n = grid.axes[k], grid.shape, grid.axes[k].cells
    first = torch.arange(n if axis.periodic and n > 1 else n - 1)
    second = (first + 1) % n
    like = [1] * len(shape)
    like[k] = len(first)
    half = 0.5 * axis.widths
    h_i, h_j = half[first].reshape(like), half[second].reshape(like)
    area = axis.areas[first + 1].reshape(like) * _cross(grid, k)
    D = c.D[k].expand(shape)
    D_i, D_j = D.index_select(k, first), D.index_select(k, second)
    open_ = (D_i > 0) & (D_j > 0)
    one = torch.ones_like(D_i)
    resistance = h_i / torch.where(open_, D_i, one) + h_j / torch.where(open_, D_j, one)
    drop = torch.zeros_like(resistance)
    if c.potential is not None:
        V = c.potential
        drop = drop + V.index_select(k, first) - V.index_select(k, second)
    if c.drift is not None:
        w = c.drift[k].expand(shape)
        # The velocity at the face, interpolated linearly between the centres.
        speed = (h_j * w.index_select(k, first) + h_i * w.index_select(k, second)) / (h_i + h_j)
        drop = drop + speed * resistance
    conductance = torch.where(open_, area / (resistance + _walls(grid, k, resistance)), 0.0 * one)
    keep = (present.index_select(k, first) & present.index_select(k, second)).reshape(-1)
    i, j = number.index_select(k, first).reshape(-1), number.index_select(k, second).reshape(-1)
    return i[keep], j[keep], conductance.reshape(-1)[keep], drop.reshape(-1)[keep]


def _walls(grid: Grid, k: int, resistance: Tensor) -> Tensor:
    """The resistance 1 / permeability that walls add to the faces across axis k."""
    extra = torch.zeros(resistance.shape, dtype=torch.float64)
    for wall in grid.walls:
        if wall.axis == k:
            where = torch.ones((), dtype=torch.bool) if wall.where is None else wall.where
            resist = torch.full(
                (), math.inf if wall.permeability == 0 else 1.0 / wall.permeability, dtype=torch.float64
            )
            added = torch.where(where, resist, 0.0)
            extra.select(k, grid.face(wall)).add_(added)
    return extra


def _cross(grid: Grid, k: int) -> Tensor:
    """The volumes of the other axes, shaped to multiply areas of faces across axis k."""
    cross = torch.ones((), dtype=torch.float64)
    for j, axis in enumerate(grid.axes):
        cross = cross[..., None] * (axis.volumes if j != k else torch.ones(1, dtype=torch.float64))
    return cross


def _end(
    grid: Grid, c: Coefficients, k: int, upper: bool, number: Tensor, present: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(cells, loss, gain) at one end of axis k, both as amounts: loss u goes out, gain comes in."""
    axis, shape = grid.axes[k], grid.shape
    place, sign = (axis.cells - 1, -1.0) if upper else (0, 1.0)
    here = torch.tensor([place])
    D = c.D[k].expand(shape).index_select(k, here)
    inward = torch.zeros_like(D)
    if c.drift is not None:
        inward = sign * c.drift[k].expand(shape).index_select(k, here)
    if c.potential is not None and axis.cells > 1:
        next_ = torch.tensor([place + (-1 if upper else 1)])
        gap = float((axis.centers[place] - axis.centers[int(next_)]).abs())
        slope = (c.potential.index_select(k, next_) - c.potential.index_select(k, here)) / gap
        inward = inward - D * slope
    area = float(axis.areas[-1 if upper else 0]) * _cross(grid, k).expand(D.shape)
    distance = 0.5 * axis.widths[place].expand(D.shape)
    boundary = axis.upper if upper else axis.lower
    sink, source = boundary.exchange(D, distance, inward)
    keep = present.index_select(k, here).reshape(-1)
    cells = number.index_select(k, here).reshape(-1)
    return cells[keep], (area * sink).reshape(-1)[keep], (area * source).reshape(-1)[keep]


def _chain_scale(grid: Grid, parts: Parts) -> Tensor | None:
    """With drift on a single axis that is not periodic the cells are a chain, and any chain is reversible."""
    if len(grid.shape) > 1 or grid.axes[0].periodic:
        return None
    n = grid.shape[0]
    dense = torch.zeros(n, n, dtype=torch.float64).index_put(
        (parts.rows, parts.cols), parts.rates.detach(), accumulate=True
    )
    up, down = dense.diagonal(-1), dense.diagonal(1)
    both = (up > 0) & (down > 0)
    ratio = torch.where(both, down.clamp(min=1e-300).log() - up.clamp(min=1e-300).log(), 0.0)
    return 0.5 * torch.cat([ratio.new_zeros(1), ratio.cumsum(0)])


def profile(field: Tensor, grid: Grid, k: int) -> Tensor | None:
    """A field as a function of axis k alone, () or (n_k,), or None if it depends on other axes."""
    if field.ndim == 0 or field.numel() == 1:
        return field.reshape(())
    line = field.movedim(k, 0).reshape(grid.shape[k], -1)
    if bool((line != line[:, :1]).any()):
        return None
    return line[:, 0]


def separated(potential: Tensor, grid: Grid) -> list[Tensor] | None:
    """V(x, y) = V_1(x) + V_2(y) as profiles, or None if the potential is not such a sum (to 1e-12)."""
    corner = potential.reshape(-1)[0]
    lines = []
    total = torch.zeros_like(potential)
    for k in range(len(grid.shape)):
        index = [0] * len(grid.shape)
        line = potential[tuple(slice(None) if j == k else index[j] for j in range(len(grid.shape)))] - corner
        like = [1] * len(grid.shape)
        like[k] = -1
        total = total + line.reshape(like)
        lines.append(line)
    scale = float(potential.abs().max()) or 1.0
    return lines if bool(((total + corner - potential).abs() <= 1e-12 * scale).all()) else None


def single(axis: Axis) -> Grid:
    """The grid of one axis."""
    return Grid(axis)
