r"""Darcy flow: the pressure in a porous medium of random permeability.

.. math:: -\nabla \cdot (a \nabla u) = 1

The pair is (log a, u): permeabilities are positive and vary over orders of magnitude, so the network sees
their logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from unstir import noise
from unstir.generators import diffusion
from unstir.recipes.fields.poisson import PoissonProblem

Medium = Literal["lognormal", "two-phase"]


class DarcyProblem:
    r"""Pressure u = 0 at the edge, a source of 1 everywhere, and a permeability made of a random field psi.

    psi has covariance proportional to :math:`(-\Delta + \tau^2)^{-\alpha}` with no flux at the edge and
    deviation 1. The medium is a = exp(spread psi), or of two phases, 12 where psi is positive and 3
    elsewhere.

    Source: Li et al. 2021 ("Fourier neural operator"), section 5.2 and appendix A.3.2 (two phases, tau = 3,
    alpha = 2).

    Args:
        size: as of `PoissonProblem`, like the two numbers of the random field.
        medium: "lognormal" or "two-phase".
        spread: standard deviation of log a of a lognormal medium, above 0.
        smoothness: alpha.
        inverse_length: tau.

    Raises:
        ValueError: for an unknown medium, a spread that is not above 0, or as in `PoissonProblem`.
    """

    def __init__(
        self,
        size: int | Sequence[int] = 16,
        *,
        medium: Medium = "lognormal",
        spread: float = 1.0,
        smoothness: float = 2.0,
        inverse_length: float = 3.0,
    ) -> None:
        if medium not in ("lognormal", "two-phase"):
            raise ValueError(f"a medium is 'lognormal' or 'two-phase', got {medium!r}")
        if not 0.0 < spread < math.inf:
            raise ValueError(f"the spread of log a is above 0, got {spread}")
        self._field = PoissonProblem(
            size, boundary="reflect", smoothness=smoothness, inverse_length=inverse_length
        )
        self.grid = PoissonProblem(size).grid
        self.shape = self.grid.shape
        self.medium, self.spread = medium, spread

    def draw(self, n: int, seed: int = 0, *, first_index: int = 0) -> tuple[Tensor, Tensor]:
        """Media and their pressures, log a and u, each (n, 1, *shape) float32.

        Args:
            n: number of pairs.
            seed: pair i of a seed is always the same.
            first_index: number of the first pair.
        """
        index = torch.arange(first_index, first_index + n)
        stream = noise.Stream.FIELD_SOURCE
        z = noise.normal(self.shape, seed=seed, index=index, stream=stream, dtype=torch.float64)
        psi = self._field.from_modes(z * self._field.loadings[0])
        log_a = (
            self.spread * psi
            if self.medium == "lognormal"
            else torch.where(psi > 0, math.log(12.0), math.log(3.0)).double()
        )
        return log_a[:, None].float(), self.solve(log_a)[:, None].float()

    def solve(self, log_a: Tensor) -> Tensor:
        """The pressure of each medium, (..., *shape) float64, by finite volumes and sparse LU.

        Raises:
            ValueError: for another shape, or values that are not finite.
        """
        self._check(log_a)
        one = torch.ones(self.shape, dtype=torch.float64)
        flat = log_a.double().reshape(-1, *self.shape)
        return torch.stack([diffusion(self.grid, a).solve(0.0, one) for a in flat.exp()]).reshape(log_a.shape)

    def residual(self, log_a: Tensor, u: Tensor) -> Tensor:
        """-div(a grad u) - 1 of every cell, (..., *shape), differentiable in both; the solver's own fluxes.

        The permeability of a face is the harmonic mean of its two cells, as in `generators`.

        Raises:
            ValueError: for another shape.
        """
        self._check(log_a, finite=False)
        self._check(u, finite=False)
        total = -torch.ones_like(u)
        d = len(self.shape)
        for k, axis in enumerate(self.grid.axes):
            h, dim = axis.length / axis.cells, k - d
            n = axis.cells
            resistance = torch.exp(-log_a)
            both = resistance.narrow(dim, 0, n - 1) + resistance.narrow(dim, 1, n - 1)
            inner = 2.0 / both * (u.narrow(dim, 0, n - 1) - u.narrow(dim, 1, n - 1)) / h
            low = -2.0 * u.narrow(dim, 0, 1) / resistance.narrow(dim, 0, 1) / h
            high = 2.0 * u.narrow(dim, n - 1, 1) / resistance.narrow(dim, n - 1, 1) / h
            total = total + torch.cat([low, inner, high], dim=dim).diff(dim=dim) / h
        return total

    def _check(self, field: Tensor, finite: bool = True) -> None:
        if tuple(field.shape[max(field.ndim - len(self.shape), 0) :]) != self.shape:
            raise ValueError(
                f"a field of this problem ends in the shape {self.shape}, got {tuple(field.shape)}"
            )
        if finite and not bool(torch.isfinite(field).all()):
            raise ValueError("the medium holds values that are not finite")
