"""The network diffusion model against the graph's own generator and its end states, and random networks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.helpers import close
from unstir.generators import diffusion
from unstir.physics.connectome_null import resample, rewire, shuffle, shuffle_strengths
from unstir.physics.network_diffusion import LAPLACIANS, NetworkDiffusion
from unstir.spaces import Graph

TIMES = torch.tensor([0.0, 0.1, 1.0, 7.0], dtype=torch.float64)


def network(n=12, seed=0, share=0.5):
    draws = torch.Generator().manual_seed(seed)
    weights = torch.rand(n, n, generator=draws, dtype=torch.float64)
    weights = torch.triu(weights * (torch.rand(n, n, generator=draws) < share), 1)
    weights[torch.arange(n - 1), torch.arange(1, n)] += 0.5  # a chain holds it together
    return weights + weights.mT


def test_the_combinatorial_model_is_diffusion_on_the_graph():
    graph = Graph(network())
    start = torch.zeros(12, dtype=torch.float64)
    start[3] = 1.0
    found = NetworkDiffusion(graph, "combinatorial").spread(start, TIMES)
    close(found, diffusion(graph).exp(TIMES, start), atol=1e-12)


def test_two_nodes_follow_the_exponential():
    t = TIMES
    graph = Graph(torch.tensor([[0.0, 3.0], [3.0, 0.0]]))
    for kind, rate in (("combinatorial", 6.0), ("normalised", 2.0), ("random-walk", 2.0)):
        x = NetworkDiffusion(graph, kind).seeded([(0,)], t)[:, 0]
        close(x[:, 0], 0.5 * (1 + torch.exp(-rate * t)), atol=1e-14)
        close(x[:, 1], 0.5 * (1 - torch.exp(-rate * t)), atol=1e-14)


@pytest.mark.parametrize("kind", LAPLACIANS)
def test_the_slope_at_the_start_is_minus_the_laplacian(kind):
    weights = network()
    degrees = weights.sum(1)
    root = degrees.rsqrt()
    laplacian = {
        "combinatorial": degrees.diag() - weights,
        "normalised": torch.eye(12) - root[:, None] * weights * root,
        "random-walk": torch.eye(12) - weights / degrees,
    }[kind]
    start = torch.linspace(0, 1, 12, dtype=torch.float64)
    t = torch.tensor([1e-6], dtype=torch.float64)
    slope = (NetworkDiffusion(Graph(weights), kind).spread(start, t)[0] - start) / 1e-6
    close(slope, -laplacian @ start, atol=1e-4)


@pytest.mark.parametrize("kind", LAPLACIANS)
def test_the_end_state_is_uniform_or_follows_the_degree_and_nothing_is_negative(kind):
    graph = Graph(network())
    model = NetworkDiffusion(graph, kind)
    x = model.seeded([(0,), (4, 5)], torch.cat([TIMES, torch.tensor([1e4], dtype=torch.float64)]))
    assert float(x.min()) > -1e-12
    end = {"combinatorial": torch.ones(12), "normalised": graph.degrees.sqrt(), "random-walk": graph.degrees}
    close(torch.nn.functional.normalize(x[-1], dim=-1), _unit(end[kind]).expand(2, -1), atol=1e-9)
    if kind != "normalised":
        close(x.sum(-1), torch.ones(5, 2), atol=1e-12)


def _unit(x):
    return x.double() / x.double().norm()


@pytest.mark.parametrize("kind", LAPLACIANS)
def test_nothing_crosses_between_components_and_a_lone_node_stays(kind):
    weights = torch.block_diag(network(5), network(6, 1), torch.zeros(1, 1, dtype=torch.float64))
    graph = Graph(weights)
    assert graph.components == 3
    model = NetworkDiffusion(graph, kind)
    x = model.seeded([(2,), (11,)], TIMES)
    close(x[:, 0, 5:], torch.zeros(4, 7), atol=1e-14)
    close(x[:, 1, 11], torch.ones(4), atol=1e-14)
    assert int((model.eigenvalues.abs() < 1e-10).sum()) == 3
    assert float(model.times(5)[-1]) < 1e4


def test_the_state_has_gradients_in_time_and_start():
    model = NetworkDiffusion(Graph(network()))
    t = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    start = torch.ones(12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model.spread, (start, t))


def test_a_directed_graph_an_unknown_kind_and_a_network_without_connections_are_refused():
    with pytest.raises(ValueError, match="undirected"):
        NetworkDiffusion(Graph(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), directed=True))
    with pytest.raises(ValueError, match="did you mean 'normalised'"):
        NetworkDiffusion(Graph(network()), "normalized")
    with pytest.raises(ValueError, match="nothing spreads"):
        NetworkDiffusion(Graph(torch.zeros(3, 3))).times(4)


@given(seed=st.integers(0, 1000), n=st.integers(4, 30), share=st.floats(0.0, 1.0))
@hypothesis_settings(max_examples=30)
def test_rewiring_keeps_every_degree_and_the_set_of_strengths(seed, n, share):
    weights = network(n, seed, share)
    other, fresh = rewire(weights, seed=seed, index=3)
    assert torch.equal((other > 0).sum(0), (weights > 0).sum(0))
    assert torch.equal(other, other.mT)
    assert float(other.diagonal().abs().max()) == 0.0
    assert torch.equal(other.flatten().sort().values, weights.flatten().sort().values)
    kept = ((other > 0) & (weights > 0)).sum() / (weights > 0).sum()
    assert fresh == pytest.approx(1 - float(kept), abs=1e-6)


def test_a_sparse_network_is_rewired_nearly_completely_and_a_full_one_not_at_all():
    assert rewire(network(60, share=0.05), seed=0, index=0)[1] > 0.8
    assert rewire(network(12, share=1.1), seed=0, index=0)[1] == 0.0


def test_shuffled_strengths_keep_the_connections():
    weights = network()
    other = shuffle_strengths(weights, seed=0, index=0)
    assert torch.equal(other > 0, weights > 0)
    assert torch.equal(other.flatten().sort().values, weights.flatten().sort().values)
    assert not torch.equal(other, weights)


def test_random_networks_and_labels_depend_on_their_number_only():
    weights, y = network(30), torch.arange(9.0)
    assert torch.equal(rewire(weights, seed=5, index=7)[0], rewire(weights, seed=5, index=7)[0])
    assert not torch.equal(rewire(weights, seed=5, index=7)[0], rewire(weights, seed=5, index=8)[0])
    assert torch.equal(shuffle(y, 4, 1), shuffle(y, 9, 1)[:4])
    assert torch.equal(shuffle(y, 9, 1).sort(dim=1).values, y.expand(9, -1))
    assert torch.equal(resample(9, 4, 1), resample(9, 8, 1)[:4])
    assert int(resample(9, 400, 1).max()) == 8
