from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal

from tests.helpers import close
from unstir.physics.phylo_brownian import (
    brownian_ancestors,
    brownian_log_likelihood,
    fit_brownian,
    sample_brownian_ancestors,
    simulate_brownian,
)
from unstir.spaces import Tree

FLOAT = torch.float64
COVARIANCE = torch.tensor([[2.0, 0.6], [0.6, 0.5]], dtype=FLOAT)


@st.composite
def trees(draw):
    """Random trees with polytomies, chains, and tips at different times."""
    n = draw(st.integers(3, 25))
    parent = [-1, 0, 0] + [draw(st.integers(0, i - 1)) for i in range(3, n)]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    return Tree(torch.tensor(parent), 0.05 + torch.rand(n, generator=generator, dtype=FLOAT))


def shared_time(tree: Tree) -> torch.Tensor:
    """(n, n) the time from the root that two nodes have in common, by walking."""
    n = len(tree)
    paths = []
    for node in range(n):
        path = set()
        while node >= 0:
            path.add(node)
            node = int(tree.parent[node])
        paths.append(path)
    both = [[sum(float(tree.length[k]) for k in paths[i] & paths[j]) for j in range(n)] for i in range(n)]
    return torch.tensor(both, dtype=FLOAT)


def positions(tree: Tree, seed: int = 0, count: int = 1) -> torch.Tensor:
    root = torch.tensor([3.0, -1.0], dtype=FLOAT)
    return simulate_brownian(tree, COVARIANCE, root, count, seed=seed)[:, tree.tips]


@given(trees(), st.integers(0, 100))
@settings(max_examples=25)
def test_the_likelihood_is_that_of_the_dense_multivariate_normal(tree, seed):
    x = positions(tree, seed)[0]
    C = shared_time(tree)[tree.tips][:, tree.tips]
    root = torch.tensor([1.0, 2.0], dtype=FLOAT)
    dense = MultivariateNormal(root.repeat(len(tree.tips)), torch.kron(C, COVARIANCE))
    close(
        brownian_log_likelihood(tree, x, COVARIANCE, root), dense.log_prob(x.flatten()), rtol=1e-9, atol=1e-9
    )


@given(trees(), st.integers(0, 100))
@settings(max_examples=15)
def test_without_a_root_it_is_the_dense_likelihood_integrated_over_the_root(tree, seed):
    x = positions(tree, seed)[0]
    wide = 1e8
    C = shared_time(tree)[tree.tips][:, tree.tips] + wide
    dense = MultivariateNormal(torch.zeros(2 * len(x), dtype=FLOAT), torch.kron(C, COVARIANCE))
    density_of_root = MultivariateNormal(torch.zeros(2, dtype=FLOAT), wide * COVARIANCE).log_prob(
        torch.zeros(2)
    )
    expected = dense.log_prob(x.flatten()) - density_of_root
    close(brownian_log_likelihood(tree, x, COVARIANCE), expected, atol=1e-4)


@given(trees(), st.integers(0, 100))
@settings(max_examples=25)
def test_ancestors_are_the_conditional_of_the_dense_multivariate_normal(tree, seed):
    x = positions(tree, seed)[0]
    C = shared_time(tree)
    among = C[tree.tips][:, tree.tips]
    ones = torch.ones(len(x), dtype=FLOAT)
    weights = torch.linalg.solve(among, torch.cat([C[tree.tips], ones[:, None]], dim=1))
    to_tips, sums = weights[:, :-1].T, weights[:, -1]
    # Generalised least squares: a flat prior on the root.
    root = (sums @ x) / sums.sum()
    mean = root + to_tips @ (x - root)
    left = 1.0 - to_tips @ ones
    variance = (C - to_tips @ C[tree.tips]).diagonal() + left**2 / sums.sum()
    found_mean, found_variance = brownian_ancestors(tree, x)
    close(found_mean, mean, atol=1e-9)
    close(found_variance, variance, atol=1e-9)


def test_the_fit_is_where_the_likelihood_is_largest():
    tree = Tree.yule(12, seed=1)
    x = positions(tree, 3)[0]
    for restricted in (True, False):
        fit = fit_brownian(tree, x, restricted=restricted)
        covariance = fit.covariance.clone().requires_grad_()
        root = None if restricted else fit.root.clone().requires_grad_()
        value = brownian_log_likelihood(tree, x, covariance, root)
        close(fit.log_likelihood, value.detach(), rtol=1e-12)
        slopes = torch.autograd.grad(value, [covariance] if root is None else [covariance, root])
        for slope in slopes:
            close(slope, torch.zeros_like(slope), atol=1e-8)


def test_the_restricted_estimate_is_unbiased_and_spread_as_chi_squared():
    tree = Tree.yule(10, seed=5)
    x = positions(tree, 7, count=4000)
    fit = fit_brownian(tree, x)
    degrees = 9
    close(fit.covariance.mean(0), COVARIANCE, atol=4 * 2.0 * (2 / degrees / 4000) ** 0.5)
    variance = fit.covariance[:, 0, 0].var()
    close(variance, 2 * COVARIANCE[0, 0] ** 2 / degrees, rtol=0.15)
    full = fit_brownian(tree, x, restricted=False)
    close(full.covariance, fit.covariance * 0.9, rtol=1e-12)


def test_many_motions_are_fitted_at_once_as_one_by_one():
    tree = Tree.yule(8, seed=2)
    x = positions(tree, 1, count=6).reshape(2, 3, 8, 2)
    fit = fit_brownian(tree, x)
    assert fit.covariance.shape == (2, 3, 2, 2)
    one = fit_brownian(tree, x[1, 2])
    close(fit.covariance[1, 2], one.covariance, rtol=1e-13)
    close(fit.root[1, 2], one.root, rtol=1e-13)
    close(brownian_ancestors(tree, x)[0][1, 2], brownian_ancestors(tree, x[1, 2])[0], atol=1e-13)


def test_the_slope_in_the_positions_is_right():
    tree = Tree.yule(6, seed=2)
    x = positions(tree)[0].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: brownian_log_likelihood(tree, x, COVARIANCE), (x,))


def test_sampled_histories_have_the_ancestors_means_and_covariances():
    tree = Tree.yule(6, seed=3)
    x = positions(tree, 4)[0]
    drawn = sample_brownian_ancestors(tree, x, COVARIANCE, 20_000, seed=1)
    mean, variance = brownian_ancestors(tree, x)
    close(drawn[:, tree.tips], x.expand(20_000, 6, 2), atol=1e-12)
    close(drawn.mean(0), mean, atol=4.5 * float((variance.max() * 2.0 / 20_000).sqrt()))
    for node in (tree.root, int(tree.parent[tree.tips[0]])):
        close(drawn[:, node].T.cov(), variance[node] * COVARIANCE, atol=0.05 * float(variance[node] * 2.0))
    again = sample_brownian_ancestors(tree, x, COVARIANCE, 1, seed=1, first_index=123)
    close(again[0], drawn[123], atol=1e-14)


def test_a_simulated_motion_does_not_depend_on_how_many_are_drawn():
    tree = Tree.yule(6, seed=3)
    root = torch.zeros(2, dtype=FLOAT)
    many = simulate_brownian(tree, COVARIANCE, root, 50, seed=9)
    one = simulate_brownian(tree, COVARIANCE, root, 1, seed=9, first_index=17)
    close(one[0], many[17], atol=1e-14)


def test_float32_positions_stay_float32():
    tree = Tree.yule(6, seed=3)
    mean, variance = brownian_ancestors(tree, positions(tree)[0].float())
    assert mean.dtype == variance.dtype == torch.float32


def test_ten_thousand_tips_need_no_matrix_of_tips():
    tree = Tree.yule(10_000, seed=0)
    x = positions(tree)[0]
    fit = fit_brownian(tree, x)
    close(fit.covariance, COVARIANCE, rtol=0.1)


def test_what_cannot_be_is_said():
    tree = Tree(torch.tensor([-1, 0, 0]), torch.tensor([0.0, 0.0, 0.0], dtype=FLOAT), ["r", "a", "b"])
    x = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=FLOAT)
    with pytest.raises(ValueError, match="'a' stands at zero distance"):
        fit_brownian(tree, x)
    good = Tree(tree.parent, torch.tensor([0.0, 1.0, 1.0]), tree.names)
    with pytest.raises(ValueError, match="'b' is not finite"):
        fit_brownian(good, x / torch.tensor([[1.0], [0.0]]))
    with pytest.raises(ValueError, match="shape"):
        fit_brownian(good, x[:1])
    with pytest.raises(ValueError, match="positive definite"):
        brownian_log_likelihood(good, x, torch.zeros(2, 2))
