import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import EPS, PURE_NOISE, ROOT, SCHEDULES, check_moments, close, derivative, log_snr_slope
from unstir import noise
from unstir.processes import (
    VE,
    VP,
    Cosine,
    Flow,
    SubVP,
    VariancePreserving,
    ZeroTerminal,
    expand,
    from_betas,
    linear_betas,
)

every_schedule = pytest.mark.parametrize("name", SCHEDULES)
names = st.sampled_from(sorted(SCHEDULES))
PRESERVING = [name for name, schedule in SCHEDULES.items() if isinstance(schedule, VariancePreserving)]
# Away from the steps of the tables, where alpha has kinks.
INNER = torch.linspace(0.0013, 0.9987, 101, dtype=torch.float64) + 0.00021
# Times from 1e-15 to 1 - 1e-15, dense at both ends.
ends = st.floats(-15.0, 0.0).map(lambda p: 0.5 * 10.0**p)
times = st.one_of(st.floats(1e-6, 1.0 - 1e-6), ends, ends.map(lambda u: 1.0 - u))


@every_schedule
def test_it_starts_at_the_data(name):
    schedule = SCHEDULES[name]
    close(schedule.alpha(0.0), 1.0, rtol=EPS)
    assert float(schedule.sigma(0.0)) == 0.0
    assert float(schedule.log_snr(0.0)) == math.inf
    assert float(schedule.time(math.inf)) == 0.0


def test_exactly_these_end_in_pure_noise():
    assert PURE_NOISE == [
        "cosine", "cosine-0", "cosine-1", "flow", "table-zero", "zero-vp", "zero-table", "zero-cosine",
    ]  # fmt: skip


@pytest.mark.parametrize("name", PURE_NOISE)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 17])
def test_pure_noise_is_exact_in_tensors_of_any_length(name, count):
    schedule, ones = SCHEDULES[name], torch.ones(count, dtype=torch.float64)
    assert schedule.alpha(ones).eq(0.0).all()
    close(schedule.sigma(ones), ones, rtol=4 * EPS)
    assert schedule.log_snr(ones).eq(-math.inf).all()
    assert schedule.time(torch.full((count,), -math.inf)).eq(1.0).all()


@every_schedule
def test_the_log_snr_falls_strictly_and_is_that_of_alpha_and_sigma(name):
    schedule = SCHEDULES[name]
    t = torch.linspace(0.0, 1.0, 2001, dtype=torch.float64)
    log_snr = schedule.log_snr(t)
    assert (log_snr[1:] < log_snr[:-1]).all()
    inner = t[1:-1]
    close(log_snr[1:-1], 2 * (schedule.alpha(inner).log() - schedule.sigma(inner).log()), 1e-12, 1e-12)


@given(name=names, t=times)
def test_time_inverts_the_log_snr_to_its_rounding(name, t):
    schedule, t = SCHEDULES[name], torch.tensor(t, dtype=torch.float64)
    log_snr = schedule.log_snr(t)
    slope = log_snr_slope(schedule, t)
    # A few roundings of the log-SNR, and a few of t itself.
    tolerance = 16 * EPS * (1 + log_snr.abs()) / slope.abs() + 16 * EPS * t
    assert abs(float(schedule.time(log_snr) - t)) <= float(tolerance)


@given(name=names, share=st.floats(0.0, 1.0))
def test_the_log_snr_inverts_time_to_its_conditioning(name, share):
    schedule = SCHEDULES[name]
    low = max(float(schedule.log_snr(1.0)), -60.0)
    log_snr = torch.tensor(low + share * (70.0 - low), dtype=torch.float64)
    t = schedule.time(log_snr)
    slope = log_snr_slope(schedule, t.clamp(max=1.0 - EPS))
    tolerance = 16 * EPS * (1 + log_snr.abs()) + 16 * EPS * (slope * t).abs()
    if float(t) < 1.0:
        assert abs(float(schedule.log_snr(t) - log_snr)) <= float(tolerance)
    else:
        assert float(log_snr) < float(schedule.log_snr(1.0 - 4 * EPS)) + 1e-9


@every_schedule
def test_time_beyond_the_range_is_the_nearest_end(name):
    schedule = SCHEDULES[name]
    assert float(schedule.time(2000.0)) < 1e-80
    assert float(schedule.time(-2000.0)) == 1.0
    assert float(schedule.time(-math.inf)) == 1.0
    beyond = float(schedule.log_snr(1.0)) - 1.0
    assert float(schedule.time(beyond)) == 1.0


@every_schedule
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3)])
def test_results_are_float64_of_the_shape_of_the_times(name, shape):
    schedule = SCHEDULES[name]
    for function in (
        schedule.alpha, schedule.sigma, schedule.log_snr, schedule.time, schedule.drift,
        schedule.diffusion_squared, schedule.alpha_derivative, schedule.sigma_derivative,
    ):  # fmt: skip
        value = function(torch.full(shape, 0.25))
        assert value.shape == shape
        assert value.dtype == torch.float64
        close(value, function(0.25).expand(shape), rtol=8 * EPS)


@pytest.mark.parametrize("name", PRESERVING)
def test_the_variance_is_preserved(name):
    t = torch.cat([torch.logspace(-15, -1, 50, dtype=torch.float64), INNER, torch.tensor([0.0, 1.0])])
    schedule = SCHEDULES[name]
    close(schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, torch.ones_like(t), rtol=1e-14)


@every_schedule
def test_derivatives_are_those_of_alpha_and_sigma(name):
    schedule = SCHEDULES[name]
    close(schedule.alpha_derivative(INNER), derivative(schedule.alpha, INNER), rtol=1e-10, atol=1e-14)
    close(schedule.sigma_derivative(INNER), derivative(schedule.sigma, INNER), rtol=1e-10, atol=1e-10)


@every_schedule
def test_drift_and_diffusion_are_those_of_the_definition(name):
    schedule = SCHEDULES[name]
    drift = derivative(lambda t: schedule.alpha(t).log(), INNER)
    squared = derivative(lambda t: schedule.sigma(t) ** 2, INNER) - 2 * drift * schedule.sigma(INNER) ** 2
    close(schedule.drift(INNER), drift, rtol=1e-10, atol=1e-14)
    close(schedule.diffusion_squared(INNER), squared, rtol=1e-9, atol=1e-10)
    assert (schedule.diffusion_squared(INNER) > 0).all()


@every_schedule
def test_derivatives_at_the_data_are_the_limits(name):
    schedule = SCHEDULES[name]
    alpha, sigma = float(schedule.alpha_derivative(0.0)), float(schedule.sigma_derivative(0.0))
    assert alpha == pytest.approx(float(schedule.alpha_derivative(1e-13)), rel=1e-9, abs=1e-9)
    if name in ROOT:
        assert sigma == math.inf
    else:
        assert sigma == pytest.approx(float(schedule.sigma_derivative(1e-13)), rel=1e-9)
        assert sigma == pytest.approx(float(schedule.sigma(1e-9)) / 1e-9, rel=1e-6)


@pytest.mark.parametrize("name", PURE_NOISE)
def test_derivatives_at_pure_noise_are_finite(name):
    schedule = SCHEDULES[name]
    near = 1.0 - 1e-12
    for function in (schedule.alpha_derivative, schedule.sigma_derivative):
        assert float(function(1.0)) == pytest.approx(float(function(near)), rel=1e-6, abs=1e-6)


@every_schedule
def test_transitions_compose_to_the_marginal(name):
    schedule, one = SCHEDULES[name], torch.ones(1, 1, dtype=torch.float64)
    grid = torch.linspace(0.0, 1.0, 24, dtype=torch.float64) ** 2
    scale, variance = 1.0, 0.0
    for s, t in itertools.pairwise(grid):
        mean, std = schedule.transition(one, s, t)
        scale, variance = scale * mean.item(), variance * mean.item() ** 2 + std.item() ** 2
        close(scale, schedule.alpha(t), rtol=1e-12)
        close(variance, schedule.sigma(t) ** 2, rtol=1e-12)


@pytest.mark.parametrize("name", ["vp", "sub-vp", "ve", "flow", "table"])
def test_a_chain_of_sampled_transitions_has_the_marginal(name):
    schedule, index = SCHEDULES[name], torch.arange(20000)
    grid = [0.0, 0.1, 0.35, 0.6, 1.0]
    x = torch.full((20000, 1), 1.7, dtype=torch.float64)
    for k in range(len(grid) - 1):
        mean, std = schedule.transition(x, grid[k], grid[k + 1])
        z = noise.normal((1,), seed=0, index=index, stream=noise.Stream.STEP, step=k, dtype=x.dtype)
        x = mean + std * z
        exact, deviation = schedule.marginal(torch.tensor([[1.7]], dtype=torch.float64), grid[k + 1])
        check_moments(x, exact.item(), deviation.item() ** 2)


@every_schedule
@pytest.mark.parametrize(("s", "t"), [(0.1, 0.4), (0.3, 0.31), (0.05, 0.95), (0.6, 0.99)])
def test_the_posterior_is_that_of_bayes_on_a_grid(name, s, t):
    schedule = SCHEDULES[name]
    x_0 = torch.tensor([[0.8]], dtype=torch.float64)
    mean_s, std_s = (v.item() for v in schedule.marginal(x_0, s))
    mean_t, std_t = (v.item() for v in schedule.marginal(x_0, t))
    x_t = torch.tensor([[mean_t + 0.7 * std_t]], dtype=torch.float64)
    mean, std = schedule.posterior(x_0, x_t, s, t)
    # Wide enough for the prior, fine enough for the posterior; sums of smooth bells converge geometrically.
    points = int(40 * std_s / std.item()) + 400
    x_s = mean_s + torch.linspace(-12, 12, points, dtype=torch.float64)[:, None] * std_s
    forward, spread = schedule.transition(x_s, s, t)
    log = -0.5 * ((x_s - mean_s) / std_s) ** 2 - 0.5 * ((x_t - forward) / spread) ** 2
    weights = (log - log.max()).exp()
    weights = weights / weights.sum()
    expected = (weights * x_s).sum()
    variance = (weights * (x_s - expected) ** 2).sum()
    close(mean.squeeze(), expected, rtol=1e-9, atol=1e-9 * std_s)
    close(std, variance.sqrt(), rtol=1e-8)


@every_schedule
@pytest.mark.parametrize("t", [0.3, 1.0])
def test_the_posterior_at_the_data_is_the_data(name, t):
    a, b, std = SCHEDULES[name].posterior_coefficients(0.0, t)
    close(a, 1.0, rtol=EPS)
    assert (float(b), float(std)) == (0.0, 0.0)


@pytest.mark.parametrize("name", PURE_NOISE)
def test_the_posterior_given_pure_noise_is_the_marginal(name):
    schedule = SCHEDULES[name]
    a, b, std = schedule.posterior_coefficients(0.4, 1.0)
    assert float(b) == 0.0
    assert float(a) == float(schedule.alpha(0.4))
    assert float(std) == float(schedule.sigma(0.4))


def test_posteriors_are_those_of_ddpm_at_every_step_of_its_table():
    betas = linear_betas()
    schedule = from_betas(betas)
    bar = (1 - betas).cumprod(0)
    before = torch.cat([torch.ones(1, dtype=torch.float64), bar[:-1]])
    i = torch.arange(1, 1001, dtype=torch.float64)
    a, b, std = schedule.posterior_coefficients((i - 1) / 1000, i / 1000)
    close(a, before.sqrt() * betas / (1 - bar), rtol=1e-10)
    close(b, (1 - betas).sqrt() * (1 - before) / (1 - bar), rtol=1e-10)
    close(std**2, (1 - before) / (1 - bar) * betas, rtol=1e-10)


def test_transitions_are_those_of_ddpm_at_every_step_of_its_table():
    betas, i = linear_betas(), torch.arange(1, 1001, dtype=torch.float64)
    x = torch.ones(1000, 1, dtype=torch.float64)
    mean, std = from_betas(betas).transition(x, (i - 1) / 1000, i / 1000)
    close(mean[:, 0], (1 - betas).sqrt(), rtol=1e-12)
    close(std[:, 0], betas.sqrt(), rtol=1e-10)


def test_times_may_differ_within_a_batch():
    schedule = VP()
    x_0, x_t = torch.arange(6.0).reshape(3, 2), torch.ones(3, 2)
    s, t = torch.tensor([0.0, 0.2, 0.4]), torch.tensor([0.5, 0.6, 1.0])
    mean, std = schedule.posterior(x_0, x_t, s, t)
    for k in range(3):
        one_mean, one_std = schedule.posterior(x_0[k : k + 1], x_t[k : k + 1], float(s[k]), float(t[k]))
        close(mean[k : k + 1], one_mean, rtol=1e-6)
        close(std[k, 0], one_std, rtol=1e-6)
    assert mean.dtype == torch.float32


def test_a_coefficient_for_another_batch_is_refused():
    with pytest.raises(ValueError, match=r"a scalar or one value for each of 3 samples, got .*\(2,\)"):
        expand(torch.ones(2), torch.ones(3, 4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VP(0.0, 1.0), "VP needs 0 < beta_min <= beta_max, got beta_min=0.0"),
        (lambda: VP(2.0, 1.0), "beta_max=1.0"),
        (lambda: VP(1.0, math.inf), "VP needs"),
        (lambda: VP(math.nan, 1.0), "VP needs"),
        (lambda: SubVP(2.0, 1.0), "0 < beta_min <= beta_max"),
        (lambda: Cosine(-0.1), r"lies in \[0, 1\], got -0.1"),
        (lambda: Cosine(1.1), r"lies in \[0, 1\]"),
        (lambda: VE(1.0, 1.0), "VE needs 0 < sigma_min < sigma_max"),
        (lambda: VE(0.0, 1.0), "VE needs"),
        (lambda: ZeroTerminal(Flow()), "only a variance-preserving schedule .* got Flow"),
    ],
)
def test_parameters_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_zero_terminal_schedule_scales_alpha_between_its_ends():
    base, t = VP(), torch.linspace(0, 1, 11, dtype=torch.float64)
    last = base.alpha(1.0)
    close(ZeroTerminal(base).alpha(t), (base.alpha(t) - last) / (1 - last), rtol=1e-14)
    pure = torch.linspace(0, 1, 11, dtype=torch.float64)
    close(ZeroTerminal(Cosine()).alpha(pure), Cosine().alpha(pure), rtol=1e-14)
