"""What training minimises: the weighted denoising error, the variational bound, or both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from unstir.denoisers import Posterior
from unstir.processes import Schedule
from unstir.training.bound import bound_term
from unstir.training.weighting import Weighting


@dataclass(frozen=True)
class Objective:
    r"""The loss of a batch.

    ``simple``: w(t) |E[x_0|x_t] - x_0|^2 (Ho et al. 2020, eq. 14; Karras et al. 2022, eq. 8).
    ``bound``: the variational bound of a chain of ``steps`` equal time steps, one term a sample, times
    the number of terms (its expectation is the bound, but for the constant prior term).
    ``hybrid``: simple, plus ``bound_weight`` times the bound in which the mean is held fixed, so that the
    bound teaches the variance only (Nichol & Dhariwal 2021, eq. 16).
    Under a schedule that blurs, w is that of each mode, and the error is summed over modes.

    Attributes:
        weighting: w(t), for simple and hybrid.
        kind: one of the three.
        steps: length of the chain.
        bound_weight: for hybrid.
    """

    weighting: Weighting
    kind: Literal["simple", "hybrid", "bound"] = "simple"
    steps: int = 1000
    bound_weight: float = 0.001

    def __post_init__(self) -> None:
        if self.kind not in ("simple", "hybrid", "bound"):
            raise ValueError(f"an objective is 'simple', 'hybrid' or 'bound', got {self.kind!r}")

    def losses(
        self,
        denoiser: nn.Module,
        schedule: Schedule,
        x_0: Tensor,
        epsilon: Tensor,
        t: Tensor,
        condition: Mapping[str, Tensor],
    ) -> Tensor:
        """The loss of every sample.

        Args:
            denoiser: (x_t, t, **condition) -> `Posterior`.
            schedule: the forward process.
            x_0: (batch, *event), data.
            epsilon: (batch, *event), standard normal noise.
            t: (batch,) float64; for hybrid and bound it is rounded up to a step of the chain.
            condition: passed to the denoiser.

        Returns:
            (batch,) of the type of ``x_0``.

        Raises:
            ValueError: if hybrid is asked of a denoiser without variance, or hybrid or the bound of one with
                a variance under a schedule that blurs.
        """
        if self.kind != "simple":
            # A time that is a step already stays one: 7 / 60 * 60 is a little above 7.
            t = (t * self.steps - 1e-6).ceil().clamp(min=1.0) / self.steps
        mean, std = schedule.marginal(x_0, t)
        x_t = mean + std * epsilon
        posterior: Posterior = denoiser(x_t, t, **condition)
        if self.kind == "bound":
            return self._bound(schedule, x_0, posterior, t)
        loss = weighted_error(self.weighting, schedule, posterior.mean - x_0, t)
        if self.kind == "hybrid":
            if posterior.variance is None:
                raise ValueError("the hybrid objective teaches a variance, but the network has no such head")
            held = Posterior(posterior.mean.detach(), posterior.variance)
            loss = loss + self.bound_weight * self._bound(schedule, x_0, held, t)
        return loss

    def _bound(self, schedule: Schedule, x_0: Tensor, posterior: Posterior, t: Tensor) -> Tensor:
        s = ((t * self.steps).round() - 1.0) / self.steps
        return self.steps * bound_term(schedule, x_0, posterior, s, t)


def weighted_error(weighting: Weighting, schedule: Schedule, error: Tensor, t: Tensor) -> Tensor:
    """The weighted mean square of errors of x_0 (batch, *event) at times (batch,), (batch,) of their type."""
    squares = schedule.to_modes(error).square()
    weight = weighting(schedule.modes(error.shape[1:]), t).to(squares)
    if weight.ndim > 1:  # one for each mode
        return (weight * squares).flatten(1).mean(1)
    return weight * squares.flatten(1).mean(1)


def mean_loss(losses: Tensor, weights: Tensor) -> Tensor:
    """The importance-weighted mean of a batch's losses, a scalar."""
    return torch.mean(losses * weights.to(losses))
