"""Editing against closed forms: the flow of a Gaussian, the law of what an edit draws, slerp's geometry."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import SCHEDULES, check_moments, close
from unstir import noise
from unstir.denoisers import Gaussian, GaussianMixture
from unstir.guidance.editing import decode, edit, encode, spherical, start_time
from unstir.processes import VP, Heat
from unstir.samplers import sample

NAMES = ["vp", "sub-vp", "cosine-0", "ve", "ve-narrow", "flow", "table", "zero-vp"]
MEAN = torch.tensor([0.4, -1.0, 0.2], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.5, 0.2, 0.0], [0.2, 0.9, -0.1], [0.0, -0.1, 0.3]], dtype=torch.float64)


def normal(event, n, seed=0):
    return noise.normal(
        event, seed=seed, index=torch.arange(n), stream=noise.Stream.DATA, dtype=torch.float64
    )


def gaussian(schedule):
    return GaussianMixture(schedule, MEAN[None], covariances=COVARIANCE[None])


def mixture(schedule):
    means = torch.tensor([[-1.0, 0.5], [0.5, 1.3], [1.0, -0.7]], dtype=torch.float64)
    return GaussianMixture(
        schedule, means, stds=torch.tensor([0.3, 0.4, 0.5]), labels=torch.tensor([0, 1, 1])
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_latents_of_a_gaussian_are_those_of_the_closed_form(name):
    # Along the flow of N(m, C) the whitened state stays:
    # x_1 = alpha m + (alpha^2 C + sigma^2)^1/2 C^-1/2 (x_0 - m).
    schedule, x_0 = SCHEDULES[name], MEAN + normal((3,), 5)
    alpha, sigma = float(schedule.alpha(1.0)), float(schedule.sigma(1.0))
    values, basis = torch.linalg.eigh(COVARIANCE)
    stretch = basis @ torch.diag(((alpha**2 * values + sigma**2) / values).sqrt()) @ basis.T
    expected = alpha * MEAN + (x_0 - MEAN) @ stretch
    close(encode(gaussian(schedule), x_0), expected, rtol=1e-5, atol=1e-5 * sigma)


@pytest.mark.parametrize("name", NAMES)
def test_decoding_brings_the_data_back(name):
    denoiser = mixture(SCHEDULES[name])
    x_0 = denoiser.sample_data(6, seed=1).double()
    close(decode(denoiser, encode(denoiser, x_0)), x_0, atol=2e-5)


def test_a_tighter_tolerance_brings_them_back_closer():
    denoiser = mixture(VP())
    x_0 = denoiser.sample_data(6, seed=1).double()

    def error(tolerance):
        back = decode(denoiser, encode(denoiser, x_0, tolerance=tolerance), tolerance=tolerance)
        return float((back - x_0).abs().max())

    assert error(1e-8) < 0.01 * error(1e-4)


def test_blurring_processes_are_encoded_in_their_modes():
    schedule = Heat(VP(), blur=3.0)
    denoiser = Gaussian(schedule, torch.zeros(1, 4, 4, dtype=torch.float64), 0.5)
    x_0 = 0.5 * normal((1, 4, 4), 3)
    process = schedule.modes((1, 4, 4))
    alpha, sigma = process.alpha(1.0), process.sigma(1.0)
    expected = schedule.from_modes(schedule.to_modes(x_0) * (alpha**2 + sigma**2 / 0.25).sqrt())
    x_1 = encode(denoiser, x_0)
    close(x_1, expected, rtol=1e-5, atol=1e-5)
    close(decode(denoiser, x_1), x_0, atol=2e-5)


def test_float32_is_encoded_and_brought_back_as_float32():
    denoiser = mixture(VP())
    x_0 = denoiser.sample_data(6, seed=1).float()
    x_1 = encode(denoiser, x_0)
    assert x_1.dtype == torch.float32
    assert float((decode(denoiser, x_1) - x_0).abs().max()) < 2e-3


def test_an_encoded_sample_does_not_depend_on_its_batch():
    denoiser = mixture(VP())
    x_0 = denoiser.sample_data(4, seed=1).double()
    assert torch.equal(encode(denoiser, x_0)[2:3], encode(denoiser, x_0[2:3]))


def test_the_condition_decides_the_flow():
    denoiser = mixture(VP())
    x_0 = denoiser.sample_data(4, seed=1).double()
    label = torch.tensor([0, 0, 1, 1])
    conditional = encode(denoiser, x_0, condition={"label": label})
    assert float((conditional - encode(denoiser, x_0)).abs().max()) > 0.1
    close(decode(denoiser, conditional, condition={"label": label}), x_0, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_strength_is_the_share_of_the_angle_between_data_and_noise(name):
    schedule = SCHEDULES[name]
    for strength in (0.2, 0.5):
        t = start_time(schedule, strength, 0.7)
        ratio = float(schedule.sigma(t) / schedule.alpha(t))
        assert math.isclose(ratio, 0.7 * math.tan(0.5 * math.pi * strength), rel_tol=1e-6)
    assert start_time(schedule, 1.0) == 1.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("solver", ["multistep", "ddpm", "adaptive"])
def test_an_edit_of_a_sample_is_a_sample_of_the_same_law(name, solver):
    # Noise and exact denoising leave the data's own law alone: N(m, s^2) stays N(m, s^2).
    denoiser = Gaussian(SCHEDULES[name], torch.full((4,), 0.3, dtype=torch.float64), 0.5)
    x_0 = 0.3 + 0.5 * normal((4,), 600)
    x = edit(denoiser, x_0, 0.6, solver=solver, steps=40).x
    check_moments(x, 0.3, 0.25)


@pytest.mark.parametrize("strength", [0.1, 0.3, 0.6, 0.9])
def test_how_much_an_edit_keeps_is_the_closed_form(strength):
    # By the flow, x = m + s (alpha x_0 + sigma eps - alpha m) / sqrt(alpha^2 s^2 + sigma^2): the correlation
    # of x and x_0 is cos(pi strength / 2), whatever the schedule.
    x_0 = 0.5 * normal((8,), 500)
    denoiser = Gaussian(VP(), torch.zeros(8, dtype=torch.float64), 0.5)
    x = edit(denoiser, x_0, strength, steps=60).x
    correlation = float((x * x_0).mean() / (x.square().mean() * x_0.square().mean()).sqrt())
    expected = math.cos(0.5 * math.pi * strength)
    assert abs(correlation - expected) < 4.5 * (1 - expected**2) / math.sqrt(4000) + 0.01 * (1 - expected)


def test_an_edit_of_full_strength_is_nearly_the_sample_of_that_seed():
    denoiser = mixture(VP())
    x_0 = denoiser.sample_data(5, seed=2).float()
    drawn = sample(denoiser, (5, 2), seed=4, steps=20).x
    assert float((edit(denoiser, x_0, 1.0, seed=4, steps=20).x - drawn).abs().max()) < 0.05


def test_an_edit_runs_only_the_part_of_the_grid_below_its_start():
    denoiser, x_0 = mixture(VP()), torch.zeros(2, 2)
    whole, part = edit(denoiser, x_0, 1.0, steps=20), edit(denoiser, x_0, 0.4, steps=20)
    assert part.nfe < whole.nfe == 20
    assert torch.equal(part.grid[1:], whole.grid[-len(part.grid) + 1 :])
    assert float(part.grid[0]) == start_time(VP(), 0.4, denoiser.sigma_data)
    least = edit(denoiser, x_0, 1e-3, steps=5)
    assert least.nfe == 1
    assert float((least.x - x_0).abs().max()) < 0.02


def test_sample_i_of_a_seed_is_edited_alike_in_every_batch():
    denoiser = mixture(VP())
    x_0 = denoiser.sample_data(5, seed=2).float()
    whole = edit(denoiser, x_0, 0.5, seed=7, solver="ddpm").x
    alone = edit(denoiser, x_0[3:4], 0.5, seed=7, first_index=3, solver="ddpm").x
    torch.testing.assert_close(whole[3:4], alone, rtol=0, atol=1e-6)


latents = st.integers(0, 10_000).map(lambda seed: normal((2, 5), 2, seed))


@given(latents, st.floats(0.1, 10.0))
@settings(max_examples=30, deadline=None)
def test_spherical_interpolation_begins_ends_and_is_symmetric(pair, size):
    a, b = pair[0], size * pair[1]
    share = torch.linspace(0, 1, 5, dtype=torch.float64)
    forth, back = spherical(a, b, share), spherical(b, a, share)
    close(forth[0], a, atol=1e-12 * size + 1e-12)
    close(forth[-1], b, atol=1e-12 * size + 1e-12)
    close(forth, back.flip(0), atol=1e-11 * size + 1e-11)


@given(latents)
@settings(max_examples=30, deadline=None)
def test_between_points_of_a_sphere_it_stays_on_the_sphere_at_even_angles(pair):
    a, b = pair[0] / pair[0].norm(), pair[1] / pair[1].norm()
    between = spherical(a, b, torch.linspace(0, 1, 9, dtype=torch.float64)).flatten(1)
    close(between.norm(dim=1), torch.ones(9, dtype=torch.float64), atol=1e-12)
    cosines = (between[1:] * between[:-1]).sum(1)
    close(cosines, cosines[:1].expand(8), atol=1e-12)


def test_equal_latents_are_joined_and_opposite_ones_refused():
    a = normal((6,), 1)[0]
    close(spherical(a, 2.0 * a, torch.tensor([0.5])), 1.5 * a[None], rtol=1e-9)
    with pytest.raises(ValueError, match="opposite directions"):
        spherical(a, -a, torch.tensor([0.5]))
    with pytest.raises(ValueError, match="has no direction"):
        spherical(a, 0 * a, torch.tensor([0.5]))
    with pytest.raises(ValueError, match="one shape"):
        spherical(a, a[:3], torch.tensor([0.5]))


@pytest.mark.parametrize("strength", [0.0, -0.1, 1.1, math.nan])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(ValueError, match="the strength of an edit lies above 0"):
        edit(mixture(VP()), torch.zeros(1, 2), strength)


def test_data_that_are_not_numbers_are_refused():
    denoiser = mixture(VP())
    with pytest.raises(ValueError, match="not finite"):
        edit(denoiser, torch.full((1, 2), math.nan), 0.5)
    with pytest.raises(ValueError, match="not finite"):
        encode(denoiser, torch.full((1, 2), math.inf))
    with pytest.raises(ValueError, match="real numbers"):
        encode(denoiser, torch.zeros(1, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="level"):
        encode(denoiser, torch.zeros(1, 2), level=0.0)
    with pytest.raises(ValueError, match="tolerance"):
        decode(denoiser, torch.zeros(1, 2), tolerance=0.0)
