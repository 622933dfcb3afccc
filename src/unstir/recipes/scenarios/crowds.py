"""Pedestrians alone: two streams that meet in a corridor, and ways that cross on an open square."""

from __future__ import annotations

import numpy as np

from unstir.recipes.scenarios import pedestrians
from unstir.recipes.scenarios.frames import AGENTS, SEGMENTS, Made, Rng, recorded
from unstir.recipes.scenarios.pedestrians import Array, SocialForce

FLUCTUATION = 0.15
"""Of the velocity, m/s after a second of diffusion: people do not walk like clockwork."""

STEP = 0.05
"""Seconds of a step: bodies that push each other need a finer one than streets."""


def desired_speeds(shape: tuple[int, ...], rng: Rng) -> Array:
    """Of pedestrians, m/s, cut at 0.5: N(1.34, 0.26) of Helbing & Molnár 1995, section III."""
    return np.maximum(rng.normal(1.34, 0.26, shape), 0.5)


def corridor(n: int, rng: Rng) -> Made:
    """Two streams against each other between walls 3 to 5 metres apart.

    Args:
        n: scenes.
        rng: random numbers.
    """
    half = rng.uniform(1.5, 3.0, n)[:, None]
    sign = rng.choice([-1.0, 1.0], (n, AGENTS))
    meeting = np.stack([rng.uniform(-3.0, 3.0, (n, AGENTS)), rng.uniform(-0.8, 0.8, (n, AGENTS)) * half], -1)
    angle = np.where(sign > 0, 0.0, np.pi) + rng.normal(0.0, 0.08, (n, AGENTS))
    walls = np.full((n, SEGMENTS, 4), np.nan)
    for row, side in enumerate((-1.0, 1.0)):
        walls[:, row] = np.stack(
            [np.full(n, -20.0), side * half[:, 0], np.full(n, 20.0), side * half[:, 0]], -1
        )
    return _walk(meeting, angle, walls, rng)


def square(n: int, rng: Rng) -> Made:
    """Ways from all sides that come near each other at about the same time, without walls.

    Args:
        n: scenes.
        rng: random numbers.
    """
    meeting = rng.normal(0.0, 2.5, (n, AGENTS, 2))
    angle = rng.uniform(0.0, 2.0 * np.pi, (n, AGENTS))
    return _walk(meeting, angle, np.full((n, SEGMENTS, 4), np.nan), rng)


def _walk(meeting: Array, angle: Array, walls: Array, rng: Rng) -> Made:
    """Let pedestrians walk who, undisturbed, would be at their meeting point some seconds on."""
    n, model = len(meeting), SocialForce()
    present = np.arange(AGENTS) < rng.integers(2, AGENTS + 1, n)[:, None]
    wish = desired_speeds((n, AGENTS), rng)
    way = np.stack([np.cos(angle), np.sin(angle)], -1)
    when = rng.uniform(3.5, 6.5, (n, 1)) + rng.normal(0.0, 1.0, (n, AGENTS))
    goal = meeting + 15.0 * way
    position, velocity = meeting - (wish * when)[..., None] * way, wish[..., None] * way

    def step() -> Array:
        nonlocal position, velocity
        heading = pedestrians.unit(goal - position)
        force = pedestrians.drive(model, velocity, wish[..., None] * heading)
        force = force + pedestrians.repulsion(model, position, velocity, heading, present)
        force = force + pedestrians.wall_repulsion(model, position, walls)
        force = force + FLUCTUATION / np.sqrt(STEP) * rng.standard_normal(force.shape)
        position, velocity = pedestrians.advance(model, position, velocity, force, model.fastest * wish, STEP)
        return position

    tracks = recorded(step, STEP)
    kinds = np.where(present, 0, -1).astype(np.int8)
    return Made(np.where(present[..., None, None], tracks, np.nan), kinds, walls)
