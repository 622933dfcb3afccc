"""Schedules from a table of betas, as DDPM and everything after it stores them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unstir.processes.schedule import VariancePreserving
from unstir.processes.shapes import as_float64, log_expm1


@dataclass(frozen=True)
class Table(VariancePreserving):
    r"""A discrete schedule of T steps, exact at t = i / T and continuous between.

    Step i of the table is t = i / T; t = 0 is data. Between two steps beta(t) is constant, so that
    B(t) = -log alpha^2 is linear; if the last step ends at zero SNR, alpha is linear there instead.

    .. math:: \alpha(i/T)^2 = \prod_{j \le i} (1 - \beta_j)

    Source: Ho et al. 2020, eq. 4. Build it with `from_betas`.
    """

    betas: tuple[float, ...]

    def __post_init__(self) -> None:
        table = np.asarray(self.betas, dtype=np.float64)
        inner = table[:-1]
        if table.ndim != 1 or len(table) < 1:
            raise ValueError("a table of betas is a list of at least one number")
        if not ((inner > 0) & (inner < 1)).all() or not 0 < table[-1] <= 1:
            raise ValueError(
                "every beta lies between 0 and 1 (only the last may be 1, for zero terminal SNR), got "
                f"values from {table.min()} to {table.max()}"
            )

    @cached_property
    def _nodes(self) -> Tensor:
        """B at t = 0, 1/T, ..., 1; the last is inf for zero terminal SNR."""
        table = torch.tensor(self.betas, dtype=torch.float64)
        return torch.cat([torch.zeros(1, dtype=torch.float64), -torch.log1p(-table).cumsum(0)])

    def _locate(self, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The time inside its interval (0 to 1), B at both ends, and where alpha is linear."""
        position = as_float64(t) * len(self.betas)
        left = position.floor().clamp(0, len(self.betas) - 1).long()
        nodes = self._nodes.to(position.device)
        return position - left, nodes[left], nodes[left + 1], nodes[left + 1].isinf()

    def _integral(self, t: Tensor | float) -> Tensor:
        share, low, high, last = self._locate(t)
        inside = low + share * torch.where(last, 0.0, high - low)
        return torch.where(last, low - 2.0 * torch.log1p(-share), inside)

    def log_snr(self, t: Tensor | float) -> Tensor:
        return -log_expm1(self._integral(t))

    def time(self, log_snr: Tensor | float) -> Tensor:
        integral = F.softplus(-as_float64(log_snr), threshold=700.0)
        nodes = self._nodes.to(integral.device)
        left = (torch.searchsorted(nodes, integral.contiguous(), right=True) - 1).clamp(
            0, len(self.betas) - 1
        )
        low, high = nodes[left], nodes[left + 1]
        last = high.isinf()
        inside = (integral - low) / torch.where(last, 1.0, high - low)
        share = torch.where(last, -torch.expm1(-0.5 * (integral - low)), inside)
        return ((left + share) / len(self.betas)).clamp(0.0, 1.0)

    def drift(self, t: Tensor | float) -> Tensor:
        share, low, high, last = self._locate(t)
        rate = torch.where(last, 2.0 / (1.0 - share), high - low)
        return -0.5 * len(self.betas) * rate

    def alpha_derivative(self, t: Tensor | float) -> Tensor:
        _share, low, _, last = self._locate(t)
        linear = -len(self.betas) * torch.exp(-0.5 * low)
        return torch.where(last, linear, self.drift(t) * self.alpha(t))

    def sigma_derivative(self, t: Tensor | float) -> Tensor:
        return -self.alpha(t) * self.alpha_derivative(t) / self.sigma(t)


def from_betas(betas: Sequence[float] | Tensor) -> Table:
    """The schedule of a table of betas: step i of T is the time i / T.

    Args:
        betas: (T,) each in (0, 1); the last may be 1, which makes x_1 pure noise.

    Raises:
        ValueError: for a beta out of range.
    """
    return Table(tuple(float(beta) for beta in betas))


def linear_betas(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """DDPM's table (Ho et al. 2020, section 4), (steps,) float64."""
    return torch.linspace(first, last, steps, dtype=torch.float64)


def cosine_betas(steps: int = 1000, offset: float = 0.008, largest: float = 0.999) -> Tensor:
    """The clipped cosine table (Nichol & Dhariwal 2021, eq. 17), (steps,) float64."""
    t = torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)
    alpha_bar = torch.cos((t + offset) / (1.0 + offset) * math.pi / 2) ** 2
    return (1.0 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=largest)


def zero_terminal_betas(betas: Sequence[float] | Tensor) -> Tensor:
    """Rescale a table so that its last step is pure noise and its first step is as before.

    Source: Lin et al. 2024, algorithm 1.

    Args:
        betas: (T,) with T >= 2, each in (0, 1).

    Returns:
        (T,) float64 whose last beta is exactly 1.

    Raises:
        ValueError: for fewer than two betas.
    """
    table = as_float64(torch.as_tensor(betas))
    if table.ndim != 1 or len(table) < 2:
        raise ValueError("zero terminal SNR needs a table of at least two betas")
    alpha = (1.0 - table).cumprod(0).sqrt()
    scaled = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
    squared = scaled**2
    return 1.0 - torch.cat([squared[:1], squared[1:] / squared[:-1]])
