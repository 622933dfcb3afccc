"""Paths of jump processes: laws at the times of observation, waiting times, seeds."""

import numpy as np
import pytest
import torch
from scipy import stats

from unstir.noise import Stream
from unstir.processes import RateTable, Steady, absorbing, gillespie, simulate_jumps, uniform, uniformised
from unstir.processes.paths import poisson_counts

N = 20_000


def rates(states=5):
    return torch.rand(states, states, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 4.0


def law(q, t):
    off = q - q.diagonal().diag()
    return torch.linalg.matrix_exp((off - off.sum(1).diag()) * t)


def check_law(states, expected):
    counts = torch.bincount(states, minlength=len(expected)).numpy()
    assert stats.chisquare(counts, len(states) * expected.numpy()).pvalue > 1e-4


@pytest.mark.parametrize("method", [gillespie, uniformised])
def test_states_at_the_times_follow_the_exponential(method):
    q = rates()
    paths = method(q, torch.full((N,), 2), [0.1, 0.4], seed=5)
    check_law(paths.states[0], law(q, 0.1)[2])
    check_law(paths.states[1], law(q, 0.4)[2])
    pairs = paths.states[0] * 5 + paths.states[1]
    check_law(pairs, (law(q, 0.1)[2][:, None] * law(q, 0.3)).flatten())


def test_rows_of_equal_rates_use_one_word_an_event_and_have_the_same_law():
    n = 7
    q = (torch.ones(n, n, dtype=torch.float64) - torch.eye(n)) * torch.linspace(0.5, 2.0, n)[:, None]
    assert RateTable(q).even
    assert not RateTable(rates()).even
    paths = gillespie(q, torch.zeros(N, dtype=torch.int64), [0.3])
    check_law(paths.states[0], law(q, 0.3)[0])


@pytest.mark.parametrize("method", [gillespie, uniformised])
def test_the_number_of_events_is_poisson_where_all_exit_rates_are_alike(method):
    q = torch.ones(4, 4, dtype=torch.float64)
    events = method(q, torch.zeros(N, dtype=torch.int64), [1.0, 2.0], seed=2).events.numpy()
    edges = np.arange(1, 13)
    counts = np.bincount(np.digitize(events, edges), minlength=13)
    expected = np.diff(stats.poisson.cdf([-1, *(edges - 1), 1000], 6.0)) * N
    assert stats.chisquare(counts, expected).pvalue > 1e-4


def test_waiting_times_are_exponential():
    # One state to leave for good: the share that is still there falls like exp(-t).
    q = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    times = torch.linspace(0.1, 3.0, 15)
    still = (gillespie(q, torch.zeros(N, dtype=torch.int64), times).states == 0).double().mean(1)
    assert float((still - torch.exp(-times.double())).abs().max()) * N**0.5 < 1.95  # Kolmogorov, 1e-3


@pytest.mark.parametrize("method", [gillespie, uniformised])
def test_a_chain_of_a_seed_is_the_same_in_any_batch(method):
    q, start = rates(), torch.arange(50) % 5
    whole = method(q, start, [0.5, 2.0], seed=9)
    part = method(q, start[30:], [0.5, 2.0], seed=9, first_index=30)
    assert torch.equal(whole.states[:, 30:], part.states)
    assert torch.equal(whole.events[30:], part.events)


def test_sparse_rates_give_the_path_of_dense_ones():
    q, start = rates(), torch.arange(50) % 5
    assert torch.equal(
        gillespie(q, start, [1.0]).states, gillespie(RateTable(q.to_sparse()), start, [1.0]).states
    )


@pytest.mark.parametrize("process", [uniform(3, Steady(2.0)), absorbing(3, clock=Steady(2.0))])
def test_simulated_noising_has_the_law_of_its_process(process):
    x_0 = torch.tensor([0, 1])[None].expand(N // 2, 2)
    paths = simulate_jumps(process, x_0, [0.2, 0.9])
    assert paths.states.shape == (2, N // 2, 2)
    for k, t in enumerate((0.2, 0.9)):
        for entry in (0, 1):
            expected = law(process.rate_matrix(), 2.0 * t)[entry]
            seen = expected > 0
            counts = torch.bincount(paths.states[k, :, entry], minlength=3)
            assert int(counts[~seen].sum()) == 0
            assert stats.chisquare(counts[seen], N // 2 * expected[seen]).pvalue > 1e-4


@pytest.mark.parametrize("mean", [0.0, 0.3, 40.0, 1e6])
def test_counts_are_poisson(mean):
    counts = poisson_counts(mean, seed=0, index=torch.arange(N), stream=Stream.JUMP_COUNT).double()
    assert abs(float(counts.mean()) - mean) <= 4.5 * (mean / N) ** 0.5
    assert abs(float(counts.var()) - mean) <= 4.5 * (2.0 / N) ** 0.5 * (mean + mean**0.5)


def test_a_state_without_exit_is_never_left():
    q = torch.zeros(3, 3, dtype=torch.float64)
    paths = gillespie(q, torch.tensor([0, 1, 2]), [10.0])
    assert paths.states[0].tolist() == [0, 1, 2]
    assert int(paths.events.sum()) == 0


def test_times_and_states_out_of_range_are_refused():
    with pytest.raises(ValueError, match="do not decrease"):
        gillespie(rates(), torch.zeros(1, dtype=torch.int64), [1.0, 0.5])
    with pytest.raises(ValueError, match="states 0 to 4"):
        gillespie(rates(), torch.tensor([5]), [1.0])
