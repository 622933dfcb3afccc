"""The social force model: how people walk round each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class SocialForce:
    """Parameters of the model, those of the source by default.

    Source: Helbing & Molnár 1995, "Social force model for pedestrian dynamics", section III.

    Attributes:
        relaxation: tau, seconds until the desired speed is taken up.
        potential: V0 between people, m^2/s^2.
        reach: sigma, metres over which it falls.
        step: Delta t, seconds; the other's way in it is the long axis of the ellipse of equal potential.
        wall: U0, m^2/s^2.
        wall_reach: R, metres.
        sight: 2 phi, the angle in which others count fully, degrees.
        behind: c, the weight of those out of sight.
        fastest: largest speed in units of the desired one.
        body: m/s^2 where two bodies touch: the source's points may pass through each other, people don't.
            From Helbing, Farkas & Vicsek 2000, "Simulating dynamical features of escape panic", eq. 1 and
            table 1 (A / m = 25 m/s^2, B = 0.08 m).
        body_reach: B, metres.
        diameter: of a body, metres.
    """

    relaxation: float = 0.5
    potential: float = 2.1
    reach: float = 0.3
    step: float = 2.0
    wall: float = 10.0
    wall_reach: float = 0.2
    sight: float = 200.0
    behind: float = 0.5
    fastest: float = 1.3
    body: float = 25.0
    body_reach: float = 0.08
    diameter: float = 0.5


def drive(model: SocialForce, velocity: Array, desired: Array) -> Array:
    """Acceleration towards a desired velocity, (desired - velocity) / tau, m/s^2.

    Source: Helbing & Molnár 1995, eq. 2.
    """
    return (desired - velocity) / model.relaxation


def repulsion(model: SocialForce, position: Array, velocity: Array, heading: Array, present: Array) -> Array:
    r"""Acceleration of each pedestrian by the others, (..., agents, 2) in m/s^2.

    .. math:: f_\alpha = -\sum_\beta w\, \nabla V_0 e^{-b / \sigma}, \qquad
              2 b = \sqrt{(|r| + |r - v_\beta \Delta t\, e_\beta|)^2 - (v_\beta \Delta t)^2}

    Source: Helbing & Molnár 1995, eq. 3, 4 and 8 (sight); and a push between bodies, as in `SocialForce`.

    Args:
        model: parameters.
        position: (..., agents, 2) metres.
        velocity: (..., agents, 2) m/s.
        heading: (..., agents, 2) unit vectors of the desired direction, which is where they look.
        present: (..., agents) bool; others neither push nor are pushed.
    """
    apart = position[..., :, None, :] - position[..., None, :, :]
    ahead = apart - model.step * velocity[..., None, :, :]
    near, far = _norm(apart), _norm(ahead)
    way = model.step * _norm(velocity)[..., None, :]
    total = near + far
    b = 0.5 * np.sqrt(np.maximum(total**2 - way**2, 1e-6))
    towards = apart / near[..., None] + ahead / far[..., None]
    gradient = (total / (4.0 * b))[..., None] * towards
    force = (model.potential / model.reach * np.exp(-b / model.reach))[..., None] * gradient
    # They see the other who is the source of the push: -force points to it.
    cosine = np.cos(np.deg2rad(model.sight / 2.0))
    seen = -(heading[..., :, None, :] * force).sum(-1) >= _norm(force) * cosine
    weight = np.where(seen, 1.0, model.behind)
    agents = np.arange(position.shape[-2])
    pair = present[..., :, None] & present[..., None, :] & (agents[:, None] != agents)
    touch = model.body * np.exp(np.minimum((model.diameter - near) / model.body_reach, 1.0))
    force = force * weight[..., None] + (touch / near)[..., None] * apart
    total_force: Array = (force * pair[..., None]).sum(-2)
    return total_force


def wall_repulsion(model: SocialForce, position: Array, walls: Array) -> Array:
    """Acceleration by walls, -grad U0 exp(-distance / R), (..., agents, 2) in m/s^2.

    Source: Helbing & Molnár 1995, eq. 5 and 6: each wall pushes from its nearest point.

    Args:
        model: parameters.
        position: (..., agents, 2) metres.
        walls: (..., segments, 4) of x0 y0 x1 y1, metres; NaN for none.
    """
    start, end = walls[..., None, :, :2], walls[..., None, :, 2:]
    along = end - start
    length = np.maximum((along**2).sum(-1), 1e-12)
    share = ((position[..., :, None, :] - start) * along).sum(-1) / length
    away = position[..., :, None, :] - (start + np.clip(share, 0.0, 1.0)[..., None] * along)
    distance = _norm(away)
    push = model.wall / model.wall_reach * np.exp(-distance / model.wall_reach)
    total: Array = np.nansum(push[..., None] * away / distance[..., None], axis=-2)
    return total


def advance(
    model: SocialForce, position: Array, velocity: Array, force: Array, fastest: Array, dt: float
) -> tuple[Array, Array]:
    """One step of semi-implicit Euler; the speed is cut at the fastest (eq. 10 of the source).

    Args:
        model: parameters.
        position: (..., 2) metres.
        velocity: (..., 2) m/s.
        force: (..., 2) m/s^2.
        fastest: (...) m/s.
        dt: seconds.
    """
    velocity = velocity + dt * force
    speed = np.maximum(_norm(velocity), 1e-12)
    velocity = velocity * np.minimum(1.0, fastest / speed)[..., None]
    return position + dt * velocity, velocity


def unit(x: Array) -> Array:
    """Vectors (..., 2) of length 1 in the same direction; 0 stays 0."""
    return x / _norm(x)[..., None]


def _norm(x: Array) -> Array:
    length: Array = np.maximum(np.sqrt((x**2).sum(-1)), 1e-9)
    return length
