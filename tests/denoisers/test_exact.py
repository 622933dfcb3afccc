import math

import pytest
import torch

from tests.helpers import PURE_NOISE, SCHEDULES, check_moments, close
from unstir.denoisers import Dataset, Gaussian, GaussianMixture
from unstir.processes import VE, VP, Flow

LEVELS = pytest.mark.parametrize("t", [0.02, 0.3, 0.7, 0.98])
SOME = pytest.mark.parametrize("name", ["vp", "sub-vp", "cosine", "ve-narrow", "flow", "table-zero"])
MEANS = torch.tensor([[-1.5], [0.2], [2.0]], dtype=torch.float64)
STDS = torch.tensor([0.3, 0.7, 0.5], dtype=torch.float64)
WEIGHTS = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
MEANS_2D = torch.tensor([[-1.0, 0.5], [1.2, -0.3]], dtype=torch.float64)
COVARIANCES = torch.tensor([[[0.5, 0.3], [0.3, 0.4]], [[0.3, -0.2], [-0.2, 0.6]]], dtype=torch.float64)
STATES = torch.tensor([[-2.0], [-0.4], [0.0], [0.9], [3.0]], dtype=torch.float64)
STATES_2D = torch.tensor([[-2.0, 1.0], [0.1, 0.2], [1.5, -1.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 0])


def mixture(schedule, **changes):
    return GaussianMixture(schedule, MEANS, stds=STDS, weights=WEIGHTS, **changes)


def mixture_2d(schedule):
    return GaussianMixture(schedule, MEANS_2D, covariances=COVARIANCES, weights=torch.tensor([1.0, 3.0]))


def quadrature(x_t, points, density, alpha, sigma):
    """Posterior mean, variance of each entry and density of x_t by sums over a grid; float64."""
    squares = ((x_t[:, None] - alpha * points) ** 2).sum(2)
    weights = density * torch.exp(-0.5 * squares / sigma**2)
    total = weights.sum(1, keepdim=True)
    mean = weights @ points / total
    variance = torch.stack([(weights * (points[:, j] - mean[:, j : j + 1]) ** 2).sum(1) / total[:, 0]
                            for j in range(points.shape[1])], dim=1)  # fmt: skip
    return mean, variance, total[:, 0] / (sigma * math.sqrt(2 * math.pi)) ** points.shape[1]


@SOME
@LEVELS
def test_a_mixture_on_a_line_is_that_of_numerical_integration(name, t):
    schedule = SCHEDULES[name]
    alpha, sigma = schedule.alpha(t).item(), schedule.sigma(t).item()
    # Sums of bells at spacing h converge like exp(-2 (pi width / h)^2); the narrowest is the posterior.
    narrow = 1 / math.sqrt(alpha**2 / sigma**2 + 1 / 0.3**2)
    points = torch.arange(-9.0, 9.0, narrow / 3, dtype=torch.float64)[:, None]
    bells = torch.distributions.Normal(MEANS[:, 0], STDS).log_prob(points).exp()
    density = (bells * WEIGHTS / WEIGHTS.sum()).sum(1) * narrow / 3
    mean, variance, total = quadrature(STATES, points, density, alpha, sigma)
    denoiser = mixture(schedule)
    posterior = denoiser(STATES, t)
    usable = total > 1e-200
    assert usable.sum() >= 3
    close(posterior.mean[usable], mean[usable], rtol=1e-9, atol=1e-9)
    close(posterior.variance[usable], variance[usable], rtol=1e-8)
    close(denoiser.log_density(STATES, t)[usable], total[usable].log(), rtol=1e-9, atol=1e-9)


@SOME
@LEVELS
def test_a_mixture_with_covariances_is_that_of_numerical_integration(name, t):
    schedule = SCHEDULES[name]
    alpha, sigma = schedule.alpha(t).item(), schedule.sigma(t).item()
    smallest = float(torch.linalg.eigvalsh(COVARIANCES).min())
    spacing = 1 / math.sqrt(alpha**2 / sigma**2 + 1 / smallest) / 2.0
    for k in range(3):
        # All of the prior (7 is 7 deviations from its means) that the state leaves likely.
        likely, reach = STATES_2D[k] / alpha, 9 * sigma / alpha
        axes = [
            torch.arange(max(c - reach, -7.0), min(c + reach, 7.0), spacing, dtype=torch.float64)
            for c in likely.tolist()
        ]
        points = torch.cartesian_prod(*axes)
        density = sum(
            w * torch.distributions.MultivariateNormal(m, c).log_prob(points).exp()
            for w, m, c in zip((0.25, 0.75), MEANS_2D, COVARIANCES, strict=True)
        )
        mean, variance, total = quadrature(STATES_2D[k : k + 1], points, density * spacing**2, alpha, sigma)
        posterior = mixture_2d(schedule)(STATES_2D[k : k + 1], t)
        if total.item() < 1e-100:
            continue
        close(posterior.mean, mean, rtol=1e-6, atol=1e-6)
        close(posterior.variance, variance, rtol=1e-5)
        close(mixture_2d(schedule).log_density(STATES_2D[k : k + 1], t), total.log(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
@LEVELS
def test_a_gaussian_with_covariance_is_that_of_linear_algebra(name, t):
    schedule = SCHEDULES[name]
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(6, 4, generator=generator, dtype=torch.float64)  # rank 4 of 6
    covariance = root @ root.T
    mu = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    x_t = 2.0 * torch.randn(5, 2, 3, generator=generator, dtype=torch.float64)
    gain = alpha * torch.linalg.solve(
        alpha**2 * covariance + sigma**2 * torch.eye(6, dtype=torch.float64), covariance
    )
    mean = mu + ((x_t - alpha * mu).flatten(1) @ gain).reshape(x_t.shape)
    variance = (covariance - alpha * gain.T @ covariance).diagonal().reshape(2, 3).expand(5, 2, 3)
    posterior = Gaussian(schedule, mu, covariance=covariance)(x_t, t)
    # The linear solve loses the condition number, (alpha / sigma)^2 times the largest eigenvalue.
    loss = 1e-14 * (1.0 + float((alpha / sigma) ** 2 * torch.linalg.eigvalsh(covariance).max()))
    close(posterior.mean, mean, atol=30 * loss)
    close(posterior.variance, variance, atol=30 * loss)


@pytest.mark.parametrize("make", [mixture, mixture_2d], ids=["stds", "covariances"])
@SOME
@LEVELS
def test_the_score_is_the_gradient_of_the_log_density(make, name, t):
    denoiser = make(SCHEDULES[name])
    x = (STATES if make is mixture else STATES_2D).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(denoiser.log_density(x, t).sum(), x)
    close(denoiser.score(x.detach(), t), gradient, rtol=1e-9, atol=1e-9)


@SOME
@LEVELS
def test_the_posterior_variance_is_the_slope_of_the_mean(name, t):
    schedule = SCHEDULES[name]
    x = STATES.clone().requires_grad_()
    (slope,) = torch.autograd.grad(mixture(schedule)(x, t).mean.sum(), x)
    scale = schedule.sigma(t) ** 2 / schedule.alpha(t)  # Var = sigma^2 / alpha dE/dx (second Tweedie)
    close(mixture(schedule)(STATES, t).variance, scale * slope, rtol=1e-9, atol=1e-12)


def test_a_round_covariance_equals_a_standard_deviation():
    round_2d = STDS[:2, None, None] ** 2 * torch.eye(2, dtype=torch.float64)
    a = GaussianMixture(VP(), MEANS_2D, covariances=round_2d)
    b = GaussianMixture(VP(), MEANS_2D, stds=STDS[:2])
    for left, right in zip(a(STATES_2D, 0.4), b(STATES_2D, 0.4), strict=True):
        close(left, right, rtol=1e-12)
    close(a.log_density(STATES_2D, 0.4), b.log_density(STATES_2D, 0.4), rtol=1e-12)


@pytest.mark.parametrize("name", PURE_NOISE)
def test_pure_noise_tells_nothing(name):
    posterior = mixture(SCHEDULES[name])(STATES, 1.0)
    share = WEIGHTS / WEIGHTS.sum()
    mean = (share * MEANS[:, 0]).sum()
    variance = (share * (STDS**2 + (MEANS[:, 0] - mean) ** 2)).sum()
    close(posterior.mean, mean.expand(5, 1), rtol=1e-14)
    close(posterior.variance, variance.expand(5, 1), rtol=1e-14)


@pytest.mark.parametrize("name", SCHEDULES)
def test_without_noise_the_state_is_the_data(name):
    for denoiser, x in ((mixture(SCHEDULES[name]), STATES), (mixture_2d(SCHEDULES[name]), STATES_2D)):
        posterior = denoiser(x, 0.0)
        close(posterior.mean, x, rtol=1e-13, atol=1e-13)
        close(posterior.variance, torch.zeros_like(x), atol=1e-28)


@pytest.mark.parametrize("label", [0, 1, -1])
def test_a_label_selects_its_components(label):
    denoiser = mixture(VP(), labels=LABELS)
    chosen = [0, 1, 2] if label == -1 else [k for k in range(3) if LABELS[k] == label]
    alone = GaussianMixture(VP(), MEANS[chosen], stds=STDS[chosen], weights=WEIGHTS[chosen])
    condition = torch.full((5,), label)
    for conditional, expected in zip(denoiser(STATES, 0.4, label=condition), alone(STATES, 0.4), strict=True):
        close(conditional, expected, rtol=1e-12)
    density = denoiser.log_density(STATES, 0.4, label=condition)
    close(density, alone.log_density(STATES, 0.4), rtol=1e-12)


def test_labels_may_differ_within_a_batch():
    denoiser, labels = mixture(VP(), labels=LABELS), torch.tensor([0, 1, -1, 1, 0])
    together = denoiser(STATES, 0.4, label=labels).mean
    for k in range(5):
        close(together[k : k + 1], denoiser(STATES[k : k + 1], 0.4, label=labels[k : k + 1]).mean, rtol=1e-14)


def test_data_samples_have_the_moments_of_the_mixture():
    x = mixture_2d(VP()).sample_data(20000, seed=1)
    share = torch.tensor([0.25, 0.75], dtype=torch.float64)
    mean = share @ MEANS_2D
    centred = MEANS_2D - mean
    covariance = (share[:, None, None] * (COVARIANCES + centred[:, :, None] * centred[:, None])).sum(0)
    close(x.mean(0), mean, atol=4.5 * float(covariance.diagonal().max().sqrt()) / math.sqrt(20000))
    close(torch.cov(x.T), covariance, atol=4.5 * 2.0 * float(covariance.max()) / math.sqrt(20000))
    assert torch.equal(x[:10], mixture_2d(VP()).sample_data(10, seed=1))


def test_gaussian_data_samples_are_gaussian():
    x = Gaussian(VP(), torch.full((2,), 0.5), 0.3).sample_data(20000)
    check_moments(x, 0.5, 0.09)


def test_times_may_differ_within_a_batch_and_events_have_any_shape():
    denoiser = Gaussian(Flow(), torch.zeros(2, 1, 3), 0.5)
    x, t = torch.ones(4, 2, 1, 3), torch.tensor([0.0, 0.2, 0.5, 1.0])
    posterior = denoiser(x, t)
    assert posterior.mean.shape == posterior.variance.shape == x.shape
    assert posterior.mean.dtype == torch.float32
    expected = (1 - t) * 0.25 / ((1 - t) ** 2 * 0.25 + t**2)
    close(posterior.mean[:, 0, 0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"either stds \(K,\) or covariances \(K, d, d\), and not both"),
        ({"stds": STDS[:2], "covariances": COVARIANCES}, "and not both"),
        ({"stds": STDS}, "one value of at least 0 for each of 2 components"),
        ({"stds": -STDS[:2]}, "at least 0"),
        ({"covariances": COVARIANCES[:1]}, r"have shape \(2, 2, 2\), got \(1, 2, 2\)"),
        ({"covariances": -COVARIANCES}, "not positive semidefinite"),
        ({"covariances": COVARIANCES + torch.tensor([[0.0, 0.1], [0.0, 0.0]])}, "not symmetric"),
        ({"stds": STDS[:2], "weights": torch.tensor([1.0, 0.0])}, "one positive value for each of 2"),
        ({"stds": STDS[:2], "weights": torch.ones(3)}, "one positive value"),
        ({"stds": STDS[:2], "labels": torch.zeros(3)}, "one class for each of 2"),
    ],
)
def test_a_mixture_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(VP(), MEANS_2D, **changes)


def test_states_of_another_shape_and_labels_of_a_mixture_without_are_refused():
    with pytest.raises(ValueError, match=r"expected events of shape \(1,\), got \(2,\)"):
        mixture(VP())(STATES_2D, 0.5)
    with pytest.raises(ValueError, match="this mixture has no labels"):
        mixture(VP())(STATES, 0.5, label=torch.zeros(5, dtype=torch.int64))


def points(count, *event, seed=0):
    return torch.randn(count, *event, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@SOME
@pytest.mark.parametrize("t", [0.05, 0.3, 0.7, 1.0])
def test_a_data_set_is_the_mixture_of_its_points(name, t):
    schedule, data, x = SCHEDULES[name], points(30, 2, 3), points(6, 2, 3, seed=1)
    exact = GaussianMixture(schedule, data, stds=torch.zeros(30))
    posterior, expected = Dataset(schedule, data)(x, t), exact(x, t)
    close(posterior.mean, expected.mean, atol=1e-10)
    close(posterior.variance, expected.variance, atol=1e-10)


@pytest.mark.parametrize("chunk", [1, 7, 29, 30, 100])
def test_the_size_of_the_chunks_does_not_matter(chunk):
    data, x, labels = points(30, 4), points(5, 4, seed=1), torch.arange(30) // 10
    for condition in ({}, {"label": torch.tensor([0, 1, 2, -1, 2])}):
        for t in (0.0, 0.2, 0.9):
            whole = Dataset(VP(), data, labels, chunk=4096)(x, t, **condition)
            parts = Dataset(VP(), data, labels, chunk=chunk)(x, t, **condition)
            close(parts.mean, whole.mean, atol=1e-13)
            close(parts.variance, whole.variance, atol=1e-13)


@pytest.mark.parametrize("name", SCHEDULES)
def test_without_noise_it_is_the_nearest_point(name):
    data, x = points(50, 3), points(20, 3, seed=1)
    posterior = Dataset(SCHEDULES[name], data, chunk=8)(x, 0.0)
    close(posterior.mean, data[torch.cdist(x, data).argmin(1)], atol=1e-14)
    close(posterior.variance, torch.zeros_like(x), atol=1e-13)


@pytest.mark.parametrize("sigma", [1e-3, 1e-6, 1e-12])
def test_with_vanishing_noise_it_finds_the_point_that_was_disturbed(sigma):
    schedule, data = VE(), points(50, 3)
    t = schedule.time(-2.0 * math.log(sigma))
    posterior = Dataset(schedule, data)(data + sigma, t)
    close(posterior.mean, data, atol=1e-13)


def test_sixty_thousand_points_fit():
    data = points(60000, 64).float()
    x, t = 0.5 * data[:3] + 0.1 * points(3, 64, seed=1).float(), Flow().time(2 * math.log(5.0))
    posterior = Dataset(Flow(), data)(x / 0.6, t)
    close(posterior.mean, data[:3], atol=1e-5)


def test_a_label_selects_its_points():
    data, x, labels = points(30, 2), points(4, 2, seed=1), torch.arange(30) % 3
    for label in range(3):
        alone = Dataset(VP(), data[labels == label])(x, 0.5)
        conditional = Dataset(VP(), data, labels, chunk=4)(x, 0.5, label=torch.full((4,), label))
        close(conditional.mean, alone.mean, atol=1e-13)
        close(conditional.variance, alone.variance, atol=1e-13)
    anything = Dataset(VP(), data, labels)(x, 0.5, label=torch.full((4,), -1))
    assert torch.equal(anything.mean, Dataset(VP(), data)(x, 0.5).mean)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Dataset(VP(), torch.zeros(0, 2)), "the data set is empty"),
        (lambda: Dataset(VP(), torch.zeros(3, 2), chunk=0), "at least one point, got 0"),
        (lambda: Dataset(VP(), torch.zeros(3, 2), torch.zeros(2)), "one class for each of 3 points"),
        (lambda: Dataset(VP(), torch.zeros(3, 2))(torch.zeros(1, 3), 0.5), r"shape \(2,\), got \(3,\)"),
        (
            lambda: Dataset(VP(), torch.zeros(3, 2))(torch.zeros(1, 2), 0.5, label=torch.zeros(1)),
            "this data set has no labels",
        ),
        (
            lambda: Dataset(VP(), torch.zeros(3, 2), torch.zeros(3))(
                torch.zeros(2, 2), 0.5, label=torch.tensor([0, 1])
            ),
            "a label was asked for that no point",
        ),
    ],
)
def test_a_data_set_that_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_label_that_no_component_has_is_refused():
    with pytest.raises(ValueError, match="a label was asked for that no component"):
        mixture(VP(), labels=LABELS)(STATES, 0.5, label=torch.full((5,), 7))


def test_exact_denoisers_move_and_save_with_torch():
    denoiser = mixture(VP(), labels=LABELS)
    again = mixture(VP(), labels=torch.zeros(3, dtype=torch.int64))
    again.load_state_dict(denoiser.state_dict())
    assert torch.equal(again.labels, LABELS)
    assert not list(denoiser.parameters())
