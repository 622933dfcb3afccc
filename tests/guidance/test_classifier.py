"""Guidance by a critic against exact conditional distributions and closed forms."""

import math
from itertools import pairwise

import pytest
import torch

from tests.helpers import SCHEDULES, close
from tests.two_sample import kernel_test
from unstir.denoisers import Denoiser, Gaussian, GaussianMixture
from unstir.guidance import MMPS, Classifier, ClassifierFree
from unstir.processes import VE, VP, Flow, Heat
from unstir.samplers import Ancestral, sample

MEANS = torch.tensor([[-1.0, 0.5], [0.5, 1.3], [1.0, -0.7]], dtype=torch.float64)
STDS = torch.tensor([0.3, 0.4, 0.5])
LABELS = torch.tensor([0, 1, 1])
X = torch.tensor([[-2.0, 1.0], [0.1, 0.2], [1.5, -1.0], [0.0, 0.0]], dtype=torch.float64)
LABEL = torch.tensor([0, 1, 1, 0])
COUNT = 300


def labelled(schedule, means=MEANS):
    return GaussianMixture(schedule, means, stds=STDS, labels=LABELS)


def unlabelled(schedule, means=MEANS):
    """The same data, and a denoiser that refuses a label."""
    return GaussianMixture(schedule, means, stds=STDS)


def exact_critic(mixture):
    """log p(y | x_t) up to a constant, by Bayes' rule."""
    return lambda x, t, label: mixture.log_density(x, t, label=label) - mixture.log_density(x, t)


def guided(schedule, weight=1.0, means=MEANS, **options):
    return Classifier(unlabelled(schedule, means), exact_critic(labelled(schedule, means)), weight, **options)


class Counter(Denoiser):
    def __init__(self, exact):
        super().__init__()
        self.exact, self.schedule, self.calls = exact, exact.schedule, 0

    def forward(self, x_t, t, **condition):
        self.calls += 1
        return self.exact(x_t, t, **condition)


@pytest.mark.parametrize("name", SCHEDULES)
def test_weight_one_and_the_exact_classifier_are_the_exact_conditional_mean(name):
    schedule = SCHEDULES[name]
    # Means of x_0 are compared where x_t tells of them; `seen` stops at the log-SNR -14.
    for t in (0.05, 0.3, 0.6, 0.9):
        if float(schedule.log_snr(t)) < -13.0:
            continue
        expected = labelled(schedule)(X, t, label=LABEL).mean
        close(guided(schedule)(X, t, label=LABEL).mean, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("weight", [0.5, 3.0])
def test_the_score_is_that_of_the_density_times_the_likelihood_to_the_weight(weight):
    exact, x = labelled(VP()), X.clone().requires_grad_()
    base, conditional = exact.log_density(x, 0.4), exact.log_density(x, 0.4, label=LABEL)
    (gradient,) = torch.autograd.grad((base + weight * (conditional - base)).sum(), x)
    close(guided(VP(), weight).score(X, 0.4, label=LABEL), gradient, rtol=1e-9)


def test_on_a_conditional_model_it_is_classifier_free_guidance():
    exact = labelled(VP())
    pushed = Classifier(exact, exact_critic(exact), 2.0, conditional=True)
    for t in (0.1, 0.5, 0.9):
        expected = ClassifierFree(exact, 2.0)(X, t, label=LABEL)
        result = pushed(X, t, label=LABEL)
        close(result.mean, expected.mean, rtol=1e-8, atol=1e-9)
        close(result.variance, expected.variance)


@pytest.mark.parametrize("solver", [None, "ddpm", "euler-maruyama", "heun"])
@pytest.mark.parametrize("schedule", [VP(), VE(), Flow()], ids=["vp", "ve", "flow"])
def test_samples_are_those_of_the_exact_conditional(schedule, solver):
    options = {
        None: {"steps": 40},
        "ddpm": {"solver": "ddpm-beta", "steps": 150},
        "euler-maruyama": {"solver": "euler-maruyama", "steps": 150, "grid": "karras"},
        "heun": {"solver": "stochastic-heun", "steps": 60},
    }[solver]
    label = torch.arange(COUNT) % 2
    result = sample(guided(schedule), (COUNT, 2), condition={"label": label}, seed=3, **options)
    for y in (0, 1):
        exact = labelled(VP())
        keep = torch.isin(exact.labels, torch.tensor([y]))
        data = GaussianMixture(VP(), MEANS[keep], stds=STDS[keep]).sample_data(COUNT, seed=5)
        assert kernel_test(result.x[label == y], data) > 0.01
        other = exact.sample_data(COUNT, seed=6)  # without guidance the test would see the difference
        assert kernel_test(result.x[label == y], other) < 0.01


@pytest.mark.parametrize("variance", ["beta", "beta-tilde"])
def test_a_shifted_ancestral_mean_samples_the_exact_conditional(variance):
    label = torch.arange(COUNT) % 2
    guide = guided(VP())
    plain = Classifier(unlabelled(VP()), exact_critic(labelled(VP())), weight=0.0)
    solver = Ancestral(variance, gradient=guide.gradient)
    result = sample(plain, (COUNT, 2), solver=solver, steps=200, condition={"label": label}, seed=1)
    assert result.nfe == 200
    for y in (0, 1):
        keep = y == LABELS
        data = GaussianMixture(VP(), MEANS[keep], stds=STDS[keep]).sample_data(COUNT, seed=5)
        assert kernel_test(result.x[label == y], data) > 0.01
        assert kernel_test(result.x[label == y], unlabelled(VP()).sample_data(COUNT, seed=6)) < 0.01


@pytest.mark.parametrize(
    ("schedule", "variance"),
    [(s, v) for s in (VP(), Flow()) for v in ("beta", "beta-tilde", "learned")]
    + [(Heat(VP(), blur=0.3), v) for v in ("beta", "beta-tilde")],
)
def test_a_shifted_mean_is_the_guided_score_to_first_order_in_the_step(schedule, variance):
    guide, condition = guided(schedule), {"label": LABEL}
    plain = Classifier(unlabelled(schedule), guide.critic, weight=0.0)

    def step(denoiser, h, gradient=None):
        grid = torch.tensor([0.5, 0.5 - h], dtype=torch.float64)
        solver = Ancestral(variance, gradient=gradient)
        return sample(denoiser, x_T=X, solver=solver, grid=grid, condition=condition).x

    sizes = [0.004, 0.002, 0.001]
    moved = [(step(plain, h, guide.gradient) - step(plain, h)).norm() for h in sizes]
    apart = [(step(plain, h, guide.gradient) - step(guide, h)).norm() for h in sizes]
    for distances, order in ((moved, 1.0), (apart, 2.0)):
        slopes = [math.log2(a / b) for a, b in pairwise(distances)]
        assert slopes == pytest.approx([order, order], abs=0.1)


def test_guidance_acts_in_modes_under_a_schedule_that_blurs():
    schedule = Heat(VP(), blur=0.5)
    for t in (0.1, 0.4, 0.7):
        expected = labelled(schedule)(X, t, label=LABEL).mean
        close(guided(schedule)(X, t, label=LABEL).mean, expected, rtol=1e-6, atol=1e-6)
    label = torch.arange(COUNT) % 2
    x = sample(guided(schedule), (COUNT, 2), condition={"label": label}, steps=40).x
    data = GaussianMixture(VP(), MEANS[:1], stds=STDS[:1]).sample_data(COUNT, seed=5)
    assert kernel_test(x[label == 0], data) > 0.01


@pytest.mark.parametrize("of", ["x_t", "x_0"])
def test_a_quadratic_energy_of_a_gaussian_is_a_gaussian_again(of):
    # p(x_0) = N(m, s^2). Of x_t: p_t(x_t) exp(-|x_t - c|^2 / (2 v)) is Gaussian with the added precision 1/v.
    # Of x_0: the energy is that of the estimate k x + ..., whose slope k = alpha s^2 / total multiplies it.
    m, s, c, v, t = 0.3, 0.7, -0.5, 0.4, 0.45
    schedule = VP()
    alpha, sigma = schedule.alpha(t).item(), schedule.sigma(t).item()
    total = (alpha * s) ** 2 + sigma**2
    denoiser = Gaussian(schedule, torch.full((2,), m, dtype=torch.float64), std=s)
    result = Classifier(denoiser, lambda x, t: -0.5 * ((x - c) ** 2).sum(1) / v, of=of).score(X, t)
    if of == "x_t":
        expected = -(X - alpha * m) / total - (X - c) / v
    else:
        k = alpha * s**2 / total
        expected = -(X - alpha * m) / total - k * (m + k * (X - alpha * m) - c) / v
    close(result, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("schedule", [VP(), VE(), Flow()], ids=["vp", "ve", "flow"])
def test_a_linear_energy_of_the_clean_data_of_a_gaussian_is_exact(schedule):
    # N(m, C) exp(b.x) is N(m + C b, C), and E[log-likelihood of x_0 | x_t] is linear in the estimate.
    m, b = torch.tensor([0.5, -1.0]), torch.tensor([1.2, -0.4], dtype=torch.float64)
    covariance = torch.tensor([[0.5, 0.2], [0.2, 0.3]], dtype=torch.float64)
    denoiser = Gaussian(schedule, m, covariance=covariance)
    tilted = Gaussian(schedule, m + covariance @ b, covariance=covariance)
    guide = Classifier(denoiser, lambda x, t: x @ b.to(x), of="x_0")
    for t in (0.05, 0.4, 0.8):
        close(guide(X, t).mean, tilted(X, t).mean, rtol=1e-9, atol=1e-9)
        close(guide(X, t).variance, tilted(X, t).variance, rtol=1e-12)
    x = sample(guide, (COUNT, 2), steps=40).x
    assert kernel_test(x, tilted.sample_data(COUNT, seed=2)) > 0.01


@pytest.mark.parametrize("of", ["x_t", "x_0"])
@pytest.mark.parametrize("schedule", [Flow(), SCHEDULES["zero-vp"], SCHEDULES["zero-cosine"]])
def test_guidance_is_continuous_up_to_pure_noise(of, schedule):
    if of == "x_t":
        guide, expected = guided(schedule), labelled(schedule)(X, 1.0, label=LABEL).mean
    else:
        b = torch.tensor([1.2, -0.4], dtype=torch.float64)
        guide = Classifier(Gaussian(schedule, torch.zeros(2), std=0.5), lambda x, t, label: x @ b, of=of)
        expected = (0.25 * b).expand(4, 2)
    result = guide(X, 1.0, label=LABEL).mean
    close(result, expected, rtol=0.0, atol=0.01)
    assert torch.isfinite(guide(X, torch.tensor([1.0, 0.5, 1.0, 0.0]), label=LABEL).mean).all()


def test_every_sample_has_its_own_weight():
    weights = torch.tensor([0.0, 0.5, 1.0, 4.0])
    together = guided(VP(), weights)(X, 0.4, label=LABEL).mean
    for k, weight in enumerate(weights.tolist()):
        alone = guided(VP(), weight)(X[k : k + 1], 0.4, label=LABEL[k : k + 1]).mean
        close(together[k : k + 1], alone, rtol=1e-12)
    with pytest.raises(ValueError, match="there are 4 guidance weights for 3 samples; give one, or as many"):
        guided(VP(), weights)(X[:3], 0.4, label=LABEL[:3])


def test_outside_the_window_the_denoiser_is_its_own_and_the_critic_is_not_asked():
    asked = []

    def critic(x, t):
        asked.append(t)
        return -(x**2).sum(1)

    guide = Classifier(unlabelled(VP()), critic, window=(0.25, 0.75))  # log-SNR -6 to 6
    for log_snr, inside in [(-6.5, False), (-5.5, True), (5.5, True), (6.5, False)]:
        t = VP().time(log_snr)
        asked.clear()
        assert torch.equal(guide(X, t).mean, unlabelled(VP())(X, t).mean) != inside
        assert bool(asked) == inside
        assert bool(guide.gradient(X, t, {}).any()) == inside
    t = VP().time(torch.tensor([-8.0, -2.0, 3.0, 8.0]))
    moved = (guide(X, t).mean != unlabelled(VP())(X, t).mean).any(1)
    assert moved.tolist() == [False, True, True, False]


def test_a_critic_that_is_undefined_where_guidance_does_not_act_does_no_harm():
    def critic(x, t):  # not a number for the first sample
        return (x[:, 0] - x[0, 0]).sqrt()

    guide = Classifier(unlabelled(VP()), critic, torch.tensor([0.0, 1.0, 1.0, 1.0]))
    result = guide(X, 0.4).mean
    assert torch.isfinite(result).all()
    assert torch.equal(result[0], unlabelled(VP())(X, 0.4).mean[0])
    with pytest.raises(FloatingPointError, match="the gradient of the critic is not finite at the log-SNR"):
        Classifier(unlabelled(VP()), critic)(X, 0.4)
    # Clean data have no score: what the densities say at sigma = 0 does not matter.
    close(guided(VP())(X, 0.0, label=LABEL).mean, X, rtol=1e-12)


def test_the_denoiser_gets_the_conditions_that_it_takes_and_the_critic_all():
    seen = {}

    class Taker(Denoiser):
        schedule = VP()

        def forward(self, x_t, t, **condition):
            seen["denoiser"] = sorted(condition)
            return unlabelled(VP())(x_t, t)

    def critic(x, t, **condition):
        seen["critic"] = sorted(condition)
        return -(x**2).sum(1)

    condition = {"label": LABEL, "vector": X}
    for conditional, own in (
        (False, []),
        (True, ["label", "vector"]),
        (["vector"], ["vector"]),
        ("label", ["label"]),
    ):
        for weight in (0.0, 1.0):
            for of in ("x_t", "x_0"):
                seen.clear()
                Classifier(Taker(), critic, weight, of=of, conditional=conditional)(X, 0.4, **condition)
                assert seen["denoiser"] == own
                assert seen.get("critic", ["label", "vector"]) == ["label", "vector"]


@pytest.mark.parametrize("of", ["x_t", "x_0"])
def test_guidance_nests_in_guidance(of):
    # A measurement of the exact conditional is that of the guided denoiser, derivatives included.
    y, operator = torch.tensor([0.8], dtype=torch.float64), torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    if of == "x_t":
        inner, expected = guided(VP()), labelled(VP())
    else:
        b = torch.tensor([1.2, -0.4], dtype=torch.float64)
        data = Gaussian(VP(), torch.zeros(2), std=0.5)
        inner = Classifier(data, lambda x, t, label: x @ b, of="x_0")
        expected = Gaussian(VP(), 0.25 * b, std=0.5)
    own = {"label": LABEL} if of == "x_t" else {}
    outer = MMPS(inner, y, operator, 0.3)(X, 0.4, label=LABEL).mean
    close(outer, MMPS(expected, y, operator, 0.3)(X, 0.4, **own).mean, rtol=1e-6, atol=1e-7)
    assert not outer.requires_grad


def test_inside_classifier_free_guidance_it_pulls_towards_no_class_where_none_is_asked_for():
    exact = labelled(VP())
    inner = Classifier(exact, exact_critic(exact), 2.0, conditional=True)
    unconditional, sharpened = exact(X, 0.4).mean, inner(X, 0.4, label=LABEL).mean
    expected = unconditional + (1 + 1.5) * (sharpened - unconditional)
    close(ClassifierFree(inner, 1.5)(X, 0.4, label=LABEL).mean, expected, rtol=1e-8, atol=1e-8)


def test_two_critics_round_each_other_add_their_gradients():
    first, second = (lambda x, t: -(x**2).sum(1)), (lambda x, t: x[:, 0].sin())
    nested = Classifier(Classifier(unlabelled(VP()), first), second)
    together = Classifier(unlabelled(VP()), lambda x, t: first(x, t) + second(x, t))
    close(nested(X, 0.4).mean, together(X, 0.4).mean, rtol=1e-12)


def test_evaluations_are_counted_with_the_backward_pass_through_the_denoiser():
    for of, window, expected in (("x_t", (0.0, 1.0), 10), ("x_0", (0.0, 1.0), 20), ("x_0", (0.999, 1.0), 10)):
        counter = Counter(unlabelled(VP()))
        guide = Classifier(counter, lambda x, t: -(x**2).sum(1), window=window, of=of)
        result = sample(guide, (4, 2), steps=10)
        assert result.nfe == expected
        assert counter.calls == 10
    twice = Classifier(ClassifierFree(labelled(VP()), 1.0), lambda x, t: x.sum(1), of="x_0")
    assert twice.cost(0.5) == 4


def test_states_keep_their_type_and_no_graph():
    for of in ("x_t", "x_0"):
        guide = Classifier(unlabelled(VP()), lambda x, t: -(x**2).sum(1), of=of)
        with torch.no_grad():
            posterior = guide(X.float(), 0.4)
        assert posterior.mean.dtype == torch.float32
        assert not posterior.mean.requires_grad
        assert not posterior.variance.requires_grad


@pytest.mark.parametrize(
    ("critic", "sentence"),
    [
        (
            lambda x, t: x,
            r"one log-probability for each sample, \(4,\), but this one gave the shape \(4, 2\)",
        ),
        (lambda x, t: x.sum(), r"gave the shape \(\)"),
        (lambda x, t: 1.0, "gave float"),
        (
            lambda x, t: x.detach().sum(1),
            "does not depend on the state in a way that torch can differentiate",
        ),
        (lambda x, t: torch.ones(4, requires_grad=True) * 2, "does not depend on the state"),
    ],
)
def test_an_answer_that_is_no_log_probability_is_one_sentence(critic, sentence):
    for of in ("x_t", "x_0"):
        with pytest.raises(ValueError, match=sentence):
            Classifier(unlabelled(VP()), critic, of=of)(X, 0.4)


def test_settings_out_of_range_are_refused():
    exact = unlabelled(VP())
    for weight in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="guidance weight must be at least 0"):
            Classifier(exact, len, weight)
    with pytest.raises(ValueError, match="a guidance window is"):
        Classifier(exact, len, window=(0.6, 0.4))
    with pytest.raises(ValueError, match="a critic is one of noisy states"):
        Classifier(exact, len, of="x0")
    with pytest.raises(ValueError, match="the gradient of an ancestral sampler is a function"):
        Ancestral(gradient=2.0)
