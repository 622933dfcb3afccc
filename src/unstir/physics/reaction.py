"""Reactions that make fronts and patterns: logistic growth, Gray-Scott, Brusselator, Schnakenberg.

Each is a function u -> du/dt for `evolve`. Models of two species take u of shape (2, ..., *shape) and give
their homogeneous states and Jacobians in closed form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Logistic:
    """Logistic growth r u (1 - u / K), with its exact flow.

    Source: Verhulst 1838; with diffusion Fisher 1937 and Kolmogorov, Petrovskii & Piskunov 1937.

    Args:
        r: growth rate, 1 / time, above 0.
        K: capacity, units of u, above 0.

    Raises:
        ValueError: for a rate or a capacity that is not positive.
    """

    r: float = 1.0
    K: float = 1.0

    def __post_init__(self) -> None:
        _positive(self)

    def __call__(self, u: Tensor) -> Tensor:
        return self.r * u * (1.0 - u / self.K)

    def flow(self, u: Tensor, dt: float) -> Tensor:
        """u after dt: K u e^(r dt) / (K + u (e^(r dt) - 1)); exactly 0 and K stay."""
        # Divided by the growing exponential, which overflows for long times; what is left of 1 stays above 0.
        left = max(math.exp(-self.r * dt), torch.finfo(u.dtype).tiny)
        return u / (left - math.expm1(-self.r * dt) * u / self.K)


@dataclass(frozen=True)
class GrayScott:
    """A feeds B: u' = -u v^2 + F (1 - u), v' = u v^2 - (F + k) v.

    Source: Gray & Scott 1984; Pearson 1993. Dimensionless; Pearson's D are 2e-5 and 1e-5.

    Args:
        F: feed rate, 1 / time, above 0.
        k: removal rate of v beyond the feed's, 1 / time, above 0.
    """

    F: float = 0.04
    k: float = 0.06

    def __post_init__(self) -> None:
        _positive(self)

    def __call__(self, w: Tensor) -> Tensor:
        u, v = w.unbind(0)
        made = u * v * v
        return torch.stack([self.F * (1.0 - u) - made, made - (self.F + self.k) * v])

    def states(self) -> Tensor:
        """(1 or 3, 2) homogeneous states: (1, 0), and where F >= 4 (F + k)^2 the two with v > 0."""
        lost = self.F + self.k
        square = 1.0 - 4.0 * lost**2 / self.F
        states = [[1.0, 0.0]]
        if square >= 0.0:
            for sign in (1.0, -1.0):
                u = 0.5 * (1.0 + sign * math.sqrt(square))
                states.append([u, self.F * (1.0 - u) / lost])
        return torch.tensor(states, dtype=torch.float64)

    def jacobian(self, state: Tensor) -> Tensor:
        """(2, 2) at a state (2,)."""
        u, v = state.unbind(0)
        return _matrix(-v * v - self.F, -2.0 * u * v, v * v, 2.0 * u * v - self.F - self.k)


@dataclass(frozen=True)
class Brusselator:
    """u' = A - (B + 1) u + u^2 v, v' = B u - u^2 v, dimensionless.

    Source: Prigogine & Lefever 1968.

    Args:
        A: supply, above 0.
        B: conversion, above 0. It oscillates above 1 + A^2; see `onset` for patterns.
    """

    A: float = 4.5
    B: float = 7.0

    def __post_init__(self) -> None:
        _positive(self)

    def __call__(self, w: Tensor) -> Tensor:
        u, v = w.unbind(0)
        made = u * u * v
        return torch.stack([self.A - (self.B + 1.0) * u + made, self.B * u - made])

    def states(self) -> Tensor:
        """(1, 2): (A, B / A)."""
        return torch.tensor([[self.A, self.B / self.A]], dtype=torch.float64)

    def jacobian(self, state: Tensor) -> Tensor:
        """(2, 2) at a state (2,)."""
        u, v = state.unbind(0)
        return _matrix(2.0 * u * v - self.B - 1.0, u * u, self.B - 2.0 * u * v, -u * u)

    def onset(self, D: tuple[float, float]) -> tuple[float, float]:
        """(B, wavenumber) at which patterns set in: (1 + A sqrt(D_u / D_v))^2 and sqrt(A / sqrt(D_u D_v)).

        Source: Nicolis & Prigogine 1977, section 7.4.
        """
        D_u, D_v = D
        return (1.0 + self.A * math.sqrt(D_u / D_v)) ** 2, math.sqrt(self.A / math.sqrt(D_u * D_v))


@dataclass(frozen=True)
class Schnakenberg:
    """u' = a - u + u^2 v, v' = b - u^2 v, dimensionless.

    Source: Schnakenberg 1979; Murray 2003 (volume II), eq. 2.10 with gamma = 1.

    Args:
        a: supply of the activator u, at least 0.
        b: supply of the substrate v, above 0.
    """

    a: float = 0.1
    b: float = 0.9

    def __post_init__(self) -> None:
        if not (self.a >= 0.0 and self.b > 0.0 and math.isfinite(self.a + self.b)):
            raise ValueError(f"Schnakenberg needs a >= 0 and b > 0, got a={self.a} and b={self.b}")

    def __call__(self, w: Tensor) -> Tensor:
        u, v = w.unbind(0)
        made = u * u * v
        return torch.stack([self.a - u + made, self.b - made])

    def states(self) -> Tensor:
        """(1, 2): (a + b, b / (a + b)^2)."""
        total = self.a + self.b
        return torch.tensor([[total, self.b / total**2]], dtype=torch.float64)

    def jacobian(self, state: Tensor) -> Tensor:
        """(2, 2) at a state (2,)."""
        u, v = state.unbind(0)
        return _matrix(2.0 * u * v - 1.0, u * u, -2.0 * u * v, -u * u)


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.stack([torch.stack([a, b]), torch.stack([c, d])])


def _positive(model: object) -> None:
    for name, value in vars(model).items():
        if not (value > 0.0 and math.isfinite(value)):
            raise ValueError(f"{type(model).__name__} needs {name} above 0, got {value}")
