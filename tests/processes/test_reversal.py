"""The reversed chain returns to where the chain began."""

import math

import pytest
import torch

from tests.helpers import close
from unstir.processes import reverse_master, reversed_rates
from unstir.spaces import Graph


def ring(n=24):
    i = torch.arange(n)
    weights = torch.zeros(n, n, dtype=torch.float64)
    weights[i, (i + 1) % n] = 1.0 + 0.5 * torch.sin(i.double())
    weights = weights + weights.mT
    weights[0, n // 2] = weights[n // 2, 0] = 0.7
    return Graph(weights)


def bump(n=24):
    p = torch.zeros(n, dtype=torch.float64)
    p[3:7] = torch.tensor([0.1, 0.4, 0.3, 0.2], dtype=torch.float64)
    return p


def test_the_reversed_chain_on_a_graph_returns_to_one_part_in_ten_thousand():
    rates, p_0 = ring().adjacency.to_dense(), bump()
    back = reverse_master(rates, p_0, 2.0, steps=400)
    distance = float((back.laws[-1] - p_0).abs().sum()) / 2.0
    assert float((back.laws[0] - p_0).abs().sum()) / 2.0 > 0.3
    assert distance < 1e-4
    assert distance == pytest.approx(back.error, rel=0.2)


def test_every_law_on_the_way_is_the_law_of_the_forward_chain():
    rates, p_0 = ring().adjacency.to_dense(), bump()
    generator = rates - torch.diag(rates.sum(1))
    back = reverse_master(rates, p_0, 2.0, steps=200)
    close(back.laws.sum(1), torch.ones(201), atol=1e-13)
    assert bool((back.laws >= 0.0).all())
    middle = p_0 @ torch.linalg.matrix_exp(generator * back.times[100])
    close(back.laws[100], middle, atol=1e-3)


def test_the_error_falls_with_the_square_of_the_steps():
    rates, p_0 = ring().adjacency.to_dense(), bump()
    errors = [
        float((reverse_master(rates, p_0, 2.0, steps=n).laws[-1] - p_0).abs().sum()) for n in (100, 200)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.2)


def test_any_start_is_drawn_to_the_data_as_far_as_the_chain_has_forgotten():
    rates = torch.rand(5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    p_0 = torch.tensor([0.7, 0.3, 0.0, 0.0, 0.0], dtype=torch.float64)
    start = torch.eye(5, dtype=torch.float64)[4]
    ends = [
        float((reverse_master(rates, p_0, t, start=start).laws[-1] - p_0).abs().sum()) for t in (2.0, 6.0)
    ]
    assert ends[1] < 1e-3 < ends[0]


def test_reversal_at_the_stationary_law_of_a_reversible_chain_changes_nothing():
    rates = ring().adjacency.to_dense()
    uniform = torch.full((24,), 1.0 / 24.0, dtype=torch.float64)
    close(reversed_rates(rates, uniform), rates - torch.diag(rates.sum(1)), atol=1e-15)


def test_laws_that_are_none_are_refused():
    with pytest.raises(ValueError, match="sum 1"):
        reverse_master(torch.ones(3, 3), torch.ones(3), 1.0)
    with pytest.raises(ValueError, match="even number of steps"):
        reverse_master(torch.ones(3, 3), torch.ones(3) / 3, 1.0, steps=3)
