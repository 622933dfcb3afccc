"""How far one individual gets along a line: kernels with thin, exponential and fat tails."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.physics.constants import check_positive


@dataclass(frozen=True)
class Kernel(ABC):
    """The law of one individual's displacement along a line, symmetric.

    Args:
        scale: length, above 0.

    Raises:
        ValueError: for a scale that is not above 0.
    """

    scale: float

    def __post_init__(self) -> None:
        check_positive(scale=self.scale)

    @abstractmethod
    def density(self, x: Tensor) -> Tensor:
        """Probability a length at the displacement x."""

    @abstractmethod
    def tail(self, x: Tensor) -> Tensor:
        """Probability of a displacement above x, for x of at least 0; right in its small values."""

    @abstractmethod
    def moment_generating(self, s: Tensor) -> Tensor:
        """E[exp(s x)], for s in [0, ``limit``)."""

    @property
    @abstractmethod
    def limit(self) -> float:
        """Where E[exp(s x)] ends to be finite, 1 / length; 0 for fat tails, infinite for a Gaussian's."""

    def masses(self, width: float, cells: int) -> Tensor:
        """The probability of landing in each cell when starting from the middle of one, exactly.

        Args:
            width: of the cells, length.
            cells: offsets up to cells - 1 either way.

        Returns:
            (2 cells - 1,) float64 of the offsets -(cells - 1) ... cells - 1; they sum to less than 1 by what
            lands further away.
        """
        check_positive(width=width)
        edges = (torch.arange(cells, dtype=torch.float64) + 0.5) * width
        tail = self.tail(edges)
        far = -tail.diff()
        return torch.cat([far.flip(0), 1.0 - 2.0 * tail[:1], far])


class GaussianKernel(Kernel):
    """Thin tails: displacements are normal with the standard deviation ``scale``."""

    def density(self, x: Tensor) -> Tensor:
        return torch.exp(-0.5 * (x / self.scale) ** 2) / (self.scale * math.sqrt(2.0 * math.pi))

    def tail(self, x: Tensor) -> Tensor:
        tail: Tensor = 0.5 * torch.special.erfc(x / (self.scale * math.sqrt(2.0)))
        return tail

    def moment_generating(self, s: Tensor) -> Tensor:
        return torch.exp(0.5 * (s * self.scale) ** 2)

    @property
    def limit(self) -> float:
        return math.inf


class LaplaceKernel(Kernel):
    """Exponential tails: exp(-|x| / scale) / (2 scale), as of a walk that settles at a constant rate."""

    def density(self, x: Tensor) -> Tensor:
        return torch.exp(-x.abs() / self.scale) / (2.0 * self.scale)

    def tail(self, x: Tensor) -> Tensor:
        return 0.5 * torch.exp(-x / self.scale)

    def moment_generating(self, s: Tensor) -> Tensor:
        return 1.0 / (1.0 - (s * self.scale) ** 2)

    @property
    def limit(self) -> float:
        return 1.0 / self.scale


@dataclass(frozen=True)
class StudentKernel(Kernel):
    """Fat tails, falling as x^-(freedom + 1): Student's t times ``scale``; Cauchy's for freedom 1.

    A plane front of the two-dimensional 2Dt kernel with shape p moves by this one with freedom 2 p
    (the marginal of a bivariate t; Clark, Silman, Kern, Macklin & HilleRisLambers 1999).

    Args:
        scale: length, above 0.
        freedom: degrees of freedom, above 0.
    """

    freedom: float = 1.0

    def __post_init__(self) -> None:
        check_positive(scale=self.scale, freedom=self.freedom)

    def density(self, x: Tensor) -> Tensor:
        f = self.freedom
        log_norm = math.lgamma(0.5 * (f + 1.0)) - math.lgamma(0.5 * f) - 0.5 * math.log(math.pi * f)
        return torch.exp(log_norm - 0.5 * (f + 1.0) * torch.log1p((x / self.scale) ** 2 / f)) / self.scale

    def tail(self, x: Tensor) -> Tensor:
        from scipy.special import stdtr

        return torch.as_tensor(stdtr(self.freedom, -(x / self.scale).cpu().numpy())).to(x)

    def moment_generating(self, s: Tensor) -> Tensor:
        return torch.where(s == 0, 1.0, math.inf).to(s)

    @property
    def limit(self) -> float:
        return 0.0
