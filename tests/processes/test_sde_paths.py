import math

import numpy as np
import pytest
import torch
from scipy import stats

from tests.helpers import close
from unstir.processes import (
    SDE,
    brownian_motion,
    cox_ingersoll_ross,
    first_passage,
    geometric_brownian_motion,
    mean_squared_displacement,
    ornstein_uhlenbeck,
    quadratic_variation,
)
from unstir.spaces import Axis, Grid


def grid_of(end, steps):
    return torch.linspace(0.0, end, steps + 1, dtype=torch.float64)


def start(value, n, d=1):
    return torch.full((n, d), value, dtype=torch.float64)


def below(level):
    return lambda x: level - x[:, 0]


@pytest.mark.parametrize("velocity", [0.5, 2.0])
def test_the_first_passage_of_drifting_brownian_motion_is_inverse_gaussian_even_in_five_steps(velocity):
    level, D, end = 1.0, 0.3, 4.0
    sde = brownian_motion(D, velocity)
    times = first_passage(sde, start(0.0, 8000), below(level), grid_of(end, 5), seed=3).numpy()
    law = stats.invgauss(2 * D / (level * velocity), scale=level**2 / (2 * D))
    passed = times[np.isfinite(times)]
    assert stats.kstest(passed, lambda t: law.cdf(t) / law.cdf(end)).pvalue > 1e-3
    assert stats.binomtest(len(passed), len(times), law.cdf(end)).pvalue > 1e-3


def test_looking_at_the_points_alone_misses_passages():
    law = stats.invgauss(2.0, scale=1.0)
    kept = {"level": below(1.0), "grid": grid_of(2.0, 10), "seed": 3}
    late = first_passage(brownian_motion(0.5, 0.5), start(0.0, 8000), bridge=False, **kept)
    assert stats.binomtest(int(late.isfinite().sum()), 8000, law.cdf(2.0)).pvalue < 1e-9


def test_the_bridge_turns_an_error_of_order_one_half_into_order_one():
    # The spring dx = -x dt + dw from 0 passes 1 before t = 2 with the share that the operator with an
    # absorbing end gives (to 1e-6).
    sde, n = ornstein_uhlenbeck(), 2**15
    grid = Grid(Axis(-4.0, 1.0, 1000, boundary=("reflect", "absorb")))
    u = torch.zeros(1000, dtype=torch.float64)
    u[800 - 1 : 800 + 1] = 0.5 / 0.005
    survived = float(grid.integrate(sde.generator(grid).exp(2.0, u)))
    order = {}
    for bridge in (True, False):
        missed = []
        for steps in (8, 32):
            times = first_passage(sde, start(0.0, n), below(1.0), grid_of(2.0, steps), bridge=bridge, seed=1)
            missed.append(abs(float(times.isinf().double().mean()) - survived))
        order[bridge] = math.log2(missed[0] / missed[1]) / 2
    assert order[True] > 0.65
    assert order[False] < 0.4


def test_a_sphere_is_left_at_the_mean_time_r_squared_over_two_d_times_diffusivity():
    # E[T] = (R^2 - r^2) / (2 d D) for Brownian motion in d dimensions.
    sde = brownian_motion(1.0)
    times = first_passage(sde, start(0.0, 2000, 3), lambda x: 1.0 - x.norm(dim=1), grid_of(2.0, 500), seed=2)
    assert bool(times.isfinite().all())
    assert float(times.mean()) == pytest.approx(
        1.0 / 6.0, abs=4 * float(times.std()) / math.sqrt(2000) + 2e-3
    )


def test_a_level_that_is_reached_at_the_start_or_without_noise():
    still = SDE(lambda x, t: torch.ones_like(x), lambda t: torch.zeros((), dtype=torch.float64))
    x = torch.tensor([[0.0], [0.75], [2.0], [-9.0]], dtype=torch.float64)
    times = first_passage(still, x, below(1.0), grid_of(2.0, 4))
    close(times, torch.tensor([1.0, 0.25, 0.0, math.inf]), rtol=1e-12)


def test_first_passages_depend_on_seed_and_sample_number_only():
    kept = {"level": below(1.0), "grid": grid_of(4.0, 20), "seed": 7}
    sde = geometric_brownian_motion(0.2, 0.5)
    whole = first_passage(sde, start(0.5, 40), **kept)
    assert torch.equal(whole[10:20], first_passage(sde, start(0.5, 10), first_index=10, **kept))


def test_a_level_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"one number a sample, \(3,\), got shape \(3, 1\)"):
        first_passage(brownian_motion(), start(0.0, 3), lambda x: x, grid_of(1.0, 2))


def test_the_quadratic_variation_of_brownian_motion_is_time():
    grid = grid_of(2.0, 2000)
    path = brownian_motion().simulate(start(0.0, 5), grid, path=True, method="exact")
    variation = quadratic_variation(path)
    assert variation.shape == path.shape
    # Its standard deviation at t is t sqrt(2 / steps).
    close(variation[:, :, 0], grid[:, None].expand(-1, 5), atol=4.5 * 2.0 * math.sqrt(2.0 / 2000))


def test_the_quadratic_variation_is_the_integral_of_the_squared_diffusion():
    sde = cox_ingersoll_ross(1.0, 1.0, 0.5)
    path = sde.simulate(start(1.0, 3), grid_of(1.0, 2000), path=True)
    integral = (0.25 * path[:-1] / 2000).sum(0)
    close(quadratic_variation(path)[-1] / integral, torch.ones(3, 1), atol=0.1)


def test_the_mean_squared_displacement_is_two_d_times_diffusivity_times_t():
    grid = grid_of(3.0, 30)
    path = brownian_motion(0.4).simulate(start(1.0, 2000, 3), grid, path=True, method="exact")
    exact = 6 * 0.4 * grid
    close(mean_squared_displacement(path) / exact.clamp(min=1e-9), (grid > 0).double(), atol=0.06)
    lags = mean_squared_displacement(path[:, :500], every_start=True)
    close(lags / exact.clamp(min=1e-9), (grid > 0).double(), atol=0.15)
