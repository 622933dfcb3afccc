"""The adaptive solver against the closed-form flow of Gaussians and scipy's of mixtures."""

import math
from functools import cache

import pytest
import torch

from tests.helpers import SCHEDULES, close
from tests.samplers.test_orders import COVARIANCE, MEAN, MEANS, STDS
from unstir.denoisers import Denoiser, Gaussian, GaussianMixture, Posterior
from unstir.evaluation.problems import exact_flow
from unstir.processes import VP, Flow
from unstir.samplers import Adaptive, sample

Z = torch.tensor([[0.9, -0.4], [-1.3, 0.2], [0.1, 1.1], [-2.5, -0.7]], dtype=torch.float64)
SOME = ["vp", "ve", "flow", "sub-vp", "table-zero"]


def mixture(schedule):
    return GaussianMixture(schedule, MEANS, stds=STDS)


def start(name):
    return Z * SCHEDULES[name].sigma(1.0)


@cache
def flow(name):
    return exact_flow(mixture(SCHEDULES[name]), start(name), tolerance=1e-12)


def gaussian_flow(schedule, x, t, s):
    """Along the flow (x - alpha m) scales with its deviation in each eigendirection."""
    variances, basis = torch.linalg.eigh(COVARIANCE)

    def deviation(t):
        return (schedule.alpha(t) ** 2 * variances + schedule.sigma(t) ** 2).sqrt()

    centred = (x - schedule.alpha(t) * MEAN) @ basis
    return schedule.alpha(s) * MEAN + (centred * deviation(s) / deviation(t)) @ basis.T


class Counter(Denoiser):
    """The mixture, the calls made, and what is answered above a time."""

    def __init__(self, schedule, broken_below=-1.0):
        super().__init__()
        self.schedule, self.broken_below, self.calls = schedule, broken_below, 0

    def forward(self, x_t, t, **condition):
        self.calls += 1
        mean = mixture(self.schedule)(x_t, t).mean
        return Posterior(torch.where((t < self.broken_below)[:, None], math.nan, mean))


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5, 1e-7, 1e-9])
@pytest.mark.parametrize("name", SOME)
def test_the_error_is_at_most_five_tolerances_down_to_data(name, tolerance):
    solver = Adaptive(tolerance, tolerance)
    x = sample(mixture(SCHEDULES[name]), x_T=start(name), solver=solver).x
    assert float((x - flow(name)).abs().max()) < 5 * tolerance
    schedule = SCHEDULES[name]
    x = sample(Gaussian(schedule, MEAN, covariance=COVARIANCE), x_T=start(name), solver=solver).x
    assert float((x - gaussian_flow(schedule, start(name), 1.0, 0.0)).abs().max()) < 5 * tolerance


@pytest.mark.parametrize("name", SOME)
def test_the_states_at_the_times_of_a_grid_lie_on_the_flow(name):
    schedule, tolerance = SCHEDULES[name], 1e-8
    gaussian = Gaussian(schedule, MEAN, covariance=COVARIANCE)
    grid = torch.tensor([1.0, 0.7, 0.3, 0.05, 0.0])
    solver = Adaptive(tolerance, tolerance)
    result = sample(gaussian, x_T=start(name), solver=solver, grid=grid, path=True)
    for t, x in zip(grid.tolist(), result.path, strict=True):
        expected = gaussian_flow(schedule, start(name), 1.0, t)
        norm = float(torch.hypot(schedule.alpha(t), schedule.sigma(t)))  # the tolerance is that of x / norm
        assert float((x - expected).abs().max()) < 10 * tolerance * norm


def test_the_last_step_has_an_error_of_the_square_of_its_noise_level():
    errors = []
    for end in (0.02, 0.01):
        x = sample(mixture(VP()), x_T=start("vp"), solver=Adaptive(1e-10, 1e-10, end=end)).x
        errors.append(float((x - flow("vp")).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.1)


def test_a_sample_does_not_depend_on_its_batch():
    whole = sample(mixture(VP()), x_T=start("vp"), solver="adaptive").x
    for i in range(len(Z)):
        part = sample(mixture(VP()), x_T=start("vp")[i : i + 1], solver="adaptive").x
        close(part, whole[i : i + 1], rtol=1e-11)


def test_single_precision_reaches_the_default_tolerance():
    x = sample(mixture(Flow()), x_T=start("flow").float(), solver="adaptive").x
    assert x.dtype == torch.float32
    assert float((x - flow("flow")).abs().max()) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_is_sampled_from_end_to_end(name, dtype):
    denoiser = GaussianMixture(SCHEDULES[name], MEANS[:, None], stds=STDS)
    result = sample(denoiser, x_T=start(name)[:, None].to(dtype), solver=Adaptive(1e-3, 1e-3))
    assert result.x.shape == (4, 1, 2)
    assert result.x.dtype == dtype
    assert torch.isfinite(result.x).all()
    assert result.nfe < 60


def test_evaluations_are_counted_and_few():
    denoiser = Counter(VP())
    result = sample(denoiser, x_T=start("vp"), solver="adaptive")
    assert result.nfe == denoiser.calls < 80


@pytest.mark.parametrize("steps", [1, 20])
def test_its_own_grid_has_the_ends_only(steps):
    assert Adaptive().default_grid(VP(), steps).tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        Adaptive().default_grid(VP(), 0)


def test_a_step_that_begins_below_the_last_level_is_the_posterior_mean():
    t = float(VP().time(-2.0 * math.log(1e-3)))
    result = sample(mixture(VP()), x_T=Z, solver=Adaptive(end=0.01), grid=torch.tensor([t, 0.0]))
    assert result.nfe == 1
    close(result.x, mixture(VP())(Z, t).mean, rtol=1e-9)


def test_an_answer_that_is_not_finite_is_named_by_its_time_and_noise_level():
    with pytest.raises(FloatingPointError, match=r"not finite at t = 0\.\d+ \(log-SNR -?\d[\d.]*\)"):
        sample(Counter(VP(), broken_below=0.4), x_T=start("vp"), solver="adaptive")


def test_too_many_evaluations_are_refused():
    with pytest.raises(RuntimeError, match="needs more than 20 evaluations"):
        sample(mixture(VP()), x_T=start("vp"), solver=Adaptive(1e-9, 1e-9, max_evaluations=20))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adaptive(rtol=-1.0), "rtol and atol are at least 0"),
        (lambda: Adaptive(0.0, 0.0), "not both 0"),
        (lambda: Adaptive(end=0.0), "above 0, got 0.0"),
        (lambda: Adaptive(end=math.inf), "above 0, got inf"),
        (lambda: Adaptive(max_evaluations=0), "at least 1 evaluation, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
