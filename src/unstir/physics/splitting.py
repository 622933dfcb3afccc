"""Strang splitting: react for half a step, spread exactly for a whole one, react for half a step.

Source: Strang 1968. Order 2; positive where both halves are, so fronts pulled by their tails are right.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from unstir.generators import Fourier
from unstir.physics.stepping import Step
from unstir.physics.transport import Transport

Reaction = Callable[[Tensor], Tensor]


Flow = Callable[[Tensor, float], Tensor]
"""(u, dt) -> u after the time dt of a reaction alone, in closed form."""


def exact_flow(reaction: Reaction) -> Flow | None:
    """The reaction's method ``flow``, or None if it has none."""
    flow: Flow | None = getattr(reaction, "flow", None)
    return flow


def strang(transport: Transport, reaction: Reaction, tolerance: float, positive: bool) -> Step:
    """The method as a step.

    Args:
        transport: the generators.
        reaction: du/dt; its ``flow`` is used where it has one, else a Runge-Kutta step of order 4.
        tolerance: of the exponentials, relative.
        positive: whether the exponentials take their positive path.
    """
    if positive:
        transport = _prepared(transport)
    react = exact_flow(reaction) or partial(runge_kutta, reaction)

    def step(u: Tensor, dt: float) -> Tensor:
        u = react(u, 0.5 * dt)
        u = transport.exp(dt, u, tolerance=tolerance, positive=positive)
        return react(u, 0.5 * dt)

    return step


def _prepared(transport: Transport) -> Transport:
    """The same generators, transforms replaced by their rates once instead of at every step."""
    made = [g.sparse() if isinstance(g, Fourier) else g for g in transport.generators]
    return Transport(made if transport.several else made[0])


def runge_kutta(reaction: Reaction, u: Tensor, dt: float) -> Tensor:
    """The classical step of order 4 (Kutta 1901)."""
    k_1 = reaction(u)
    k_2 = reaction(u + 0.5 * dt * k_1)
    k_3 = reaction(u + 0.5 * dt * k_2)
    k_4 = reaction(u + dt * k_3)
    return u + dt / 6.0 * (k_1 + 2.0 * (k_2 + k_3) + k_4)
