import math

import pytest
import torch

from tests.helpers import SCHEDULES, close
from tests.two_sample import kernel_test
from unstir.denoisers import Dataset, Denoiser, Gaussian, GaussianMixture, Posterior, given
from unstir.guidance import DPS, MMPS, LinearOperator, PiGDM, Twisted, sample_with_evidence
from unstir.guidance.particles import systematic
from unstir.processes import VE, VP, Flow, Heat
from unstir.samplers import sample

MATRIX = torch.tensor([[1.0, 0.3, 0.2]], dtype=torch.float64)
Y = torch.tensor([0.1], dtype=torch.float64)


def mixture(schedule):
    means = torch.tensor([[-1.0, -1.0, 0.0], [1.0, -0.8, 1.0], [0.0, 1.2, -1.0]], dtype=torch.float64)
    return GaussianMixture(
        schedule, means, stds=torch.tensor([0.25, 0.35, 0.2]), weights=torch.tensor([0.2, 0.5, 0.3])
    )


def shares(x, posterior):
    """The share of samples next to each mean of the posterior."""
    nearest = torch.cdist(x.double(), posterior.means).argmin(1)
    return torch.bincount(nearest, minlength=len(posterior.means)) / len(x)


def energy(x, y):
    """Szekely & Rizzo's energy distance of two sample sets."""
    x, y = x.double(), y.double()
    return float(2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean())


def log_evidence(exact, y, matrix, noise):
    """log p(y) of a mixture of round components."""
    covariance = matrix @ matrix.T * exact.spectrum[:, :1, None] + noise**2 * torch.eye(
        len(y), dtype=torch.float64
    )
    normal = torch.distributions.MultivariateNormal(exact.means @ matrix.T, covariance)
    return float((exact.log_weights + normal.log_prob(y)).logsumexp(0))


class WithoutVariance(Denoiser):
    def __init__(self, exact):
        super().__init__()
        self.exact, self.schedule, self.sigma_data = exact, exact.schedule, exact.sigma_data

    def forward(self, x_t, t, **condition):
        return Posterior(self.exact(x_t, t, **condition).mean)


@pytest.mark.parametrize("steps", [1, 3, 8])
@pytest.mark.parametrize("variance", [True, False])
def test_round_gaussian_data_need_no_correction_and_have_the_exact_evidence(steps, variance):
    # From pure noise, so that the start is exact, too.
    exact = Gaussian(Flow(), torch.tensor([0.2, -0.4, 1.0], dtype=torch.float64), std=0.7)
    matrix = torch.tensor([[1.0, 2.0, -0.5], [0.3, -1.0, 0.8]], dtype=torch.float64)
    y, noise = torch.tensor([0.5, -1.0], dtype=torch.float64), 0.3
    denoiser = exact if variance else WithoutVariance(exact)
    x_T = torch.randn(32, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    run = sample_with_evidence(denoiser, Twisted(y, matrix, noise, particles=8), x_T=x_T, steps=steps)
    close(run.effective, torch.full((steps, 4), 8.0), rtol=1e-9)
    close(
        run.log_evidence,
        torch.full((4,), log_evidence(exact, y, matrix, noise), dtype=torch.float64),
        rtol=1e-9,
    )


@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("noise", [0.3, torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)])
def test_correlated_gaussian_data_need_no_correction_if_their_covariance_is_given(steps, noise):
    covariance = torch.tensor([[1.0, 0.8, 0.3], [0.8, 1.5, 0.1], [0.3, 0.1, 0.4]], dtype=torch.float64)
    exact = Gaussian(Flow(), torch.tensor([0.2, -0.4, 1.0], dtype=torch.float64), covariance=covariance)
    matrix = torch.tensor([[1.0, 2.0, -0.5], [0.3, -1.0, 0.8], [1.3, 1.0, 0.3]], dtype=torch.float64)
    y = torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64)
    solver = Twisted(y, matrix, noise, particles=8, covariance=covariance)
    x_T = torch.randn(32, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    run = sample_with_evidence(exact, solver, x_T=x_T, steps=steps)
    close(run.effective, torch.full((steps, 4), 8.0), rtol=1e-9)
    measured = matrix @ covariance @ matrix.T + torch.diag(
        torch.as_tensor(noise, dtype=torch.float64).expand(3) ** 2
    )
    expected = torch.distributions.MultivariateNormal(matrix @ exact.means[0], measured).log_prob(y)
    close(run.log_evidence, expected.expand(4), rtol=1e-9)
    # Equal weights, so all samples are independent.
    posterior, n = given(exact, y, matrix, noise), 4000
    solver = Twisted(y, matrix, noise, particles=1, covariance=covariance)
    x = sample(exact, (n, 3), solver=solver, steps=steps).x.double()
    root = torch.linalg.cholesky(posterior.covariances[0])
    white = torch.linalg.solve_triangular(root, (x - posterior.means[0]).T, upper=False)
    assert float(white.mean(1).abs().max()) < 4.5 / math.sqrt(n)
    close(torch.cov(white), torch.eye(3), atol=4.5 * math.sqrt(2 / n))


def test_a_covariance_makes_more_of_the_particles_count_where_data_are_correlated():
    i = torch.arange(8, dtype=torch.float64)
    smooth = 0.1 * torch.kron(*[torch.exp(-((i[:, None] - i) ** 2) / 8) + 0.01 * torch.eye(8)] * 2)
    slope = (i / 7 - 0.5).expand(1, 8, 8)
    exact = GaussianMixture(Flow(), torch.stack([slope, -slope]), covariances=torch.stack([smooth, smooth]))
    covariance = torch.cov(exact.sample_data(2000, seed=1).flatten(1).T)
    operator = LinearOperator(lambda x: x[:, :, ::3, ::3], event=(1, 8, 8))
    error = torch.zeros(2, 2)  # over eight measurements: for a single one the order may be the other
    for y in operator(exact.sample_data(8, seed=4)):
        truth = given(exact, y, operator.matrix, 0.2).sample_data(256, seed=1).flatten(1)
        for row, given_covariance in zip(error, (None, covariance), strict=True):
            solver = Twisted(y, operator, 0.2, particles=32, covariance=given_covariance)
            run = sample_with_evidence(exact, solver, (128, 1, 8, 8), steps=20)
            row += torch.tensor([energy(run.solution.x.flatten(1), truth), float(run.log_evidence.std())])
    assert error[1, 0] < 0.9 * error[0, 0]
    assert error[1, 1] < 0.8 * error[0, 1]


def test_samples_of_a_gaussian_have_the_posterior_moments_in_a_few_steps():
    exact = Gaussian(Flow(), torch.tensor([0.2, -0.4, 1.0], dtype=torch.float64), std=0.7)
    matrix, y = torch.tensor([[1.0, 2.0, -0.5]], dtype=torch.float64), torch.tensor([1.5])
    posterior = given(exact, y, matrix, 0.1)
    x = sample(exact, (4000, 3), solver=Twisted(y, matrix, 0.1, particles=1), steps=3).x.double()
    deviation = posterior.covariances[0].diagonal().sqrt()
    assert float(((x.mean(0) - posterior.means[0]) / deviation).abs().max()) < 4.5 / math.sqrt(4000)
    close(torch.cov(x.T), posterior.covariances[0], atol=4.5 * 0.49 * math.sqrt(2 / 4000))


@pytest.mark.parametrize(("schedule", "noise"), [(VP(), 0.5), (Flow(), 0.1)], ids=["vp", "flow"])
def test_the_distance_to_exact_samples_falls_with_particles_to_that_between_two_exact_sets(schedule, noise):
    exact = mixture(schedule)
    posterior = given(exact, Y, MATRIX, noise)
    one, other = (posterior.sample_data(1024, seed=seed) for seed in (1, 2))
    distance = [
        energy(sample(exact, (1024, 3), solver=Twisted(Y, MATRIX, noise, particles=n), steps=30).x, one)
        for n in (1, 4, 256)
    ]
    floor = energy(one, other)
    assert distance[0] > 3 * distance[1] > 9 * distance[2]
    assert distance[2] < floor + 0.003  # one step less of that ladder, where particles = 1 has 0.25 or 1.2


def test_independent_groups_cannot_be_told_from_exact_samples():
    exact = mixture(Flow())
    posterior = given(exact, Y, MATRIX, 0.5)
    solver = Twisted(Y, MATRIX, 0.5, particles=16)
    # One of each group: samples of a group are dependent.
    x = sample(exact, (16 * 300, 3), solver=solver, steps=30).x[::16]
    assert kernel_test(x, posterior.sample_data(300, seed=3)) > 0.02
    guided = sample(PiGDM(exact, Y, MATRIX, 0.5), (300, 3), steps=30).x
    assert kernel_test(guided, posterior.sample_data(300, seed=3)) < 0.005


def test_mode_weights_are_right_where_guidance_alone_gets_them_wrong():
    exact = mixture(VP())
    posterior = given(exact, Y, MATRIX, 0.1)
    weights = posterior.log_weights.exp()
    x = sample(exact, (2048, 3), solver=Twisted(Y, MATRIX, 0.1, particles=256), steps=40).x
    assert float((shares(x, posterior) - weights).abs().max()) < 0.04
    for method in (DPS, PiGDM, MMPS):
        guided = sample(method(exact, Y, MATRIX, 0.1), (256, 3), steps=30).x
        assert float((shares(guided, posterior) - weights).abs().max()) > 0.2


@pytest.mark.parametrize("noise", [0.5, 0.1])
def test_the_evidence_of_a_mixture_is_estimated_within_its_own_spread(noise):
    exact = mixture(Flow())
    solver = Twisted(Y, MATRIX, noise, particles=128)
    estimates = sample_with_evidence(exact, solver, (1024, 3), steps=50).log_evidence
    mean = float(estimates.logsumexp(0)) - math.log(len(estimates))
    # A hundredth of a nat is what 50 steps leave.
    assert (
        abs(mean - log_evidence(exact, Y, MATRIX, noise)) < 4 * float(estimates.std()) / math.sqrt(8) + 0.01
    )


def test_a_group_is_the_same_whatever_the_batch():
    exact, solver = mixture(VP()), Twisted(Y, MATRIX, 0.1, particles=16)
    together = sample_with_evidence(exact, solver, (64, 3), steps=12, seed=5)
    for group in (0, 3):
        alone = sample_with_evidence(exact, solver, (16, 3), steps=12, seed=5, first_index=16 * group)
        close(alone.solution.x, together.solution.x[16 * group : 16 * group + 16], atol=1e-6)
        close(alone.log_evidence[0], together.log_evidence[group], rtol=1e-6)


def test_each_group_has_its_own_measurement():
    exact = mixture(VP())
    y = torch.tensor([[-1.2], [1.0]], dtype=torch.float64)
    runs = [
        sample(exact, (64, 3), solver=Twisted(value, MATRIX, 0.1, particles=32), steps=15).x
        for value in (y, y.repeat_interleave(32, dim=0))
    ]
    close(runs[0], runs[1])
    alone = sample(exact, (32, 3), solver=Twisted(y[1], MATRIX, 0.1, particles=32), steps=15, first_index=32)
    close(alone.x, runs[0][32:], atol=1e-6)
    assert float((runs[0].double() @ MATRIX.T - y.repeat_interleave(32, dim=0)).abs().max()) < 0.6


@pytest.mark.parametrize("name", ["vp", "sub-vp", "ve", "flow", "cosine", "zero-table"])
def test_every_schedule_gives_the_same_posterior(name):
    exact = mixture(SCHEDULES[name])
    posterior = given(exact, Y, MATRIX, 0.5)
    x = sample(exact, (1024, 3), solver=Twisted(Y, MATRIX, 0.5, particles=128), steps=30).x
    assert energy(x, posterior.sample_data(1024, seed=1)) < 0.01


def test_a_schedule_that_blurs_gives_the_posterior_too():
    schedule = Heat(VP(), blur=0.3)
    exact = mixture(schedule)
    a = GaussianMixture(VP(), exact.means, stds=exact.spectrum[:, 0].sqrt(), weights=exact.log_weights.exp())
    posterior = given(a, Y, MATRIX, 0.5)
    distance = [
        energy(
            sample(exact, (512, 3), solver=Twisted(Y, MATRIX, 0.5, particles=n), steps=40).x,
            posterior.sample_data(512, seed=1),
        )
        for n in (1, 256)
    ]
    assert distance[1] < 0.015 < 0.1 < distance[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_and_noise_for_each_entry(dtype):
    # A column of three pixels of a 3 x 2 picture, each with a noise of its own.
    means = torch.tensor([-0.5, 0.5], dtype=torch.float64)[:, None, None, None].expand(2, 1, 3, 2)
    exact = GaussianMixture(Flow(), means, stds=torch.tensor([0.3, 0.3]))
    operator = LinearOperator(lambda x: x[..., 0], event=(1, 3, 2), name="column")
    noise = torch.tensor([[0.1, 0.4, 2.0]], dtype=torch.float64)
    y = torch.tensor([[0.0, 0.2, 5.0]], dtype=dtype)
    posterior = given(exact, y, operator.matrix, noise.flatten())
    x_T = torch.randn(512, 1, 3, 2, dtype=dtype, generator=torch.Generator().manual_seed(1))
    run = sample_with_evidence(exact, Twisted(y, operator, noise, particles=128), x_T=x_T, steps=30)
    assert run.solution.x.dtype == dtype
    assert run.solution.x.shape == (512, 1, 3, 2)
    truth = posterior.sample_data(512, seed=1)
    assert energy(run.solution.x.flatten(1), truth.flatten(1)) < 0.02
    normal = torch.distributions.MultivariateNormal
    covariance = 0.09 * torch.eye(3, dtype=torch.float64) + torch.diag(noise.flatten() ** 2)
    centres = exact.means.reshape(2, 3, 2)[..., 0]
    expected = (exact.log_weights + normal(centres, covariance).log_prob(y.double().flatten())).logsumexp(0)
    assert abs(float(run.log_evidence.mean()) - float(expected)) < 0.1


def test_points_of_a_data_set_come_as_often_as_bayes_says():
    data = torch.tensor([[-1.0, 0.0], [0.5, 1.0], [0.7, -1.0], [1.2, 0.3]], dtype=torch.float64)
    matrix, y = torch.tensor([[1.0, 0.2]], dtype=torch.float64), torch.tensor([0.4], dtype=torch.float64)
    weights = (-0.5 * ((data @ matrix.T - y) / 0.4) ** 2)[:, 0].softmax(0)
    solver = Twisted(y, matrix, 0.4, particles=256)
    x = sample(Dataset(Flow(), data), (1024, 2), solver=solver, steps=60).x.double()
    distance, nearest = torch.cdist(x, data).min(1)
    assert float(distance.max()) < 1e-3  # the points themselves, without a veil of noise
    assert float((torch.bincount(nearest, minlength=4) / 1024 - weights).abs().max()) < 0.05


def test_a_tall_operator_counts_what_no_data_explain():
    # Two measurements of one number: their difference is noise alone.
    exact = Gaussian(Flow(), torch.tensor([0.3], dtype=torch.float64), std=0.8)
    matrix, y = torch.tensor([[1.0], [2.0]], dtype=torch.float64), torch.tensor([1.0, -0.4])
    run = sample_with_evidence(exact, Twisted(y, matrix, 0.5, particles=4), (8, 1), steps=4)
    close(
        run.log_evidence,
        torch.full((2,), log_evidence(exact, y, matrix, 0.5), dtype=torch.float64),
        rtol=1e-6,
    )


def test_a_run_that_ends_before_data_ends_with_equal_weights():
    exact = Gaussian(Flow(), torch.zeros(3, dtype=torch.float64), std=0.7)
    run = sample_with_evidence(
        exact, Twisted(Y, MATRIX, 0.3, particles=8), (32, 3), grid=torch.tensor([1.0, 0.7, 0.3])
    )
    close(
        run.log_evidence,
        torch.full((4,), log_evidence(exact, Y, MATRIX, 0.3), dtype=torch.float64),
        rtol=1e-6,
    )
    assert run.solution.nfe == 4  # two steps, one of them with a gradient, and the last twist


def test_systematic_resampling_keeps_each_as_often_as_its_weight_says_rounded():
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(50, 20, generator=generator, dtype=torch.float64) ** 4
    weights = weights / weights.sum(1, keepdim=True)
    kept = systematic(weights, torch.rand(50, 1, generator=generator, dtype=torch.float64))
    counts = torch.nn.functional.one_hot(kept, 20).sum(1)
    assert float((counts - 20 * weights).abs().max()) < 1
    equal = systematic(torch.full((1, 7), 1 / 7, dtype=torch.float64), torch.tensor([[0.5]]))
    assert equal[0].tolist() == list(range(7))


def test_a_gradient_counts_as_an_evaluation_and_the_last_step_needs_none():
    exact = mixture(VE())
    assert sample(exact, (8, 3), solver=Twisted(Y, MATRIX, 0.1, particles=8), steps=6).nfe == 11


def test_what_cannot_be_done_is_said():
    exact = mixture(VP())
    with pytest.raises(ValueError, match="at least 1 particle, got 0"):
        Twisted(Y, MATRIX, 0.1, particles=0)
    with pytest.raises(ValueError, match="linear operator, and the one given is a plain function"):
        Twisted(Y, lambda x: x**2, 0.1)
    solver = Twisted(Y, MATRIX, 0.1, particles=8)
    with pytest.raises(ValueError, match="groups of 8 particles"):
        sample(exact, (12, 3), solver=solver)
    with pytest.raises(ValueError, match="groups of 8 particles"):
        sample(exact, (8, 3), solver=solver, first_index=4)
    with pytest.raises(ValueError, match="there are 3 measurements for 2 groups of 8"):
        sample(exact, (16, 3), solver=Twisted(Y.repeat(3, 1), MATRIX, 0.1, particles=8))
    several = torch.arange(16, dtype=torch.float64)[:, None]
    with pytest.raises(ValueError, match="share one measurement"):
        sample(exact, (16, 3), solver=Twisted(several, MATRIX, 0.1, particles=8))
    with pytest.raises(ValueError, match=r"covariance of events of shape \(3,\) is \(3, 3\)"):
        Twisted(Y, MATRIX, 0.1, covariance=torch.eye(2))
    with pytest.raises(ValueError, match="symmetric and positive semidefinite"):
        Twisted(Y, MATRIX, 0.1, covariance=-torch.eye(3))
    correlated = Twisted(Y, MATRIX, 0.1, particles=8, covariance=torch.eye(3))
    with pytest.raises(ValueError, match="under Heat a covariance of the data is not used"):
        sample(mixture(Heat()), (8, 3), solver=correlated)
    with pytest.raises(ValueError, match="acts on events of shape"):
        sample(Gaussian(VP(), torch.zeros(2), std=1.0), (8, 2), solver=solver)
