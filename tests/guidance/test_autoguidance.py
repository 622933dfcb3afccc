"""Autoguidance: away from a weaker model, in closed form with Gaussians."""

from __future__ import annotations

import math

import pytest
import torch

from tests.guidance.test_classifier_free import EXACT, LABEL, MEANS, X, mixture
from tests.helpers import close
from unstir.denoisers import Gaussian, GaussianMixture, Rescheduled
from unstir.guidance import Autoguidance, ClassifierFree
from unstir.processes import VP, Cosine, Flow, Heat
from unstir.samplers import sample


def pair(schedule):
    """A Gaussian and a wider one further off."""
    mean = torch.tensor([0.5, -0.3], dtype=torch.float64)
    return Gaussian(schedule, mean, std=0.5), Gaussian(schedule, 2.0 * mean, std=0.8)


def gaussian_score(schedule, x, t, mean, std):
    process = schedule.modes(x.shape[1:])
    u = schedule.to_modes(x)
    alpha, sigma = process.alpha(t), process.sigma(t)
    centred = u - alpha * schedule.to_modes(mean[None])
    return schedule.from_modes(-centred / ((alpha * std) ** 2 + sigma**2))


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_the_score_of_two_gaussians_is_extrapolated_exactly(name, weight):
    schedule = EXACT[name]
    strong, weak = pair(schedule)
    guided = Autoguidance(strong, weak, weight)
    mean = torch.tensor([0.5, -0.3], dtype=torch.float64)
    for t in (0.1, 0.5, 0.9):
        one = gaussian_score(schedule, X, t, mean, 0.5)
        zero = gaussian_score(schedule, X, t, 2.0 * mean, 0.8)
        expected = one + weight * (one - zero)
        close(guided.score(X, t), expected, rtol=1e-8, atol=1e-8 * float(expected.abs().max()))
        close(guided(X, t).variance, strong(X, t).variance)


def test_samples_of_two_gaussians_follow_the_flow_of_the_extrapolated_score():
    # With p_1 = N(0, a^2), p_0 = N(0, b^2), y = x / alpha and r = sigma / alpha the flow is linear,
    # dy/dr = r y ((1 + w) / (a^2 + r^2) - w / (b^2 + r^2)), so from r = R to 0 it multiplies y by
    # ((a^2 / (a^2 + R^2))^(1 + w) ((b^2 + R^2) / b^2)^w)^(1/2).
    a, b, w = 0.5, 0.8, 1.5
    zero = torch.zeros(1, dtype=torch.float64)
    guided = Autoguidance(Gaussian(Flow(), zero, std=a), Gaussian(Flow(), zero, std=b), w)
    x_T = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)[:, None] * 0.9
    start = 0.9
    grid = torch.cat(
        [torch.linspace(start, 0.002, 400, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)]
    )
    x = sample(guided, x_T=x_T, solver="heun", grid=grid).x
    alpha, sigma = 1.0 - start, start
    squared = (sigma / alpha) ** 2
    factor = math.sqrt((a**2 / (a**2 + squared)) ** (1 + w) * ((b**2 + squared) / b**2) ** w)
    close(x, x_T / alpha * factor, rtol=2e-4)


def test_weight_zero_is_the_stronger_model_to_the_last_bit():
    strong, weak = pair(VP())
    for weight in (0.0, torch.zeros(4)):
        guided = Autoguidance(strong, weak, weight)
        assert torch.equal(guided(X, 0.5).mean, strong(X, 0.5).mean)
        assert guided.cost(0.5) == 1
    assert Autoguidance(strong, weak, 1.0).cost(0.5) == 2


def test_outside_the_window_the_stronger_model_is_used():
    strong, weak = pair(VP())
    guided = Autoguidance(strong, weak, 2.0, window=(0.25, 0.75))
    for log_snr, inside in [(-6.5, False), (0.0, True), (6.5, False)]:
        t = VP().time(log_snr)
        assert torch.equal(guided(X, t).mean, strong(X, t).mean) != inside


def test_a_weight_for_each_sample_gives_what_single_runs_give():
    strong, weak = pair(Flow())
    weights = torch.tensor([0.0, 0.5, 1.0, 4.0])
    together = Autoguidance(strong, weak, weights)(X, 0.5).mean
    for k in range(4):
        alone = Autoguidance(strong, weak, float(weights[k]))(X[k : k + 1], 0.5).mean
        close(together[k : k + 1], alone, rtol=1e-12)


def test_both_models_are_told_the_condition():
    strong = mixture(VP())
    weak = GaussianMixture(VP(), MEANS, stds=torch.full((3,), 0.9), labels=torch.tensor([0, 1, 1]))
    guided = Autoguidance(strong, weak, 1.5)
    one, zero = strong.epsilon(X, 0.4, label=LABEL), weak.epsilon(X, 0.4, label=LABEL)
    close(guided.epsilon(X, 0.4, label=LABEL), one + 1.5 * (one - zero), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("other", [Flow(), Cosine(), VP(0.2, 10.0)], ids=["flow", "cosine", "vp"])
def test_a_weaker_model_of_another_schedule_is_seen_through_that_of_the_stronger(other):
    strong = pair(VP())[0]
    same, moved = pair(VP())[1], pair(other)[1]
    expected = Autoguidance(strong, same, 2.0)(X, 0.3).mean
    close(Autoguidance(strong, moved, 2.0)(X, 0.3).mean, expected, rtol=1e-7, atol=1e-7)
    assert isinstance(Autoguidance(strong, moved, 2.0).weaker, Rescheduled)


def test_a_blurring_schedule_and_another_are_refused():
    with pytest.raises(ValueError, match="cannot be sampled under"):
        Autoguidance(pair(Heat(VP()))[0], pair(VP())[1], 1.0)


def test_it_goes_round_classifier_free_guidance():
    strong = mixture(VP())
    weak = GaussianMixture(VP(), MEANS, stds=torch.full((3,), 0.9), labels=torch.tensor([0, 1, 1]))
    both = Autoguidance(ClassifierFree(strong, 1.0), weak, 0.5)
    assert both.cost(0.5) == 3
    inner = ClassifierFree(strong, 1.0)(X, 0.5, label=LABEL).mean
    outer = inner + 0.5 * (inner - weak(X, 0.5, label=LABEL).mean)
    close(both(X, 0.5, label=LABEL).mean, outer, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weight", [-1.0, math.nan])
def test_a_negative_weight_is_refused(weight):
    with pytest.raises(ValueError, match="0 means the stronger model alone"):
        Autoguidance(*pair(VP()), weight)


def test_a_window_that_is_none_is_refused():
    with pytest.raises(ValueError, match="a guidance window is"):
        Autoguidance(*pair(VP()), 1.0, window=(0.7, 0.2))
