import math

import numpy as np
import pytest
import torch

from tests.recipes.policy.test_task import small
from unstir.recipes.policy.maze import Maze
from unstir.recipes.policy.steering import clear_of, costing, ends_at
from unstir.recipes.policy.task import DiffusionPlanner, Policy
from unstir.recipes.policy.tracking import ball_path

SEEN = {"observation": torch.zeros(400, 4, 2)}


def test_a_goal_gives_the_exact_posterior_of_gaussian_plans():
    # An untrained network answers 0, so the plans are those of white Gaussian data of deviation sigma_data.
    model, goal, spread = small(), torch.tensor([2.0, -1.0]), 0.8
    wish = ends_at(goal, spread, since=-math.inf)
    plans = DiffusionPlanner(model, steps=30, steering=wish, candidates=1).plan(SEEN, 0, 0)
    prior_mean, prior_std = torch.tensor([1.0, 0.0]), 0.5 * torch.tensor([2.0, 4.0])
    gain = prior_std**2 / (prior_std**2 + spread**2)
    mean, std = prior_mean + gain * (goal - prior_mean), (1 - gain).sqrt() * prior_std
    last = plans[:, :, -1]
    assert torch.allclose(last.mean(0), mean, atol=4 * float(std.max()) / 20)
    assert torch.allclose(last.std(0), std, rtol=0.15)
    free = DiffusionPlanner(model, steps=30).plan(SEEN, 0, 0)
    assert torch.allclose(plans[:, :, :-1], free[:, :, :-1], atol=1e-3)


def test_each_episode_may_have_a_goal_of_its_own():
    goals = torch.linspace(-1, 1, 400)[:, None].expand(-1, 2)
    planner = DiffusionPlanner(small(), steps=12, steering=ends_at(goals, 0.05), candidates=2)
    assert float((planner.plan(SEEN, 0, 0)[:, :, -1] - goals).abs().mean()) < 0.15


def test_a_cost_of_no_weight_changes_nothing_and_one_of_weight_lowers_itself():
    cost, model = clear_of([(1.0, 0.0, 1.0)]), small()
    free, same, clear = (
        DiffusionPlanner(model, steps=12, steering=s, candidates=1).plan(SEEN, 0, 0)
        for s in (None, costing(cost, weight=0.0), costing(cost))
    )
    assert torch.equal(free, same)
    assert float(cost(clear).mean()) < 0.2 * float(cost(free).mean())


def test_the_cost_of_an_obstacle_is_half_the_squared_depth_in_units_of_its_softness():
    plans = torch.tensor([[[0.0, 0.5, 3.0], [0.0, 0.0, 0.0]]], requires_grad=True)
    cost = clear_of([(0.0, 0.0, 1.0)], softness=0.5)(plans)
    assert torch.allclose(cost, torch.tensor([0.5 * 4.0 + 0.5 * 1.0]), atol=1e-2)
    (gradient,) = torch.autograd.grad(cost.sum(), plans)
    assert gradient.isfinite().all()
    assert gradient[0, 0, 1] < 0  # further out is cheaper
    assert gradient[0, 0, 2] == 0


def test_more_candidates_cost_less_and_each_episode_has_its_own():
    model, seen = small(), {"observation": torch.zeros(40, 4, 2)}
    cost = clear_of([(1.0, 0.0, 1.5)])
    wish = costing(cost, weight=0.0)  # so that nothing but the choice lowers the cost
    planners = [DiffusionPlanner(model, steps=6, steering=wish, candidates=k) for k in (1, 8)]
    one, best = (float(cost(p.plan(seen, 0, 0)).mean()) for p in planners)
    assert best < 0.4 * one
    assert [p.evaluations for p in planners] == [6, 8 * (6 + 6)]
    together = planners[1].plan(seen, 3, 0)
    alone = planners[1].plan({"observation": seen["observation"][:1]}, 3, 17)
    assert torch.allclose(together[17], alone[0], atol=1e-5)


def test_guidance_waits_until_the_signal_shows():
    seen, planner = {"observation": torch.zeros(5, 4, 2)}, DiffusionPlanner(small(), steps=6)
    free = planner.plan(seen, 0, 0)
    for since, same in ((math.inf, True), (0.0, False)):
        wish = costing(clear_of([(1.0, 0.0, 1.5)]), since=since)
        plans = DiffusionPlanner(small(), steps=6, steering=wish, candidates=1).plan(seen, 0, 0)
        assert torch.equal(plans, free) == same


def test_the_ball_goes_where_the_linear_controller_says():
    pytest.importorskip("gymnasium_robotics")
    maze = Maze()
    history = [maze.reset(3)["observation"]]
    # Slow enough to stay within the largest force, and in the open.
    plan = history[0][:2] + 0.06 * np.arange(1, 16)[:, None] * np.array([0.3, 1.0])
    history.extend([maze.step(place)[0]["observation"] for place in plan])
    given = torch.tensor(np.array([history[0], history[0]]).T[None])
    padded = torch.tensor(np.concatenate([plan[:1], plan]).T[None])
    path = ball_path(padded, {"observation": given})
    driven = np.array(history)[1:, :2].T
    assert np.allclose(path[0, :, 4::5], driven, atol=1e-3)


def test_a_path_gives_every_action_after_the_past_a_gradient():
    plans = torch.randn(2, 2, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (gradient,) = torch.autograd.grad(ball_path(plans, {"observation": torch.zeros(2, 4, 2)}).sum(), plans)
    assert (gradient[:, :, 0] == 0).all()
    assert (gradient[:, :, 1:] != 0).all()


def test_bad_goals_and_obstacles_are_one_sentence():
    with pytest.raises(ValueError, match="a distance above 0, got 0"):
        ends_at([0.0, 0.0], 0.0)
    with pytest.raises(ValueError, match="a goal has shape"):
        DiffusionPlanner(small(), steering=ends_at([0.0, 0.0, 0.0], 1.0)).plan(SEEN, 0, 0)
    with pytest.raises(ValueError, match="obstacles are"):
        clear_of([(0.0, 0.0, -1.0)])
    with pytest.raises(ValueError, match="at least 1 candidate, got 0"):
        Policy(small(), steering=costing(clear_of([(0.0, 0.0, 1.0)])), candidates=0)
