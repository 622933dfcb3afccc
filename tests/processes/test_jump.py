"""Markov jump processes: kernels against closed forms, conservation, Bayes, and draws."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.helpers import close
from unstir.processes import Geometric, LogLinear, RateMatrix, Reset, Steady, absorbing, uniform

LAW = torch.tensor([0.5, 0.0, 0.2, 0.3], dtype=torch.float64)


def matrix(states=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(states, states, generator=g, dtype=torch.float64) * 3.0


def processes():
    return {
        "uniform": uniform(4),
        "absorbing": absorbing(4),
        "reset": Reset(LAW, Geometric()),
        "matrix": RateMatrix(matrix(4), Steady(3.0)),
    }


def kernel(process, s, t):
    """P(x_t = j | x_s = i) by pushing each state."""
    return process.push(torch.eye(process.states, dtype=torch.float64)[None], s, t)[0]


@pytest.mark.parametrize("process", processes().values(), ids=processes())
def test_the_kernel_is_the_exponential_of_the_rates(process):
    s, t = 0.2, 0.7
    expected = torch.linalg.matrix_exp(process.rate_matrix() * process.clock.passed(s, t))
    close(kernel(process, s, t), expected, atol=2e-15)


@pytest.mark.parametrize("process", processes().values(), ids=processes())
def test_kernels_are_stochastic_and_compose(process):
    close(kernel(process, 0.0, 0.9).sum(1), torch.ones(4), atol=4e-16)
    assert bool((kernel(process, 0.0, 0.9) >= 0.0).all())
    close(kernel(process, 0.1, 0.4) @ kernel(process, 0.4, 0.8), kernel(process, 0.1, 0.8), atol=2e-15)


@given(seed=st.integers(0, 10_000), log_time=st.floats(-6.0, 4.0), sparse=st.booleans())
def test_uniformisation_is_positive_and_stochastic_at_any_time(seed, log_time, sparse):
    rates = matrix(6, seed)
    if sparse:
        rates = rates * (rates > 1.8)
    process = RateMatrix(rates, Steady(10.0**log_time))
    k = process.kernel(0.0, 1.0)
    assert bool((k >= 0.0).all())
    close(k.sum(1), torch.ones(6), atol=1e-15)


def test_small_probabilities_keep_their_relative_accuracy():
    # A pure birth chain: the chance of n jumps by time t is t^n / n! up to relative t.
    rates = torch.diag(torch.ones(7, dtype=torch.float64), 1)
    k = RateMatrix(rates, Steady(1e-6)).kernel(0.0, 1.0)
    expected = torch.tensor([stats.poisson.pmf(n, 1e-6) for n in range(7)])
    close(k[0, :7], expected, rtol=1e-13)


@pytest.mark.parametrize("process", processes().values(), ids=processes())
def test_the_likelihood_is_the_column_of_the_kernel_at_each_samples_own_time(process):
    x = torch.tensor([[0, 2, 3], [2, 3, 0]])
    t = torch.tensor([0.4, 0.8], dtype=torch.float64)
    got = process.likelihood(x, 0.1, t)
    assert got.shape == (2, 3, 4)
    for i in range(2):
        close(got[i], kernel(process, 0.1, t[i]).mT[x[i]], atol=2e-15)


@pytest.mark.parametrize("process", processes().values(), ids=processes())
def test_a_reverse_step_is_bayes_rule(process):
    s, t = 0.3, 0.6
    p_0 = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    if process.states == 4 and float(process.prior()[-1]) == 1.0:
        p_0 = torch.tensor([0.2, 0.3, 0.5, 0.0], dtype=torch.float64)
    joint = (p_0 @ kernel(process, 0.0, s))[:, None] * kernel(process, s, t)
    p_t = joint.sum(0)
    x = torch.arange(4)[p_t > 0]
    posterior = (p_0[:, None] * kernel(process, 0.0, t) / p_t).mT[x]
    expected = (joint / p_t).mT[x]
    close(process.reverse_step(posterior[:, None], x[:, None], s, t)[:, 0], expected, atol=3e-15)


@pytest.mark.parametrize("process", processes().values(), ids=processes())
def test_the_concrete_score_and_the_reverse_rates_are_ratios_of_the_law(process):
    t = 0.6
    p_0 = torch.tensor([0.2, 0.3, 0.5, 0.0], dtype=torch.float64)
    k = kernel(process, 0.0, t)
    p_t = p_0 @ k
    x = torch.arange(4)[p_t > 0]
    posterior = (p_0[:, None] * k / p_t).mT[x]
    rates = process.rate_matrix() - process.rate_matrix().diagonal().diag()
    seen = rates.mT[x] > 0.0
    close(process.score(posterior, x, t)[seen], (p_t / p_t[x, None])[seen], rtol=1e-13, atol=1e-15)
    expected = process.clock.rate(t) * rates.mT[x] * p_t / p_t[x, None]
    close(process.reverse_rates(posterior, x, t), expected, rtol=1e-13, atol=1e-15)


def test_a_short_reverse_step_has_the_reverse_rates():
    process, t, h = RateMatrix(matrix(4), Steady(3.0)), 0.5, 1e-6
    x = torch.tensor([1])
    p_0 = torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    step = process.reverse_step(p_0, x, t - h, t)[0]
    rates = process.reverse_rates(p_0, x, t)[0]
    others = [0, 2, 3]
    close(step[others] / h, rates[others], rtol=1e-4)


@pytest.mark.parametrize("process", processes().values(), ids=processes())
def test_draws_follow_the_kernel(process):
    n, t = 20_000, 0.5
    x_0 = torch.zeros(n, dtype=torch.int64)
    x_t = process.sample(x_0, t, seed=3, index=torch.arange(n))
    expected = kernel(process, 0.0, t)[0]
    counts = torch.bincount(x_t, minlength=4)
    seen = expected > 0
    assert int(counts[~seen].sum()) == 0
    assert stats.chisquare(counts[seen].numpy(), n * expected[seen].numpy()).pvalue > 1e-4


@pytest.mark.parametrize("process", processes().values(), ids=processes())
def test_a_sample_of_a_seed_is_the_same_in_any_batch(process):
    x_0 = torch.arange(12).reshape(6, 2) % 4
    whole = process.sample(x_0, 0.7, seed=1, index=torch.arange(6))
    part = process.sample(x_0[4:], 0.7, seed=1, index=torch.arange(4, 6))
    assert torch.equal(whole[4:], part)


def test_masks_stay_and_everything_is_masked_in_the_end():
    process = absorbing(5, mask=2)
    x_0 = torch.arange(5)[None].expand(40, 5)
    assert bool((process.sample(x_0, 1.0, seed=0, index=torch.arange(40)) == 2).all())
    x_t = process.sample(x_0, 0.5, seed=0, index=torch.arange(40))
    assert bool(((x_t == 2) | (x_t == x_0)).all())
    assert torch.equal(process.prior(), torch.eye(5, dtype=torch.float64)[2])


def test_the_prior_of_a_rate_matrix_is_its_stationary_law():
    process = RateMatrix(matrix(), LogLinear())
    prior = process.prior()
    close(prior @ process.rate_matrix(), torch.zeros(5), atol=1e-14)
    close(process.kernel(0.0, 1.0), prior.expand(5, 5), atol=0.0)
    close(process.kernel(0.0, 0.999999), prior.expand(5, 5), atol=1e-12)


def test_a_large_vocabulary_needs_no_square_matrix():
    process = absorbing(50_000)
    x_0 = torch.randint(0, 49_999, (2, 3), generator=torch.Generator().manual_seed(0))
    x_t = process.sample(x_0, 0.5, seed=0, index=torch.arange(2))
    p_0 = torch.full((2, 3, 50_000), 1.0 / 49_999, dtype=torch.float64)
    p_0[..., -1] = 0.0
    close(process.reverse_step(p_0, x_t, 0.3, 0.5).sum(-1), torch.ones(2, 3), atol=1e-12)


def test_kernels_are_differentiable_in_the_rates():
    rates = matrix(3).requires_grad_()
    assert torch.autograd.gradcheck(lambda q: RateMatrix(q, Steady(1.0)).kernel(0.0, 0.7), (rates,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Reset(torch.tensor([1.0])), "law of a reset"),
        (lambda: Reset(torch.tensor([1.0, -1.0])), "law of a reset"),
        (lambda: absorbing(3, mask=3), "the mask is one of 3 states"),
        (lambda: RateMatrix(torch.ones(2, 3)), "square matrix"),
        (lambda: RateMatrix(torch.tensor([[0.0, -1.0], [1.0, 0.0]])), "at least 0"),
    ],
)
def test_impossible_processes_are_refused_in_one_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_token_stays_whatever_the_posterior_says():
    p_0 = torch.tensor([[1.0, 0.0, 0.0]])
    step = absorbing(3).reverse_step(p_0, torch.tensor([1]), 0.1, 0.5)
    close(step, torch.tensor([[0.0, 1.0, 0.0]]))
    assert float(absorbing(3).reverse_rates(p_0, torch.tensor([1]), 0.5).abs().max()) == 0.0
