"""Boundary conditions, as what they say about the flux through a boundary face.

Each condition answers one question: with the density u in the cell behind the face, half a cell away, how
much flows in? The answer is affine, source - sink u, so a condition becomes a sink and a source of that cell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def bernoulli(x: Tensor) -> Tensor:
    r"""B(x) = x / (exp(x) - 1), positive for every x, B(0) = 1, B(-x) = B(x) + x.

    The weight of the Scharfetter-Gummel flux (Scharfetter & Gummel 1969, eq. 12). Its derivative is finite
    everywhere, at 0 too.
    """
    small = x.abs() < 1e-3
    safe = torch.where(small, torch.ones_like(x), x).clamp(max=700.0)
    series = 1.0 - x / 2.0 + x**2 / 12.0 - x**4 / 720.0
    return torch.where(small, series, safe / torch.expm1(safe))


@dataclass(frozen=True)
class Boundary:
    """What holds at one end of an axis; subclasses answer `exchange`."""

    def exchange(self, D: Tensor, distance: Tensor, inward: Tensor) -> tuple[Tensor, Tensor]:
        """(sink, source): per area, source - sink * u flows in through the face.

        Args:
            D: diffusivity at the face, length^2 / time.
            distance: from the cell's centre to the face.
            inward: drift velocity into the domain at the face, length / time.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Periodic(Boundary):
    """The two ends of the axis are the same place; both ends must say so."""


@dataclass(frozen=True)
class Reflect(Boundary):
    """Nothing passes (no flux, the drift's included)."""

    def exchange(self, D: Tensor, distance: Tensor, inward: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(D), torch.zeros_like(D)


@dataclass(frozen=True)
class Value(Boundary):
    """The density at the face is ``value`` (Dirichlet), units of the density."""

    value: float

    def __post_init__(self) -> None:
        _finite(self)

    def exchange(self, D: Tensor, distance: Tensor, inward: Tensor) -> tuple[Tensor, Tensor]:
        alive = D > 0
        safe = torch.where(alive, D, torch.ones_like(D))
        peclet, rate = inward * distance / safe, safe / distance
        sink, source = rate * bernoulli(peclet), rate * bernoulli(-peclet)
        # Where nothing diffuses nothing reaches the face; drift is refused there.
        return torch.where(alive, sink, 0.0), torch.where(alive, source, 0.0) * self.value


@dataclass(frozen=True)
class Absorb(Boundary):
    """Whatever reaches the face is gone: the density there is 0."""

    def exchange(self, D: Tensor, distance: Tensor, inward: Tensor) -> tuple[Tensor, Tensor]:
        return Value(0.0).exchange(D, distance, inward)


@dataclass(frozen=True)
class Flux(Boundary):
    """``flux`` flows in per area and time (Neumann); negative takes out, whether or not anything is left."""

    flux: float

    def __post_init__(self) -> None:
        _finite(self)

    def exchange(self, D: Tensor, distance: Tensor, inward: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(D), torch.full_like(D, self.flux)


@dataclass(frozen=True)
class Robin(Boundary):
    """a u + b du/dn = g at the face, n pointing outward; a surface that reacts, or exchanges with a bath.

    Raises:
        ValueError: unless a >= 0, b >= 0 and one of them is positive.
    """

    a: float
    b: float
    g: float

    def __post_init__(self) -> None:
        _finite(self)
        if self.a < 0 or self.b < 0 or self.a + self.b == 0:
            raise ValueError(
                f"Robin(a, b, g) needs a >= 0 and b >= 0, not both 0 (a u + b du/dn = g), got a={self.a:g} "
                f"and b={self.b:g}"
            )

    def exchange(self, D: Tensor, distance: Tensor, inward: Tensor) -> tuple[Tensor, Tensor]:
        # u at the face is (g h + b u) / (a h + b); diffusion and drift both carry it.
        bottom = self.a * distance + self.b
        sink = (D * self.a - inward * self.b) / bottom
        return sink, (D + inward * distance) * self.g / bottom


def boundary_from(value: object) -> Boundary:
    """A boundary from an object or from one of the words periodic, reflect, absorb.

    Raises:
        ValueError: for anything else.
    """
    words = {"periodic": Periodic(), "reflect": Reflect(), "absorb": Absorb()}
    if isinstance(value, Boundary):
        return value
    if isinstance(value, str) and value in words:
        return words[value]
    raise ValueError(
        f"a boundary is 'periodic', 'reflect', 'absorb', Value(v), Flux(f) or Robin(a, b, g), got {value!r}"
    )


def _finite(boundary: Boundary) -> None:
    for name, number in vars(boundary).items():
        if not math.isfinite(number):
            raise ValueError(f"{type(boundary).__name__} needs finite numbers, got {name}={number}")
