from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import close
from unstir.generators import rates
from unstir.physics.phylo_regions import (
    ancestral_regions,
    region_log_likelihood,
    simulate_regions,
    stationary_regions,
)
from unstir.physics.propagators import propagators
from unstir.spaces import Tree

FLOAT = torch.float64
POLYTOMY = Tree(
    torch.tensor([-1, 0, 0, 0, 1, 1, 1]), torch.tensor([0, 0.3, 0.2, 1.0, 0.5, 0.1, 2.0], dtype=FLOAT)
)
LADDER = Tree(
    torch.tensor([-1, 0, 0, 2, 2, 4, 5]), torch.tensor([0, 0.3, 0.2, 1.0, 0.5, 0.1, 2.0], dtype=FLOAT)
)


def random_rates(k: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(k, k, generator=torch.Generator().manual_seed(seed), dtype=FLOAT) + 0.05


def reversible_rates(k: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    S = random_rates(k, seed)
    pi = torch.rand(k, generator=torch.Generator().manual_seed(seed + 1), dtype=FLOAT) + 0.1
    pi = pi / pi.sum()
    return (S + S.T) * pi, pi


def jukes_cantor(rate: float = 1.0) -> torch.Tensor:
    return rate * torch.ones(4, 4, dtype=FLOAT)


def enumerate_histories(tree, states, Q, root):
    """(likelihood, marginals (n, k)) by summing over the regions of all inner nodes."""
    k = len(Q)
    Q = Q - torch.diag(Q.diagonal())
    Q = Q - torch.diag(Q.sum(1))
    P = torch.linalg.matrix_exp(tree.length[:, None, None] * Q)
    tips = dict(zip(tree.tips.tolist(), states.tolist(), strict=True))
    weight = torch.zeros(len(tree), k, dtype=FLOAT)
    choices = [range(k) if tips.get(i, -1) < 0 else [tips[i]] for i in range(len(tree))]
    for history in itertools.product(*choices):
        p = float(root[history[tree.root]])
        for node, above in enumerate(tree.parent.tolist()):
            if above >= 0:
                p *= float(P[node, history[above], history[node]])
        weight[torch.arange(len(tree)), torch.tensor(history)] += p
    return weight[0].sum(), weight / weight.sum(1, keepdim=True)


@pytest.mark.parametrize("tree", [POLYTOMY, LADDER, Tree.yule(4, seed=3)], ids=["polytomy", "ladder", "yule"])
@pytest.mark.parametrize("reversible", [True, False])
def test_pruning_is_the_sum_over_all_histories(tree, reversible):
    Q = reversible_rates(3)[0] if reversible else random_rates(3)
    root = torch.tensor([0.2, 0.5, 0.3], dtype=FLOAT)
    states = torch.tensor([0, 2, -1, 1, 2][: len(tree.tips)])
    likelihood, marginals = enumerate_histories(tree, states, Q, root)
    close(region_log_likelihood(tree, states, Q, root), likelihood.log()[None], atol=1e-12)
    close(ancestral_regions(tree, states, Q, root), marginals, atol=1e-12)


@given(st.floats(0.0, 20.0), st.floats(1e-6, 20.0), st.integers(0, 3), st.integers(0, 3))
@settings(max_examples=40)
def test_two_tips_have_the_likelihood_of_jukes_and_cantor(t, s, a, b):
    tree = Tree(torch.tensor([-1, 0, 0]), torch.tensor([0.0, t, s], dtype=FLOAT))
    decay = math.exp(-4 * (t + s))
    expected = 0.25 * (0.25 + 0.75 * decay if a == b else -0.25 * math.expm1(-4 * (t + s)))
    found = region_log_likelihood(tree, torch.tensor([a, b]), jukes_cantor())
    close(found, torch.tensor([math.log(expected)], dtype=FLOAT), rtol=1e-11, atol=1e-11)


@given(st.integers(0, 50))
@settings(max_examples=15)
def test_the_root_may_stand_anywhere_on_a_reversible_tree(seed):
    Q, _ = reversible_rates(4, seed)
    a, b, c, d, e = (0.1 + torch.rand(5, generator=torch.Generator().manual_seed(seed)).double()).tolist()
    states = torch.tensor([0, 3, 1])
    length = torch.tensor([0, a, b + e, c, d], dtype=FLOAT)
    # Tips x, y, z: ((x, y), z) with the root on z's edge, and (x, (y, z)) with the root on x's edge.
    one = Tree(
        torch.tensor([-1, 0, 1, 1, 0]), torch.tensor([0, a, b, c, d], dtype=FLOAT), ["", "", "x", "y", "z"]
    )
    other = Tree(
        torch.tensor([-1, 0, 0, 2, 2]),
        torch.tensor([0, 0.7 * b, 0.3 * b, c, a + d], dtype=FLOAT),
        ["", "x", "", "y", "z"],
    )
    del length
    close(region_log_likelihood(one, states, Q), region_log_likelihood(other, states, Q), atol=1e-12)
    crooked = random_rates(4, seed)
    gap = region_log_likelihood(one, states, crooked) - region_log_likelihood(other, states, crooked)
    assert float(gap.abs()) > 1e-6


def test_a_thousand_tips_in_one_polytomy_do_not_underflow():
    tips = 3000
    parent = torch.zeros(tips + 1, dtype=torch.int64)
    parent[0] = -1
    tree = Tree(parent, torch.full((tips + 1,), 50.0, dtype=FLOAT))
    found = region_log_likelihood(tree, torch.arange(tips) % 4, jukes_cantor())
    close(found, torch.tensor([-tips * math.log(4.0)], dtype=FLOAT), rtol=1e-12)


def test_a_ladder_of_long_edges_does_not_underflow():
    n = 2000
    parent = torch.tensor([-1] + [2 * (i // 2) for i in range(2 * n)])
    tree = Tree(parent, torch.full((2 * n + 1,), 50.0, dtype=FLOAT))
    found = region_log_likelihood(tree, torch.arange(n + 1) % 4, jukes_cantor())
    close(found, torch.tensor([-(n + 1) * math.log(4.0)], dtype=FLOAT), rtol=1e-12)


@pytest.mark.parametrize("kind", ["reversible", "circular", "jukes-cantor", "defective"])
def test_propagators_are_matrix_exponentials_and_so_are_their_gradients(kind):
    Q = {
        "reversible": reversible_rates(4)[0],
        "circular": random_rates(4),
        "jukes-cantor": jukes_cantor(),
        "defective": torch.diag(torch.ones(3, dtype=FLOAT), 1),
    }[kind].requires_grad_()
    times = torch.tensor([0.0, 1e-9, 0.1, 1.0, 30.0], dtype=FLOAT, requires_grad=True)
    weight = torch.rand(5, 4, 4, generator=torch.Generator().manual_seed(1), dtype=FLOAT)

    def reference(Q, times):
        off = Q - torch.diag(Q.diagonal())
        return torch.linalg.matrix_exp(times[:, None, None] * (off - torch.diag(off.sum(1))))

    P = propagators(Q, times)
    close(P, reference(Q, times).detach(), atol=1e-13)
    found = torch.autograd.grad((P * weight).sum(), (Q, times))
    expected = torch.autograd.grad((reference(Q, times) * weight).sum(), (Q, times))
    for one, other in zip(found, expected, strict=True):
        close(one, other, atol=1e-11)


def test_short_times_keep_the_digits_of_small_probabilities():
    P = propagators(random_rates(4), torch.tensor([1e-12], dtype=FLOAT))[0]
    off = P - torch.diag(P.diagonal())
    expected = 1e-12 * random_rates(4)
    close(off, expected - torch.diag(expected.diagonal()), rtol=1e-9)


def test_the_gradient_in_the_rates_is_the_slope():
    tree = Tree.yule(12, seed=1)
    Q = random_rates(3).requires_grad_()
    states = simulate_regions(tree, Q.detach(), 5, seed=2)[tree.tips]
    (slope,) = torch.autograd.grad(region_log_likelihood(tree, states, Q).sum(), Q)
    for i, j in ((0, 1), (2, 0), (1, 2)):
        step = torch.zeros(3, 3, dtype=FLOAT)
        step[i, j] = 1e-6
        up, down = (region_log_likelihood(tree, states, Q.detach() + s * step).sum() for s in (1, -1))
        close(slope[i, j], (up - down) / 2e-6, rtol=1e-6)


def test_propagators_agree_with_the_generator_of_the_chain():
    Q = random_rates(5)
    times = torch.tensor([0.2, 3.0], dtype=FLOAT)
    close(propagators(Q, times), rates(Q).exp(times, torch.eye(5, dtype=FLOAT)), atol=1e-13)
    pi = stationary_regions(Q)
    close(pi @ propagators(Q, times)[1], pi, atol=1e-14)


def test_simulated_pairs_of_neighbours_have_the_frequencies_of_the_chain():
    tree = Tree.yule(3, seed=4)
    Q = random_rates(3)
    sites = 40_000
    states = simulate_regions(tree, Q, sites, seed=5)
    pi, P = stationary_regions(Q), propagators(Q, tree.length)
    top = torch.bincount(states[tree.root], minlength=3) / sites
    close(top, pi, atol=4 * 0.5 / sites**0.5)
    for node in range(1, len(tree)):
        above = states[tree.parent[node]]
        for i in range(3):
            here = states[node][above == i]
            share = torch.bincount(here, minlength=3) / len(here)
            close(share, P[node, i], atol=4.5 * 0.5 / len(here) ** 0.5)


def test_a_simulated_history_does_not_depend_on_how_many_are_drawn():
    tree, Q = Tree.yule(6, seed=4), random_rates(3)
    many = simulate_regions(tree, Q, 10, seed=7)
    assert torch.equal(simulate_regions(tree, Q, 1, seed=7, first_index=6)[:, 0], many[:, 6])
    assert not torch.equal(simulate_regions(tree, Q, 10, seed=8), many)


def test_marginals_are_calibrated_against_simulated_ancestors():
    tree, Q = Tree.yule(8, seed=2), random_rates(3)
    states = simulate_regions(tree, Q, 4000, seed=3)
    marginals = ancestral_regions(tree, states[tree.tips], Q)
    hit = marginals.gather(2, states[..., None])[..., 0]
    # What is said to have probability p happens with frequency p: E[1 - p(truth)] = E[sum p (1 - p)].
    inner = torch.tensor([tree.root, *(tree.parent[tree.tips].unique().tolist())])
    expected = marginals.square().sum(-1)[inner].mean()
    close(hit[inner].mean(), expected, atol=4 * 0.5 / 4000**0.5)


def test_impossible_tips_are_minus_infinity_and_have_no_marginals():
    tree = Tree(torch.tensor([-1, 0, 0]), torch.tensor([0.0, 0.0, 0.0], dtype=FLOAT))
    states = torch.tensor([0, 1])
    assert float(region_log_likelihood(tree, states, jukes_cantor())) == -math.inf
    with pytest.raises(ValueError, match="impossible"):
        ancestral_regions(tree, states, jukes_cantor())


def test_what_is_out_of_range_is_said():
    tree = Tree.yule(3)
    with pytest.raises(ValueError, match="0 to 3"):
        region_log_likelihood(tree, torch.tensor([0, 1, 4]), jukes_cantor())
    with pytest.raises(ValueError, match="whole numbers"):
        region_log_likelihood(tree, torch.tensor([0, 1]), jukes_cantor())
    with pytest.raises(ValueError, match="at least 0"):
        region_log_likelihood(tree, torch.tensor([0, 1, 1]), -jukes_cantor() + torch.eye(4))
    with pytest.raises(ValueError, match="add up to 1"):
        region_log_likelihood(tree, torch.tensor([0, 1, 1]), jukes_cantor(), torch.ones(4))
    with pytest.raises(ValueError, match="more than one mixture"):
        region_log_likelihood(tree, torch.tensor([0, 1, 1]), torch.zeros(4, 4))
