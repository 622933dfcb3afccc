"""What is believed of x_0 given x_t, N(mean, V), and what a measurement makes of it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from unstir.guidance.spectral import Spectral
from unstir.processes import expand


class Belief(ABC):
    """The covariance V of x_0 given x_t, together with a measurement."""

    @abstractmethod
    def weigh(self, residual: Tensor) -> tuple[Tensor, Tensor]:
        """(R + A V A^T)^{-1} applied to a residual, and log N(residual; 0, R + A V A^T).

        Args:
            residual: y - A mean in the basis of `Spectral`, (batch, k) float64, in units of the noise.

        Returns:
            (batch, k), and (batch,) in nats without the constants of `Spectral.log_rest`.
        """

    @abstractmethod
    def spread(self, x: Tensor) -> Tensor:
        """V x, (batch, *event)."""

    @abstractmethod
    def draw(self, shift: Tensor, least: float, share: float, z: Tensor) -> tuple[Tensor, Tensor]:
        """Propose shift + noise of the covariance P = least + share Var[x_0 | x_t, y].

        Args:
            shift: (batch, *event).
            least: variance that has nothing to do with x_0, at least 0.
            share: of the variance of x_0, above 0.
            z: standard normal, (batch, *event).

        Returns:
            The proposal x, (batch, *event) float64, and log N(x; 0, least + share V) - log N(x; shift, P),
            (batch,), which is not known if least = 0.
        """

    @abstractmethod
    def pick(self, ancestors: Tensor) -> Belief:
        """The belief of other particles."""


class Round(Belief):
    """V = v in all directions: everything is diagonal in the singular basis of the operator.

    Args:
        spectral: the measurement.
        variance: v, (batch,) float64, at least 0.
    """

    def __init__(self, spectral: Spectral, variance: Tensor) -> None:
        self.spectral = spectral
        self.variance = variance

    def weigh(self, residual: Tensor) -> tuple[Tensor, Tensor]:
        total = 1.0 + self._squares(residual) * self.variance[:, None]
        return residual / total, -0.5 * (residual**2 / total + total.log()).sum(1)

    def spread(self, x: Tensor) -> Tensor:
        return expand(self.variance, x) * x

    def draw(self, shift: Tensor, least: float, share: float, z: Tensor) -> tuple[Tensor, Tensor]:
        z, v = z.double(), self.variance[:, None]
        wide = least + share * v
        narrow = least + share * v / (1.0 + self._squares(z) * v)
        inside = (narrow.sqrt() - wide.sqrt()) * self.spectral.analyse(z)
        k = expand(wide[:, 0], z)
        ahead = shift.double() + k.sqrt() * z + self.spectral.synthesise(inside)
        log_volume = 0.5 * (narrow / wide).log().sum(1)
        return ahead, 0.5 * (z**2 - ahead**2 / k).flatten(1).sum(1) + log_volume

    def pick(self, ancestors: Tensor) -> Belief:
        return Round(self.spectral, self.variance[ancestors])

    def _squares(self, like: Tensor) -> Tensor:
        return self.spectral.values.to(like.device) ** 2


class Correlated(Belief):
    r"""V = Q diag(v) Q^T, the same for all particles, by dense matrices.

    Args:
        spectral: the measurement.
        basis: Q, (d, d) float64, orthonormal.
        variances: v, (d,) float64, at least 0.
    """

    def __init__(self, spectral: Spectral, basis: Tensor, variances: Tensor) -> None:
        self.spectral, self.basis, self.variances = spectral, basis, variances
        event = spectral.operator.event
        seen = spectral.analyse(basis.T.reshape(-1, *event)).T
        # c = diag(v)^{-1/2} Q^T x_0 is white, and measured by this matrix with unit noise.
        measured = spectral.values.to(basis.device)[:, None] * seen * variances.sqrt()
        self.left, self.values, self.right = torch.linalg.svd(measured, full_matrices=False)

    def weigh(self, residual: Tensor) -> tuple[Tensor, Tensor]:
        total = 1.0 + self.values**2
        inside = residual @ self.left
        weighed = residual + (inside / total - inside) @ self.left.T
        return weighed, -0.5 * ((residual * weighed).sum(1) + total.log().sum())

    def spread(self, x: Tensor) -> Tensor:
        rows = x.double().flatten(1) @ self.basis
        return (rows * self.variances @ self.basis.T).to(x).reshape(x.shape)

    def draw(self, shift: Tensor, least: float, share: float, z: Tensor) -> tuple[Tensor, Tensor]:
        # All in the basis Q.
        rows, mean = z.double().flatten(1) @ self.basis, shift.double().flatten(1) @ self.basis
        kept = 1.0 / (1.0 + self.values**2)
        scale = share**0.5 * self.variances.sqrt()
        wide = least + share * self.variances
        if least == 0.0:
            ahead = mean + scale * (rows + (rows @ self.right.T * (kept.sqrt() - 1.0)) @ self.right)
            return (ahead @ self.basis.T).reshape(z.shape), torch.full_like(rows[:, 0], torch.nan)
        lost = scale[:, None] * self.right.T
        narrow = torch.diag(wide) - (lost * (1.0 - kept)) @ lost.T
        factor = torch.linalg.cholesky(narrow)
        ahead = mean + rows @ factor.T
        log_volume = factor.diagonal().log().sum() - 0.5 * wide.log().sum()
        log_ratio = 0.5 * (rows**2 - ahead**2 / wide).sum(1) + log_volume
        return (ahead @ self.basis.T).reshape(z.shape), log_ratio

    def pick(self, ancestors: Tensor) -> Belief:
        return self


def white_basis(covariance: Tensor, event: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Eigenvectors and eigenvalues of a covariance of flattened events, float64.

    Raises:
        ValueError: for another shape, or a matrix that is not symmetric and positive semidefinite.
    """
    size = math.prod(event)
    if tuple(covariance.shape) != (size, size):
        raise ValueError(
            f"the covariance of events of shape {event} is ({size}, {size}), got {tuple(covariance.shape)}"
        )
    matrix = covariance.double()
    largest = float(matrix.abs().max())
    values, basis = torch.linalg.eigh(matrix)
    if float((matrix - matrix.mT).abs().max()) > 1e-6 * largest or float(values.min()) < -1e-6 * largest:
        raise ValueError("the covariance of the data is symmetric and positive semidefinite; this one is not")
    return basis, values.clamp(min=0.0)
