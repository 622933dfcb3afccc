"""The objective against its textbook forms, its known minimum, and the exact likelihood."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from tests.training.tiny import network, quadrature
from unstir.denoisers import Denoiser, Gaussian, Network, Posterior
from unstir.processes import (
    EPSILON,
    SCORE,
    V_PREDICTION,
    VE,
    VELOCITY,
    VP,
    X0,
    Cosine,
    Flow,
    SubVP,
)
from unstir.training import Objective, ObjectiveSettings, bound_term, prior_term
from unstir.training.build import build_objective
from unstir.training.weighting import (
    EDMWeighting,
    MinSNRWeighting,
    SigmoidWeighting,
    SNRWeighting,
    UniformWeighting,
)


class Affine(nn.Module):
    """F(x, log-SNR) = 0.7 x + 0.1 log-SNR: a network whose output is known."""

    def forward(self, x, log_snr):
        return 0.7 * x + 0.1 * log_snr[:, None]


class Zero(nn.Module):
    def forward(self, x, log_snr):
        return torch.zeros_like(x)


def batch(schedule, n=64, seed=0):
    """x_0, epsilon, t, alpha, sigma, x_t in float64; the last by the definition of a schedule."""
    rng = np.random.default_rng(seed)
    x_0, epsilon = (torch.from_numpy(rng.standard_normal((n, 3))) for _ in range(2))
    t = torch.linspace(0.02, 0.98, n, dtype=torch.float64)
    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    return x_0, epsilon, t, alpha, sigma, alpha * x_0 + sigma * epsilon


def textbook_truth(name, schedule, x_0, epsilon, t, alpha, sigma):
    if name == "velocity":
        h = 1e-6
        slopes = [((f(t + h) - f(t - h)) / (2 * h))[:, None] for f in (schedule.alpha, schedule.sigma)]
        return slopes[0] * x_0 + slopes[1] * epsilon
    return {
        "epsilon": epsilon,
        "x0": x_0,
        "v": alpha * epsilon - sigma * x_0,
        "score": -epsilon / sigma,
    }[name]


@pytest.mark.parametrize("schedule", [VP(), Cosine(), Flow()], ids=["vp", "cosine", "flow"])
@pytest.mark.parametrize("target", [EPSILON, X0, V_PREDICTION, SCORE, VELOCITY], ids=lambda y: y.name)
def test_uniform_weighting_is_the_squared_error_of_the_target(target, schedule):
    denoiser = Network(Affine(), schedule, target)
    x_0, epsilon, t, alpha, sigma, x_t = batch(schedule)
    loss = Objective(UniformWeighting(target)).losses(denoiser, schedule, x_0, epsilon, t, {})
    output = Affine()(x_t / (alpha**2 + sigma**2).sqrt(), schedule.log_snr(t))
    truth = textbook_truth(target.name, schedule, x_0, epsilon, t, alpha, sigma)
    if target == SCORE:  # the network gives epsilon, and the score is -epsilon / sigma
        output = -output / sigma
    elif target == V_PREDICTION:  # x_0 = (alpha x_t - sigma v) / (alpha^2 + sigma^2), v of unit variance
        output = output * (alpha**2 + sigma**2).sqrt()
    elif target == VELOCITY:
        h = 1e-6
        p, q = (((f(t + h) - f(t - h)) / (2 * h))[:, None] for f in (schedule.alpha, schedule.sigma))
        output = output * (p**2 + q**2).sqrt()
    torch.testing.assert_close(loss, (output - truth).square().mean(1), rtol=1e-6, atol=1e-9)


def test_uniform_weighting_of_epsilon_is_l_simple_of_ho_et_al():
    schedule, module = VP(), Affine()
    x_0, epsilon, t, alpha, sigma, _ = batch(schedule)
    denoiser = Network(module, schedule, EPSILON)
    loss = Objective(UniformWeighting(EPSILON)).losses(denoiser, schedule, x_0, epsilon, t, {})
    epsilon_hat = module(alpha * x_0 + sigma * epsilon, schedule.log_snr(t))
    torch.testing.assert_close(loss, (epsilon_hat - epsilon).square().mean(1), rtol=1e-9, atol=0)


@pytest.mark.parametrize("schedule", [VP(), VE(), SubVP()], ids=["vp", "ve", "sub-vp"])
@pytest.mark.parametrize(
    ("weighting", "textbook"),
    [
        (SNRWeighting(), lambda a, s: a**2 / s**2),
        (MinSNRWeighting(5.0), lambda a, s: np.minimum(a**2 / s**2, 5.0)),
        (MinSNRWeighting(0.3), lambda a, s: np.minimum(a**2 / s**2, 0.3)),
        (EDMWeighting(0.5), lambda a, s: ((s / a) ** 2 + 0.25) / ((s / a) * 0.5) ** 2),
        (
            SigmoidWeighting(-2.0),
            lambda a, s: a**2 / s**2 / (1.0 + np.exp(2.0 + np.log(a**2 / s**2))),
        ),
    ],
    ids=["snr", "min-snr-5", "min-snr-0.3", "edm", "sigmoid"],
)
def test_weightings_are_their_textbook_factors_of_the_error_of_the_data(weighting, textbook, schedule):
    denoiser = Network(Affine(), schedule, X0)
    x_0, epsilon, t, alpha, sigma, x_t = batch(schedule)
    loss = Objective(weighting).losses(denoiser, schedule, x_0, epsilon, t, {})
    estimate = Affine()(x_t / (alpha**2 + sigma**2).sqrt(), schedule.log_snr(t).clamp(-20, 20))
    error = (estimate - x_0).square().mean(1)
    factor = torch.from_numpy(textbook(alpha[:, 0].numpy(), sigma[:, 0].numpy()))
    torch.testing.assert_close(loss, factor * error, rtol=1e-9, atol=0)


def test_settings_choose_the_weighting_and_its_numbers():
    denoiser = network(sigma_data=0.5, target=EPSILON)
    made = {
        name: build_objective(ObjectiveSettings(weighting=name, gamma=3.0, bias=1.5), denoiser).weighting
        for name in ("uniform", "snr", "min-snr", "edm", "sigmoid")
    }
    assert made == {
        "uniform": UniformWeighting(EPSILON),
        "snr": SNRWeighting(),
        "min-snr": MinSNRWeighting(3.0),
        "edm": EDMWeighting(0.5),
        "sigmoid": SigmoidWeighting(1.5),
    }


@pytest.mark.parametrize("std", [1.0, 0.5])
def test_edm_weighting_starts_every_noise_level_with_unit_loss(std):
    schedule = VP()
    denoiser = Network(Zero(), schedule, V_PREDICTION, sigma_data=std)
    rng = np.random.default_rng(1)
    for t in (0.001, 0.1, 0.5, 0.9, 1.0):
        x_0 = torch.from_numpy(std * rng.standard_normal((4000, 1)))
        epsilon = torch.from_numpy(rng.standard_normal((4000, 1)))
        time = torch.full((4000,), t, dtype=torch.float64)
        losses = Objective(EDMWeighting(std)).losses(denoiser, schedule, x_0, epsilon, time, {})
        # F is -v of unit variance, so the loss is chi-squared with one degree: standard deviation sqrt(2).
        assert abs(float(losses.mean()) - 1.0) < 4.5 * math.sqrt(2.0 / 4000)


@pytest.mark.parametrize("weighting", [SNRWeighting(), EDMWeighting(0.6), MinSNRWeighting()])
def test_the_exact_denoiser_attains_the_known_minimum_and_no_other_does(weighting):
    schedule, mean, std = VP(), 0.4, 0.6
    exact = Gaussian(schedule, torch.tensor([mean]), std)

    class Off(Denoiser):
        """The exact mean, off by a little."""

        def __init__(self, shift, gain):
            super().__init__()
            self.schedule, self.shift, self.gain = schedule, shift, gain

        def forward(self, x_t, t, **condition):
            posterior = exact(x_t, t)
            return Posterior(posterior.mean * self.gain + self.shift)

    x_0, epsilon, weights = quadrature(mean, std)
    for t in (0.05, 0.3, 0.8):
        time = torch.full((len(x_0),), t, dtype=torch.float64)

        def expected(denoiser, time=time):
            losses = Objective(weighting).losses(denoiser, schedule, x_0, epsilon, time, {})
            return float((losses * weights).sum())

        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        leftover = sigma**2 * std**2 / (alpha**2 * std**2 + sigma**2)
        least = float(weighting(schedule, time[:1])) * leftover
        assert expected(exact) == pytest.approx(least, rel=1e-9)
        for shift, gain in ((0.02, 1.0), (-0.02, 1.0), (0.0, 1.03), (0.0, 0.97)):
            assert expected(Off(shift, gain)) > least * (1 + 1e-6)


@pytest.mark.parametrize("schedule", [VP(), Cosine(), VE(), SubVP(), Flow()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("learned", [True, False], ids=["learned variance", "forward variance"])
def test_a_bound_term_is_the_kl_divergence_of_torch(schedule, learned):
    rng = np.random.default_rng(2)
    x_0, x_t, mean = (torch.from_numpy(rng.standard_normal((30, 4))) for _ in range(3))
    variance = torch.from_numpy(rng.uniform(0.01, 2.0, (30, 4))) if learned else None
    s = torch.linspace(0.05, 0.8, 30, dtype=torch.float64)
    t = s + 0.15
    a, b, std = (value[:, None] for value in schedule.posterior_coefficients(s, t))
    q = Normal(a * x_0 + b * x_t, std.expand_as(x_0))
    if variance is None:  # DDPM's beta: the variance of q(x_t | x_s)
        forward = schedule.transition(x_0, s, t)[1]
        p = Normal(a * mean + b * x_t, forward.expand_as(x_0))
    else:
        p = Normal(a * mean + b * x_t, (std**2 + a**2 * variance).sqrt())
    term = bound_term(schedule, x_0, Posterior(mean, variance), s, t)
    torch.testing.assert_close(term, kl_divergence(q, p).mean(1), rtol=1e-7, atol=1e-10)


def test_the_last_bound_term_is_the_negative_log_density_of_the_data():
    schedule = VP()
    rng = np.random.default_rng(3)
    x_0, mean = (torch.from_numpy(rng.standard_normal((8, 4))) for _ in range(2))
    variance = torch.from_numpy(rng.uniform(0.1, 2.0, (8, 4)))
    t = torch.full((8,), 0.05, dtype=torch.float64)
    zero = torch.zeros_like(t)
    term = bound_term(schedule, x_0, Posterior(mean, variance), zero, t)
    torch.testing.assert_close(term, -Normal(mean, variance.sqrt()).log_prob(x_0).mean(1))
    ratio = float(schedule.sigma(0.05) / schedule.alpha(0.05))
    term = bound_term(schedule, x_0, Posterior(mean), zero, t)
    torch.testing.assert_close(term, -Normal(mean, ratio).log_prob(x_0).mean(1))


def test_the_prior_term_is_the_kl_divergence_of_torch():
    schedule = VP(0.1, 3.0)
    x_0 = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(4, 3)
    alpha, sigma = float(schedule.alpha(1.0)), float(schedule.sigma(1.0))
    exact = kl_divergence(Normal(alpha * x_0, sigma), Normal(0.0, sigma)).mean(1)
    torch.testing.assert_close(prior_term(schedule, x_0), exact)


class WithoutVariance(Denoiser):
    def __init__(self, denoiser):
        super().__init__()
        self.denoiser, self.schedule = denoiser, denoiser.schedule

    def forward(self, x_t, t, **condition):
        return Posterior(self.denoiser(x_t, t).mean)


def gaussian_bound(denoiser, mean, std, steps):
    """The expected bound of Gaussian data in nats, without Monte Carlo."""
    schedule = denoiser.schedule
    x_0, epsilon, weights = quadrature(mean, std)
    n = len(x_0)
    t = (torch.arange(1, steps + 1, dtype=torch.float64) / steps).repeat_interleave(n)
    objective = Objective(SNRWeighting(), "bound", steps)
    losses = objective.losses(denoiser, schedule, x_0.repeat(steps, 1), epsilon.repeat(steps, 1), t, {})
    chain = float((losses.reshape(steps, n) * weights).sum(1).mean())
    return chain + float((prior_term(schedule, x_0) * weights).sum())


@pytest.mark.parametrize("schedule", [VP(0.1, 6.0), Cosine()], ids=["vp", "cosine"])
@pytest.mark.parametrize("steps", [1, 5, 60])
def test_the_bound_of_a_gaussian_is_its_exact_likelihood_but_for_the_prior(schedule, steps):
    # With the exact posterior variance every reverse step is the true one; what is left is the start.
    mean, std = 0.4, 0.6
    exact = Gaussian(schedule, torch.tensor([mean]), std)
    nll = 0.5 * math.log(2 * math.pi * math.e * std**2)
    alpha, sigma = float(schedule.alpha(1.0)), float(schedule.sigma(1.0))
    prior = Normal(torch.tensor(0.0).double(), sigma)
    start = kl_divergence(Normal(alpha * mean, math.sqrt((alpha * std) ** 2 + sigma**2)), prior)
    bound = gaussian_bound(exact, mean, std, steps)
    assert bound == pytest.approx(nll + float(start), abs=1e-8)
    assert bound >= nll - 1e-9


def test_the_bound_with_forward_variance_is_above_the_likelihood_and_converges_to_it():
    mean, std, schedule = 0.4, 0.6, Cosine()
    denoiser = WithoutVariance(Gaussian(schedule, torch.tensor([mean]), std))
    nll = 0.5 * math.log(2 * math.pi * math.e * std**2)
    excess = [gaussian_bound(denoiser, mean, std, steps) - nll for steps in (8, 64, 512, 4096)]
    assert all(value > 0 for value in excess)
    for before, after in pairwise(excess):
        assert after < before / 5
    assert excess[-1] < 2e-3


def test_the_bound_as_a_loss_has_the_bound_as_its_mean_over_uniform_times():
    # Times are rounded up to a step of the chain, so uniform times hit each step equally often.
    schedule, steps = VP(), 10
    exact = Gaussian(schedule, torch.tensor([0.0]), 1.0)
    x_0 = torch.full((1000, 1), 0.7, dtype=torch.float64)
    epsilon = torch.full((1000, 1), -0.3, dtype=torch.float64)
    t = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    objective = Objective(SNRWeighting(), "bound", steps)
    cut = objective.losses(exact, schedule, x_0, epsilon, t, {}).mean()
    edges = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    terms = bound_term(
        schedule,
        x_0[:steps],
        exact(schedule.alpha(edges)[:, None] * 0.7 - 0.3 * schedule.sigma(edges)[:, None], edges),
        edges - 1.0 / steps,
        edges,
    )
    # At s = 0 the subtraction above leaves 1e-17; the objective has 0 there.
    first = bound_term(
        schedule,
        x_0[:1],
        exact(schedule.alpha(edges[:1])[:, None] * 0.7 - 0.3 * schedule.sigma(edges[:1])[:, None], edges[:1]),
        torch.zeros(1, dtype=torch.float64),
        edges[:1],
    )
    assert float(cut) == pytest.approx(float(terms[1:].sum() + first.sum()), rel=1e-9)


@pytest.mark.parametrize("steps", [7, 60, 1000])
def test_a_time_that_is_a_step_of_the_chain_stays_that_step(steps):
    seen = []

    class Spy(Denoiser):
        schedule = VP()

        def forward(self, x_t, t, **condition):
            seen.append(t)
            return Posterior(x_t, torch.ones_like(x_t))

    t = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    x = torch.ones(steps, 1, dtype=torch.float64)
    Objective(SNRWeighting(), "bound", steps).losses(Spy(), VP(), x, x, t, {})
    torch.testing.assert_close(seen[0], t, rtol=1e-12, atol=0)


def test_hybrid_teaches_the_variance_head_by_the_bound_and_the_mean_head_not():
    denoiser = network(2, variance=True)
    schedule, steps = denoiser.schedule, 20
    generator = torch.Generator().manual_seed(4)
    x_0, epsilon = (torch.randn(32, 2, generator=generator) for _ in range(2))
    t = torch.linspace(0.01, 1.0, 32, dtype=torch.float64)

    def gradients(kind, weighting):
        denoiser.zero_grad()
        objective = Objective(weighting, kind, steps, bound_weight=1.0)
        objective.losses(denoiser, schedule, x_0, epsilon, t, {}).mean().backward()
        return denoiser.module.leave.weight.grad.clone().chunk(2)

    mean, variance = gradients("hybrid", lambda schedule, t: torch.zeros_like(t))
    assert torch.count_nonzero(mean) == 0
    assert torch.count_nonzero(variance) == variance.numel()
    mean, variance = gradients("bound", SNRWeighting())
    assert torch.count_nonzero(mean) == mean.numel()


def test_hybrid_is_simple_plus_the_weighted_bound():
    denoiser = network(2, variance=True)
    schedule = denoiser.schedule
    x_0, epsilon = torch.linspace(-1, 1, 20).reshape(10, 2), torch.linspace(1, -2, 20).reshape(10, 2)
    t = torch.arange(1, 11, dtype=torch.float64) / 10
    simple, bound, hybrid = (
        Objective(EDMWeighting(), kind, 10, 0.25).losses(denoiser, schedule, x_0, epsilon, t, {})
        for kind in ("simple", "bound", "hybrid")
    )
    torch.testing.assert_close(hybrid, simple + 0.25 * bound)


def test_an_objective_refuses_what_it_cannot_do():
    x, t = torch.zeros(2, 2), torch.full((2,), 0.5, dtype=torch.float64)
    denoiser = network(2)
    with pytest.raises(ValueError, match="no such head"):
        Objective(SNRWeighting(), "hybrid").losses(denoiser, denoiser.schedule, x, x, t, {})
    with pytest.raises(ValueError, match="got 'hybrids'"):
        Objective(SNRWeighting(), "hybrids")
