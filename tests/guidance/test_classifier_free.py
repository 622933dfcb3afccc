import math

import pytest
import torch

from tests.helpers import SCHEDULES, close
from unstir.denoisers import Denoiser, GaussianMixture, Posterior
from unstir.guidance import ClassifierFree
from unstir.processes import VP, Flow
from unstir.samplers import sample

MEANS = torch.tensor([[-1.0, 0.5], [0.5, 1.3], [1.0, -0.7]], dtype=torch.float64)
X = torch.tensor([[-2.0, 1.0], [0.1, 0.2], [1.5, -1.0], [0.0, 0.0]], dtype=torch.float64)
LABEL = torch.tensor([0, 1, 1, 0])


def mixture(schedule):
    stds, labels = torch.tensor([0.3, 0.4, 0.5]), torch.tensor([0, 1, 1])
    return GaussianMixture(schedule, MEANS, stds=stds, labels=labels)


class Counter(Denoiser):
    def __init__(self, schedule):
        super().__init__()
        self.exact, self.schedule, self.calls = mixture(schedule), schedule, 0

    def forward(self, x_t, t, **condition):
        self.calls += 1
        return self.exact(x_t, t, **condition)


@pytest.mark.parametrize("name", ["vp", "flow", "ve", "table"])
def test_weight_zero_is_the_conditional_model_to_the_last_bit(name):
    denoiser = Counter(SCHEDULES[name])
    guided = ClassifierFree(denoiser, 0.0)
    for t in (0.1, 0.5, 0.9):
        result, expected = guided(X, t, label=LABEL), denoiser.exact(X, t, label=LABEL)
        assert torch.equal(result.mean, expected.mean)
        assert torch.equal(result.variance, expected.variance)
    assert denoiser.calls == 3  # the unconditional model is not asked


@pytest.mark.parametrize("name", ["vp", "sub-vp", "flow", "ve-narrow", "table"])
@pytest.mark.parametrize("weight", [0.5, 1.0, 7.5])
def test_epsilon_is_pushed_away_from_the_unconditional_one(name, weight):
    exact = mixture(SCHEDULES[name])
    guided = ClassifierFree(exact, weight)
    for t in (0.1, 0.5, 0.9):
        conditional, unconditional = exact.epsilon(X, t, label=LABEL), exact.epsilon(X, t)
        expected = (1 + weight) * conditional - weight * unconditional
        close(guided.epsilon(X, t, label=LABEL), expected, rtol=1e-9, atol=1e-9)
        close(guided(X, t, label=LABEL).variance, exact(X, t, label=LABEL).variance)


@pytest.mark.parametrize("weight", [0.5, 3.0])
def test_the_score_is_that_of_the_sharpened_density(weight):
    # grad log p(x) p(y | x)^(1 + w), with p(y | x) from the densities of the mixture.
    exact, x = mixture(VP()), X.clone().requires_grad_()
    unconditional, conditional = exact.log_density(x, 0.4), exact.log_density(x, 0.4, label=LABEL)
    sharpened = unconditional + (1 + weight) * (conditional - unconditional)
    (gradient,) = torch.autograd.grad(sharpened.sum(), x)
    close(ClassifierFree(exact, weight).score(X, 0.4, label=LABEL), gradient, rtol=1e-9)


def test_two_gaussians_of_one_width_give_the_closed_form():
    # Means +-m, deviation s: guidance moves the mean by w (1 - tanh) times the leftover share of m.
    m, s, weight, t = 0.8, 0.5, 2.0, 0.4
    schedule = Flow()
    means = torch.tensor([[m], [-m]], dtype=torch.float64)
    exact = GaussianMixture(schedule, means, stds=torch.tensor([s, s]), labels=torch.tensor([0, 1]))
    alpha, sigma = schedule.alpha(t).item(), schedule.sigma(t).item()
    total = (alpha * s) ** 2 + sigma**2
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    conditional = (alpha * s**2 * x + sigma**2 * m) / total
    shift = sigma**2 * m / total * (1 - torch.tanh(alpha * m * x / total))
    result = ClassifierFree(exact, weight)(x, t, label=torch.zeros(9, dtype=torch.int64)).mean
    close(result, conditional + weight * shift, rtol=1e-12, atol=1e-13)


def test_without_a_condition_there_is_nothing_to_push_from():
    denoiser = Counter(VP())
    close(ClassifierFree(denoiser, 3.0)(X, 0.5).mean, denoiser.exact(X, 0.5).mean)
    assert denoiser.calls == 1


def test_label_minus_one_is_not_moved():
    nobody = torch.full((4,), -1)
    guided = ClassifierFree(mixture(VP()), 3.0)(X, 0.5, label=nobody)
    close(guided.mean, mixture(VP())(X, 0.5).mean, rtol=1e-12)


@pytest.mark.parametrize("schedule", [VP(), Flow()], ids=["vp", "flow"])
def test_outside_the_window_the_conditional_model_is_used(schedule):
    denoiser = Counter(schedule)
    guided = ClassifierFree(denoiser, 2.0, window=(0.25, 0.75))  # log-SNR -6 to 6
    for log_snr, inside in [(-6.5, False), (-5.5, True), (0.0, True), (5.5, True), (6.5, False)]:
        t = schedule.time(log_snr)
        denoiser.calls = 0
        result = guided(X, t, label=LABEL).mean
        conditional = denoiser.exact(X, t, label=LABEL).mean
        assert bool(guided.active(t)) == inside
        assert denoiser.calls == 1 + inside
        assert torch.equal(result, conditional) != inside


def test_the_window_acts_on_every_sample_at_its_own_time():
    guided = ClassifierFree(mixture(VP()), 2.0, window=(0.25, 0.75))
    t = VP().time(torch.tensor([-8.0, -2.0, 3.0, 8.0]))
    assert guided.active(t).tolist() == [False, True, True, False]
    together = guided(X, t, label=LABEL).mean
    for k in range(4):
        one = guided(X[k : k + 1], t[k], label=LABEL[k : k + 1]).mean
        close(together[k : k + 1], one, rtol=1e-12)


def test_the_whole_window_includes_both_ends():
    guided = ClassifierFree(mixture(Flow()), 2.0)
    assert guided.active(torch.tensor([0.0, 0.5, 1.0])).all()
    assert torch.isfinite(guided(X, 1.0, label=LABEL).mean).all()
    close(guided(X, 0.0, label=LABEL).mean, X, rtol=1e-12, atol=1e-12)


def test_guidance_makes_samples_more_typical_of_their_label():
    exact, label = mixture(VP()), torch.ones(400, dtype=torch.int64)
    certainty = []
    for weight in (0.0, 1.0, 4.0):
        x = sample(ClassifierFree(exact, weight), (400, 2), condition={"label": label}).x
        certainty.append(float((exact.log_density(x, 0.0, label=label) - exact.log_density(x, 0.0)).mean()))
    assert certainty[0] < certainty[1] < certainty[2]


def test_guided_denoisers_share_the_weights_and_schedule_of_their_own():
    denoiser = mixture(VP())
    guided = ClassifierFree(denoiser, 1.0)
    assert guided.schedule == VP()
    assert isinstance(guided(X.float(), 0.5, label=LABEL), Posterior)
    assert guided(X.float(), 0.5, label=LABEL).mean.dtype == torch.float32


@pytest.mark.parametrize("weight", [-0.1, math.nan])
def test_a_negative_weight_is_refused(weight):
    with pytest.raises(ValueError, match=r"at least 0 \(0 means conditional only\), got"):
        ClassifierFree(mixture(VP()), weight)


@pytest.mark.parametrize("window", [(0.5, 0.5), (0.6, 0.4), (-0.1, 1.0), (0.0, 1.1), (math.nan, 1.0)])
def test_a_window_that_is_none_is_refused(window):
    with pytest.raises(ValueError, match="a guidance window is"):
        ClassifierFree(mixture(VP()), 1.0, window)


def test_a_guided_run_counts_both_network_evaluations_where_guidance_acts():
    means = torch.tensor([[-1.0], [1.0]])
    mixture = GaussianMixture(VP(), means, stds=torch.full((2,), 0.3), labels=torch.tensor([0, 1]))
    condition = {"label": torch.zeros(4, dtype=torch.int64)}
    counts = [
        sample(ClassifierFree(mixture, weight, window), (4, 1), steps=10, condition=condition).nfe
        for weight, window in ((0.0, (0.0, 1.0)), (1.0, (0.0, 1.0)), (1.0, (0.999, 1.0)))
    ]
    assert counts == [10, 20, 10]
