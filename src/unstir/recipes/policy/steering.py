r"""Steering plans that are paths: to a goal, or clear of obstacles that no demonstration knew.

A steering changes the denoiser of a plan; the actions of the maze are places, so a plan is a path. Costs act
through the denoiser, p(plan | wish) ~ exp(-cost), Janner et al. 2022, "Planning with diffusion", section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unstir.denoisers import Denoiser
from unstir.guidance import MMPS, Classifier, LinearOperator

if TYPE_CHECKING:
    from unstir.model import Model

Steering = Callable[["Model", Mapping[str, Tensor]], Callable[[Denoiser], Denoiser]]
"""(model, conditions (n, *shape) in their own units) -> the ``guide`` of `Model.solve`."""
Cost = Callable[[Tensor], Tensor]
"""(plans (n, action_dim, horizon) in the units of the demonstrations) -> (n,) nats, differentiable."""


def ends_at(goal: Tensor | Sequence[float], spread: float) -> Steering:
    """Plans whose last action is near a place.

    The last action is a linear measurement of the plan with Gaussian noise, so `guidance.MMPS` serves.

    Args:
        goal: (action_dim,), or (n, action_dim) with one for each episode, in the units of the actions.
        spread: standard deviation about it, above 0.

    Raises:
        ValueError: for a spread that is not above 0; when called, for a goal of another shape or not finite.
    """
    if not spread > 0:
        raise ValueError(f"the spread about a goal is a distance above 0, got {spread}")
    place = torch.as_tensor(goal, dtype=torch.float32)

    def steering(model: Model, conditions: Mapping[str, Tensor]) -> Callable[[Denoiser], Denoiser]:
        size, horizon = model.config.event
        n = len(conditions["observation"])
        if tuple(place.shape) not in ((size,), (n, size)):
            raise ValueError(
                f"a goal has shape ({size},) or ({n}, {size}), as the actions have, got {tuple(place.shape)}"
            )
        row = place.expand(n, size)[:, :, None]
        y = model.scaling.to_internal(row)[:, :, 0]
        unit = (model.scaling.to_internal(row + 1.0)[:, :, 0] - y)[0].double()
        operator = LinearOperator(lambda x: x[:, :, -1], event=(size, horizon), name="last action")
        return lambda denoiser: MMPS(denoiser, y, operator, spread * unit.abs())

    return steering


def costing(cost: Cost, *, weight: float = 1.0) -> Steering:
    """Plans of low cost.

    Args:
        cost: see `Cost`; asked about the estimate of the plan, and its gradient passes through the network.
        weight: at least 0; 1 takes the cost as nats.
    """

    def steering(model: Model, conditions: Mapping[str, Tensor]) -> Callable[[Denoiser], Denoiser]:
        def critic(x: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
            return -cost(model.scaling.to_data(x))

        return lambda denoiser: Classifier(denoiser, critic, weight, of="x_0", conditional=True)

    return steering


def clear_of(obstacles: Sequence[tuple[float, float, float]], *, softness: float = 0.1) -> Cost:
    r"""The cost of coming near discs.

    .. math:: \sum_k \sum_j \frac{\max(0, r_j - |x_k - c_j|)^2}{2 s^2}

    Args:
        obstacles: (x, y, distance to keep), in the units of the actions.
        softness: s, the depth that costs half a nat, above 0.

    Raises:
        ValueError: for no obstacle, or a distance or softness that is not above 0.
    """
    discs = torch.as_tensor(obstacles, dtype=torch.float32)
    if discs.ndim != 2 or discs.shape[1] != 3 or not bool((discs[:, 2] > 0).all()) or not softness > 0:
        raise ValueError("obstacles are (x, y, distance to keep), at least one, with distances above 0")

    def cost(plans: Tensor) -> Tensor:
        gaps = plans[:, None, :2] - discs[None, :, :2, None].to(plans)
        distance = (gaps.square().sum(dim=2) + 1e-6).sqrt()
        depth = (discs[None, :, 2, None].to(plans) - distance).clamp(min=0.0)
        return depth.square().sum(dim=(1, 2)) / (2.0 * softness**2)

    return cost
