"""Implicit spreading, explicit reaction: two linear solves a step, for generators without an eigenbasis.

The pair of Runge-Kutta methods ARS(2,2,2) of Ascher, Ruuth & Spiteri 1997, section 2.6: order 2, L-stable.
"""

from __future__ import annotations

import math

from torch import Tensor

from unstir.physics.splitting import Reaction
from unstir.physics.stepping import Step
from unstir.physics.transport import Transport

_GAMMA = 1.0 - math.sqrt(0.5)
_DELTA = 1.0 - 1.0 / (2.0 * _GAMMA)


def imex(transport: Transport, reaction: Reaction) -> Step:
    """The method as a step.

    Args:
        transport: the generators; their sources are part of the implicit half.
        reaction: du/dt of the explicit half.
    """

    def implicit(right: Tensor, weight: float) -> Tensor:
        """x with x - weight (A x + source) = right."""
        return transport.solve(1.0 / weight, right / weight)

    def step(u: Tensor, dt: float) -> Tensor:
        weight = _GAMMA * dt
        before = reaction(u)
        right = u + weight * before
        middle = implicit(right, weight)
        spread = (middle - right) / weight
        right = u + dt * (_DELTA * before + (1.0 - _DELTA) * reaction(middle) + (1.0 - _GAMMA) * spread)
        return implicit(right, weight)

    return step
