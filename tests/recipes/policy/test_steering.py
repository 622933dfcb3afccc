import pytest
import torch

from tests.recipes.policy.test_task import small
from unstir.recipes.policy.steering import clear_of, costing, ends_at
from unstir.recipes.policy.task import DiffusionPlanner

SEEN = {"observation": torch.zeros(400, 4, 2)}


def test_a_goal_gives_the_exact_posterior_of_gaussian_plans():
    # An untrained network answers 0, so the plans are those of white Gaussian data of deviation sigma_data.
    model, goal, spread = small(), torch.tensor([2.0, -1.0]), 0.8
    plans = DiffusionPlanner(model, steps=30, steering=ends_at(goal, spread)).plan(SEEN, 0, 0)
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
    plans = DiffusionPlanner(small(), steps=12, steering=ends_at(goals, 0.05)).plan(SEEN, 0, 0)
    assert float((plans[:, :, -1] - goals).abs().mean()) < 0.15


def test_a_cost_of_no_weight_changes_nothing_and_one_of_weight_lowers_itself():
    cost, model = clear_of([(1.0, 0.0, 1.0)]), small()
    free, same, clear = (
        DiffusionPlanner(model, steps=12, steering=s).plan(SEEN, 0, 0)
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


def test_bad_goals_and_obstacles_are_one_sentence():
    with pytest.raises(ValueError, match="a distance above 0, got 0"):
        ends_at([0.0, 0.0], 0.0)
    with pytest.raises(ValueError, match="a goal has shape"):
        DiffusionPlanner(small(), steering=ends_at([0.0, 0.0, 0.0], 1.0)).plan(SEEN, 0, 0)
    with pytest.raises(ValueError, match="obstacles are"):
        clear_of([(0.0, 0.0, -1.0)])
