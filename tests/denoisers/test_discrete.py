"""Exact denoisers of discrete data against Bayes' rule over every state there is."""

import itertools

import pytest
import torch
from scipy import stats

from tests.helpers import close
from unstir.denoisers import Independent, MarkovChain, Sequences
from unstir.processes import RateMatrix, Steady, absorbing, uniform

K, L = 3, 4


def generator():
    return torch.Generator().manual_seed(3)


def processes():
    rates = torch.rand(K, K, generator=generator(), dtype=torch.float64)
    return {"uniform": uniform(K), "absorbing": absorbing(K), "matrix": RateMatrix(rates, Steady(2.0))}


def denoisers(process):
    g = generator()
    clean = K - 1  # the last state is the mask of one of the processes, so data do not use it
    data = torch.randint(0, clean, (5, L), generator=g)
    law = torch.rand(L, K, generator=g, dtype=torch.float64)
    law[:, -1] = 0.0
    step = torch.rand(L - 1, K, K, generator=g, dtype=torch.float64)
    step[..., -1] = 0.0
    return {
        "sequences": Sequences(process, data, torch.rand(5, generator=g)),
        "independent": Independent(process, law),
        "chain": MarkovChain(process, law[0], step, L),
    }


def everything():
    return torch.tensor(list(itertools.product(range(K), repeat=L)))


CASES = [
    pytest.param(process, name, id=f"{key}-{name}")
    for key, process in processes().items()
    for name in ("sequences", "independent", "chain")
]


@pytest.mark.parametrize(("process", "name"), CASES)
def test_the_posterior_is_bayes_rule_over_all_states(process, name):
    denoiser, x, t = denoisers(process)[name], everything(), 0.4
    prior = denoiser.log_probability(x).exp()
    close(prior.sum(), 1.0, atol=1e-12)
    kernel = process.push(torch.eye(K, dtype=torch.float64)[None], 0.0, t)[0]
    likelihood = kernel[x[:, None], x[None]].prod(-1)  # [x_0, x_t]
    joint = prior[:, None] * likelihood
    seen = joint.sum(0) > 0
    joint = joint[:, seen] / joint[:, seen].sum(0)
    expected = torch.einsum("ab,alk->blk", joint, torch.nn.functional.one_hot(x, K).double())
    close(denoiser(x[seen], t), expected, atol=1e-13)


@pytest.mark.parametrize(("process", "name"), CASES)
def test_samples_may_have_times_of_their_own(process, name):
    denoiser = denoisers(process)[name]
    x_0 = denoiser.sample_data(2)
    t = torch.tensor([0.2, 0.9], dtype=torch.float64)
    x = process.sample(x_0, t, seed=0, index=torch.arange(2))
    both = denoiser(x, t)
    for i in range(2):
        close(both[i], denoiser(x[i : i + 1], t[i])[0], atol=1e-14)


@pytest.mark.parametrize("name", ["sequences", "independent", "chain"])
def test_nothing_is_unknown_at_time_0_and_everything_at_time_1(name):
    denoiser = denoisers(absorbing(K))[name]
    x_0 = denoiser.sample_data(6)
    close(denoiser(x_0, 0.0), torch.nn.functional.one_hot(x_0, K), atol=1e-15)
    x = everything()
    prior = denoiser.log_probability(x).exp()
    expected = torch.einsum("a,alk->lk", prior, torch.nn.functional.one_hot(x, K).double())
    close(denoiser(torch.full((1, L), K - 1), 1.0)[0], expected, atol=1e-13)


@pytest.mark.parametrize("name", ["sequences", "independent", "chain"])
def test_data_are_drawn_with_their_probabilities(name):
    denoiser, n = denoisers(uniform(K))[name], 20_000
    x = denoiser.sample_data(n, seed=1)
    digits = K ** torch.arange(L - 1, -1, -1)
    counts = torch.bincount((x * digits).sum(1), minlength=K**L)
    expected = denoiser.log_probability(everything()).exp() * n
    seen = expected > 1e-9
    assert int(counts[~seen].sum()) == 0
    assert stats.chisquare(counts[seen].numpy(), expected[seen].numpy()).pvalue > 1e-4
    assert torch.equal(denoiser.sample_data(3, seed=1, first_index=5), x[5:8])


def test_long_sequences_do_not_underflow():
    process, length = uniform(K), 500
    eye = torch.full((K, K), 0.05, dtype=torch.float64) + 0.85 * torch.eye(K, dtype=torch.float64)
    chain = MarkovChain(process, torch.ones(K), eye, length)
    x = process.sample(chain.sample_data(2), 0.3, seed=0, index=torch.arange(2))
    close(chain(x, 0.3).sum(-1), torch.ones(2, length), atol=1e-12)
    data = Sequences(process, chain.sample_data(4))
    close(data(x, 0.3).sum(-1), torch.ones(2, length), atol=1e-12)


@pytest.mark.parametrize("name", ["sequences", "independent", "chain"])
def test_a_contradiction_leaves_what_contradicts_it_least(name):
    process = absorbing(K)
    denoiser = {
        "sequences": Sequences(process, torch.zeros(1, L, dtype=torch.int64)),
        "independent": Independent(process, torch.tensor([1.0, 0.0, 0.0]).expand(L, K)),
        "chain": MarkovChain(process, torch.tensor([1.0, 0.0, 0.0]), torch.eye(K), L),
    }[name]
    for x in (torch.ones(1, L, dtype=torch.int64), torch.tensor([[0, 0, 1, K - 1]])):
        posterior = denoiser(x, 0.5)
        close(posterior.sum(-1), torch.ones(1, L), atol=1e-12)
        if name == "sequences":
            close(posterior[..., 0], torch.ones(1, L), atol=1e-12)
    with pytest.raises(ValueError, match="expected events of shape"):
        denoiser(torch.zeros(1, L + 1, dtype=torch.int64), 0.5)
