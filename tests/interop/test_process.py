"""The process that a scheduler's configuration describes is the one that diffusers computes from it."""

import diffusers
import numpy as np
import pytest
import torch

from tests.helpers import close
from unstir.interop import grid_of
from unstir.interop.process import PREDICTIONS, read_process
from unstir.processes import VELOCITY, Flow

DDIM = diffusers.DDIMScheduler


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 100},
        {"trained_betas": np.linspace(1e-3, 0.1, 50), "num_train_timesteps": 50},
    ],
    ids=["linear", "scaled", "cosine", "trained"],
)
def test_step_i_of_the_table_is_our_time(settings, zero):
    scheduler = DDIM(**settings, rescale_betas_zero_snr=zero)
    process = read_process(scheduler.config)
    t = process.time(torch.arange(process.steps))
    # Diffusers multiplies its table up in float32.
    close(process.schedule.alpha(t) ** 2, scheduler.alphas_cumprod, rtol=1e-3, atol=1e-6)
    close(process.timestep(t), torch.arange(process.steps), atol=1e-9)


@pytest.mark.parametrize("name", list(PREDICTIONS))
def test_every_prediction_has_its_target(name):
    config = DDIM(prediction_type=name).config
    assert read_process(config).target == PREDICTIONS[name]


def test_flow_matching_is_the_straight_line_whose_timestep_is_t_times_1000():
    process = read_process(diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0).config)
    assert process.schedule == Flow()
    assert process.target == VELOCITY
    close(process.timestep(torch.tensor(0.25)), 250.0)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"beta_schedule": "scaledlinear"}, "did you mean 'scaled_linear'"),
        ({"beta_schedule": "linear", "prediction_type": "v"}, "unknown prediction_type 'v'"),
        (diffusers.EDMEulerScheduler().config, "sigma_data = 0.5 is not supported"),
        (diffusers.CogVideoXDDIMScheduler().config, "snr_shift_scale"),
        (diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True).config, "invert_sigmas"),
        (diffusers.ScoreSdeVeScheduler().config, "has no betas"),
    ],
)
def test_what_is_not_supported_is_refused_in_one_sentence(config, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_process(config)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_the_grid_of_a_scheduler_is_its_timesteps_then_data(spacing):
    scheduler = DDIM(timestep_spacing=spacing)
    scheduler.set_timesteps(20)
    grid = grid_of(scheduler)
    close(grid[:-1] * 1000 - 1, scheduler.timesteps, atol=1e-9)
    assert float(grid[-1]) == 0.0


@pytest.mark.parametrize(("offset", "steps"), [(0, 19), (1, 20)])
def test_a_scheduler_without_final_alpha_ends_at_the_first_step_of_the_table(offset, steps):
    scheduler = DDIM(set_alpha_to_one=False, steps_offset=offset)
    scheduler.set_timesteps(20)
    grid = grid_of(scheduler)
    assert len(grid) == steps + 1
    close(grid[-1], 1 / 1000, rtol=1e-12)


def test_a_scheduler_of_two_evaluations_a_step_has_no_grid():
    scheduler = diffusers.HeunDiscreteScheduler()
    scheduler.set_timesteps(5)
    with pytest.raises(ValueError, match="decrease strictly"):
        grid_of(scheduler)
