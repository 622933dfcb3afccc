"""DPS, PiGDM and MMPS against posteriors that are known exactly."""

import math

import pytest
import torch

from tests.helpers import SCHEDULES, close
from tests.two_sample import kernel_test
from unstir.denoisers import Dataset, Denoiser, Gaussian, GaussianMixture, Network, Posterior, given
from unstir.guidance import DPS, MMPS, LinearOperator, PiGDM
from unstir.networks import UNetSettings, build_network
from unstir.processes import VE, VP, Flow, Heat
from unstir.samplers import sample, uniform

N, M, NOISE = 5, 3, 0.2
G = torch.Generator().manual_seed(0)
ROOT = torch.randn(N, N, generator=G, dtype=torch.float64)
COVARIANCE = ROOT @ ROOT.T / N + 0.1 * torch.eye(N, dtype=torch.float64)
MATRIX = torch.randn(M, N, generator=G, dtype=torch.float64)
MEAN = torch.randn(N, generator=G, dtype=torch.float64)
Y = torch.randn(M, generator=G, dtype=torch.float64)
X = torch.randn(4, N, generator=G, dtype=torch.float64)
METHODS = [DPS, PiGDM, MMPS]


class MeanOnly(Denoiser):
    """Keeps the variance of a denoiser to itself."""

    def __init__(self, denoiser):
        super().__init__()
        self.denoiser, self.schedule = denoiser, denoiser.schedule

    def forward(self, x_t, t, **condition):
        return Posterior(self.denoiser(x_t, t, **condition).mean)


def correlated(schedule):
    return Gaussian(schedule, MEAN, covariance=COVARIANCE)


@pytest.mark.parametrize("solver", ["gmres", "cg"])
@pytest.mark.parametrize("name", ["vp", "flow", "ve", "sub-vp", "cosine", "table"])
def test_mmps_is_the_exact_posterior_mean_of_gaussian_data(name, solver):
    schedule = SCHEDULES[name]
    prior, t = correlated(schedule), torch.tensor([0.05, 0.3, 0.6, 0.9])
    x = X * schedule.sigma(t)[:, None]
    guided = MMPS(prior, Y, MATRIX, NOISE, iterations=M, method=solver)
    close(guided(x, t).mean, given(prior, Y, MATRIX, NOISE)(x, t).mean, atol=1e-8)


def test_mmps_takes_a_noise_level_for_every_entry_and_a_measurement_for_every_sample():
    prior, noise = correlated(VP()), torch.tensor([0.1, 0.5, 2.0])
    y = torch.randn(4, M, generator=G, dtype=torch.float64)
    result = MMPS(prior, y, MATRIX, noise, iterations=M)(X, 0.5).mean
    for k in range(4):
        expected = given(prior, y[k], MATRIX, noise)(X[k : k + 1], 0.5).mean
        close(result[k : k + 1], expected, atol=1e-8)


@pytest.mark.parametrize("schedule", [VP(), VE(), Flow()], ids=["vp", "ve", "flow"])
def test_pigdm_is_exact_for_white_data(schedule):
    prior = Gaussian(schedule, MEAN, std=0.7)
    assert prior.sigma_data == pytest.approx(0.7)
    exact = given(prior, Y, MATRIX, NOISE)
    for t in (0.1, 0.5, 0.9):
        close(PiGDM(prior, Y, MATRIX, NOISE)(X, t).mean, exact(X, t).mean, atol=1e-8)


def test_the_weight_of_pigdm_multiplies_its_gradient():
    prior, weight = correlated(VP()), torch.tensor([0.0, 0.5, 1.0, 2.0])
    once = PiGDM(prior, Y, MATRIX, NOISE).score(X, 0.4) - prior.score(X, 0.4)
    weighed = PiGDM(prior, Y, MATRIX, NOISE, weight=weight).score(X, 0.4) - prior.score(X, 0.4)
    close(weighed, weight[:, None] * once, atol=1e-9)


def test_pigdm_knows_its_uncertainty_from_the_denoiser_or_else_from_the_deviation_of_the_data():
    prior = Gaussian(VP(), MEAN, std=0.7)
    alone = MeanOnly(prior)
    alone.sigma_data = 0.7
    close(PiGDM(alone, Y, MATRIX, NOISE)(X, 0.5).mean, PiGDM(prior, Y, MATRIX, NOISE)(X, 0.5).mean, atol=1e-9)


def test_for_white_data_one_preconditioned_step_of_mmps_is_enough():
    prior = Gaussian(VP(), MEAN, std=0.7)
    exact = given(prior, Y, MATRIX, NOISE)(X, 0.5).mean
    close(MMPS(prior, Y, MATRIX, NOISE, iterations=1)(X, 0.5).mean, exact, atol=1e-8)


def test_the_score_of_dps_is_the_gradient_of_its_log_likelihood():
    prior, t = correlated(VP()), 0.4
    x = X.clone().requires_grad_()
    misfit = (((Y - prior(x, t).mean @ MATRIX.T) / NOISE) ** 2).sum(1)
    (expected,) = torch.autograd.grad((-0.5 * misfit).sum(), x)
    c = prior(X, t).variance.mean(1)
    gain = (MATRIX**2).sum() / M / NOISE**2
    scale = 1.0 + (misfit.detach() / M * c * gain).sqrt()
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0])
    score = DPS(prior, Y, MATRIX, NOISE, weight=weight).score(X, t)
    close(score - prior.score(X, t), expected * (2.0 * weight / scale)[:, None], atol=1e-9)


def test_without_weight_dps_does_nothing():
    prior = correlated(VP())
    close(DPS(prior, Y, MATRIX, NOISE, weight=0.0)(X, 0.5).mean, prior(X, 0.5).mean, atol=1e-12)


@pytest.mark.parametrize("solver", ["dpmpp-2m", "heun", "rk4", "ddpm"])
def test_on_one_grid_samples_of_mmps_are_those_of_the_exact_posterior(solver):
    prior = correlated(VP())
    # The grid is given, because the default one knows the deviation of the data, which y changes.
    options = {"solver": solver, "grid": uniform(VP(), 12), "seed": 3}
    guided = sample(MMPS(prior, Y, MATRIX, NOISE, iterations=M), (8, N), **options)
    exact = sample(given(prior, Y, MATRIX, NOISE), (8, N), **options)
    close(guided.x, exact.x, atol=1e-4)


@pytest.mark.parametrize("schedule", [VP(), Flow(), VE(0.01, 50.0)], ids=["vp", "flow", "ve"])
@pytest.mark.parametrize("solver", ["multistep", "ddpm"])
def test_samples_of_mmps_pass_a_two_sample_test(schedule, solver):
    prior = correlated(schedule)
    steps = 200 if solver == "ddpm" else 20
    guided = MMPS(prior, Y, MATRIX, NOISE, iterations=M)
    x = sample(guided, (300, N), steps=steps, solver=solver, seed=1).x
    exact = given(prior, Y, MATRIX, NOISE).sample_data(300, seed=2)
    assert kernel_test(x, exact) > 0.01


@pytest.mark.parametrize("method", METHODS)
def test_a_function_is_taken_like_the_matrix_that_it_is(method):
    prior = correlated(VP())
    options = {"iterations": M, "method": "gmres"} if method is MMPS else {}
    # DPS takes the gain of a function from the residual, which is that of a matrix with orthogonal rows.
    matrix = 1.7 * torch.linalg.qr(MATRIX.T)[0].T if method is DPS else MATRIX
    by_function = method(prior, Y, lambda x: x @ matrix.T.to(x), NOISE, **options)(X, 0.3).mean
    close(by_function, method(prior, Y, matrix, NOISE, **options)(X, 0.3).mean, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_one_measurement_after_the_other_composes(method):
    # Guidance round guidance differentiates through the inner one.
    prior = correlated(VP())
    inner = MMPS(prior, Y[:2], MATRIX[:2], NOISE, iterations=2)
    both = method(inner, Y[2:], MATRIX[2:], NOISE)(X, 0.5).mean
    exact_inner = MeanOnly(given(prior, Y[:2], MATRIX[:2], NOISE))
    exact_inner.sigma_data = inner.sigma_data  # which the others take their uncertainty from
    close(both, method(exact_inner, Y[2:], MATRIX[2:], NOISE)(X, 0.5).mean, atol=1e-6)


def test_mmps_round_mmps_is_both_measurements_at_once():
    prior = correlated(VP())
    inner = MMPS(prior, Y[:2], MATRIX[:2], NOISE, iterations=2)
    outer = MMPS(inner, Y[2:], MATRIX[2:], NOISE, iterations=1)
    close(outer(X, 0.5).mean, given(prior, Y, MATRIX, NOISE)(X, 0.5).mean, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_samples_do_not_depend_on_their_batch(method):
    mixture = GaussianMixture(VP(), torch.randn(3, N, generator=G), stds=torch.tensor([0.3, 0.4, 0.5]))
    guided = method(mixture, Y, MATRIX, NOISE)
    together = sample(guided, (6, N), steps=8, seed=5).x
    alone = sample(guided, (1, N), steps=8, seed=5, first_index=4).x
    close(together[4:5], alone, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("event", [(3,), (2, 6), (1, 4, 4), (1, 2, 3, 3)])
def test_events_of_any_rank_and_both_types(method, event):
    half = LinearOperator(lambda x: x.flatten(1)[:, ::2], event=event, name="every other entry")
    prior = Gaussian(VP(), torch.zeros(event), std=1.0)
    y = torch.ones(half.measured)
    for kind in (torch.float32, torch.float64):
        posterior = method(prior, y, half, 0.1)(torch.zeros(2, *event, dtype=kind), 0.5)
        assert posterior.mean.shape == (2, *event)
        assert posterior.mean.dtype == kind
        assert not posterior.mean.requires_grad


@pytest.mark.parametrize("method", [PiGDM, MMPS])
def test_under_a_schedule_that_blurs(method):
    schedule = Heat()
    prior = Gaussian(schedule, torch.zeros(1, 4, 4), std=1.0)
    keep = LinearOperator(lambda x: x.flatten(1)[:, :5], event=(1, 4, 4), name="first five")
    y = torch.ones(5)
    options = {"iterations": 5} if method is MMPS else {}
    result = sample(method(prior, y, keep, 0.1, **options), (200, 1, 4, 4), steps=20).x.flatten(1)
    # White data: seen entries are N(1, 0.01) shrunk by 1 / 1.01, the others stay standard normal.
    tolerance = 0.05 if method is MMPS else 0.25
    assert result[:, :5].mean() == pytest.approx(1 / 1.01, abs=tolerance)
    assert result[:, 5:].mean() == pytest.approx(0.0, abs=0.1)
    assert result[:, 5:].std() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_an_untrained_network_stays_finite(method):
    module = build_network(UNetSettings(width=8, multipliers=(1, 2)), (1, 8, 8))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=G))
    network = Network(module, Flow(), sigma_data=0.5)
    blur = LinearOperator(lambda x: torch.nn.functional.avg_pool2d(x, 2), event=(1, 8, 8), name="means")
    guided = method(network, torch.zeros(1, 4, 4), blur, 0.05)
    result = sample(guided, (2, 1, 8, 8), steps=5)
    assert torch.isfinite(result.x).all()
    assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_one_noise_level_may_be_written_for_every_entry(method):
    prior = correlated(VP())
    once, each = (method(prior, Y, MATRIX, n)(X, 0.4).mean for n in (NOISE, torch.full((M,), NOISE).double()))
    close(each, once, atol=1e-7)


def test_a_few_points_and_a_measurement_of_everything_stay_finite():
    points = torch.eye(4)
    prior = Dataset(VP(), points[:2])
    x = sample(MMPS(prior, points[0], points, 0.514), (16, 4), steps=20, seed=1).x
    assert torch.isfinite(x).all()
    apart = torch.cdist(x, points[:2])
    assert float(apart.min(dim=1).values.max()) < 0.02
    assert int((apart[:, 0] < 0.02).sum()) >= 12  # the other point has 2 % of the posterior


def test_costs_count_backward_passes():
    prior = correlated(VP())
    for guided, calls in [
        (DPS(prior, Y, MATRIX, 0.1), 2),
        (PiGDM(prior, Y, MATRIX, 0.1), 2),
        (MMPS(prior, Y, MATRIX, 0.1, iterations=3), 4),
        (MMPS(PiGDM(prior, Y, MATRIX, 0.1), Y, MATRIX, 0.1, iterations=1), 4),
    ]:
        assert sample(guided, (2, N), steps=5).nfe == 5 * calls


def test_bad_measurements_are_refused_in_one_sentence():
    prior = correlated(VP())
    with pytest.raises(ValueError, match=r"gives measurements of shape \(3,\), but y has shape \(2,\)"):
        MMPS(prior, Y[:2], MATRIX, 0.1)
    for noise in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="a standard deviation above 0"):
            PiGDM(prior, Y, MATRIX, noise)
    with pytest.raises(ValueError, match="not finite; leave missing ones to a mask"):
        DPS(prior, Y * math.nan, MATRIX, 0.1)
    with pytest.raises(ValueError, match="4 measurements for 3 samples"):
        DPS(prior, Y.expand(4, M), MATRIX, 0.1)(X[:3], 0.5)
    with pytest.raises(ValueError, match="weight must be at least 0"):
        DPS(prior, Y, MATRIX, 0.1, weight=-1.0)
    with pytest.raises(ValueError, match="at least 1 iteration, got 0"):
        MMPS(prior, Y, MATRIX, 0.1, iterations=0)
    with pytest.raises(ValueError, match="'gmres' or 'cg', got 'lu'"):
        MMPS(prior, Y, MATRIX, 0.1, method="lu")


def sharing(count):
    """A prior of one number with a little of its own in each of ``count`` entries, all of them measured."""
    covariance = torch.ones(count, count, dtype=torch.float64) + 0.01 * torch.eye(count, dtype=torch.float64)
    return Gaussian(VP(), torch.zeros(count, dtype=torch.float64), covariance=covariance)


def test_damping_leaves_pigdm_as_it_is_where_its_one_variance_is_right():
    prior = Gaussian(VP(), MEAN, std=0.7)
    plain, damped = (PiGDM(prior, Y, MATRIX, NOISE, damped=d)(X, 0.5).mean for d in (False, True))
    close(damped, plain, atol=1e-12)


def test_damping_ends_the_overshoot_of_measurements_that_share_their_uncertainty():
    count, t = 64, torch.tensor([0.9])
    prior, y = sharing(count), torch.ones(count, dtype=torch.float64)
    eye = torch.eye(count, dtype=torch.float64)
    x = torch.zeros(1, count, dtype=torch.float64)
    exact = given(prior, y, eye, 0.5)(x, t).mean.mean()
    plain, damped = (PiGDM(prior, y, eye, 0.5, damped=d)(x, t).mean.mean() for d in (False, True))
    assert 0.9 < float(exact) < 1.0
    assert float(plain) > 20.0
    assert float(damped) == pytest.approx(float(exact), abs=1e-3)


def test_with_damping_pigdm_stays_near_the_posterior_where_it_grows_without_bounds():
    count = 64
    prior, y = sharing(count), torch.ones(count, dtype=torch.float64)
    eye = torch.eye(count, dtype=torch.float64)
    apart = []
    for damped in (False, True):
        x = sample(PiGDM(prior, y, eye, 0.5, damped=damped), (64, count), steps=20, seed=1).x
        apart.append(float((x.mean() - 1.0).abs()))
    assert apart[0] > 10.0
    assert apart[1] < 0.1
