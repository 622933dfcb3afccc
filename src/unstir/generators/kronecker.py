"""Operators that are sums over the axes: one small matrix for each axis, and nothing else.

exp(t (A_1 + A_2)) is exp(t A_1) along the first axis times exp(t A_2) along the second, so a heat equation
with any boundary conditions and any cells takes one product with a small matrix for each axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unstir.generators.faces import Parts
from unstir.generators.generator import Function, Generator, Plan
from unstir.generators.positive import positive_expm

_KEPT = 16
_RANGE = 7.0


@dataclass
class Factor:
    """The operator along one axis, scale * matrix.

    Attributes:
        matrix: (n, n) float64, acting on densities.
        log_scale: (n,) log s, s A / s symmetric; or None.
        volumes: (n,).
        scale: a number that multiplies the matrix and may carry a gradient.
    """

    matrix: Tensor
    log_scale: Tensor | None
    volumes: Tensor
    scale: Tensor

    def __post_init__(self) -> None:
        self._eigen: tuple[Tensor, Tensor, Tensor] | None = None

    def eigen(self) -> tuple[Tensor, Tensor, Tensor]:
        """(values, into, out): matrix = out diag(values) into."""
        if self._eigen is None:
            if self.log_scale is None:
                raise ValueError(
                    "this generator has a circulation (a drift round a periodic axis), so its eigenvalues "
                    "are complex; functions of it are not defined here, exp and solve are"
                )
            s = torch.exp(self.log_scale - self.log_scale.mean())
            symmetric = s[:, None] * self.matrix / s
            values, vectors = torch.linalg.eigh(0.5 * (symmetric + symmetric.mT))
            values = values.clamp(max=0.0)
            # Round-off about 0 would break conservation over long times.
            values = torch.where(values > -1e-13 * values.abs().max(), 0.0, values)
            self._eigen = values, vectors.mT * s, vectors / s[:, None]
        return self._eigen

    @property
    def wide(self) -> bool:
        """Whether the symmetric form would lose digits: weights over more than exp(7)."""
        return self.log_scale is None or float(self.log_scale.max() - self.log_scale.min()) > _RANGE

    def propagator(self, t: Tensor, positive: bool) -> Tensor:
        """exp(t A), (n, n): entries at least 0, mass kept or lost but never gained."""
        if positive or self.wide or self.matrix.requires_grad:
            mass = self.volumes[:, None] * self.matrix / self.volumes
            return positive_expm(mass, t * self.scale) * self.volumes / self.volumes[:, None]
        values, into, out = self.eigen()
        P = (out * torch.exp(t * self.scale * values)) @ into
        P = P.clamp(min=0.0)
        if self.closed:
            P = P * (self.volumes / (self.volumes @ P))
        return P

    @property
    def closed(self) -> bool:
        """Whether the axis keeps all mass."""
        total = (self.volumes @ self.matrix).detach()
        return bool(
            (total.abs() <= 1e-12 * self.volumes * self.matrix.detach().diagonal().abs() + 1e-300).all()
        )


def along(matrix: Tensor, u: Tensor, axis: int) -> Tensor:
    """A matrix (n, n) applied along an axis, counted from the end (-1 is the last)."""
    if axis == -1:
        return u @ matrix.mT
    if axis == -2:
        return matrix @ u
    return (u.movedim(axis, -1) @ matrix.mT).movedim(-1, axis)


class Kronecker(Generator):
    """A sum of operators along the axes, minus a uniform decay; built by `diffusion`.

    Args:
        space: the grid.
        factors: one for each axis.
        decay: rate at which everything fades, scalar, at least 0.
        source: of the grid's shape, or None.
    """

    def __init__(self, space: Any, factors: list[Factor], decay: Tensor, source: Tensor | None) -> None:
        self.space = space
        self.shape = tuple(len(factor.matrix) for factor in factors)
        self.volumes = space.volumes
        self.factors = factors
        self.decay = decay
        self.source = source
        self.engine = "Kronecker sum, one matrix product an axis"
        self._kept: dict[tuple[Any, ...], list[Tensor]] = {}

    def __call__(self, u: Tensor) -> Tensor:
        u = self._checked(u)
        d = len(self.shape)
        result = -self.decay.to(u) * u
        for k, factor in enumerate(self.factors):
            result = result + along((factor.scale * factor.matrix).to(u), u, k - d)
        return result if self.source is None else result + self.source.to(u)

    def _exp(self, times: Tensor, u: Tensor, tolerance: float, positive: bool) -> Tensor:
        return torch.stack([self._once(t, u, positive) for t in times])

    def _once(self, t: Tensor, u: Tensor, positive: bool) -> Tensor:
        d = len(self.shape)
        for k, P in enumerate(self._propagators(t, u, positive)):
            u = along(P, u, k - d)
        return u

    def _propagators(self, t: Tensor, u: Tensor, positive: bool) -> list[Tensor]:
        """exp(t A_k) of every axis, the decay in the first; kept for the last few times."""
        key = (float(t.detach()), positive, u.dtype, u.device)
        if key in self._kept and not t.requires_grad:
            return self._kept[key]
        t = t.cpu()
        made = [factor.propagator(t, positive) for factor in self.factors]
        made[0] = made[0] * torch.exp(-t * self.decay)
        made = [P.to(u) for P in made]
        if not any(P.requires_grad for P in made):
            if len(self._kept) >= _KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = made
        return made

    def spectrum(self) -> Tensor:
        """The eigenvalues, of ``shape``: sums over the axes, minus the decay."""
        total = -self.decay
        for factor in self.factors:
            total = total[..., None] + factor.scale * factor.eigen()[0]
        return total

    def to_modes(self, u: Tensor) -> Tensor:
        """The coefficients of u in the eigenbasis, whose eigenvalues are `spectrum`."""
        d = len(self.shape)
        for k, factor in enumerate(self.factors):
            u = along(factor.eigen()[1].to(u), u, k - d)
        return u

    def from_modes(self, u: Tensor) -> Tensor:
        """The inverse of `to_modes`."""
        d = len(self.shape)
        for k, factor in enumerate(self.factors):
            u = along(factor.eigen()[2].to(u), u, k - d)
        return u

    def _function(self, f: Function, u: Tensor, tolerance: float) -> Tensor:
        return self.from_modes(f(self.spectrum()).to(u) * self.to_modes(u))

    def _solve(self, shift: float, u: Tensor) -> Tensor:
        if any(
            factor.log_scale is None or factor.wide or factor.matrix.requires_grad for factor in self.factors
        ):
            return super()._solve(shift, u)
        floor = 1e-13 * max(self.rate, 1e-300)

        def inverse(values: Tensor) -> Tensor:
            gap = shift - values
            null = gap < floor
            return torch.where(null, 0.0, 1.0 / torch.where(null, 1.0, gap))

        return self._function(inverse, u, 0.0)

    def plan(self, t: float, *, tolerance: float = 1e-12, positive: bool = False) -> Plan:
        if positive or any(factor.wide for factor in self.factors):
            return Plan(f"{self.engine}, positive Taylor doubling", 0, 4e-15 * math.log2(2.0 + self.rate * t))
        spread = max(
            float(factor.log_scale.max() - factor.log_scale.min())
            for factor in self.factors
            if factor.log_scale is not None
        )
        return Plan(self.engine, 0, 1e-15 * max(self.shape) ** 0.5 * math.exp(spread))

    @cached_property
    def _parts(self) -> Parts:
        number = torch.arange(self.volumes.numel()).reshape(self.shape)
        rows, cols, rates = [], [], []
        diagonal = -self.decay.expand(self.shape)
        scale: Tensor | None = torch.zeros(self.shape, dtype=torch.float64)
        d = len(self.shape)
        for k, factor in enumerate(self.factors):
            matrix = factor.scale * factor.matrix
            like = [1] * d
            like[k] = -1
            diagonal = diagonal + matrix.diagonal().reshape(like)
            off = (factor.matrix.detach() - torch.diag(factor.matrix.detach().diagonal())).nonzero()
            i, j = off[:, 0], off[:, 1]
            gain, lose = number.index_select(k, i), number.index_select(k, j)
            rows.append(gain.reshape(-1))
            cols.append(lose.reshape(-1))
            like[k] = len(off)
            rates.append(matrix[i, j].reshape(like).expand(gain.shape).reshape(-1))
            if scale is not None:
                like[k] = -1
                own = factor.log_scale
                scale = None if own is None else scale + own.reshape(like)
        leaks = not all(factor.closed for factor in self.factors) or bool((self.decay > 0).any())
        return Parts(
            torch.cat(rows),
            torch.cat(cols),
            torch.cat(rates),
            diagonal.reshape(-1),
            None if self.source is None else self.source.reshape(-1),
            None if scale is None else scale.reshape(-1),
            self.volumes.reshape(-1),
            leaks,
        )

    def parts(self) -> Parts:
        return self._parts

    def _scaled(self, factor: Tensor) -> Generator:
        factors = [replace(f, scale=f.scale * factor) for f in self.factors]
        for new, old in zip(factors, self.factors, strict=True):
            new._eigen = old._eigen
        source = None if self.source is None else self.source * factor
        return Kronecker(self.space, factors, self.decay * factor, source)
