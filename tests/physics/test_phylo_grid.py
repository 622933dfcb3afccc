from __future__ import annotations

import math

import pytest
import torch

from tests.helpers import close
from unstir.generators import diffusion, rates
from unstir.physics.phylo_brownian import brownian_ancestors, brownian_log_likelihood, simulate_brownian
from unstir.physics.phylo_grid import ancestral_densities, grid_log_likelihood, seen_at
from unstir.physics.phylo_regions import ancestral_regions, region_log_likelihood, simulate_regions
from unstir.spaces import Axis, Grid, Tree

FLOAT = torch.float64
D = 0.5
TREE = Tree.yule(8, seed=1)
PAIR = Tree(torch.tensor([-1, 0, 0]), torch.tensor([0.0, 0.3, 0.5], dtype=FLOAT))


def tips(seed: int = 2) -> torch.Tensor:
    return simulate_brownian(TREE, torch.eye(1, dtype=FLOAT), torch.zeros(1), seed=seed)[0, TREE.tips]


def line(cells: int, half: float, **options) -> Grid:
    return Grid(Axis(-half, half, cells, **options))


def reflected(x: float, y: float, t: float, length: float) -> float:
    """Density at y after t from x between walls at 0 and length: images (Carslaw & Jaeger 1959, 10.5)."""
    total = 0.0
    for n in range(-8, 9):
        for image in (y - x, y + x):
            total += math.exp(-((image + 2 * n * length) ** 2) / (4 * D * t))
    return total / math.sqrt(4 * math.pi * D * t)


@pytest.mark.parametrize("positive", [False, True])
def test_far_bounds_give_the_likelihood_of_unbounded_brownian_motion(positive):
    x = tips()
    grid = line(320, 8.0)
    A = diffusion(grid, D)
    found = grid_log_likelihood(TREE, seen_at(grid, x), A, positive=positive)
    exact = brownian_log_likelihood(TREE, x, torch.eye(1, dtype=FLOAT)) - math.log(16.0)
    close(found, exact, atol=5e-3)


def test_the_error_of_the_cells_is_of_second_order():
    # Tips at the centres of the coarse cells, which stay centres when a cell becomes three.
    x = (tips() / 0.1).floor() * 0.1 + 0.05
    exact = brownian_log_likelihood(TREE, x, torch.eye(1, dtype=FLOAT)) - math.log(16.0)
    errors = []
    for cells in (160, 480):
        grid = line(cells, 8.0)
        errors.append(float((grid_log_likelihood(TREE, seen_at(grid, x), diffusion(grid, D)) - exact).abs()))
    assert 1.8 < math.log(errors[0] / errors[1]) / math.log(3) < 2.2, errors


def test_ancestral_densities_far_from_the_bounds_are_the_gaussians_of_the_smoother():
    x = tips()
    grid = line(800, 12.0)
    densities = ancestral_densities(TREE, seen_at(grid, x), diffusion(grid, D))
    close(grid.integrate(densities), torch.ones(len(TREE)), atol=1e-12)
    mean = grid.integrate(densities * grid.centers[0])
    variance = grid.integrate(densities * (grid.centers[0] - mean[:, None]) ** 2)
    exact_mean, exact_variance = brownian_ancestors(TREE, x)
    inner = TREE.child_counts > 0
    close(mean[inner], exact_mean[inner, 0], atol=2e-3)
    close(mean, exact_mean[:, 0], atol=0.03)  # a tip is seen to half a cell
    close(variance[inner], exact_variance[inner], atol=3e-3)


def test_two_tips_between_reflecting_walls_have_the_likelihood_of_images():
    grid = Grid(Axis(0.0, 1.5, 600))
    x, y = 0.2, 1.1
    found = grid_log_likelihood(
        PAIR, seen_at(grid, torch.tensor([[x], [y]], dtype=FLOAT)), diffusion(grid, D)
    )
    # A reflected motion is reversible, so the root may stand at one tip: uniform there, then on to the other.
    close(found, math.log(reflected(x, y, 0.8, 1.5) / 1.5), atol=2e-5)


def test_the_density_of_the_root_between_walls_is_the_product_of_images():
    grid = Grid(Axis(0.0, 1.5, 400))
    x, y = 0.2, 1.1
    density = ancestral_densities(
        PAIR, seen_at(grid, torch.tensor([[x], [y]], dtype=FLOAT)), diffusion(grid, D)
    )[0]
    product = [reflected(float(z), x, 0.3, 1.5) * reflected(float(z), y, 0.5, 1.5) for z in grid.centers[0]]
    expected = torch.tensor(product, dtype=FLOAT)
    close(density, expected / grid.integrate(expected), atol=1e-4)


def test_a_current_on_a_circle_moves_the_ancestors_against_it():
    grid = Grid(Axis(0.0, 10.0, 400, boundary="periodic"))
    A = diffusion(grid, 0.1, drift=(2.0,))
    x = torch.tensor([[6.0], [6.4]], dtype=FLOAT)
    density = ancestral_densities(PAIR, seen_at(grid, x), A)[0]
    # One Gaussian of variance 2 D t centred 2 t upstream from each tip, weighted by precision.
    means, weights = torch.tensor([6.0 - 0.6, 6.4 - 1.0]), torch.tensor([1 / 0.3, 1 / 0.5])
    close(grid.integrate(density * grid.centers[0]), (means * weights).sum() / weights.sum(), atol=2e-3)


def test_a_potential_is_the_same_edge_by_edge_as_all_at_once():
    grid = Grid(Axis(-3.0, 3.0, 80), Axis(-3.0, 3.0, 20))
    x, y = grid.centers
    soft, hard = 0.5 * (x**2 + y**2), 4.0 * (x**2 + y**2)
    seen = seen_at(grid, torch.tensor([[0.5, 0.2], [-0.3, 0.4]], dtype=FLOAT))
    for potential in (soft, hard):
        A = diffusion(grid, D, potential=potential)
        values = [grid_log_likelihood(PAIR, seen, A, root=A.stationary(), positive=p) for p in (False, True)]
        close(values[0], values[1], rtol=1e-9)
    # An Ornstein-Uhlenbeck lineage of unit variance forgets at the rate D: a bivariate normal.
    A = diffusion(grid, D, potential=soft)
    value = grid_log_likelihood(PAIR, seen, A, root=A.stationary())
    rho = math.exp(-D * 0.8)
    pairs = [(0.5, -0.3), (0.2, 0.4)]
    exact = sum(
        -math.log(2 * math.pi)
        - 0.5 * math.log(1 - rho**2)
        - (a * a - 2 * rho * a * b + b * b) / (2 * (1 - rho**2))
        for a, b in pairs
    )
    close(value, exact, atol=0.02)


def test_the_slope_in_the_rate_is_that_of_brownian_motion():
    x = tips()
    grid = line(600, 15.0)
    rate = torch.tensor(1.3, dtype=FLOAT, requires_grad=True)
    (slope,) = torch.autograd.grad(
        grid_log_likelihood(TREE, seen_at(grid, x), diffusion(grid, D), rate=rate), rate
    )
    covariance = (rate.detach() * torch.eye(1, dtype=FLOAT)).requires_grad_()
    (exact,) = torch.autograd.grad(brownian_log_likelihood(TREE, x, covariance), covariance)
    close(slope, exact[0, 0], atol=0.02)


def test_a_chain_of_rates_is_a_space_of_regions():
    Q = torch.rand(3, 3, generator=torch.Generator().manual_seed(0), dtype=FLOAT) + 0.1
    states = simulate_regions(TREE, Q, seed=1)[TREE.tips, 0]
    seen = torch.eye(3, dtype=FLOAT)[states]
    flat = torch.full((3,), 1 / 3, dtype=FLOAT)
    close(
        grid_log_likelihood(TREE, seen, rates(Q)), region_log_likelihood(TREE, states, Q, flat)[0], atol=1e-10
    )
    close(ancestral_densities(TREE, seen, rates(Q)), ancestral_regions(TREE, states, Q, flat), atol=1e-10)


def test_tips_many_deviations_apart_keep_their_likelihood_on_the_positive_path():
    tree = Tree(PAIR.parent, PAIR.length * 0.25)
    grid = line(400, 4.0)
    x = torch.tensor([[-3.0], [3.0]], dtype=FLOAT)
    exact = brownian_log_likelihood(tree, x, torch.eye(1, dtype=FLOAT)) - math.log(8.0)
    assert float(exact) < -80
    close(grid_log_likelihood(tree, seen_at(grid, x), diffusion(grid, D), positive=True), exact, rtol=0.03)


def test_what_cannot_be_seen_is_said():
    grid = line(20, 1.0)
    with pytest.raises(ValueError, match="outside the axis"):
        seen_at(grid, torch.tensor([[2.0]]))
    with pytest.raises(ValueError, match="likelihood of every cell"):
        grid_log_likelihood(PAIR, torch.ones(3, 20), diffusion(grid, D))
    masked = Grid(Axis(-1.0, 1.0, 20), mask=torch.arange(20) < 10)
    with pytest.raises(ValueError, match="no cells"):
        seen_at(masked, torch.tensor([[0.7]]))
