"""Fractional powers of a reversible generator: -(-A)^a, long jumps in place of small steps."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from unstir.generators.faces import Parts
from unstir.generators.generator import Function, Generator, Plan, scaled_exp


class Fractional(Generator):
    r""":math:`-(-A)^a`: every eigenvalue -l becomes -l^a; its paths are subordinated (stable) jumps of A's.

    Source: Kwasnicki 2017, "Ten equivalent definitions of the fractional Laplace operator", section 2.

    Args:
        base: a reversible generator without source.
        exponent: a in (0, 1].

    Raises:
        ValueError: for another exponent, or a base with a circulation or a source.
    """

    def __init__(self, base: Generator, exponent: float) -> None:
        if not 0.0 < exponent <= 1.0:
            raise ValueError(f"a fractional power lies in (0, 1] (1 is the generator itself), got {exponent}")
        if base.source is not None or not base.reversible:
            raise ValueError("fractional powers need a reversible generator with homogeneous boundaries")
        self.base, self.exponent = base, exponent
        self.space, self.shape, self.volumes, self.source = base.space, base.shape, base.volumes, None
        self.engine = f"power {exponent:g} of {base.engine}"

    def _map(self, values: Tensor) -> Tensor:
        return -((-values).clamp(min=0.0) ** self.exponent)

    def __call__(self, u: Tensor) -> Tensor:
        return self.base.function(self._map, u)

    def _function(self, f: Function, u: Tensor, tolerance: float) -> Tensor:
        return self.base._function(lambda values: f(self._map(values)), u, tolerance)

    def _exp(self, times: Tensor, u: Tensor, tolerance: float, positive: bool) -> Tensor:
        if positive:
            return self.sparse()._exp(times, u, tolerance, positive=True)
        return torch.stack([self._function(partial(scaled_exp, t), u, tolerance) for t in times])

    def _solve(self, shift: float, u: Tensor) -> Tensor:
        def inverse(values: Tensor) -> Tensor:
            gap = shift - values
            null = gap < 1e-13 * gap.max()
            return torch.where(null, 0.0, 1.0 / torch.where(null, 1.0, gap))

        return self._function(inverse, u, 1e-12)

    def plan(self, t: float, *, tolerance: float = 1e-12, positive: bool = False) -> Plan:
        if positive:
            return self.sparse().plan(t, tolerance=tolerance, positive=True)
        return Plan(self.engine, 0, self.base.plan(t, tolerance=tolerance).error)

    def parts(self) -> Parts:
        """The matrix, dense: every pair of cells has a rate. Limited to 4,096 cells."""
        n = self.volumes.numel()
        if n > 4096:
            raise ValueError(f"the matrix of a fractional power is dense; {n} cells are more than 4,096")
        eye = torch.eye(n, dtype=torch.float64).reshape(n, *self.shape)
        matrix = self.base._function(self._map, eye, 1e-12).reshape(n, n).mT
        i, j = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
        off = i != j
        rates = matrix[off].clamp(min=0.0)
        base = self.base.parts()
        loss = torch.zeros(n, dtype=torch.float64).index_add(
            0, j[off], rates * (base.volumes[i[off]] / base.volumes[j[off]])
        )
        diagonal = matrix.diagonal() if base.leaks else -loss
        return Parts(i[off], j[off], rates, diagonal, None, base.log_scale, base.volumes, base.leaks)

    @property
    def conservative(self) -> bool:
        return self.base.conservative

    @property
    def reversible(self) -> bool:
        return True

    @property
    def rate(self) -> float:
        return float(self.base.rate**self.exponent)

    def stationary(self) -> Tensor:
        return self.base.stationary()

    def _scaled(self, factor: Tensor) -> Generator:
        return Fractional(self.base._scaled(factor ** (1.0 / self.exponent)), self.exponent)
