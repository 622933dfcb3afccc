"""Reversed jump processes: the law of the samples, its order in the steps, exactness, seeds."""

import itertools
import math

import pytest
import torch
from scipy import stats

from tests.helpers import close
from unstir.denoisers import Independent, MarkovChain, Sequences
from unstir.processes import RateMatrix, Steady, absorbing, uniform
from unstir.samplers import (
    JUMP_SOLVERS,
    Exact,
    JumpAncestral,
    JumpEuler,
    TauLeaping,
    jump_grid,
    sample_jumps,
)

K, L = 3, 3


def data(process):
    """Five sequences whose entries depend on each other strongly; the last state does not occur."""
    x = torch.tensor([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 1]])
    return Sequences(process, x, torch.tensor([4.0, 2.0, 2.0, 1.0, 1.0]))


def everything():
    return torch.tensor(list(itertools.product(range(K), repeat=L)))


def number(x):
    return (x * K ** torch.arange(L - 1, -1, -1)).sum(-1)


def law_of_samples(denoiser, solver, steps):
    """The law of a solver's samples over all K^L states, without any randomness."""
    process, x = denoiser.process, everything()
    p = process.prior()[x].prod(1)
    grid = jump_grid(process, steps).tolist()
    for t, s in itertools.pairwise(grid):
        seen = p > 0
        p_0 = denoiser(x[seen], t)
        law = solver.law(process, p_0, x[seen], t, s) if s > 0 else process.reverse_step(p_0, x[seen], s, t)
        moved = torch.ones(int(seen.sum()), 1, dtype=torch.float64)
        for i in range(L):
            moved = (moved[:, :, None] * law[:, i, None, :]).flatten(1)
        p = p[seen] @ moved
    return p


def distance(denoiser, solver, steps):
    truth = denoiser.log_probability(everything()).exp()
    return float((law_of_samples(denoiser, solver, steps) - truth).abs().sum()) / 2.0


@pytest.mark.parametrize(
    "solver", [JumpAncestral(), TauLeaping(), JumpEuler()], ids=lambda s: type(s).__name__
)
@pytest.mark.parametrize("make", [uniform, absorbing])
def test_the_total_variation_falls_with_order_one(solver, make):
    errors = [distance(data(make(K)), solver, n) for n in (128, 256)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.15)
    assert 1e-5 < errors[1] < 0.05


def test_the_ancestral_step_is_better_than_leaps_at_rates_of_the_beginning():
    for make in (uniform, absorbing):
        denoiser = data(make(K))
        assert distance(denoiser, JumpAncestral(), 32) < distance(denoiser, TauLeaping(), 32)


def test_the_total_variation_falls_with_any_rate_matrix():
    rates = torch.rand(K, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    denoiser = data(RateMatrix(rates, Steady(25.0)))
    grid_errors = [distance(denoiser, JumpAncestral(), n) for n in (64, 128)]
    assert math.log2(grid_errors[0] / grid_errors[1]) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("make", [uniform, absorbing])
def test_one_ancestral_step_is_exact_for_independent_entries(make):
    law = torch.tensor([0.7, 0.3, 0.0], dtype=torch.float64).expand(L, K)
    assert distance(Independent(make(K), law), JumpAncestral(), 1) < 1e-15
    assert distance(Independent(make(K), law), JumpAncestral(), 7) < 1e-14


@pytest.mark.parametrize("solver", ["ancestral", "euler", "tau-leaping"])
@pytest.mark.parametrize("make", [uniform, absorbing])
def test_samples_have_the_law_that_the_solver_claims(solver, make):
    denoiser, n = data(make(K)), 20_000
    x = sample_jumps(denoiser, n, solver=solver, steps=6, seed=4).x
    check(x, law_of_samples(denoiser, JUMP_SOLVERS[solver](), 6))


def check(x, law):
    counts = torch.bincount(number(x), minlength=K**L)
    expected = law * len(x)
    common = expected > 5.0
    rest = counts[~common].sum(), expected[~common].sum()
    assert abs(float(rest[0] - rest[1])) < 5.0 + 5.0 * float(rest[1]) ** 0.5
    observed = torch.cat([counts[common], rest[0][None]]).double() + 1e-12
    wanted = torch.cat([expected[common], rest[1][None]]) + 1e-12
    assert stats.chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue > 1e-4


@pytest.mark.parametrize("process", [absorbing(K), uniform(K), uniform(K, Steady(12.0))])
def test_the_exact_sampler_has_the_law_of_the_data(process):
    denoiser, n = data(process), 5000
    x = sample_jumps(denoiser, n, solver="exact", seed=2).x
    counts = torch.bincount(number(x), minlength=K**L)
    expected = denoiser.log_probability(everything()).exp() * n
    seen = expected > 0
    assert int(counts[~seen].sum()) <= 2  # the last step of 1e-5, and exp(-12)
    assert (
        stats.chisquare(counts[seen].numpy(), (expected * counts[seen].sum() / n)[seen].numpy()).pvalue > 1e-4
    )


def test_the_exact_sampler_has_the_law_of_the_process_on_its_way():
    process = uniform(K)
    denoiser, n = data(process), 5000
    grid = torch.tensor([1.0, 0.6, 0.2, 0.0], dtype=torch.float64)
    path = sample_jumps(denoiser, n, solver="exact", seed=7, grid=grid, path=True).path
    prior = denoiser.log_probability(everything()).exp()
    x = everything()
    for k, t in ((1, 0.6), (2, 0.2)):
        kernel = process.push(torch.eye(K, dtype=torch.float64)[None], 0.0, t)[0]
        check(path[k], prior @ kernel[x[:, None], x[None]].prod(-1))


def test_masks_take_one_evaluation_a_token():
    other = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    chain = MarkovChain(absorbing(K), torch.tensor([1.0, 1.0, 0.0]), other, 10)
    solution = sample_jumps(chain, 50, solver="exact")
    assert bool((solution.x < K - 1).all())
    assert bool((solution.nfe == 10).all())
    # The two tokens alternate, so each that is revealed decides all others.
    assert bool((solution.x.diff(dim=1) != 0).all())


@pytest.mark.parametrize("solver", sorted(JUMP_SOLVERS))
@pytest.mark.parametrize("make", [uniform, absorbing])
def test_a_sample_of_a_seed_is_the_same_in_any_batch(solver, make):
    denoiser = data(make(K))
    whole = sample_jumps(denoiser, 40, solver=solver, steps=5, seed=6, path=True)
    part = sample_jumps(denoiser, 10, solver=solver, steps=5, seed=6, first_index=25, path=True)
    assert torch.equal(whole.path[:, 25:35], part.path)
    assert torch.equal(whole.path[-1], whole.x)


def test_tokens_that_are_given_stay_and_the_rest_is_filled_in_by_bayes_rule():
    denoiser, n = data(absorbing(K)), 8000
    x_T = torch.tensor([[1, K - 1, K - 1]]).expand(n, L)
    x = sample_jumps(denoiser, x_T=x_T, solver="exact").x
    assert bool((x[:, 0] == 1).all())
    counts = torch.bincount(number(x), minlength=K**L)[number(denoiser.data[2:])]
    assert int(counts.sum()) == n
    assert stats.chisquare(counts.numpy(), n * torch.tensor([0.5, 0.25, 0.25]).numpy()).pvalue > 1e-4


@pytest.mark.parametrize("solver", sorted(JUMP_SOLVERS))
def test_single_states_and_images_are_events_too(solver):
    single = Independent(uniform(K), torch.tensor([0.2, 0.5, 0.3]))
    assert sample_jumps(single, 7, solver=solver, steps=3).x.shape == (7,)
    image = Independent(absorbing(K), torch.tensor([0.4, 0.6, 0.0]).expand(2, 3, K))
    assert sample_jumps(image, 7, solver=solver, steps=3).x.shape == (7, 2, 3)


def test_the_grid_ends_at_data_and_reveals_equal_shares():
    for process in (absorbing(K), uniform(K, Steady(5.0))):
        grid = jump_grid(process, 8)
        assert grid[[0, -1]].tolist() == [1.0, 0.0]
        left = process.clock.survival(grid)
        close(left.diff(), ((1.0 - left[0]) / 8.0).expand(8), atol=1e-12)


def test_misuse_ends_in_one_sentence():
    denoiser = data(uniform(K))
    with pytest.raises(ValueError, match="did you mean 'exact'"):
        sample_jumps(denoiser, 2, solver="exat")
    with pytest.raises(ValueError, match="needs the number of samples"):
        sample_jumps(denoiser)
    with pytest.raises(ValueError, match="processes that reset"):
        sample_jumps(data(RateMatrix(torch.ones(K, K), Steady(3.0))), 2, solver="exact")
    with pytest.raises(ValueError, match="above 0 and at most"):
        Exact(last=1.0)

    class Wrong(Sequences):
        def forward(self, x_t, t):
            return torch.ones(len(x_t), K)

    with pytest.raises(ValueError, match="the denoiser answered"):
        sample_jumps(Wrong(uniform(K), torch.zeros(1, L, dtype=torch.int64)), 2)
