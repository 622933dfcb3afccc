from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.helpers import close
from unstir.physics.phylo_brownian import brownian_ancestors, fit_brownian
from unstir.physics.phylo_sphere import (
    EARTH,
    fit_sphere,
    great_circle,
    heat_kernel,
    places,
    simulate_sphere,
    unit_vectors,
)
from unstir.spaces import Tree

FLOAT = torch.float64
TREE = Tree.yule(20, seed=3)


def wander(spread: float, count: int = 1, seed: int = 0, root: tuple[float, float] = (10.0, 30.0)):
    """(D, histories) whose standard deviation along a direction is ``spread`` km from root to tips."""
    D = spread**2 / (2 * float(TREE.depth.max()))
    return D, simulate_sphere(TREE, D, torch.tensor(root), count, seed=seed)


def rotation(seed: int) -> torch.Tensor:
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=FLOAT))
    return q * torch.det(q)


@pytest.mark.parametrize("tau", [1e-4, 0.01, 0.3, 3.0])
def test_the_heat_kernel_is_a_density_that_forgets_its_start_at_the_rate_two(tau):
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(1200))
    density = 2 * math.pi * heat_kernel(nodes.acos(), tau) * weights
    close(density.sum(), 1.0, atol=1e-9)
    close((density * nodes).sum(), math.exp(-2 * tau), atol=1e-9)


def test_after_a_short_time_the_heat_kernel_is_a_gaussian_with_the_curvature_factor():
    angle, tau = torch.tensor([0.02, 0.05], dtype=FLOAT), 1e-3
    flat = torch.exp(-(angle**2) / (4 * tau)) / (4 * math.pi * tau)
    # Molchanov 1975: the square root of the Van Vleck determinant.
    close(heat_kernel(angle, tau), flat * (angle / angle.sin()).sqrt(), rtol=1e-3)


@pytest.mark.parametrize("tau", [0.004, 0.05, 0.5])
def test_simulated_steps_have_the_harmonic_moments_of_the_heat_kernel(tau):
    tree = Tree(torch.tensor([-1, 0, 0]), torch.tensor([0.0, tau, tau], dtype=FLOAT))
    x = simulate_sphere(tree, 1.0, torch.tensor([70.0, 170.0]), 4000, radius=1.0, seed=4)
    cosine = (unit_vectors(x[:, 0]) * unit_vectors(x[:, 1])).sum(-1)
    for degree in (1, 2, 4):
        value = torch.special.legendre_polynomial_p(cosine, degree)
        close(value.mean(), math.exp(-degree * (degree + 1) * tau), atol=4.5 * float(value.std()) / 4000**0.5)


def test_places_and_points_are_inverse():
    x = torch.tensor([[10.0, 20.0], [-89.0, 179.0], [0.0, -180.0], [45.0, -0.5]], dtype=FLOAT)
    back = places(unit_vectors(x))
    close(unit_vectors(back), unit_vectors(x), atol=1e-15)
    close(back[[0, 1, 3]], x[[0, 1, 3]], atol=1e-12)


def test_a_quarter_of_a_great_circle_is_ten_thousand_kilometres():
    a, b = unit_vectors(torch.tensor([[0.0, 0.0], [90.0, 0.0]], dtype=FLOAT))
    close(EARTH * great_circle(a, b), EARTH * math.pi / 2, rtol=1e-14)
    close(great_circle(a, -a), math.pi, rtol=1e-14)


def test_over_short_distances_the_globe_is_the_plane():
    _, x = wander(30.0, seed=1, root=(0.0, 0.0))
    tips = x[0, TREE.tips]
    fit = fit_sphere(TREE, tips)
    plane = torch.deg2rad(tips) * EARTH  # at the equator
    flat = fit_brownian(TREE, plane)
    close(fit.D, flat.covariance.trace() / 4, rtol=1e-4)
    mean, variance = brownian_ancestors(TREE, plane)
    close(torch.deg2rad(fit.places) * EARTH, mean, atol=0.02)
    close(fit.deviations, (2 * fit.D * variance).sqrt(), rtol=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_turning_the_globe_turns_the_ancestors_even_over_poles_and_the_date_line(seed):
    _, x = wander(1500.0, seed=seed)
    tips = x[0, TREE.tips]
    turn = rotation(seed)
    one, other = fit_sphere(TREE, tips), fit_sphere(TREE, places(unit_vectors(tips) @ turn.T))
    close(other.D, one.D, rtol=1e-9)
    close(unit_vectors(other.places), unit_vectors(one.places) @ turn.T, atol=1e-9)


@pytest.mark.parametrize(("spread", "bias"), [(300.0, 0.0), (2000.0, -0.03), (4000.0, -0.08)])
def test_the_bias_of_d_on_the_globe_is_what_is_said(spread, bias):
    D, histories = wander(spread, count=200, seed=6)
    ratio = fit_sphere(TREE, histories[:, TREE.tips]).D / D
    error = float(ratio.std()) / 200**0.5
    assert bias - 4 * error < float(ratio.mean()) - 1 < 4 * error


def test_the_interval_of_d_covers_the_truth_as_often_as_it_says():
    D, histories = wander(300.0, count=300, seed=5)
    low, high = fit_sphere(TREE, histories[:, TREE.tips], level=0.8).interval
    share = float(((low < D) & (high > D)).double().mean())
    assert abs(share - 0.8) < 4 * (0.16 / 300) ** 0.5


def test_the_deviations_of_ancestors_are_those_of_the_errors():
    _D, histories = wander(800.0, count=300, seed=8)
    root = TREE.root
    fit = fit_sphere(TREE, histories[:, TREE.tips])
    gap = EARTH * great_circle(unit_vectors(fit.places[:, root]), unit_vectors(histories[:, root]))
    scores = (gap / fit.deviations[:, root]) ** 2
    # Two directions, and the estimate of D in the denominator: 2 F(2, 38) has the mean 2 * 38 / 36.
    assert abs(float(scores.mean()) - 2 * 38 / 36) < 4 * 2.3 / 300**0.5


def test_many_histories_are_fitted_at_once_as_one_by_one():
    _, x = wander(1500.0, count=4)
    tips = x[:, TREE.tips]
    all_at_once, one = fit_sphere(TREE, tips), fit_sphere(TREE, tips[2])
    close(all_at_once.D[2], one.D, rtol=1e-12)
    close(all_at_once.places[2], one.places, atol=1e-10)
    close(all_at_once.deviations[2], one.deviations, rtol=1e-12)


def test_a_simulated_history_does_not_depend_on_how_many_are_drawn():
    _, many = wander(3000.0, count=5, seed=9)
    D = 3000.0**2 / (2 * float(TREE.depth.max()))
    one = simulate_sphere(TREE, D, torch.tensor([10.0, 30.0]), 1, seed=9, first_index=3)
    close(one[0], many[3], atol=1e-10)


def test_places_that_cannot_be_are_said():
    x = torch.zeros(20, 2, dtype=FLOAT)
    x[4] = torch.tensor([95.0, 10.0])
    with pytest.raises(ValueError, match="latitude 95"):
        fit_sphere(TREE, x)
    with pytest.raises(ValueError, match="shape"):
        fit_sphere(TREE, x[:3])
    with pytest.raises(ValueError, match="positive"):
        simulate_sphere(TREE, 0.0, torch.zeros(2))
    with pytest.raises(ValueError, match="at least 1e-5"):
        heat_kernel(torch.zeros(1), 1e-6)
