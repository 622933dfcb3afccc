"""Grids: products of axes, with cells left out and walls that let only some through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unstir.spaces.axis import Axis


@dataclass(frozen=True, eq=False)
class Wall:
    """A thin wall across an axis: the flux through it is permeability * (u on one side - u on the other).

    Args:
        axis: number of the axis that the wall crosses.
        position: coordinate along that axis; the wall stands on the nearest face inside the grid.
        permeability: length / time, at least 0; 0 is closed, infinity is no wall.
        where: bool tensor over the other axes, True where the wall stands; everywhere by default.

    Raises:
        ValueError: for a negative permeability.
    """

    axis: int
    position: float
    permeability: float
    where: Tensor | None = None

    def __post_init__(self) -> None:
        if not self.permeability >= 0:
            raise ValueError(f"a wall's permeability is at least 0, got {self.permeability}")


class Grid:
    """A product of axes.

    Args:
        *axes: one or more.
        mask: bool of the grid's shape, False for cells that do not exist; nothing flows into them.
        walls: permeable walls between cells.

    Attributes:
        axes: the axes.
        shape: number of cells along each.
        mask: as given, or None.
        walls: as given.

    Raises:
        ValueError: for no axis, a mask of another shape or without a cell, or a wall off the grid.
    """

    def __init__(self, *axes: Axis, mask: Tensor | None = None, walls: Sequence[Wall] = ()) -> None:
        if not axes or not all(isinstance(axis, Axis) for axis in axes):
            raise ValueError("a grid is made of one or more axes: Grid(Axis(0, 1, 64), Axis(0, 2, 128))")
        self.axes = axes
        self.shape = tuple(axis.cells for axis in axes)
        if mask is not None:
            mask = torch.as_tensor(mask, dtype=torch.bool).cpu()
            if tuple(mask.shape) != self.shape:
                raise ValueError(f"the mask of this grid has shape {self.shape}, got {tuple(mask.shape)}")
            if not bool(mask.any()):
                raise ValueError("the mask leaves no cell")
        self.mask = mask
        self.walls = tuple(walls)
        for wall in self.walls:
            self.face(wall)

    @cached_property
    def volumes(self) -> Tensor:
        """Volume of every cell, of the grid's shape, float64."""
        volume = torch.ones((), dtype=torch.float64)
        for axis in self.axes:
            volume = volume[..., None] * axis.volumes
        return volume

    @cached_property
    def centers(self) -> tuple[Tensor, ...]:
        """The coordinates of every cell, one tensor of the grid's shape for each axis."""
        return torch.meshgrid(*[axis.centers for axis in self.axes], indexing="ij")

    def integrate(self, u: Tensor) -> Tensor:
        """The integral of a density u (..., *shape) over the grid, of shape (...)."""
        dims = tuple(range(-len(self.shape), 0))
        return (u * self._present.to(u)).sum(dim=dims)

    @cached_property
    def _present(self) -> Tensor:
        return self.volumes if self.mask is None else self.volumes * self.mask

    def face(self, wall: Wall) -> int:
        """Number of the inner face (0 is between cells 0 and 1) on which a wall stands."""
        if not 0 <= wall.axis < len(self.axes):
            raise ValueError(f"a wall crosses one of the axes 0 to {len(self.axes) - 1}, got {wall.axis}")
        axis = self.axes[wall.axis]
        if not axis.low < wall.position < axis.high or axis.cells < 2:
            raise ValueError(
                f"a wall stands between the cells of its axis, {axis.low:g} to {axis.high:g}, "
                f"got {wall.position:g}"
            )
        others = self.shape[: wall.axis] + self.shape[wall.axis + 1 :]
        if wall.where is not None and tuple(wall.where.shape) != others:
            raise ValueError(
                f"a wall's `where` has the shape of the other axes, {others}, got {tuple(wall.where.shape)}"
            )
        return int((axis.edges[1:-1] - wall.position).abs().argmin())

    def __repr__(self) -> str:
        extras = ("" if self.mask is None else ", masked") + (
            f", {len(self.walls)} walls" if self.walls else ""
        )
        return f"Grid({', '.join(map(repr, self.axes))}{extras})"
