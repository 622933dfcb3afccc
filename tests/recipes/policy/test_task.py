import numpy as np
import pytest
import torch

from unstir.model import Model, ModelConfig
from unstir.networks import ConditionSettings
from unstir.recipes.policy.baseline import MeanPlanner
from unstir.recipes.policy.task import DiffusionPlanner, Policy, rollouts


class Counting:
    """Plans that say which plan, and which action of it, they are."""

    observed, horizon, evaluations = 2, 16, 1

    def __init__(self):
        self.calls = []

    def plan(self, conditions, seed, first):
        self.calls.append((conditions["observation"].clone(), seed, first))
        number = 100.0 * len(self.calls)
        row = number + torch.arange(self.horizon, dtype=torch.float32)
        return row.expand(len(conditions["observation"]), 1, -1).clone()


class Line:
    """A walk on a line; it succeeds at 3."""

    limit = 9

    def reset(self, seed):
        self.x, self.steps = float(seed), 0
        return {"observation": np.array([self.x])}

    def step(self, action):
        self.x, self.steps = self.x + float(np.sign(action[0])), self.steps + 1
        return {"observation": np.array([self.x])}, self.x >= 3 or self.steps >= self.limit, self.x >= 3

    @property
    def score(self):
        return float(self.x >= 3)


def small(**changes):
    config = {
        "event": (2, 16),
        "network": {"kind": "unet", "width": 8, "multipliers": (1, 2)},
        "schedule": "cosine",
        "sigma_data": 0.5,
        "shift": (1.0, 0.0),
        "scale": (2.0, 4.0),
        "conditions": {"observation": ConditionSettings(shape=(4, 2))},
        "sampling": {"steps": 4},
    }
    return Model(ModelConfig.model_validate(config | changes))


def random_model():
    """A network that answers something, and something else to other observations."""
    model = small()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.denoiser.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


def test_a_plan_is_executed_from_the_newest_observation_on_and_then_made_anew():
    planner = Counting()
    policy = Policy(planner, executed=3)
    actions = [float(policy.act(np.array([float(k)]))[0]) for k in range(7)]
    assert actions == [101, 102, 103, 201, 202, 203, 301]
    assert planner.calls[0][0].tolist() == [[[0.0, 0.0]]]  # the first observation stands in for its past
    assert planner.calls[1][0].tolist() == [[[2.0, 3.0]]]
    assert len({seed for _, seed, _ in planner.calls}) == 3


def test_reset_forgets_the_past_and_takes_the_number_of_the_episode():
    planner = Counting()
    policy = Policy(planner)
    policy.act(np.array([1.0]))
    policy.reset(7)
    policy.act(np.array([5.0]))
    assert planner.calls[1][0].tolist() == [[[5.0, 5.0]]]
    assert planner.calls[1][1:] == (planner.calls[0][1], 7)


def test_an_episode_acts_alike_alone_and_among_others():
    model = random_model()
    seen = torch.randn(3, 10, 4, generator=torch.Generator().manual_seed(1)).numpy()
    together = Policy(model, seed=2)
    many = [together.act_many([{"observation": seen[i, k]} for i in range(3)]) for k in range(10)]
    alone = Policy(model, seed=2)
    alone.reset(2)
    one = [alone.act(seen[2, k]) for k in range(10)]
    assert np.allclose(np.array(many)[:, 2], one, atol=1e-5)
    assert not np.allclose(np.array(many)[:, 1], one, atol=0.1)


def test_the_seed_decides_the_actions():
    model, seen = random_model(), np.ones(4)
    first = [Policy(model, seed=s).act(seen) for s in (0, 0, 1)]
    assert (first[0] == first[1]).all()
    assert (first[0] != first[2]).any()


def test_every_observation_reaches_the_plan():
    model = random_model()
    model.denoiser.module.requires_grad_(False)
    given = torch.randn(2, 4, 2, requires_grad=True)
    answer = model.denoiser(torch.randn(2, 2, 16), 0.5, observation=given).mean
    (gradient,) = torch.autograd.grad(answer.square().sum(), given)
    assert (gradient != 0).all()


def test_a_plan_costs_as_many_evaluations_as_steps():
    planner = DiffusionPlanner(small(), steps=5)
    plans = planner.plan({"observation": torch.zeros(3, 4, 2)}, 0, 0)
    assert plans.shape == (3, 2, 16)
    assert planner.evaluations == 5


def test_the_mean_of_many_plans_is_the_mean_of_the_distribution():
    # An untrained network answers 0, so plans are white Gaussian about the shift (1, 0).
    seen = {"observation": torch.zeros(3, 4, 2)}
    mean = MeanPlanner(DiffusionPlanner(small(), steps=8), draws=400)
    plans = mean.plan(seen, 0, 0)
    assert plans.shape == (3, 2, 16)
    assert mean.evaluations == 8 * 400
    assert float((plans - torch.tensor([1.0, 0.0])[:, None]).abs().max()) < 5 * 2.0 / 20


def test_rollouts_end_at_success_or_the_limit():
    done = rollouts(Policy(Counting()), Line, [0, -8])
    assert [r.success for r in done] == [True, False]
    assert [len(r.actions) for r in done] == [3, 9]
    assert [len(r.observations) for r in done] == [4, 10]
    assert [r.score for r in done] == [1.0, 0.0]


@pytest.mark.parametrize("executed", [0, 16])
def test_no_more_is_executed_than_was_planned(executed):
    with pytest.raises(ValueError, match=f"1 to 15 of them are executed, got {executed}"):
        Policy(small(), executed=executed)


def test_a_model_of_something_else_is_no_policy():
    with pytest.raises(ValueError, match="a policy's model makes events"):
        Policy(small(conditions={}))


def test_the_number_of_episodes_does_not_change_under_way():
    policy = Policy(Counting())
    policy.act(np.zeros(1))
    with pytest.raises(ValueError, match="1 episodes are under way, but there are 2 observations"):
        policy.act_many([{"observation": np.zeros(1)}] * 2)


def test_an_observation_of_another_length_is_one_sentence():
    with pytest.raises(ValueError, match="'observation' has shape"):
        Policy(small()).act(np.zeros(3))


def test_a_plan_takes_at_least_one_step():
    with pytest.raises(ValueError, match="at least 1 step"):
        Policy(small(), steps=0)


def strict(**changes):
    model = small(**changes)
    model.denoiser.unconditional = False  # as after a training that never dropped the conditions
    return model


def test_a_policy_does_not_act_on_what_it_does_not_see():
    """Its stand-in for "not given" was never trained, unless conditions were dropped."""
    with pytest.raises(ValueError, match="the policy's 'observation' is finite"):
        Policy(strict()).act(np.full(4, np.nan))
    with pytest.raises(ValueError, match="has the name 'observation', got state"):
        Policy(strict()).act({"state": np.zeros(4)})
    sees = {
        "observation": ConditionSettings(shape=(4, 2)),
        "image": ConditionSettings(shape=(6, 8, 8), how="image"),
    }
    with pytest.raises(ValueError, match="this policy sees 'image', too, and was never trained without it"):
        Policy(strict(conditions=sees)).act(np.zeros(4))
    assert np.isfinite(Policy(strict()).act(np.zeros(4))).all()
    assert np.isfinite(Policy(small()).act(np.full(4, np.nan))).all()
