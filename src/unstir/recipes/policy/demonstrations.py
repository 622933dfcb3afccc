"""Demonstrations in the maze, made on the spot: a demonstrator who knows both ways round the trap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unstir.recipes.policy.episodes import Episodes
from unstir.recipes.policy.maze import FREQUENCY, GOAL, Maze, Vector

UPPER = np.array([(-4.2, 1.0), (-3.7, 2.0), (-2.4, 2.6), (2.4, 2.6), (3.9, 2.2), (4.4, 1.1), GOAL])
"""Way points of the upper route; the lower one is its mirror image. Between them is the trap."""
SPREADS = np.array([0.1, 0.15, 0.2, 0.2, 0.3, 0.4, 0.1])
"""Half the side of the square in which each way point is drawn."""
SPEED = (2.6, 3.0)
"""Cells a second that a demonstrator aims for, drawn for each episode."""
TREMOR = 0.06
"""Standard deviation of the demonstrator's hand, in cells: what is done differs from what is recorded, so the
demonstrations also show the way back to the route (Laskey et al. 2017, "DART")."""
_STEADY = 0.8
"""How much of the tremor stays from one action to the next."""
_SPACING = 0.02


@dataclass(frozen=True)
class Demonstrated:
    """Demonstrations and how they came about.

    Attributes:
        episodes: those that reached the goal.
        upper: (episodes,) bool, which route each took.
        attempts: how many were tried.
    """

    episodes: Episodes
    upper: NDArray[np.bool_]
    attempts: int


def route(start: Vector, *, upper: bool, rng: np.random.Generator) -> Vector:
    """A route through jittered way points with rounded corners, points (n, 2) equally spaced."""
    points = UPPER + SPREADS[:, None] * (2.0 * rng.random(UPPER.shape) - 1.0)
    if not upper:
        points = points * (1.0, -1.0)
    points = np.concatenate([start[None], points])
    for _ in range(3):  # corner cutting: Chaikin 1974
        a, b = points[:-1], points[1:]
        cut = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], cut, points[-1:]])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    at = np.arange(0.0, along[-1], _SPACING)
    return np.stack([np.interp(at, along, points[:, k]) for k in range(2)], axis=1)


def demonstrate(n: int, seed: int = 0) -> Demonstrated:
    """Demonstrations that reach the goal, half of them by either route.

    The demonstrator goes to the place a little ahead of the ball on its route (pure pursuit, Coulter 1992);
    the distance ahead is that at which the controller keeps the speed. An attempt that fails is not kept.

    Args:
        n: demonstrations, at least 1.
        seed: of starts, routes and tremor.

    Raises:
        ModuleNotFoundError: if the simulator is not installed.
        ValueError: for less than one demonstration.
    """
    if n < 1:
        raise ValueError(f"there is at least one demonstration, got {n}")
    maze = Maze()
    seen: list[Vector] = []
    done: list[Vector] = []
    lengths: list[int] = []
    uppers: list[bool] = []
    attempts = 0
    while len(lengths) < n:
        rng = np.random.default_rng([seed, attempts])
        upper = len(lengths) % 2 == 0
        observations, actions, success = _attempt(maze, upper, rng)
        attempts += 1
        if success:
            seen.append(observations)
            done.append(actions)
            lengths.append(len(actions))
            uppers.append(upper)
    episodes = Episodes(
        np.concatenate(seen).astype(np.float32),
        np.concatenate(done).astype(np.float32),
        np.cumsum(lengths),
        success=np.ones(n, dtype=np.bool_),
    )
    return Demonstrated(episodes, np.array(uppers), attempts)


def _attempt(maze: Maze, upper: bool, rng: np.random.Generator) -> tuple[Vector, Vector, bool]:
    """One attempt: (steps, 4) observations, (steps, 2) actions, and whether it reached the goal."""
    seen = np.asarray(maze.reset(int(rng.integers(2**31)))["observation"], dtype=np.float64)
    path = route(seen[:2], upper=upper, rng=rng)
    ahead = round(2.0 * rng.uniform(*SPEED) / FREQUENCY / _SPACING)
    at, tremor = 0, np.zeros(2)
    observations, actions = [], []
    over = success = False
    while not over:
        near = path[at : at + 100] - seen[:2]
        at += int(np.argmin((near**2).sum(axis=1)))
        action = path[min(at + ahead, len(path) - 1)]
        observations.append(seen)
        actions.append(action)
        shaken = np.sqrt(1.0 - _STEADY**2) * TREMOR * rng.standard_normal(2)
        tremor = _STEADY * tremor + shaken
        after, over, success = maze.step(action + tremor)
        seen = np.asarray(after["observation"], dtype=np.float64)
    return np.array(observations), np.array(actions), success
