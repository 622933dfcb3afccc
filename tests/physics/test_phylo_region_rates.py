from __future__ import annotations

import math

import pytest
import torch

from tests.helpers import close
from unstir.physics.phylo_region_rates import (
    RateModel,
    all_rates,
    equal_rates,
    fit_regions,
    profile_interval,
    symmetric_rates,
)
from unstir.physics.phylo_regions import region_log_likelihood, simulate_regions
from unstir.spaces import Tree

FLOAT = torch.float64
PAIR = Tree(torch.tensor([-1, 0, 0]), torch.tensor([0.0, 0.4, 0.6], dtype=FLOAT))


def pair_of_sequences(same: int, different: int) -> torch.Tensor:
    return torch.tensor([[0] * (same + different), [0] * same + [1] * different])


def test_the_rate_between_two_sequences_is_the_distance_of_jukes_and_cantor():
    fit = fit_regions(PAIR, pair_of_sequences(80, 20), equal_rates(4))
    rate = -math.log(1 - 4 / 3 * 0.2) / 4.0
    close(fit.rates[0, 1], rate, rtol=1e-6)
    # d = 3 rate t has the variance p (1 - p) / (n (1 - 4 p / 3)^2) of Kimura & Ohta 1972.
    error = math.sqrt(0.2 * 0.8 / 100) / (1 - 4 / 3 * 0.2) / 3.0
    close(fit.standard_errors[0], error / rate, rtol=1e-4)


def test_a_profile_of_one_rate_is_where_its_likelihood_has_fallen():
    states = pair_of_sequences(80, 20)
    fit = fit_regions(PAIR, states, equal_rates(4))
    ends = profile_interval(PAIR, states, fit, 0)
    assert ends[0] < float(fit.effects[0]) < ends[1]
    for end in ends:
        value = region_log_likelihood(PAIR, states, math.exp(end) * torch.ones(4, 4, dtype=FLOAT)).sum()
        close(fit.log_likelihood - value, 0.5 * 3.841458820694124, rtol=1e-3)


def test_an_interval_has_no_end_where_the_likelihood_does_not_fall():
    states = pair_of_sequences(27, 73)  # so different that any larger rate does as well
    fit = fit_regions(PAIR, states, equal_rates(4))
    assert profile_interval(PAIR, states, fit, 0)[1] == math.inf


def test_rates_are_recovered_from_many_histories_within_their_standard_errors():
    tree = Tree.yule(30, seed=1)
    Q = torch.tensor([[0, 0.8, 0.2], [0.4, 0, 0.6], [0.1, 0.3, 0]], dtype=FLOAT)
    states = simulate_regions(tree, Q, 300, seed=2)[tree.tips]
    model = all_rates(3, ["a", "b", "c"])
    fit = fit_regions(tree, states, model)
    truth = torch.tensor([Q[i, j] for i in range(3) for j in range(3) if i != j]).log()
    score = (fit.effects - truth) / fit.standard_errors
    assert float(score.abs().max()) < 4
    assert float(score.square().sum()) < 25  # chi-squared of 6: 0.0003
    assert model.names[0] == "a -> b"
    assert float(fit.standard_errors.max()) < 0.3


def test_more_freedom_never_fits_worse():
    tree = Tree.yule(40, seed=3)
    Q = torch.tensor([[0, 0.8, 0.2], [0.4, 0, 0.6], [0.1, 0.3, 0]], dtype=FLOAT)
    states = simulate_regions(tree, Q, 3, seed=4)[tree.tips]
    flat = torch.full((3,), 1 / 3, dtype=FLOAT)
    values = [
        fit_regions(tree, states, m(3), flat).log_likelihood
        for m in (equal_rates, symmetric_rates, all_rates)
    ]
    assert values[0] <= values[1] + 1e-6 <= values[2] + 2e-6


def test_an_effect_of_distance_is_recovered():
    tree = Tree.yule(40, seed=5)
    x = torch.tensor([0.0, 1.0, 2.5, 4.0], dtype=FLOAT)
    distance = (x[:, None] - x).abs()
    model = RateModel(["level", "distance"], torch.stack([torch.ones(4, 4, dtype=FLOAT), distance]))
    truth = torch.tensor([0.3, -0.7], dtype=FLOAT)
    states = simulate_regions(tree, model.rates(truth), 100, seed=6)[tree.tips]
    fit = fit_regions(tree, states, model)
    assert float(((fit.effects - truth) / fit.standard_errors).abs().max()) < 4
    assert float(fit.effects[1] + 5 * fit.standard_errors[1]) < 0


def test_jumps_that_are_not_allowed_have_no_rate():
    allowed = torch.tensor([[False, True, False], [True, False, True], [False, True, False]])
    model = RateModel(["rate"], torch.ones(1, 3, 3, dtype=FLOAT), allowed)
    assert float(model.rates(torch.zeros(1, dtype=FLOAT))[0, 2]) == 0.0


def test_what_cannot_be_fitted_is_said():
    tree = Tree.yule(4)
    with pytest.raises(ValueError, match="all tips are in one region"):
        fit_regions(tree, torch.tensor([1, 1, -1, 1]), equal_rates(3))
    with pytest.raises(ValueError, match="cannot be told apart"):
        RateModel(["a", "b"], torch.ones(2, 3, 3, dtype=FLOAT))
    with pytest.raises(ValueError, match="design"):
        RateModel(["a"], torch.ones(2, 3, 3, dtype=FLOAT))
