import math

import pytest
import torch

from tests.helpers import close
from unstir.processes import (
    SDE,
    brownian_motion,
    cox_ingersoll_ross,
    geometric_brownian_motion,
    ornstein_uhlenbeck,
)
from unstir.spaces import Axis, Grid


def bell(x, mean, variance):
    return (-((x - mean) ** 2) / (2 * variance)).exp() / math.sqrt(2 * math.pi * variance)


def test_the_density_of_the_ornstein_uhlenbeck_process_converges_with_order_two():
    sde, errors = ornstein_uhlenbeck(1.0, 0.5, 0.8), []
    for cells in (100, 200):
        grid = Grid(Axis(-4.0, 4.0, cells))
        (x,) = grid.centers
        u = sde.generator(grid).exp(0.7, bell(x, -1.0, 0.1))
        decay = math.exp(-0.7)
        exact = bell(x, 0.5 - 1.5 * decay, 0.1 * decay**2 + 0.32 * (1 - decay**2))
        errors.append(float((u - exact).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.1)
    assert errors[1] < 1e-3


def test_multiplicative_noise_has_the_density_of_ito_and_not_of_fick():
    # Geometric Brownian motion: log x is Gaussian with mean log x_0 + (mu - s^2 / 2) t.
    sde, errors = geometric_brownian_motion(0.1, 0.5), []
    for cells in (400, 800):
        grid = Grid(Axis(0.0, 8.0, cells))
        (x,) = grid.centers
        u = sde.generator(grid).exp(1.0, bell(x.log(), 0.0, 0.04) / x)
        exact = bell(x.log(), 0.1 - 0.125, 0.04 + 0.25) / x
        errors.append(float((u - exact).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.2)
    assert errors[1] < 1e-3


def test_the_stationary_density_of_cox_ingersoll_ross_is_a_gamma_law():
    grid = Grid(Axis(0.0, 6.0, 1200))
    (x,) = grid.centers
    p = cox_ingersoll_ross(1.0, 1.0, 0.5).generator(grid).stationary()
    exact = x**7 * (-8.0 * x).exp() * 8.0**8 / math.factorial(7)
    close(p, exact, atol=1e-3)
    assert float(grid.integrate(p)) == pytest.approx(1.0, abs=1e-12)


def test_two_components_with_their_own_noise_have_product_densities():
    grid = Grid(Axis(-3.0, 3.0, 60), Axis(-3.0, 3.0, 60))
    x, y = grid.centers
    s = torch.tensor([0.6, 1.0], dtype=torch.float64)
    sde = SDE(lambda x, t: -x, lambda x, t: torch.diag_embed(s.expand(len(x), 2)))
    p = sde.generator(grid).stationary()
    close(p, bell(x, 0.0, 0.18) * bell(y, 0.0, 0.5), atol=0.01)


def test_a_drift_that_rotates_keeps_the_mass_and_turns_the_mean():
    grid = Grid(Axis(-3.0, 3.0, 60), Axis(-3.0, 3.0, 60))
    x, y = grid.centers
    sde = SDE(lambda x, t: torch.stack([-x[:, 1], x[:, 0]], dim=1), lambda t: torch.tensor(0.3).double())
    start = bell(x, 1.0, 0.1) * bell(y, 0.0, 0.1)
    u = sde.generator(grid).exp(math.pi / 2, start)
    assert float(grid.integrate(u)) == pytest.approx(float(grid.integrate(start)), rel=1e-12)
    assert float(grid.integrate(u * x)) == pytest.approx(0.0, abs=0.01)
    assert float(grid.integrate(u * y)) == pytest.approx(1.0, abs=0.01)


def test_the_operator_takes_the_coefficients_at_its_time():
    grid = Grid(Axis(-1.0, 1.0, 8))
    sde = SDE(lambda x, t: 0.0 * x, lambda t: t)
    u = torch.rand(8, dtype=torch.float64)
    close(sde.generator(grid, t=2.0)(u), brownian_motion(2.0).generator(grid)(u), atol=1e-12)


def test_cross_diffusion_and_radial_axes_are_refused():
    G = torch.tensor([[1.0, 0.0], [0.5, 1.0]], dtype=torch.float64)
    sde = SDE(lambda x, t: -x, lambda x, t: G.expand(len(x), 2, 2))
    with pytest.raises(ValueError, match="no cross-diffusion; rotate the coordinates"):
        sde.generator(Grid(Axis(0.0, 1.0, 4), Axis(0.0, 1.0, 4)))
    with pytest.raises(ValueError, match="needs cartesian axes"):
        brownian_motion().generator(Grid(Axis(0.0, 1.0, 4, metric="spherical")))
