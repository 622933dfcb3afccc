import math

import pytest
import torch
from scipy import stats

from tests.helpers import check_moments, close
from unstir.brownian import BrownianPath
from unstir.processes import (
    SDE,
    brownian_motion,
    cox_ingersoll_ross,
    geometric_brownian_motion,
    ornstein_uhlenbeck,
)

N = 20000
TIMES = torch.tensor([0.0, 0.3, 1.5], dtype=torch.float64)


def start(value, n=N):
    return torch.full((n, 1), value, dtype=torch.float64)


def test_brownian_motion_has_mean_velocity_times_t_and_variance_two_d_t():
    x = brownian_motion(0.7, -1.0).simulate(start(2.0), TIMES, method="exact")
    check_moments(x, 0.5, 2 * 0.7 * 1.5)


def test_ornstein_uhlenbeck_has_its_moments_in_two_unequal_steps():
    x = ornstein_uhlenbeck(0.8, 1.0, 0.5).simulate(start(3.0), TIMES, method="exact")
    check_moments(x, 1.0 + 2.0 * math.exp(-1.2), 0.25 * (1 - math.exp(-2.4)) / 1.6)


def test_geometric_brownian_motion_follows_the_path_of_its_noise():
    path = BrownianPath((1,), seed=0, index=torch.arange(50), dtype=torch.float64)
    x = geometric_brownian_motion(0.1, 0.4).simulate(start(2.0, 50), TIMES, method="exact", brownian=path)
    close(x, 2.0 * ((0.1 - 0.08) * 1.5 + 0.4 * path.at(1.5)).exp(), rtol=1e-13)


@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_cox_ingersoll_ross_has_its_chi_squared_law_and_stays_positive(noise):
    rate, mean, t = 1.2, 0.8, 1.5
    x = cox_ingersoll_ross(rate, mean, noise).simulate(start(0.5, 4000), TIMES, method="exact", seed=2)
    c = noise**2 * (1 - math.exp(-rate * t)) / (4 * rate)
    law = stats.ncx2(4 * rate * mean / noise**2, 0.5 * math.exp(-rate * t) / c, scale=c)
    assert float(x.min()) >= 0.0
    assert stats.kstest(x[:, 0].numpy(), law.cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    "sde",
    [brownian_motion(0.3, 0.5), ornstein_uhlenbeck(), geometric_brownian_motion(), cox_ingersoll_ross()],
)
def test_fine_euler_maruyama_steps_agree_with_the_exact_law(sde):
    steps = torch.linspace(0.0, 1.0, 201, dtype=torch.float64)
    x = sde.simulate(start(1.2, 3000), steps, seed=1)
    y = sde.simulate(start(1.2, 3000), torch.tensor([0.0, 1.0]), seed=2, method="exact")
    assert stats.ks_2samp(x[:, 0].numpy(), y[:, 0].numpy()).pvalue > 1e-3


def test_float32_states_stay_float32():
    x = cox_ingersoll_ross().simulate(torch.ones(3, 1), TIMES, method="exact")
    assert x.dtype == torch.float32


def test_the_exact_method_needs_a_known_transition_and_a_rising_grid():
    with pytest.raises(ValueError, match="not known exactly; use method='euler-maruyama'"):
        SDE(lambda x, t: -x, lambda t: t).simulate(start(1.0, 1), TIMES, method="exact")
    with pytest.raises(ValueError, match=r"forward in time, but the grid falls from 1\.5 to 0\.3"):
        ornstein_uhlenbeck().simulate(start(1.0, 1), TIMES.flip(0), method="exact")


def test_parameters_out_of_range_are_refused():
    with pytest.raises(ValueError, match="the rate is above 0, got 0"):
        ornstein_uhlenbeck(rate=0)
    with pytest.raises(ValueError, match="the mean is above 0, got -1"):
        cox_ingersoll_ross(mean=-1)
    with pytest.raises(ValueError, match="diffusivity is at least 0, got -1"):
        brownian_motion(-1)
