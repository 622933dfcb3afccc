r"""Poisson's equation with a random source: the exact solver, the random sources, and their joint spectrum.

.. math:: -\nabla \cdot (D \nabla u) = f

Source and potential of a Gaussian random field share one set of modes, so the pair is Gaussian with one
random number a mode, and everything about it is known in closed form (see `exact`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from unstir import noise
from unstir.generators import diffusion
from unstir.generators.kronecker import along
from unstir.spaces import Axis, Grid
from unstir.spaces.boundary import boundary_from

LARGEST = 512
"""Cells of an axis up to which its eigenvectors are a matrix."""


class PoissonProblem:
    r"""Poisson's equation on the unit interval, square or cube, and the prior of its source.

    The source is a Gaussian random field with covariance proportional to :math:`(-\Delta + \tau^2)^{-\alpha}`
    under the equation's own boundary conditions, of the standard deviation ``std`` over all cells. Its modes
    are the eigenvectors of the finite-volume Laplacian, which the exact solver shares.

    Source: Lindgren, Rue & Lindström 2011, eq. 2 (Matérn fields by a power of the operator); Li et al. 2021
    ("Fourier neural operator"), section 5.2, has the same prior with tau = 3 and alpha = 2.

    Args:
        size: cells along each side of the square, or one number for each axis (one to three).
        boundary: "absorb" (u = 0), "reflect" (no flux), "periodic", or a homogeneous `spaces.Boundary`; a
            pair for the two ends of every axis.
        smoothness: alpha; above half the number of axes the source has a finite variance at any resolution.
        inverse_length: tau, 1 / length, at least 0.
        std: standard deviation of the source over all cells.
        diffusivity: D, above 0.

    Attributes:
        grid: the cells.
        shape: number of cells along each axis.
        generator: u -> div(D grad u); ``generator.solve`` is the exact solver.
        balanced: nothing leaves (reflecting or periodic), so that source and potential have mean 0.

    Raises:
        ValueError: for a size, a parameter or a boundary that does not allow this.
    """

    def __init__(
        self,
        size: int | Sequence[int] = 32,
        *,
        boundary: object = "absorb",
        smoothness: float = 2.0,
        inverse_length: float = 3.0,
        std: float = 1.0,
        diffusivity: float = 1.0,
    ) -> None:
        shape = (size, size) if isinstance(size, int) else tuple(int(n) for n in size)
        if not 1 <= len(shape) <= 3 or not all(2 <= n <= LARGEST for n in shape):
            raise ValueError(
                f"a field has one to three axes of 2 to {LARGEST} cells each, got the size {size}"
            )
        for name, value, least in (
            ("smoothness", smoothness, 0.0),
            ("inverse_length", inverse_length, 0.0),
            ("std", std, 0.0),
            ("diffusivity", diffusivity, 0.0),
        ):
            if not least <= value < float("inf") or (value == 0.0 and name in ("std", "diffusivity")):
                raise ValueError(f"the {name} of a Poisson problem is finite and positive, got {value}")
        self.shape = shape
        self.smoothness = smoothness
        self.inverse_length = inverse_length
        self.std = std
        self.diffusivity = diffusivity
        self.grid = Grid(*(Axis(0.0, 1.0, n, boundary=boundary) for n in shape))
        self.generator = diffusion(self.grid, diffusivity)
        if self.generator.source is not None and bool((self.generator.source != 0).any()):
            raise ValueError(
                f"the boundary {boundary_from_text(boundary)} adds a source of its own; this problem takes "
                "homogeneous ones: absorb, reflect, periodic, Value(0) or Robin(a, b, 0)"
            )
        self.balanced = self.generator.conservative

    @cached_property
    def bases(self) -> list[Tensor]:
        """The orthonormal eigenvectors of each axis as columns, (n, n) float64."""
        return [vectors for _, vectors in self._eigen]

    @cached_property
    def _eigen(self) -> list[tuple[Tensor, Tensor]]:
        pairs = []
        for axis in self.grid.axes:
            matrix = -diffusion(Grid(axis), 1.0).matrix().to_dense()
            values, vectors = torch.linalg.eigh(0.5 * (matrix + matrix.mT))
            pairs.append((torch.where(values < 1e-9 * values.max(), 0.0, values), vectors))
        return pairs

    @cached_property
    def eigenvalues(self) -> Tensor:
        """Those of -Laplacian, of ``shape``, float64, at least 0."""
        total = torch.zeros((), dtype=torch.float64)
        for values, _ in self._eigen:
            total = total[..., None] + values
        return total

    def to_modes(self, x: Tensor) -> Tensor:
        """(..., *shape) in the orthonormal basis of the Laplacian's eigenvectors."""
        d = len(self.shape)
        for k, basis in enumerate(self.bases):
            x = along(basis.mT.to(x), x, k - d)
        return x

    def from_modes(self, c: Tensor) -> Tensor:
        """The inverse of `to_modes`, and its transpose."""
        d = len(self.shape)
        for k, basis in enumerate(self.bases):
            c = along(basis.to(c), c, k - d)
        return c

    def variance_of_modes(self, v: Tensor) -> Tensor:
        """The variance of every cell if the modes are independent with variances v, (..., *shape)."""
        d = len(self.shape)
        for k, basis in enumerate(self.bases):
            v = along((basis**2).to(v), v, k - d)
        return v

    @cached_property
    def loadings(self) -> Tensor:
        """What one standard normal number of each mode adds to source and potential, (2, *shape) float64.

        The covariance of the pair is loadings loadings^T in every mode, and 0 between modes. A mode without
        an eigenvalue (the mean, where nothing leaves) is in neither field.
        """
        present = self.eigenvalues > 0
        safe = torch.where(present, self.eigenvalues, 1.0)
        source = torch.where(present, (safe + self.inverse_length**2) ** (-0.5 * self.smoothness), 0.0)
        source = source * self.std / source.square().mean().sqrt()
        return torch.stack([source, source / (self.diffusivity * safe)])

    @cached_property
    def deviations(self) -> tuple[float, float]:
        """Standard deviation over all cells of the source (``std``) and of the potential."""
        source, potential = (
            self.loadings.square().mean(dim=tuple(range(1, self.loadings.ndim))).sqrt().tolist()
        )
        return source, potential

    def pairs(self, latent: Tensor) -> Tensor:
        """Source and potential of standard normal numbers for the modes, (n, *shape) to (n, 2, *shape)."""
        return self.from_modes(latent[:, None] * self.loadings.to(latent))

    def draw(self, n: int, seed: int = 0, *, first_index: int = 0) -> tuple[Tensor, Tensor]:
        """Sources of the prior and their potentials.

        Args:
            n: number of pairs, at least 1.
            seed: pair i of a seed is always the same.
            first_index: number of the first pair.

        Returns:
            source and potential, each (n, 1, *shape) float32.
        """
        if n < 1:
            raise ValueError(f"draw at least one pair, got {n}")
        index = torch.arange(first_index, first_index + n)
        z = noise.normal(
            self.shape, seed=seed, index=index, stream=noise.Stream.FIELD_SOURCE, dtype=torch.float64
        )
        source = self.from_modes(z * self.loadings[0])
        potential = self.solve(source)
        return source[:, None].float(), potential[:, None].float()

    def solve(self, source: Tensor) -> Tensor:
        """The potential of a source, (..., *shape) to (..., *shape) float64, by the exact solver.

        Where nothing leaves, no steady state exists but for sources of mean 0: the mean is taken out.

        Raises:
            ValueError: for another shape, or values that are not finite.
        """
        self._check(source, "source")
        f = source.double()
        if self.balanced:
            f = f - f.mean(dim=self._dims, keepdim=True)
        return self.generator.solve(0.0, f)

    def residual(self, source: Tensor, potential: Tensor) -> Tensor:
        """-div(D grad u) - f of every cell, in units of the source, (..., *shape).

        Raises:
            ValueError: for another shape.
        """
        self._check(source, "source", finite=False)
        self._check(potential, "potential", finite=False)
        return -self.generator(potential) - source

    @property
    def _dims(self) -> tuple[int, ...]:
        return tuple(range(-len(self.shape), 0))

    def _check(self, field: Tensor, name: str, finite: bool = True) -> None:
        if tuple(field.shape[max(field.ndim - len(self.shape), 0) :]) != self.shape:
            raise ValueError(
                f"the {name} of this problem ends in the shape {self.shape}, got {tuple(field.shape)}"
            )
        if finite and not bool(torch.isfinite(field).all()):
            raise ValueError(f"the {name} holds values that are not finite")

    def __repr__(self) -> str:
        return f"PoissonProblem({' x '.join(map(str, self.shape))}, {self.grid.axes[0].lower})"


def boundary_from_text(boundary: object) -> str:
    """A boundary, or a pair of them, in words."""
    pair = boundary if isinstance(boundary, tuple | list) else (boundary,)
    return " and ".join(str(boundary_from(end)) for end in pair)
