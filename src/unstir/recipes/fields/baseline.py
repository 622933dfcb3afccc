"""What needs no network: the linear estimate from the covariance of the pairs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.recipes.fields.sensors import Seen


@dataclass(frozen=True, eq=False)
class Estimate:
    """A mean and a deviation of every cell, (batch, channels, *space) and (channels, *space)."""

    mean: Tensor
    deviation: Tensor


class Ensemble:
    r"""The best linear estimate for fields with the mean and covariance of some pairs.

    With the centred pairs as rows of X and C = X^T X / (n - 1),

    .. math:: \hat x = m + C A^T (A C A^T + R)^{-1} (y - A m)

    the analysis step of the ensemble Kalman filter, and kriging with an empirical covariance. For a Gaussian
    prior it tends to the exact posterior as pairs grow; for a first field known everywhere it is ridge
    regression, which is exact for a linear equation. Source: Evensen 2009, eq. 20 to 23.

    Args:
        pairs: (n, channels, *space), at least 2.

    Raises:
        ValueError: for fewer than 2 pairs.
    """

    def __init__(self, pairs: Tensor) -> None:
        if len(pairs) < 2:
            raise ValueError(f"a covariance takes at least 2 pairs, got {len(pairs)}")
        x = pairs.double()
        self.event = tuple(pairs.shape[1:])
        self.mean = x.mean(0)
        self._rows = (x - self.mean).flatten(1) / (len(x) - 1) ** 0.5

    def given(self, seen: Seen) -> Estimate:
        """Both fields given some entries, in the units of the pairs.

        Args:
            seen: y of shape (m,) or (batch, m).
        """
        known = seen.known.flatten()
        part = self._rows[:, known]
        covariance = part.T @ part + torch.diag(seen.noise.double() ** 2)
        factor = torch.linalg.cholesky(covariance)
        cross = part.T @ self._rows
        gain = torch.cholesky_solve(cross, factor)
        y = seen.y.double().reshape(-1, int(known.sum()))
        mean = (self.mean.flatten() + (y - self.mean.flatten()[known]) @ gain).reshape(-1, *self.event)
        variance = self._rows.square().sum(0) - (cross * gain).sum(0)
        return Estimate(mean, variance.clamp(min=0.0).sqrt().reshape(self.event))

    def second_of(self, first: Tensor, *, noise: float = 1e-4) -> Tensor:
        """The second field of first fields that are known everywhere, by ridge regression.

        Args:
            first: (batch, channels, *space), the first channels of the pairs.
            noise: ridge, in deviations of the first field's entries.

        Returns:
            (batch, remaining channels, *space) float64.
        """
        c = first.shape[1]
        known = torch.zeros(self.event, dtype=torch.bool)
        known[:c] = True
        scale = self._rows[:, known.flatten()].square().sum(0).mean().sqrt()
        level = (noise * scale).expand(int(known.sum()))
        return self.given(Seen(known, first.double().flatten(1), level)).mean[:, c:]
