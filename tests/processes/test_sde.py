import math

import pytest
import torch

from tests.helpers import SCHEDULES, check_moments, close
from unstir import noise
from unstir.denoisers import Gaussian
from unstir.processes import SDE, VP

ONE = torch.ones(1, 1, dtype=torch.float64)


def moments(sde, grid, mean, variance):
    """Mean and variance of Euler-Maruyama on a linear SDE, exactly, from the SDE's own coefficients."""
    t, dt = grid[:-1], grid.diff()
    shift = sde.drift(torch.zeros(len(t), 1, dtype=torch.float64), t)[:, 0]
    factor = 1 + (sde.drift(torch.ones(len(t), 1, dtype=torch.float64), t)[:, 0] - shift) * dt
    added = (sde.diffusion(t) ** 2 * dt.abs()).tolist()
    for f, m, v in zip(factor.tolist(), (shift * dt).tolist(), added, strict=True):
        mean, variance = f * mean + m, f**2 * variance + v
    return mean, variance


def grid_of(start, end, steps):
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


@pytest.mark.parametrize("name", ["vp", "sub-vp", "cosine", "ve", "flow", "zero-vp"])
def test_the_moments_of_the_sde_converge_to_the_marginals_with_order_one(name):
    schedule = SCHEDULES[name]
    mean, std = (v.item() for v in schedule.marginal(1.5 * ONE, 0.8))
    errors = []
    for steps in (4000, 8000):
        simulated = moments(schedule.sde(), grid_of(0.0, 0.8, steps), 1.5, 0.0)
        errors.append(max(abs(simulated[0] - mean), abs(simulated[1] - std**2)))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.05)
    assert errors[1] < 0.02 * (mean + std**2)


@pytest.mark.parametrize("name", ["vp", "flow"])
def test_simulated_paths_have_the_moments_of_euler_maruyama(name):
    sde, grid = SCHEDULES[name].sde(), grid_of(0.0, 0.9, 40)
    x = sde.simulate(torch.full((20000, 1), 1.5, dtype=torch.float64), grid, seed=3)
    check_moments(x, *moments(sde, grid, 1.5, 0.0))


@pytest.mark.parametrize("name", ["vp", "sub-vp", "ve-narrow"])
def test_the_reverse_sde_brings_noise_back_to_the_data(name):
    schedule = SCHEDULES[name]
    gaussian = Gaussian(schedule, torch.tensor([0.7]), 0.4)
    reverse = schedule.sde().reverse(gaussian.score)
    start = schedule.alpha(1.0).item()
    variance = start**2 * 0.16 + schedule.sigma(1.0).item() ** 2
    errors = []
    for steps in (4000, 8000):
        mean, spread = moments(reverse, grid_of(1.0, 0.01, steps), 0.7 * start, variance)
        exact = (schedule.alpha(0.01) * 0.7).item(), (schedule.alpha(0.01) * 0.4).item() ** 2
        errors.append(max(abs(mean - exact[0]), abs(spread - exact[1] - schedule.sigma(0.01).item() ** 2)))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("name", ["vp", "sub-vp", "cosine", "ve", "flow", "table", "zero-vp"])
def test_the_probability_flow_is_the_velocity_of_the_denoiser(name):
    schedule = SCHEDULES[name]
    gaussian = Gaussian(schedule, torch.tensor([0.7, -0.2]), 0.4)
    flow = schedule.sde().probability_flow(gaussian.score)
    x = torch.tensor([[0.3, -2.0], [1.0, 4.0]], dtype=torch.float64)
    for t in torch.tensor([0.0503, 0.4, 0.93], dtype=torch.float64):
        close(flow.drift(x, t), gaussian.velocity(x, t), rtol=1e-8)
        assert float(flow.diffusion(t)) == 0.0


def test_reversing_subtracts_the_score_times_the_diffusion():
    schedule, x, t = VP(), torch.tensor([[0.3], [0.5]]).double(), torch.tensor(0.4).double()
    reverse = schedule.sde().reverse(lambda x, t: -2.0 * x)
    close(reverse.drift(x, t), (schedule.drift(t) + 2.0 * schedule.diffusion_squared(t)) * x, rtol=1e-14)
    assert reverse.diffusion(t) == schedule.sde().diffusion(t)


def test_a_step_is_that_of_euler_and_maruyama_in_both_directions():
    sde = SDE(drift=lambda x, t: 3.0 * x + t, diffusion=lambda t: 2.0 * t)
    x, z = torch.tensor([[1.0]]).double(), torch.tensor([[0.5]]).double()
    a, b = torch.tensor(0.25).double(), torch.tensor(0.5).double()
    close(sde.step(x, a, b, z), torch.tensor([[1.0 + 3.25 * 0.25 + 0.5 * 0.5 * 0.5]]), rtol=1e-15)
    close(sde.step(x, b, a, z), torch.tensor([[1.0 - 3.5 * 0.25 + 1.0 * 0.5 * 0.5]]), rtol=1e-15)


def test_a_path_depends_on_seed_and_sample_number_only():
    sde, grid = VP().sde(), grid_of(0.0, 1.0, 5)
    x = torch.arange(8.0)[:, None] * torch.ones(8, 2)
    whole = sde.simulate(x, grid, seed=1)
    assert torch.equal(whole[3:5], sde.simulate(x[3:5], grid, seed=1, first_index=3))
    assert not torch.equal(whole, sde.simulate(x, grid, seed=2))
    assert whole.dtype == torch.float32


def test_simulation_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    VP().sde().simulate(torch.zeros(2, 1), grid_of(0.0, 1.0, 3))
    assert torch.equal(before, torch.get_rng_state())


def test_steps_draw_different_noise():
    brownian = SDE(drift=lambda x, t: 0 * x, diffusion=lambda t: torch.ones(()).double())
    x = torch.zeros(5000, 1, dtype=torch.float64)
    check_moments(brownian.simulate(x, grid_of(0.0, 4.0, 16)), 0.0, 4.0)
    z = noise.normal((1,), seed=0, index=torch.arange(5000), stream=noise.Stream.SIMULATE, dtype=x.dtype)
    assert torch.equal(brownian.simulate(x, grid_of(0.0, 1.0, 1)), z)


def test_a_state_that_is_not_finite_stops_the_simulation():
    sde = SDE(drift=lambda x, t: x / (0.5 - t), diffusion=lambda t: torch.zeros(()).double())
    with pytest.raises(FloatingPointError, match=r"not finite after step 3 of 4, at t = 0\.75; take smaller"):
        sde.simulate(torch.ones(1, 1), grid_of(0.0, 1.0, 4))
