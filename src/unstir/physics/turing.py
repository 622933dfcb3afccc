"""Turing's instability of two species: when, which wavelength, how fast; and the wavelength of a pattern.

A perturbation of a homogeneous state with the Laplacian's eigenvalue -s grows with the eigenvalues of
J - s diag(D); s is the square of a wavenumber, or the eigenvalue of the grid's own mode.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.spaces import Grid


@dataclass(frozen=True)
class Turing:
    r"""The linear theory of two diffusing species about a homogeneous state.

    Source: Turing 1952, section 6; Murray 2003 (volume II), section 2.3.

    Args:
        jacobian: (2, 2) of the reaction at the state, 1 / time.
        D: of the two species, length^2 / time, above 0 and different.

    Raises:
        ValueError: for another shape, or diffusivities that are equal or not positive.
    """

    jacobian: Tensor
    D: tuple[float, float]

    def __post_init__(self) -> None:
        if tuple(self.jacobian.shape) != (2, 2):
            raise ValueError(
                f"the theory is for two species, a (2, 2) Jacobian; got {tuple(self.jacobian.shape)}"
            )
        if not (min(self.D) > 0.0 and math.isfinite(max(self.D))):
            raise ValueError(f"both diffusivities are above 0, got {self.D}")
        if self.D[0] == self.D[1]:
            raise ValueError(
                "equal diffusivities make no pattern: Turing's instability needs two different ones"
            )

    @property
    def entries(self) -> tuple[float, float, float, float]:
        a, b, c, d = self.jacobian.double().reshape(-1).tolist()
        return a, b, c, d

    @property
    def determinant(self) -> float:
        a, b, c, d = self.entries
        return a * d - b * c

    def growth(self, square: Tensor | float) -> Tensor:
        """Growth rate (largest real part) of modes with -Laplacian eigenvalue ``square``, 1 / time."""
        a, b, c, d = self.entries
        s = torch.as_tensor(square, dtype=torch.float64)
        trace = a + d - (self.D[0] + self.D[1]) * s
        det = (a - self.D[0] * s) * (d - self.D[1] * s) - b * c
        return 0.5 * (trace + (trace**2 - 4.0 * det).clamp(min=0.0).sqrt())

    def conditions(self) -> dict[str, bool]:
        """Turing's conditions by name; all hold where a stable state is unstable to waves.

        tr J < 0, det J > 0, and D_v f_u + D_u g_v > 2 sqrt(D_u D_v det J) (Murray 2003, eq. 2.31).
        """
        a, _, _, d = self.entries
        det = self.determinant
        mixed = self.D[1] * a + self.D[0] * d
        return {
            "no oscillation (trace < 0)": a + d < 0.0,
            "no collapse (determinant > 0)": det > 0.0,
            "waves grow": det > 0.0 and mixed > 2.0 * math.sqrt(self.D[0] * self.D[1] * det),
        }

    @property
    def unstable(self) -> bool:
        """Whether a pattern grows from the state, stable by itself."""
        return all(self.conditions().values())

    def critical(self) -> float:
        """Wavenumber at the onset, (det J / (D_u D_v))^(1/4), 1 / length (Murray 2003, section 2.3)."""
        if self.determinant <= 0.0:
            raise ValueError("the state is unstable without diffusion (determinant <= 0): there is no onset")
        return float((self.determinant / (self.D[0] * self.D[1])) ** 0.25)

    def fastest(self) -> tuple[float, float]:
        r"""(wavenumber, growth rate) of the fastest wave, 1 / length and 1 / time.

        Where d(growth)/ds = 0; for D_v > D_u,

        .. math:: s = \frac{S - f_u + g_v}{D_v - D_u},\quad
                  S = \sqrt{-f_v g_u}\,(\sqrt{D_v/D_u} + \sqrt{D_u/D_v})

        from differentiating (growth - f_u + D_u s)(growth - g_v + D_v s) = f_v g_u. Wavenumber 0 where
        nothing grows faster than the homogeneous mode.
        """
        a, b, c, d = self.entries
        D_u, D_v = self.D
        if b * c < 0.0:
            sign = 1.0 if D_v > D_u else -1.0
            both = math.sqrt(-b * c) * (math.sqrt(D_v / D_u) + math.sqrt(D_u / D_v))
            s = (both - sign * (a - d)) / abs(D_v - D_u)
            if s > 0.0 and float(self.growth(s)) > float(self.growth(0.0)):
                return math.sqrt(s), float(self.growth(s))
        return 0.0, float(self.growth(0.0))

    def mode(self, square: float) -> Tensor:
        """(2,) the growing mode's mixture of the species, of length 1 and first entry at least 0."""
        matrix = self.jacobian.double() - square * torch.diag(torch.tensor(self.D, dtype=torch.float64))
        values, vectors = torch.linalg.eig(matrix)
        vector = vectors[:, int(values.real.argmax())].real
        mode: Tensor = vector / vector.norm() * (1.0 if float(vector[0]) >= 0 else -1.0)
        return mode


def pattern_wavenumber(u: Tensor, grid: Grid) -> float:
    """Mean wavenumber of a pattern, weighted by its power spectrum, 1 / length.

    Axes that are not periodic are mirrored first, which reflecting ones are anyway.

    Args:
        u: (*shape), one species.
        grid: of uniform cartesian axes.

    Raises:
        ValueError: for other axes, or a state without a pattern.
    """
    if not all(axis.uniform for axis in grid.axes):
        raise ValueError("a wavenumber needs uniform cartesian axes")
    pattern = u.detach().double() - u.detach().double().mean()
    square = torch.zeros((), dtype=torch.float64)
    for k, axis in enumerate(grid.axes):
        if not axis.periodic:
            pattern = torch.cat([pattern, pattern.flip(k)], dim=k)
        n = pattern.shape[k]
        wave = 2.0 * math.pi * torch.fft.fftfreq(n, d=axis.length / axis.cells, dtype=torch.float64)
        square = square[..., None] + wave**2
    power = torch.fft.fftn(pattern).abs() ** 2
    if float(power.sum()) == 0.0:
        raise ValueError("the state is homogeneous: there is no pattern to measure")
    return float((power * square.sqrt()).sum() / power.sum())
