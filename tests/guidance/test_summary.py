import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.guidance.test_measurements import random
from tests.helpers import close
from unstir.guidance.summary import coverage, summarise

LEVELS = st.floats(0.01, 0.99)
DISTINCT = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=2, max_size=40, unique=True)


@given(values=DISTINCT, level=LEVELS)
def test_a_new_exchangeable_draw_falls_inside_with_exactly_the_stated_probability(values, level):
    # Of n + 1 exchangeable values each is the new one with the same probability: count, and no approximation.
    x = torch.tensor(values, dtype=torch.float64)[:, None]
    inside = 0
    for k in range(len(x)):
        summary = summarise(torch.cat([x[:k], x[k + 1 :]]), level)
        strictly = bool((x[k] > summary.low) & (x[k] < summary.high))
        inside += strictly
    assert inside == round(summary.covers * len(x))


@given(n=st.integers(1, 400), level=LEVELS)
def test_intervals_cover_at_least_the_level_and_hardly_more_unless_samples_are_too_few(n, level):
    summary = summarise(torch.arange(float(n))[:, None], level)
    if n >= 2.0 / (1.0 - level) - 1.0 + 1e-6:
        assert level - 1e-9 <= summary.covers < level + 2.0 / (n + 1) + 1e-9
    else:
        assert summary.covers <= max(level + 1e-9, 0.0)
        assert (float(summary.low), float(summary.high)) == (0.0, n - 1.0)
        assert math.isclose(summary.covers, (n - 1) / (n + 1))


@pytest.mark.parametrize("n", [19, 39, 99, 199])
def test_ninety_percent_are_exactly_that_for_convenient_numbers_of_samples(n):
    summary = summarise(random(n, 3), 0.9)
    assert math.isclose(summary.covers, 0.9)
    for end, p in ((summary.low, 0.05), (summary.high, 0.95)):
        expected = np.quantile(random(n, 3).numpy(), p, axis=0, method="weibull")
        close(end, torch.from_numpy(expected), rtol=1e-14)  # numpy interpolates, with its round-off


@pytest.mark.parametrize("shape", ["normal", "cauchy", "exponential"])
def test_the_coverage_of_many_posteriors_is_the_stated_one_whatever_their_distribution(shape):
    draws = {
        "normal": lambda z: z,
        "cauchy": lambda z: torch.tan(math.pi * (torch.special.ndtr(z) - 0.5)),
        "exponential": lambda z: -torch.log1p(-torch.special.ndtr(z)),
    }[shape](random(4000, 26))
    summary = summarise(draws[:, 1:], 0.8, groups=True)
    hits = summary.coverage(draws[:, 0]) * 4000
    assert stats.binomtest(round(hits), 4000, summary.covers).pvalue > 1e-4
    assert stats.binomtest(round(hits), 4000, summary.covers - 0.08).pvalue < 1e-6


def test_mean_and_deviation_are_those_of_numpy():
    x = random(50, 2, 3)
    summary = summarise(x)
    close(summary.mean, torch.from_numpy(x.numpy().mean(0)), atol=1e-14)
    close(summary.std, torch.from_numpy(x.numpy().std(0, ddof=1)), atol=1e-14)
    assert summarise(x.float()).mean.dtype == torch.float32
    assert (summary.count, summary.level) == (50, 0.9)


def test_groups_are_summarised_one_by_one():
    x = random(4, 30, 2, 3)
    together = summarise(x, 0.7, groups=True)
    for k in range(4):
        one = summarise(x[k], 0.7)
        for name in ("mean", "std", "low", "high"):
            assert torch.equal(getattr(together, name)[k], getattr(one, name))
    assert together.covers == one.covers


@pytest.mark.parametrize("n", [2, 5, 100])
@pytest.mark.parametrize("wrong", [0.5, 1.0, 2.0])
def test_the_deviation_ratio_says_how_far_too_narrow_samples_are_at_any_number_of_them(n, wrong):
    truth, z = 3.0 * random(20000, 1, seed=1)[:, 0], random(20000, n)
    ratio = summarise(3.0 * z / wrong, groups=True)
    # The mean of n narrower samples is less uncertain, too: its part of the error shrinks with them.
    expected = math.sqrt((1.0 + 1.0 / (n * wrong**2)) / ((1.0 + 1.0 / n) / wrong**2))
    assert math.isclose(ratio.deviation_ratio(truth), expected, rel_tol=0.03)
    assert wrong != 1.0 or math.isclose(expected, 1.0)


def test_coverage_counts_both_ends():
    low, high = torch.zeros(4), torch.ones(4)
    assert coverage(low, high, torch.tensor([0.0, 1.0, 0.5, 1.1])) == 0.75


def test_one_sample_covers_nothing_and_has_no_deviation():
    summary = summarise(torch.tensor([[1.0, 2.0]]))
    assert summary.covers == 0.0
    assert torch.isnan(summary.std).all()
    with pytest.raises(ValueError, match="at least 2"):
        summary.deviation_ratio(torch.zeros(2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: summarise(torch.zeros(3, 2), 0.0), "between 0 and 1, got 0.0"),
        (lambda: summarise(torch.zeros(3, 2), 90), "between 0 and 1, got 90"),
        (lambda: summarise(torch.zeros(0, 2)), r"\(n, \*event\) with n at least 1"),
        (lambda: summarise(torch.zeros(3), groups=True), r"\(groups, n, \*event\)"),
        (lambda: summarise(torch.tensor([[math.nan]])), "not finite"),
        (lambda: summarise(torch.zeros(3, 2)).coverage(torch.zeros(3)), "one value for each"),
        (lambda: summarise(torch.zeros(3, 2)).deviation_ratio(torch.zeros(3)), "one value for each"),
    ],
)
def test_bad_settings_are_one_clear_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()
