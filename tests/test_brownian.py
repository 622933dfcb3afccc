import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.helpers import close
from unstir.brownian import BrownianPath

# From below the finest time kept, through one octave at several spacings, to near the largest.
TIMES = (1e-15, 3e-13, 1e-12, 1e-6, 0.3, 0.30001, 0.5, 0.7, 0.75, 1.0, 1.5, 1.5 + 1e-5, 3.0, 1e8, 1e12)
COUNT = 20_000


def path(count=5, event=(2,), first=0, seed=3, dtype=torch.float64):
    return BrownianPath(event, seed=seed, index=torch.arange(first, first + count), dtype=dtype)


def test_it_starts_at_zero():
    assert torch.equal(path().at(0.0), torch.zeros(5, 2, dtype=torch.float64))
    assert torch.equal(path().at(torch.zeros(5)), torch.zeros(5, 2, dtype=torch.float64))


def test_increments_are_independent_and_normal_with_the_variance_of_their_interval():
    brownian = path(COUNT, ())
    ends = (0.0, *TIMES)
    rows = [brownian.increment(a, b) / math.sqrt(b - a) for a, b in itertools.pairwise(ends)]
    z = torch.stack(rows)
    for row in z:
        assert stats.kstest(row.numpy(), "norm").pvalue > 1e-4
    correlation = z @ z.T / COUNT - torch.eye(len(z), dtype=torch.float64)
    assert float(correlation.diagonal().abs().max()) < 4.5 * math.sqrt(2.0 / COUNT)
    assert float(correlation.fill_diagonal_(0.0).abs().max()) < 4.5 / math.sqrt(COUNT)


@settings(max_examples=20, deadline=None)
@given(low=st.floats(-11.0, 11.5), gap=st.floats(-5.0, 3.0))
def test_every_increment_longer_than_a_cell_has_its_variance(low, gap):
    a = 10.0**low
    b = min(a * (1.0 + 10.0**gap), 2.0**39.9)
    z = path(3000, ()).increment(a, b) / math.sqrt(b - a)
    assert abs(float(z.square().mean()) - 1.0) < 5.0 * math.sqrt(2.0 / 3000)


def test_within_a_cell_the_marginal_is_exact_too():
    c = 1.0 + 0.5 * 2.0**-20
    middle, left, right = (path(COUNT, ()).at(t) for t in (c, 1.0, 1.0 + 2.0**-20))
    z = (middle - 0.5 * (left + right)) / math.sqrt(0.25 * 2.0**-20)
    assert stats.kstest(z.numpy(), "norm").pvalue > 1e-4


def test_entries_samples_and_seeds_are_independent():
    entries = path(COUNT // 4, (3,)).at(0.7)
    other = path(COUNT // 4, (3,), seed=4).at(0.7)
    correlation = torch.corrcoef(torch.cat([entries, entries.roll(1, 0), other], dim=1).T)
    assert float(correlation.fill_diagonal_(0.0).abs().max()) < 4.5 / math.sqrt(COUNT // 4)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.0, 1e9) | st.floats(-40.0, 39.9).map(lambda k: 2.0**k), min_size=1, max_size=6))
def test_a_value_does_not_depend_on_what_was_asked_before(times):
    asked = path()
    values = [asked.at(c) for c in times]
    for c, value in reversed(list(zip(times, values, strict=True))):
        assert torch.equal(path().at(c), value)
        assert torch.equal(asked.at(c), value)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.0, 1e9) | st.floats(-44.0, 39.9).map(lambda k: 2.0**k), min_size=5, max_size=5))
def test_each_sample_may_have_its_own_time(times):
    together = path().at(torch.tensor(times, dtype=torch.float64))
    for i, c in enumerate(times):
        assert torch.equal(together[i], path().at(c)[i])


def test_increments_add_up():
    brownian = path(dtype=torch.float32)
    parts = brownian.increment(0.2, 0.5) + brownian.increment(0.5, 0.9)
    close(parts, brownian.increment(0.2, 0.9), atol=1e-6)
    close(brownian.increment(0.9, 0.2), -brownian.increment(0.2, 0.9))


@pytest.mark.parametrize("event", [(), (1,), (2, 3, 4)])
def test_a_sample_follows_the_same_path_in_any_batch(event):
    whole = path(7, event).at(0.37)
    assert whole.shape == (7, *event)
    for first, size in ((0, 1), (6, 1), (2, 4)):
        assert torch.equal(path(size, event, first).at(0.37), whole[first : first + size])


def test_values_have_the_type_asked_for():
    single, double = path(dtype=torch.float32).at(0.37), path(dtype=torch.float64).at(0.37)
    assert single.dtype == torch.float32
    close(single, double, atol=1e-6)


def test_a_walk_through_a_thousand_times_draws_few_nodes_and_none_twice(monkeypatch):
    from unstir import noise

    nodes, normal = [], noise.normal
    monkeypatch.setattr(noise, "normal", lambda *a, **k: nodes.extend(k["step"].tolist()) or normal(*a, **k))
    brownian = path(1, ())
    for i in range(1000):
        brownian.at(1.0 + i / 1000)
    assert len(nodes) < 13 * 1000
    assert len(set(nodes)) == len(nodes)


@pytest.mark.parametrize("c", [-1e-9, 2.0**40, math.nan, math.inf])
def test_a_time_out_of_range_is_refused(c):
    with pytest.raises(ValueError, match=r"known at times from 0 to below 2\^40, got"):
        path().at(c)
    with pytest.raises(ValueError, match=r"known at times from 0 to below 2\^40, got"):
        path().at(torch.full((5,), c))
