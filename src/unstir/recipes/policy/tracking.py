"""Where the ball goes under a plan: the controller is linear, so its way is known before it is driven."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from torch import Tensor

from unstir.recipes.policy.maze import DAMPING, FREQUENCY, MASS, REPEAT, STEP

_EVERY = 3
"""Steps of the physics from point to point."""


@cache
def response(actions: int) -> Tensor:
    r"""The way as a linear function of where the ball is, how fast it is, and where it is sent.

    .. math:: v \leftarrow v + h\,(\omega^2 (x^* - x) - 2 \omega v - \tfrac{\gamma}{m} v), \qquad
              x \leftarrow x + h v

    Semi-implicit Euler steps, as MuJoCo takes them; walls and the largest force are left out.

    Args:
        actions: places that it is sent to, one after another.

    Returns:
        (points, 2 + actions): weights of place, velocity and the places to go to, a point every 0.03 s.
    """
    place, speed, target = np.eye(2 + actions)[0], np.eye(2 + actions)[1], np.eye(2 + actions)[2:]
    rows = []
    for step in range(actions * REPEAT):
        pull = FREQUENCY**2 * (target[step // REPEAT] - place) - 2.0 * FREQUENCY * speed
        speed = speed + STEP * (pull - DAMPING / MASS * speed)
        place = place + STEP * speed
        if (step + 1) % _EVERY == 0:
            rows.append(place)
    return torch.tensor(np.array(rows), dtype=torch.float32)


def ball_path(plans: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
    """The ball's way if a plan is followed to its end without a look.

    Args:
        plans: (n, 2, horizon) in cells; their first actions belong to the past.
        conditions: ``observation`` (n, 4, observed), (x, y, vx, vy) in cells and cells a second.

    Returns:
        (n, 2, points), from now on, differentiable in the plans.
    """
    seen = conditions["observation"].to(plans)
    now, past = seen[:, :, -1], seen.shape[2] - 1
    known = torch.cat([now[:, :2, None], now[:, 2:, None], plans[:, :, past:]], dim=2)
    return known @ response(plans.shape[2] - past).to(plans).T
