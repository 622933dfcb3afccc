"""The analytic variance: the estimate against exact posterior variances, and the steps that use it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import SCHEDULES, check_moments, close
from unstir import noise
from unstir.denoisers import Denoiser, Gaussian, GaussianMixture, Posterior
from unstir.processes import VP, Flow
from unstir.samplers import AnalyticVariance, Ancestral, analytic_variance, sample
from unstir.samplers.grids import arctan

LEVELS = (-6.0, -2.0, 0.0, 2.0, 6.0)
COUNT = 20_000


def mixture(schedule):
    means = torch.tensor([[-1.2], [0.3], [2.0]], dtype=torch.float64)
    return GaussianMixture(
        schedule, means, stds=torch.tensor([0.5, 0.4, 0.6]), weights=torch.tensor([0.3, 0.2, 0.5])
    )


def integral(denoiser, t, function):
    """E[function(x_t)] of one-dimensional data, by the trapezoidal rule far into both tails."""
    width = 6.0 * float(denoiser.schedule.alpha(t)) + 10.0 * float(denoiser.schedule.sigma(t))
    x = torch.linspace(-width, width, 20_001, dtype=torch.float64)[:, None]
    density = denoiser.log_density(x, t).exp()
    return float(torch.trapezoid(density * function(x)[:, 0], x[:, 0]))


@pytest.mark.parametrize("name", ["vp", "ve", "flow", "cosine"])
def test_the_estimate_is_the_exact_mean_variance_of_a_mixture_within_its_error(name):
    schedule = SCHEDULES[name]
    denoiser = mixture(schedule)
    table = analytic_variance(denoiser, denoiser.sample_data(COUNT, seed=3), LEVELS, batch=5000)
    for level, variance, error in zip(table.log_snr, table.variance, table.error, strict=True):
        t = schedule.time(level)
        exact = integral(denoiser, t, lambda x, t=t: denoiser(x, t).variance)
        assert abs(variance - exact) < 4 * error < 0.1 * exact
        # The form of Analytic-DPM, in the mean square of the score.
        score = integral(denoiser, t, lambda x, t=t: denoiser.score(x, t) ** 2)
        sigma = schedule.sigma(t)
        close(sigma**2 / schedule.alpha(t) ** 2 * (1 - sigma**2 * score), exact, rtol=1e-5)


def test_the_estimate_is_the_mean_over_the_entries_of_a_gaussian():
    deviations = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
    denoiser = Gaussian(VP(), torch.zeros(3), covariance=torch.diag(deviations**2))
    table = analytic_variance(denoiser, denoiser.sample_data(2000), LEVELS, draws=3)
    for level, variance, error in zip(table.log_snr, table.variance, table.error, strict=True):
        # sigma^2 l / (alpha^2 l + sigma^2)
        exact = float((deviations**2 / (1 + deviations**2 * math.exp(level))).mean())
        assert abs(variance - exact) < 4 * error < 0.3 * exact


@pytest.mark.parametrize("name", ["vp", "flow", "ve", "table-zero"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_marginals_are_exact_on_round_gaussians_at_any_number_of_steps(name, steps):
    schedule, mean, std = SCHEDULES[name], 0.7, 0.4
    denoiser = Gaussian(schedule, torch.full((4,), mean, dtype=torch.float64), std)
    table = analytic_variance(denoiser, denoiser.sample_data(5000), seed=5, batch=5000)

    def deviation(t):
        return math.hypot(float(schedule.alpha(t)) * std, float(schedule.sigma(t)))

    z = noise.normal((4,), seed=1, index=torch.arange(2000), stream=noise.Stream.START, dtype=torch.float64)
    x_T = float(schedule.alpha(1.0)) * mean + deviation(1.0) * z
    grid = torch.cat([arctan(schedule, steps)[:-1], torch.tensor([1e-3])])
    result = sample(denoiser, x_T=x_T, solver=Ancestral(table), grid=grid, path=True)
    for t, x in zip(grid.tolist(), result.path, strict=True):
        check_moments(x, float(schedule.alpha(t)) * mean, deviation(t) ** 2)


def test_one_long_step_keeps_the_second_moment_of_a_mixture_where_beta_tilde_does_not():
    denoiser, (t, s) = mixture(Flow()), (0.8, 0.2)
    data = denoiser.sample_data(COUNT, seed=7)
    table = analytic_variance(denoiser, data, [float(Flow().log_snr(t))], batch=5000)
    z = noise.normal((1,), seed=2, index=torch.arange(COUNT), stream=noise.Stream.START, dtype=torch.float64)
    x_t = Flow().alpha(t) * data + Flow().sigma(t) * z
    grid = torch.tensor([t, s], dtype=torch.float64)
    errors = {}
    for variance in (table, "beta-tilde", "beta"):
        squares = sample(denoiser, x_T=x_t, solver=Ancestral(variance), grid=grid).x ** 2
        exact = integral(denoiser, s, lambda x: x**2)
        errors[variance] = abs(float(squares.mean()) - exact) / (float(squares.std()) / math.sqrt(COUNT))
    assert errors[table] < 4
    assert min(errors["beta-tilde"], errors["beta"]) > 8


def test_a_denoiser_that_is_wrong_is_given_the_variance_of_its_error():
    class Biased(Denoiser):
        schedule = VP()

        def forward(self, x_t, t, **condition):
            return Posterior(torch.full_like(x_t, 2.0))

    data = torch.zeros(100, 3)
    assert analytic_variance(Biased(), data, [0.0]) == AnalyticVariance((0.0,), (4.0,), (0.0,))


def test_the_estimate_does_not_depend_on_the_batch_but_on_the_seed():
    data = mixture(VP()).sample_data(50)
    a, b = (analytic_variance(mixture(VP()), data, LEVELS, batch=batch) for batch in (7, 50))
    close(torch.tensor(a.variance), torch.tensor(b.variance), rtol=1e-12)
    assert a.variance != analytic_variance(mixture(VP()), data, LEVELS, seed=1).variance


def test_conditions_follow_their_samples():
    means = torch.tensor([[-5.0], [5.0]], dtype=torch.float64)
    denoiser = GaussianMixture(VP(), means, stds=torch.full((2,), 0.1), labels=torch.tensor([0, 1]))
    label = torch.arange(100) % 2
    data = means[label]
    known = analytic_variance(denoiser, data, [-8.0], condition={"label": label}, batch=9)
    assert known.variance[0] < 0.02
    assert analytic_variance(denoiser, data, [-8.0]).variance[0] > 10


def test_data_that_is_a_single_point_has_no_variance():
    denoiser = Gaussian(VP(), torch.tensor([0.5], dtype=torch.float64), 0.0)
    table = analytic_variance(denoiser, torch.full((9, 1), 0.5, dtype=torch.float64))
    assert table(0.3) < 1e-20
    assert torch.isfinite(sample(denoiser, (4, 1), solver=Ancestral(table), steps=5).x).all()


@given(st.floats(-30.0, 30.0))
def test_the_table_interpolates_gaussian_data_within_a_percent(log_snr):
    levels = [i * 0.4 for i in range(-30, 36)]
    table = AnalyticVariance(tuple(levels), tuple(1 / (1 + math.exp(v)) for v in levels), (0.0,) * 66)
    assert table(log_snr) == pytest.approx(1 / (1 + math.exp(log_snr)), rel=0.01)


def test_the_table_is_its_variances_at_its_levels_and_constant_towards_pure_noise():
    table = AnalyticVariance((-1.0, 0.0, 2.0), (0.9, 0.5, 0.1), (0.0, 0.0, 0.0))
    assert [table(v) for v in (-math.inf, -1.0, 0.0, 2.0)] == pytest.approx([0.9, 0.9, 0.5, 0.1])
    assert table(math.inf) == 0.0
    assert table(3.0) == pytest.approx(0.1 / math.e)


DATA = torch.zeros(4, 1, dtype=torch.float64)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AnalyticVariance((), (), ()), "at least one; got 0, 0 and 0"),
        (lambda: AnalyticVariance((0.0,), (1.0, 2.0), (0.0,)), "got 1, 2 and 1"),
        (lambda: AnalyticVariance((0.0, 0.0), (1.0, 1.0), (0.0, 0.0)), "increase strictly"),
        (lambda: AnalyticVariance((math.inf,), (1.0,), (0.0,)), "finite log-SNRs"),
        (lambda: AnalyticVariance((0.0,), (-1.0,), (0.0,)), "at least 0 at every level"),
        (lambda: AnalyticVariance((0.0,), (math.nan,), (0.0,)), "at least 0 at every level"),
        (lambda: analytic_variance(mixture(VP()), DATA[:1]), "at least 2 samples"),
        (lambda: analytic_variance(mixture(VP()), DATA.long()), "real data"),
        (lambda: analytic_variance(mixture(VP()), DATA, draws=0), "draws and batch are at least 1"),
        (lambda: analytic_variance(mixture(VP()), DATA, batch=0), "draws and batch are at least 1"),
        (lambda: analytic_variance(mixture(VP()), DATA, []), "levels of an analytic variance"),
        (lambda: analytic_variance(mixture(VP()), DATA, [-50.0]), r"from -10\.05, the noisiest"),
        (
            lambda: analytic_variance(mixture(VP()), DATA, condition={"label": torch.zeros(3)}),
            "condition 'label' has 3 entries for 4 samples",
        ),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_answer_that_is_not_finite_is_named_by_its_noise_level():
    class Broken(Denoiser):
        schedule = VP()

        def forward(self, x_t, t, **condition):
            return Posterior(x_t * math.nan)

    with pytest.raises(FloatingPointError, match=r"not finite at log-SNR 1\.5"):
        analytic_variance(Broken(), DATA, [1.5])
