r"""Noise clocks of jump processes: how much jumping has happened by time t.

A clock is the integral B(t) of a rate beta(t) >= 0, with t from 0 (data) to 1 (noise) and B(0) = 0. It is to
a jump process what a schedule is to a Gaussian one; exp(-B) is the share that no jump has reset yet.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.processes.shapes import as_float64


class Clock(ABC):
    """An increasing integral B(t); subclasses are frozen dataclasses, so hashable and plain data.

    Times may be floats or tensors of any shape in [0, 1]; results are float64 tensors of that shape.
    """

    @abstractmethod
    def integral(self, t: Tensor | float) -> Tensor:
        """B(t), dimensionless: 0 at t = 0, strictly increasing, possibly +inf at t = 1."""

    @abstractmethod
    def rate(self, t: Tensor | float) -> Tensor:
        """beta(t) = dB/dt."""

    @abstractmethod
    def time(self, integral: Tensor | float) -> Tensor:
        """The exact inverse of `integral`; beyond its range the nearest time."""

    def survival(self, t: Tensor | float) -> Tensor:
        """exp(-B(t)), the share that no reset has reached; called alpha_t where tokens are masked."""
        return torch.exp(-self.integral(t))

    def passed(self, s: Tensor | float, t: Tensor | float) -> Tensor:
        """B(t) - B(s) for s <= t, and 0 for s = t where both are infinite."""
        s, t = as_float64(s), as_float64(t)
        return torch.where(s == t, 0.0, self.integral(t) - self.integral(s))


@dataclass(frozen=True)
class Steady(Clock):
    """A constant rate: B(t) = total t.

    Args:
        total: B(1), above 0. Data are forgotten up to exp(-total times the spectral gap of the rates).

    Raises:
        ValueError: unless 0 < total < inf.
    """

    total: float = 8.0

    def __post_init__(self) -> None:
        if not 0.0 < self.total < math.inf:
            raise ValueError(f"a steady clock needs a finite total above 0, got {self.total}")

    def integral(self, t: Tensor | float) -> Tensor:
        return self.total * as_float64(t)

    def rate(self, t: Tensor | float) -> Tensor:
        return torch.full_like(as_float64(t), self.total)

    def time(self, integral: Tensor | float) -> Tensor:
        return (as_float64(integral) / self.total).clamp(0.0, 1.0)


@dataclass(frozen=True)
class LogLinear(Clock):
    """The survival falls on a straight line, exp(-B) = 1 - (1 - left) t: each moment masks as many tokens.

    Source: Lou et al. 2024, section 5.1 (log-linear noise); Sahoo et al. 2024, section 3.4 and appendix E.

    Args:
        left: survival at t = 1, from 0 (nothing is left of the data, B(1) = inf) to below 1.

    Raises:
        ValueError: for a share outside [0, 1).
    """

    left: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.left < 1.0:
            raise ValueError(f"the share that is left at t = 1 lies in [0, 1), got {self.left}")

    def integral(self, t: Tensor | float) -> Tensor:
        return -torch.log1p(-(1.0 - self.left) * as_float64(t))

    def rate(self, t: Tensor | float) -> Tensor:
        return (1.0 - self.left) / (1.0 - (1.0 - self.left) * as_float64(t))

    def time(self, integral: Tensor | float) -> Tensor:
        return (-torch.expm1(-as_float64(integral)) / (1.0 - self.left)).clamp(0.0, 1.0)


@dataclass(frozen=True)
class Geometric(Clock):
    r"""A geometrically growing integral, :math:`B(t) = low ((high / low)^t - 1)`.

    Source: Lou et al. 2024, section 5.1 (geometric noise), shifted so that B(0) = 0.

    Args:
        low: the scale at which the growth begins, above 0.
        high: about B(1), above ``low``.

    Raises:
        ValueError: unless 0 < low < high < inf.
    """

    low: float = 1e-3
    high: float = 20.0

    def __post_init__(self) -> None:
        if not 0.0 < self.low < self.high < math.inf:
            raise ValueError(
                f"a geometric clock needs 0 < low < high, got low={self.low} and high={self.high}"
            )

    @property
    def _growth(self) -> float:
        return math.log(self.high / self.low)

    def integral(self, t: Tensor | float) -> Tensor:
        return self.low * torch.expm1(self._growth * as_float64(t))

    def rate(self, t: Tensor | float) -> Tensor:
        return self.low * self._growth * torch.exp(self._growth * as_float64(t))

    def time(self, integral: Tensor | float) -> Tensor:
        return (torch.log1p(as_float64(integral) / self.low) / self._growth).clamp(0.0, 1.0)


@dataclass(frozen=True)
class CosineClock(Clock):
    r"""Survival :math:`e^{-B} = 1 - \cos(\frac{\pi}{2}(1 - t))`: backwards, few tokens are revealed at first.

    Source: Shi et al. 2024, table 4 (the cosine schedule of masked diffusion); the unmasking rate of
    MaskGIT (Chang et al. 2022).
    """

    def integral(self, t: Tensor | float) -> Tensor:
        t = as_float64(t)
        late = 2.0 * torch.sin(0.25 * math.pi * (1.0 - t)) ** 2
        return torch.where(t < 0.5, -torch.log1p(-torch.sin(0.5 * math.pi * t)), -late.log())

    def rate(self, t: Tensor | float) -> Tensor:
        # sin(a) / (1 - cos(a)) = cot(a / 2) with a = pi (1 - t) / 2
        return 0.5 * math.pi / torch.tan(0.25 * math.pi * (1.0 - as_float64(t)))

    def time(self, integral: Tensor | float) -> Tensor:
        b = as_float64(integral)
        early = torch.asin(-torch.expm1(-b)) * (2.0 / math.pi)
        late = 1.0 - torch.asin((0.5 * torch.exp(-b)).sqrt()) * (4.0 / math.pi)
        return torch.where(b < 1.0, early, late).clamp(0.0, 1.0)
