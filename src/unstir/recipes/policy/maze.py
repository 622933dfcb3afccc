"""The default task: a ball in a maze (MuJoCo), with a trap on the straight way and two ways round it.

The physics is PointMaze of gymnasium-robotics: a ball of 4.2 kg that a force moves on a plane, with walls.
An action is a place to go to, and a controller turns it into forces, as position control suits policies that
plan several actions at once (Chi et al. 2023, section 4.2);
so a plan is a path that can be drawn and steered.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unstir.extras import needed
from unstir.recipes.policy.environment import Observation

LAYOUT: tuple[str, ...] = (
    "###############",
    "#.............#",
    "#.............#",
    "#...#######...#",
    "#.r.......#.g.#",
    "#...#######...#",
    "#.............#",
    "#.............#",
    "###############",
)
"""``#`` wall, ``r`` start, ``g`` goal; cells of side 1, the middle cell's middle is (0, 0), y points up."""
START = (-5.0, 0.0)
GOAL = (5.0, 0.0)
JITTER = (0.25, 0.1)
"""Starts are uniform in a rectangle about START, so far to either side."""
REACHED = 0.45
"""Distance to the goal that counts as success, that of gymnasium-robotics."""
BALL = 0.1
"""Radius of the ball."""
REPEAT = 15
"""Steps of the physics (0.01 s) for each action."""
LIMIT = 100
"""Actions in an episode."""
MASS = 1000.0 * 4.0 / 3.0 * np.pi * BALL**3
GEAR = 100.0
"""Newton for a control of 1, the largest one."""
DAMPING = 1.0
"""Of the ball's joints, newton for a cell a second."""
STEP = 0.01
"""Seconds of a step of the physics."""
FREQUENCY = 10.0
"""Of the controller, 1/s: critically damped, so the ball trails a moving place by 2 v / FREQUENCY."""

Vector = NDArray[np.float64]


def control(place: Vector, target: Vector, velocity: Vector) -> Vector:
    r"""The control that moves the ball to a target, each entry in [-1, 1].

    .. math:: F = m\,(\omega^2 (x^* - x) - 2 \omega v)

    A critically damped proportional-derivative controller (any textbook of control, such as Franklin, Powell
    & Emami-Naeini 2019, section 3.3).
    """
    force = MASS * (FREQUENCY**2 * (target - place) - 2.0 * FREQUENCY * velocity)
    return (force / GEAR).clip(-1.0, 1.0)


def is_wall(points: Vector) -> NDArray[np.bool_]:
    """Whether points (..., 2) lie in a wall or outside the maze."""
    rows, columns = len(LAYOUT), len(LAYOUT[0])
    walls = np.array([[cell == "#" for cell in line] for line in LAYOUT])
    i = np.floor(rows / 2 - points[..., 1]).astype(int)
    j = np.floor(points[..., 0] + columns / 2).astype(int)
    inside = (i >= 0) & (i < rows) & (j >= 0) & (j < columns)
    result: NDArray[np.bool_] = ~inside | walls[i.clip(0, rows - 1), j.clip(0, columns - 1)]
    return result


class Maze:
    """The environment (`environment.Environment`).

    What is seen is (x, y, vx, vy) in cells and cells a second; an action is the place (x, y) to go to.

    Args:
        obstacles: discs (x, y, radius); an episode in which the ball touches one is over and failed. They
            have no physics beyond that.

    Raises:
        ModuleNotFoundError: if gymnasium-robotics or mujoco is not installed.
    """

    limit = LIMIT

    def __init__(self, obstacles: tuple[tuple[float, float, float], ...] = ()) -> None:
        self.obstacles = obstacles
        self.env = _point_maze()
        self.place, self.velocity = np.zeros(2), np.zeros(2)
        self.steps, self.touched, self.best = 0, False, 0.0

    @property
    def score(self) -> float:
        """1 once the goal was reached, else the nearest it came as a share of the way, at least 0."""
        return self.best

    def reset(self, seed: int) -> Observation:
        """Start an episode at rest, at a place that the seed decides."""
        rng = np.random.default_rng(seed)
        self.env.reset(seed=seed % 2**31)
        start = np.array(START) + np.array(JITTER) * (2.0 * rng.random(2) - 1.0)
        self.env.point_env.set_state(start, np.zeros(2))
        self.place, self.velocity = start, np.zeros(2)
        self.steps, self.touched, self.best = 0, False, 0.0
        return self._seen()

    def step(self, action: NDArray[np.floating]) -> tuple[Observation, bool, bool]:
        """Go towards a place for 0.15 seconds.

        Raises:
            ValueError: for an action that is not two finite numbers.
        """
        target = np.asarray(action, dtype=np.float64)
        if target.shape != (2,) or not np.isfinite(target).all():
            raise ValueError(f"an action in the maze is a place (x, y) of finite numbers, got {action!r}")
        reached = False
        for _ in range(REPEAT):
            seen = self.env.point_env.step(control(self.place, target, self.velocity))[0]
            self.place, self.velocity = seen[:2], seen[2:]
            self.touched = self.touched or self._touches()
            reached = float(np.hypot(*(self.place - GOAL))) <= REACHED
            if reached or self.touched:
                break
        self.steps += 1
        success = reached and not self.touched
        away = float(np.hypot(*(self.place - GOAL))) / float(np.hypot(*np.subtract(START, GOAL)))
        self.best = 1.0 if success else max(self.best, min(0.99, 1.0 - away))
        return self._seen(), success or self.touched or self.steps >= self.limit, success

    def image(self) -> NDArray[np.uint8]:
        """The maze from above with the ball, (height, width, 3)."""
        from unstir.recipes.policy.drawing import scene

        return np.asarray(scene(self.obstacles, ball=self.place))

    def _seen(self) -> Mapping[str, NDArray[np.generic]]:
        return {"observation": np.concatenate([self.place, self.velocity])}

    def _touches(self) -> bool:
        return any(
            (self.place[0] - x) ** 2 + (self.place[1] - y) ** 2 < (r + BALL) ** 2
            for x, y, r in self.obstacles
        )


def _point_maze() -> Any:
    """The environment of gymnasium-robotics with our layout; the file it writes for MuJoCo is removed."""
    cells = {"#": 1, ".": 0}
    layout = [[cells.get(cell, cell) for cell in line] for line in LAYOUT]
    try:
        from gymnasium.error import DependencyNotInstalled

        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            from gymnasium_robotics.envs.maze.point_maze import PointMazeEnv
        env = PointMazeEnv(maze_map=layout, continuing_task=False)
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0].replace("_", "-")
        raise needed(library, "robotics") from None
    except DependencyNotInstalled:  # how gymnasium says that mujoco is not there
        raise needed("mujoco", "robotics") from None
    Path(env.tmp_xml_file_path).unlink(missing_ok=True)
    return env
