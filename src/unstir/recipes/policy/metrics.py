"""The numbers of a policy in the maze: success, the routes taken, what an action costs, and its steering."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from unstir.recipes.numbers import Number, proportion
from unstir.recipes.policy.demonstrations import demonstrate
from unstir.recipes.policy.maze import BALL, Maze, is_wall
from unstir.recipes.policy.steering import Steering, clear_of, costing, ends_at
from unstir.recipes.policy.task import DiffusionPlanner, Planner, Policy, Rollout, lengths_of, rollouts
from unstir.recipes.policy.tracking import ball_path

if TYPE_CHECKING:
    from unstir.model import Model

EPISODES = 50
FIRST_SEED = 1_000_000
"""Of the episodes that a policy is judged in; demonstrations start elsewhere."""
OBSTACLES = ((4.2, 1.6, 0.3), (4.2, -1.6, 0.3))
"""Discs that no demonstration knew, one on either route."""
MARGIN = 0.1
"""What the steering adds to obstacle and ball."""
GOAL_SPREAD = 0.05
"""How near the end of a plan is asked to come to its goal, in cells."""
GOAL_SEED = 1
"""Of the demonstrations whose places are goals; training has those of another seed."""


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


def latency(planner: Model | Planner, *, executed: int = 8, plans: int = 20) -> Latency:
    """How long an action takes, beside the environment's own step, in milliseconds; medians over plans."""
    policy, maze = Policy(planner, executed=executed), Maze()
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


def cost(model: Model, *, steps: int | None = None, executed: int = 8) -> dict[str, Number]:
    """Evaluations of the network for a plan, and the time for an action."""
    planner = DiffusionPlanner(model, steps=steps)
    careful = DiffusionPlanner(model, steps=steps, steering=wary())
    times, steered = latency(planner, executed=executed), latency(careful, executed=executed, plans=10)
    return {
        "evaluations": Number(
            float(planner.evaluations), "<= 10", baseline=1.0, meaning="of the network for a plan of actions"
        ),
        "latency_ms": Number(
            times.action,
            reference=times.environment,
            meaning=f"milliseconds an action, a plan shared by {executed}; reference: the environment's step",
        ),
        "steered_ms": Number(
            steered.action,
            reference=times.environment,
            meaning=f"the same past obstacles, with {careful.candidates} candidates for a plan",
        ),
    }


def wary() -> Steering:
    """Round `OBSTACLES`: the cost of the ball's way under a plan."""
    keep = tuple((x, y, radius + BALL + MARGIN) for x, y, radius in OBSTACLES)
    return costing(clear_of(keep), path=ball_path)


def steering(
    model: Model, *, n: int = EPISODES, steps: int | None = None, seed: int = 0, executed: int = 8
) -> dict[str, Number]:
    """What guidance adds to a trained policy: obstacles it never saw, and plans that end where asked.

    The baseline is the same policy without guidance.
    """
    guided, plain = (
        episodes(
            DiffusionPlanner(model, steps=steps, steering=wish),
            obstacles=OBSTACLES,
            n=n,
            seed=seed,
            executed=executed,
        )
        for wish in (wary(), None)
    )
    share, interval = proportion(sum(r.success for r in guided), n)
    asked, free = (goal_plans(model, n=n, steps=steps, seed=seed, steered=s) for s in (True, False))
    return {
        "past_obstacles": Number(
            share,
            ">= 0.8",
            sum(r.success for r in plain) / n,
            interval=interval,
            meaning="share of episodes that reach the goal and touch no obstacle that training never saw",
        ),
        "goal_error": Number(
            asked.error,
            "<= 0.2",
            free.error,
            meaning="rms distance in cells of the last planned place from the goal of a plan",
        ),
        "goal_walls": Number(
            asked.walls,
            "<= 0.05",
            free.walls,
            meaning="share of the plans to goals whose way leads through a wall",
        ),
    }


@dataclass(frozen=True)
class GoalPlans:
    """Plans from the start that were asked to end at goals.

    Attributes:
        paths: (n, points, 2), the ball's ways under them.
        goals: (n, 2).
        error: rms distance in cells of their last places from the goals.
        walls: share of the ways that lead through a wall.
    """

    paths: NDArray[np.float64]
    goals: NDArray[np.float64]
    error: float
    walls: float


def goal_plans(
    model: Model, *, n: int = EPISODES, steps: int | None = None, seed: int = 0, steered: bool = True
) -> GoalPlans:
    """Plans from the start to where demonstrators were sent after as many actions, on either route.

    The demonstrations are not those of the training, and neither are the starts.
    """
    maze = Maze()
    starts = [maze.reset(FIRST_SEED + 10_000 * seed + i)["observation"] for i in range(n)]
    observed, horizon = lengths_of(model)
    seen = torch.tensor(np.array(starts), dtype=torch.float32)[:, :, None].expand(-1, -1, observed)
    done = demonstrate(n, seed=GOAL_SEED).episodes
    first = np.concatenate([[0], done.ends[:-1]])
    goals = torch.from_numpy(done.actions[np.minimum(first + horizon - observed, done.ends - 1)])
    wish = ends_at(goals, GOAL_SPREAD) if steered else None
    plans = DiffusionPlanner(model, steps=steps, steering=wish).plan({"observation": seen}, seed, 0)
    paths = ball_path(plans, {"observation": seen}).transpose(1, 2).double().numpy()
    error = float((plans[:, :, -1] - goals).square().sum(dim=1).mean().sqrt())
    return GoalPlans(paths, goals.double().numpy(), error, float(is_wall(paths).any(axis=1).mean()))
