r"""Steering plans that are paths: to a goal, or clear of obstacles that no demonstration knew.

A steering changes the denoiser of a plan; the actions of the maze are places, so a plan is a path. Costs act
through the denoiser, p(plan | wish) ~ exp(-cost), Janner et al. 2022, "Planning with diffusion", section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unstir.denoisers import Denoiser, Posterior
from unstir.guidance import MMPS, Classifier, LinearOperator

if TYPE_CHECKING:
    from unstir.model import Model

Cost = Callable[[Tensor], Tensor]
"""(plans or paths (n, action_dim, length) in the units of the actions) -> (n,) nats, differentiable."""
Path = Callable[[Tensor, Mapping[str, Tensor]], Tensor]
"""(plans, conditions) -> paths (n, action_dim, length): what is done if a plan is followed."""
SINCE = 0.0
"""Log-SNR from which plans are steered; before it, a large variance times a learned Jacobian is noise."""


@dataclass(frozen=True)
class Wish:
    """What some plans are to be.

    Attributes:
        guide: the ``guide`` of `Model.solve`.
        cost: how far a plan is from it, to choose between candidates.
    """

    guide: Callable[[Denoiser], Denoiser]
    cost: Cost


Steering = Callable[["Model", Mapping[str, Tensor], int], Wish]
"""(model, conditions (n, *shape) in their own units, k) -> a wish for k plans for each of the n, together."""


class Late(Denoiser):
    """One denoiser while there is much noise, and another once the signal shows.

    Args:
        early: the first.
        late: the second, of the same schedule and data.
        since: the log-SNR at which the second takes over.
    """

    def __init__(self, early: Denoiser, late: Denoiser, since: float) -> None:
        super().__init__()
        self.early, self.late, self.since = early, late, since
        self.schedule = early.schedule
        self.sigma_data = early.sigma_data
        self.unconditional = early.unconditional

    def cost(self, t: float) -> int:
        """That of the one that acts."""
        return self._acting(t).cost(t)

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        result: Posterior = self._acting(t)(x_t, t, **condition)
        return result

    def _acting(self, t: Tensor | float) -> Denoiser:
        return self.late if float(self.schedule.log_snr(t).min()) >= self.since else self.early


def ends_at(goal: Tensor | Sequence[float], spread: float, *, since: float = SINCE) -> Steering:
    """Plans whose last action is near a place.

    The last action is a linear measurement of the plan with Gaussian noise, so `guidance.MMPS` serves.

    Args:
        goal: (action_dim,), or (n, action_dim) with one for each episode, in the units of the actions.
        spread: standard deviation about it, above 0.
        since: log-SNR from which plans are steered; -inf is from pure noise on.

    Raises:
        ValueError: for a spread that is not above 0; when called, for a goal of another shape or not finite.
    """
    if not spread > 0:
        raise ValueError(f"the spread about a goal is a distance above 0, got {spread}")
    place = torch.as_tensor(goal, dtype=torch.float32)

    def steering(model: Model, conditions: Mapping[str, Tensor], k: int) -> Wish:
        size, horizon = model.config.event
        n = len(conditions["observation"])
        if tuple(place.shape) not in ((size,), (n, size)):
            raise ValueError(
                f"a goal has shape ({size},) or ({n}, {size}), as the actions have, got {tuple(place.shape)}"
            )
        row = place.expand(n, size).repeat_interleave(k, dim=0)[:, :, None]
        y = model.scaling.to_internal(row)[:, :, 0]
        unit = (model.scaling.to_internal(row + 1.0)[:, :, 0] - y)[0].double()
        operator = LinearOperator(lambda x: x[:, :, -1], event=(size, horizon), name="last action")

        def cost(plans: Tensor) -> Tensor:
            return (plans[:, :, -1] - row[:, :, 0]).square().sum(dim=1) / (2.0 * spread**2)

        return Wish(
            lambda denoiser: Late(denoiser, MMPS(denoiser, y, operator, spread * unit.abs()), since), cost
        )

    return steering


def costing(cost: Cost, *, weight: float = 1.0, path: Path | None = None, since: float = SINCE) -> Steering:
    """Plans of low cost.

    Args:
        cost: see `Cost`; asked about the estimate of the plan, and its gradient passes through the network.
        weight: at least 0; 1 takes the cost as nats.
        path: turns plans into what the cost is asked about, such as `tracking.ball_path`; by default the
            cost is asked about the plans.
        since: log-SNR from which plans are steered; -inf is from pure noise on.
    """

    def steering(model: Model, conditions: Mapping[str, Tensor], k: int) -> Wish:
        every = {name: value.repeat_interleave(k, dim=0) for name, value in conditions.items()}

        def judged(plans: Tensor) -> Tensor:
            return cost(plans if path is None else path(plans, every))

        def critic(x: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
            return -judged(model.scaling.to_data(x))

        def guide(denoiser: Denoiser) -> Denoiser:
            return Late(denoiser, Classifier(denoiser, critic, weight, of="x_0", conditional=True), since)

        return Wish(guide, judged)

    return steering


def clear_of(obstacles: Sequence[tuple[float, float, float]], *, softness: float = 0.2) -> Cost:
    r"""The cost of coming near discs.

    .. math:: \sum_k \sum_j \frac{\max(0, r_j - |x_k - c_j|)^2}{2 s^2}

    Args:
        obstacles: (x, y, distance to keep) for the first two entries of a path, in the units of the actions.
        softness: s, the depth that costs half a nat, above 0.

    Raises:
        ValueError: for no obstacle, or a distance or softness that is not above 0.
    """
    discs = torch.as_tensor(obstacles, dtype=torch.float32)
    if discs.ndim != 2 or discs.shape[1] != 3 or not bool((discs[:, 2] > 0).all()) or not softness > 0:
        raise ValueError("obstacles are (x, y, distance to keep), at least one, with distances above 0")

    def cost(paths: Tensor) -> Tensor:
        gaps = paths[:, None, :2] - discs[None, :, :2, None].to(paths)
        distance = (gaps.square().sum(dim=2) + 1e-6).sqrt()
        depth = (discs[None, :, 2, None].to(paths) - distance).clamp(min=0.0)
        return depth.square().sum(dim=(1, 2)) / (2.0 * softness**2)

    return cost
