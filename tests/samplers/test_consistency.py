"""The consistency sampler with the exact consistency function of a Gaussian, and its grid."""

import math

import pytest
import torch

from tests.helpers import SCHEDULES, check_moments, close
from unstir import noise
from unstir.denoisers import Denoiser, Gaussian, Posterior
from unstir.processes import VE, VP, expand
from unstir.samplers import Consistency, check_grid, sample

MEAN, STD, COUNT = 0.7, 0.4, 20000
SOME = ["vp", "sub-vp", "ve", "flow", "table", "zero-cosine"]


class ConsistencyFunction(Denoiser):
    """f(x, t) = m + (x - alpha m) s / sqrt(alpha^2 s^2 + sigma^2), where the flow from x ends."""

    def __init__(self, schedule, mean=MEAN, std=STD):
        super().__init__()
        self.schedule, self.mean, self.std = schedule, mean, std
        self.times = []

    def forward(self, x_t, t, **condition):
        self.times.append(float(torch.as_tensor(t).max()))
        alpha, sigma = expand(self.schedule.alpha(t), x_t), expand(self.schedule.sigma(t), x_t)
        norm = ((alpha * self.std) ** 2 + sigma**2).sqrt()
        return Posterior(self.mean + (x_t - alpha * self.mean) * self.std / norm)


def marginal(schedule, t, index=None):
    """States of the exact distribution at a time, (COUNT, 1)."""
    index = torch.arange(COUNT) if index is None else index
    z = noise.normal((1,), seed=1, index=index, stream=noise.Stream.START, dtype=torch.float64)
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    return alpha * MEAN + z * math.hypot(alpha * STD, sigma)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("steps", [1, 2, 4, 9])
def test_the_exact_function_gives_exact_marginals_at_any_number_of_steps(name, steps):
    schedule = SCHEDULES[name]
    x_T = marginal(schedule, 1.0)
    result = sample(ConsistencyFunction(schedule), x_T=x_T, solver="consistency", steps=steps, path=True)
    for t, x in zip(result.grid.tolist(), result.path, strict=True):
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        check_moments(x, alpha * MEAN, (alpha * STD) ** 2 + sigma**2)


@pytest.mark.parametrize("name", SOME)
def test_the_exact_function_is_where_the_probability_flow_ends(name):
    schedule = SCHEDULES[name]
    exact = Gaussian(schedule, torch.tensor([MEAN], dtype=torch.float64), STD)
    grid = torch.cat([torch.linspace(0.9, 0.02, 400), torch.linspace(0.02, 0.0, 41)[1:]]).double()
    x = marginal(schedule, 0.9, torch.arange(20))
    end = sample(exact, x_T=x, solver="heun", grid=grid).x
    close(ConsistencyFunction(schedule)(x, float(grid[0])).mean, end, atol=2e-3)


def test_the_noise_of_a_step_is_fresh_and_not_that_of_the_start():
    x_T = marginal(VP(), 1.0)
    result = sample(ConsistencyFunction(VP()), x_T=x_T, solver="consistency", steps=2, path=True)
    # After a jump to s = 0.8 the state is nearly noise: independent of where the jump began.
    inner = sample(
        ConsistencyFunction(VP()), x_T=x_T, solver="consistency", grid=torch.tensor([1.0, 0.8, 0.0])
    )
    correlation = torch.corrcoef(torch.stack([x_T[:, 0], inner.x[:, 0]]))[0, 1]
    assert abs(float(correlation)) < 0.15
    one = sample(ConsistencyFunction(VP()), x_T=x_T, solver="consistency", steps=1)
    assert float(torch.corrcoef(torch.stack([x_T[:, 0], one.x[:, 0]]))[0, 1]) > 0.999
    assert result.nfe == 2


def test_an_ordinary_denoiser_gives_too_little_variance():
    exact = Gaussian(VP(), torch.tensor([MEAN], dtype=torch.float64), STD)
    one = sample(exact, x_T=marginal(VP(), 1.0), solver="consistency", steps=1).x
    four = sample(exact, x_T=marginal(VP(), 1.0), solver="consistency", steps=4).x
    assert float(one.std()) < 0.02 * STD
    assert 0.3 * STD < float(four.std()) < 0.95 * STD


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_default_grid_is_a_grid_at_any_number_of_steps(name):
    for steps in (1, 2, 3, 4, 20, 1000):
        grid = Consistency().default_grid(SCHEDULES[name], steps)
        assert len(grid) == steps + 1
        assert (float(grid[0]), float(grid[-1])) == (1.0, 0.0)
        check_grid(grid)


def test_the_inner_levels_are_equal_quantiles_in_units_of_the_data():
    schedule = VE(sigma_max=1e6)  # so much noise that nothing is cut off
    solver = Consistency(centre=-0.3, spread=0.8)
    grid = solver.default_grid(schedule, 4, sigma_data=2.0)
    expected = 2.0 * torch.exp(torch.tensor([0.6744898, 0.0, -0.6744898], dtype=torch.float64) * 0.8 - 0.3)
    close(schedule.sigma(grid[1:-1]), expected, rtol=1e-6)
    two = solver.default_grid(schedule, 2, sigma_data=2.0)
    close(two[1], grid[2], rtol=1e-12)


def test_little_noise_cuts_the_levels_off_below_where_the_schedule_ends():
    schedule = VE(0.01, 0.5)
    grid = Consistency().default_grid(schedule, 50)
    inner = schedule.sigma(grid[1:-1])
    assert float(inner.max()) < 0.5
    median = float(inner.median())
    normal = torch.distributions.Normal(0.0, 1.0)
    close(normal.cdf(torch.tensor(median).log()), 0.5 * normal.cdf(torch.tensor(0.5).log()), rtol=1e-2)


def test_settings_and_steps_that_make_no_sense_are_refused():
    for spread in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="the spread of the noise levels is above 0"):
            Consistency(spread=spread)
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        sample(ConsistencyFunction(VP()), (2, 1), solver="consistency", steps=0)
