"""The numbers of a policy in the maze: success, the routes taken, what an action costs, and its steering."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from unstir.recipes.numbers import Number, proportion
from unstir.recipes.policy.maze import BALL, Maze
from unstir.recipes.policy.steering import clear_of, costing, ends_at
from unstir.recipes.policy.task import DiffusionPlanner, Planner, Policy, Rollout, rollouts

if TYPE_CHECKING:
    from unstir.model import Model

EPISODES = 50
FIRST_SEED = 1_000_000
"""Of the episodes that a policy is judged in; demonstrations start elsewhere."""
OBSTACLES = ((4.2, 1.6, 0.3), (4.2, -1.6, 0.3))
"""Discs that no demonstration knew, one on either route."""
MARGIN = 0.2
"""What the steering adds to obstacle and ball, as the ball cuts corners of the path that it follows."""
GOALS = ((-2.0, 2.5), (-2.0, -2.5))
"""Where a plan from the start is asked to end: on the upper or the lower route."""
GOAL_SPREAD = 0.1


@dataclass(frozen=True)
class Latency:
    """Milliseconds for each action.

    Attributes:
        action: of the policy, a plan shared by the actions that are executed of it.
        environment: of the environment's step for an action.
    """

    action: float
    environment: float


def route_of(rollout: Rollout) -> str:
    """``upper`` or ``lower``, on which side an episode passed the trap; "" if it did not."""
    x, y = rollout.observations[:, 0], rollout.observations[:, 1]
    beside = (np.abs(x) < 0.5) & (np.abs(y) > 1.5)
    if not beside.any():
        return ""
    return "upper" if float(y[beside].mean()) > 0 else "lower"


def episodes(
    planner: Model | Planner,
    *,
    n: int = EPISODES,
    seed: int = 0,
    executed: int = 8,
    obstacles: tuple[tuple[float, float, float], ...] = (),
) -> list[Rollout]:
    """Episodes in the maze; the same seed gives the same starts to every planner."""
    seeds = [FIRST_SEED + 10_000 * seed + i for i in range(n)]
    return rollouts(Policy(planner, executed=executed, seed=seed), lambda: Maze(obstacles), seeds)


def outcome(
    runs: Sequence[Rollout], baseline: Sequence[Rollout] | None = None, reference: float | None = None
) -> dict[str, Number]:
    """Success and routes of episodes.

    Args:
        runs: of the policy.
        baseline: of what it is compared with.
        reference: the demonstrator's own success.
    """
    won = [r for r in runs if r.success]
    other = None if baseline is None else [r for r in baseline if r.success]
    value, interval = proportion(len(won), len(runs))
    base = None if other is None or not baseline else len(other) / len(baseline)
    numbers = {
        "success": Number(
            value, ">= 0.9", base, reference, interval, "share of the episodes that reach the goal"
        )
    }
    for name in ("upper", "lower"):
        taken = sum(route_of(r) == name for r in won)
        share, ends = proportion(taken, len(won)) if won else (0.0, None)
        numbers[f"{name}_route"] = Number(
            share, ">= 0.25", interval=ends, meaning=f"share of the successes by the {name} route"
        )
    return numbers


def latency(model: Model, *, executed: int = 8, plans: int = 20) -> Latency:
    """How long an action takes, beside the environment's own step, in milliseconds; medians over plans."""
    policy, maze = Policy(model, executed=executed), Maze()
    seen = maze.reset(FIRST_SEED)
    thinking, moving = [], []
    for _ in range(plans):
        spent = [0.0, 0.0]
        for _ in range(executed):
            started = time.perf_counter()
            action = policy.act(seen)
            planned = time.perf_counter()
            seen, over, _ = maze.step(action)
            spent[0] += planned - started
            spent[1] += time.perf_counter() - planned
            if over:
                seen = maze.reset(FIRST_SEED)
        thinking.append(spent[0])
        moving.append(spent[1])
    each = 1e3 / executed
    return Latency(float(np.median(thinking)) * each, float(np.median(moving)) * each)


def cost(model: Model, *, executed: int = 8) -> dict[str, Number]:
    """Evaluations of the network for a plan, and the time for an action."""
    planner = DiffusionPlanner(model)
    about = model.config.conditions["observation"].shape
    planner.plan({"observation": torch.zeros(1, *about)}, 0, 0)
    times = latency(model, executed=executed)
    return {
        "evaluations": Number(
            float(planner.evaluations), "<= 10", baseline=1.0, meaning="of the network for a plan of actions"
        ),
        "latency_ms": Number(
            times.action,
            reference=times.environment,
            meaning=f"milliseconds an action, a plan shared by {executed}; reference: the environment's step",
        ),
    }


def steering(model: Model, *, n: int = EPISODES, seed: int = 0, executed: int = 8) -> dict[str, Number]:
    """What guidance adds to a trained policy: obstacles it never saw, and plans that end where asked.

    The baseline is the same policy without guidance.
    """
    keep = tuple((x, y, r + BALL + MARGIN) for x, y, r in OBSTACLES)
    careful = DiffusionPlanner(model, steering=costing(clear_of(keep)))
    options = {"n": n, "seed": seed, "executed": executed}
    guided = episodes(careful, obstacles=OBSTACLES, **options)
    plain = episodes(model, obstacles=OBSTACLES, **options)
    share, interval = proportion(sum(r.success for r in guided), n)
    value, base = goal_errors(model, n=n, seed=seed)
    return {
        "past_obstacles": Number(
            share,
            ">= 0.8",
            sum(r.success for r in plain) / n,
            interval=interval,
            meaning="share of episodes that reach the goal and touch no obstacle that training never saw",
        ),
        "goal_error": Number(
            value,
            "<= 0.2",
            base,
            meaning="rms distance in cells of the last planned place from the goal of a plan",
        ),
    }


def goal_errors(model: Model, *, n: int = EPISODES, seed: int = 0) -> tuple[float, float]:
    """How far plans from the start end from goals on either route, rms in cells: guided, and unguided."""
    maze = Maze()
    starts = [maze.reset(FIRST_SEED + 10_000 * seed + i)["observation"] for i in range(n)]
    observed = model.config.conditions["observation"].shape[1]
    seen = torch.tensor(np.array(starts), dtype=torch.float32)[:, :, None].expand(-1, -1, observed)
    goals = torch.tensor([GOALS[i % 2] for i in range(n)])
    result = []
    for wish in (ends_at(goals, GOAL_SPREAD), None):
        plans = DiffusionPlanner(model, steering=wish).plan({"observation": seen}, seed, 0)
        result.append(float((plans[:, :, -1] - goals).square().sum(dim=1).mean().sqrt()))
    return result[0], result[1]
