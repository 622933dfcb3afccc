"""One axis of a grid: edges of cells, a metric, and what holds at its two ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.spaces.boundary import Boundary, Periodic, boundary_from

_POWER = {"cartesian": 0, "cylindrical": 1, "spherical": 2}
_SPHERE = {"cartesian": 1.0, "cylindrical": 2.0 * math.pi, "spherical": 4.0 * math.pi}


@dataclass(frozen=True, eq=False)
class Axis:
    r"""Cells between edges, with their volumes and the areas of their faces.

    With the metric's surface S(r) = 1 (cartesian), 2 pi r (cylindrical, per unit height) or 4 pi r^2
    (spherical), a face at r has area S(r) and a cell the volume of S between its edges, exactly.

    Args:
        low: the lower end; at least 0 for a radius.
        high: the upper end, above ``low``.
        cells: number of cells of equal width, at least 1; `from_edges` takes any edges.
        boundary: 'periodic', 'reflect', 'absorb', `Value`, `Flux` or `Robin`, for both ends, or a pair
            (lower, upper). At radius 0 there is no face, so the condition there has no effect.
        metric: 'cartesian', 'cylindrical' or 'spherical'.

    Attributes:
        edges: (n + 1,) float64, increasing.
        lower: the condition at the first edge.
        upper: the condition at the last edge.

    Raises:
        ValueError: for edges that do not increase, negative radii, an unknown metric, or one periodic end.
    """

    edges: Tensor
    lower: Boundary
    upper: Boundary
    metric: str

    def __init__(
        self,
        low: float,
        high: float,
        cells: int,
        *,
        boundary: object = "reflect",
        metric: str = "cartesian",
    ) -> None:
        if cells < 1 or int(cells) != cells:
            raise ValueError(f"an axis has a whole number of cells, at least 1, got {cells}")
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"an axis runs from low to a larger high, got {low:g} to {high:g}")
        share = torch.arange(cells + 1, dtype=torch.float64) / cells
        self._set((1.0 - share) * low + share * high, boundary, metric)

    @classmethod
    def from_edges(
        cls, edges: Tensor | Sequence[float], *, boundary: object = "reflect", metric: str = "cartesian"
    ) -> Axis:
        """An axis of cells of any widths.

        Args:
            edges: (n + 1,) increasing.
            boundary: as in the class.
            metric: as in the class.
        """
        axis = cls.__new__(cls)
        axis._set(torch.as_tensor(edges, dtype=torch.float64).detach().cpu(), boundary, metric)
        return axis

    def _set(self, edges: Tensor, boundary: object, metric: str) -> None:
        if metric not in _POWER:
            raise ValueError(f"a metric is cartesian, cylindrical or spherical, got {metric!r}")
        if edges.ndim != 1 or len(edges) < 2 or not bool((edges.diff() > 0).all()):
            raise ValueError("the edges of an axis are at least two increasing numbers")
        if metric != "cartesian" and float(edges[0]) < 0:
            raise ValueError(f"a radius is at least 0, but the first edge is {float(edges[0]):g}")
        pair = boundary if isinstance(boundary, tuple | list) else (boundary, boundary)
        if len(pair) != 2:
            raise ValueError(f"an axis has two ends, got {len(pair)} boundary conditions")
        lower, upper = (boundary_from(end) for end in pair)
        if isinstance(lower, Periodic) != isinstance(upper, Periodic):
            raise ValueError("an axis is periodic at both ends or at neither")
        if isinstance(lower, Periodic) and metric != "cartesian":
            raise ValueError(f"a {metric} axis is a radius and cannot be periodic")
        for name, value in (("edges", edges), ("lower", lower), ("upper", upper), ("metric", metric)):
            object.__setattr__(self, name, value)

    @property
    def cells(self) -> int:
        return len(self.edges) - 1

    @property
    def low(self) -> float:
        return float(self.edges[0])

    @property
    def high(self) -> float:
        return float(self.edges[-1])

    @property
    def length(self) -> float:
        return self.high - self.low

    @property
    def widths(self) -> Tensor:
        """(n,) lengths of the cells."""
        return self.edges.diff()

    @property
    def centers(self) -> Tensor:
        """(n,) middles of the cells."""
        return 0.5 * (self.edges[1:] + self.edges[:-1])

    @property
    def areas(self) -> Tensor:
        """(n + 1,) areas of the faces at the edges."""
        return _SPHERE[self.metric] * self.edges ** _POWER[self.metric]

    @property
    def volumes(self) -> Tensor:
        """(n,) volumes of the cells."""
        power = _POWER[self.metric] + 1
        return _SPHERE[self.metric] / power * (self.edges**power).diff()

    @property
    def periodic(self) -> bool:
        return isinstance(self.lower, Periodic)

    @property
    def uniform(self) -> bool:
        """Whether all cells are equal: cartesian and of one width to 1e-12 of it."""
        width = self.length / self.cells
        return self.metric == "cartesian" and bool(
            ((self.widths - width).abs() < 1e-12 * width * self.cells).all()
        )

    def __repr__(self) -> str:
        ends = "periodic" if self.periodic else f"{self.lower} to {self.upper}"
        return f"Axis({self.low:g} to {self.high:g}, {self.cells} cells, {self.metric}, {ends})"
