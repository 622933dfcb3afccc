r"""An inverse problem of reaction and diffusion: where a population that is seen late began.

.. math:: \partial_t u = D \Delta u + r u (1 - u)

The pair is (u at time 0, u at time T). Diffusion forgets detail and growth saturates, so many beginnings end
alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unstir import noise
from unstir.generators import diffusion
from unstir.physics import evolve
from unstir.physics.reaction import Logistic
from unstir.recipes.fields.poisson import PoissonProblem


class ReactionProblem:
    r"""Fisher's equation on the unit square, no flux at the edge, from patchy beginnings.

    The beginning is density = logistic(gain psi - offset) of a random field psi of deviation 1 with
    covariance proportional to :math:`(-\Delta + \tau^2)^{-\alpha}`: patches of density near 1 on empty
    ground.

    Source: Fisher 1937; Kolmogorov, Petrovskii & Piskunov 1937; solved by `physics.evolve` (Strang splitting,
    exact growth and exact spreading in turn).

    Args:
        size: as of `PoissonProblem`, like the two numbers of the random field.
        diffusivity: D, length^2 / time, above 0.
        growth: r, 1 / time, above 0.
        time: T, above 0.
        gain: steepness of the patches' edges.
        offset: larger is emptier.
        smoothness: alpha.
        inverse_length: tau.

    Raises:
        ValueError: for numbers that are not above 0.
    """

    steps = 16
    """Of equal length; a sample's end does not depend on the others of its batch."""

    def __init__(
        self,
        size: int | Sequence[int] = 32,
        *,
        diffusivity: float = 2e-3,
        growth: float = 2.0,
        time: float = 1.0,
        gain: float = 4.0,
        offset: float = 4.0,
        smoothness: float = 3.0,
        inverse_length: float = 8.0,
    ) -> None:
        for name, value in (("diffusivity", diffusivity), ("growth", growth), ("time", time), ("gain", gain)):
            if not 0.0 < value < math.inf:
                raise ValueError(f"the {name} of a reaction problem is above 0, got {value}")
        self._field = PoissonProblem(
            size, boundary="reflect", smoothness=smoothness, inverse_length=inverse_length
        )
        self.grid, self.shape = self._field.grid, self._field.shape
        self.generator = diffusion(self.grid, diffusivity)
        self.growth, self.time, self.gain, self.offset = growth, time, gain, offset

    def draw(self, n: int, seed: int = 0, *, first_index: int = 0) -> tuple[Tensor, Tensor]:
        """Beginnings and ends, each (n, 1, *shape) float32; arguments as in `DarcyProblem`."""
        index = torch.arange(first_index, first_index + n)
        stream = noise.Stream.FIELD_SOURCE
        z = noise.normal(self.shape, seed=seed, index=index, stream=stream, dtype=torch.float64)
        psi = self._field.from_modes(z * self._field.loadings[0])
        start = torch.sigmoid(self.gain * psi - self.offset)
        return start[:, None].float(), self.solve(start)[:, None].float()

    def solve(self, start: Tensor) -> Tensor:
        """The density at time T, (..., *shape); differentiable. Below 0 there is no population: it counts as
        0.

        Raises:
            ValueError: for another shape.
            FloatingPointError: if the density stops being finite.
        """
        if tuple(start.shape[max(start.ndim - len(self.shape), 0) :]) != self.shape:
            raise ValueError(
                f"a field of this problem ends in the shape {self.shape}, got {tuple(start.shape)}"
            )
        reaction = Logistic(self.growth)
        clean = start.clamp(min=0.0)
        return evolve(clean, self.time, self.generator, reaction, method="strang", steps=self.steps).u

    def residual(self, start: Tensor, end: Tensor) -> Tensor:
        """The end that the equation gives minus the one at hand, (..., *shape), differentiable in both."""
        return self.solve(start) - end
