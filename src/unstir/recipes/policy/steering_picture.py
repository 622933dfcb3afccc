"""A picture of steering: episodes past obstacles, and plans to goals, each beside the unguided policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from unstir.recipes.policy import metrics
from unstir.recipes.policy.drawing import BODY, LOWER, UPPER, Scene, beside
from unstir.recipes.policy.maze import BALL
from unstir.recipes.policy.task import DiffusionPlanner
from unstir.recipes.policy.video import routes_picture

if TYPE_CHECKING:
    from unstir.model import Model


def steering_picture(
    model: Model,
    *,
    n: int = 20,
    steps: int | None = None,
    seed: int = 0,
    executed: int = 8,
    cell: int = 22,
) -> Image.Image:
    """Two rows: episodes in a maze with obstacles, and plans that are asked to end at goals.

    Args:
        model: a policy for the maze.
        n: episodes, and plans.
        steps: of the solver; the model's own by default.
        seed: of both.
        executed: actions done of each plan.
        cell: pixels for a cell of the maze.
    """
    planners = {
        "Unguided": DiffusionPlanner(model, steps=steps),
        "Guided round obstacles": DiffusionPlanner(model, steps=steps, steering=metrics.wary()),
    }
    runs = [
        (title, metrics.episodes(p, n=n, seed=seed, executed=executed, obstacles=metrics.OBSTACLES))
        for title, p in planners.items()
    ]
    above = routes_picture(runs, metrics.OBSTACLES, cell=cell)
    plans = [
        metrics.goal_plans(model, n=n, steps=steps, seed=seed, steered=steered) for steered in (False, True)
    ]
    names = ("Unguided plans", "Plans guided to goals")
    titles = [f"{name}: {p.error:.2f} cells away" for name, p in zip(names, plans, strict=True)]
    below = beside([_goals(p, cell) for p in plans], titles)
    return _stacked([above, below])


def _goals(plans: metrics.GoalPlans, cell: int) -> Image.Image:
    """Ways in the colour of the half in which the goal lies, and the goals as dots."""
    drawn = Scene(cell=cell)
    for path, goal in zip(plans.paths, plans.goals, strict=True):
        drawn.path(path, UPPER if goal[1] > 0 else LOWER)
    for goal in plans.goals:
        drawn.disc(np.asarray(goal), 0.8 * BALL, BODY)
    return drawn.finish()


def _stacked(images: Sequence[Image.Image], gap: int = 6) -> Image.Image:
    width = max(image.width for image in images)
    height = sum(image.height for image in images) + gap * (len(images) - 1)
    canvas, top = Image.new("RGB", (width, height), images[0].getpixel((0, 0))), 0
    for image in images:
        canvas.paste(image, (0, top))
        top += image.height + gap
    return canvas
