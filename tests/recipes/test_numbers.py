"""Named numbers: limits are read as written, and intervals cover as they should."""

import math

import numpy as np
import pytest

from unstir.recipes.numbers import Number, bootstrap_mean, mean_of, pooled, proportion


@pytest.mark.parametrize(
    ("value", "limit", "ok"),
    [
        (0.9, ">= 0.9", True),
        (0.89, ">= 0.9", False),
        (0.9, "> 0.9", False),
        (0.04, "<= 0.04", True),
        (0.04, "< 0.04", False),
        (1.25, "0.8 to 1.25", True),
        (1.26, "0.8 to 1.25", False),
        (0.5, "", True),
        (math.nan, "", False),
        (math.inf, ">= 0.9", False),
    ],
)
def test_a_limit_is_kept_or_not(value, limit, ok):
    assert Number(value, limit).ok is ok


@pytest.mark.parametrize("limit", ["about 3", ">= abc", "a to b", "1 to x", ">= nan", "0 to inf", ">=0.9"])
def test_a_limit_that_cannot_be_read_is_refused(limit):
    with pytest.raises(ValueError, match="a limit reads like"):
        Number(1.0, limit)


def test_a_limit_that_nothing_can_keep_is_refused():
    with pytest.raises(ValueError, match="from the lower to the higher value, got '3 to 1'"):
        Number(1.0, "3 to 1")
    assert Number(1.0, "1 to 1").ok


def test_numbers_are_json_without_nan():
    content = Number(math.nan, ">= 1", baseline=math.inf, interval=(0.0, math.nan)).to_dict()
    assert content["value"] is None
    assert content["baseline"] is None
    assert content["interval"] == [0.0, None]
    assert content["ok"] is False


def test_intervals_cover_nineteen_times_in_twenty():
    rng = np.random.default_rng(0)
    draws = rng.normal(2.0, 1.0, size=(400, 5))
    hits = sum(low <= 2.0 <= high for low, high in (mean_of(list(row))[1] for row in draws))
    assert 365 <= hits <= 395
    shares = rng.binomial(60, 0.8, size=400)
    hits = sum(low <= 0.8 <= high for low, high in (proportion(int(k), 60)[1] for k in shares))
    assert 365 <= hits <= 398


def test_the_bootstrap_agrees_with_the_deviation_of_the_mean():
    values = np.random.default_rng(1).normal(size=200)
    mean, interval = bootstrap_mean(list(values))
    assert mean == pytest.approx(values.mean())
    assert interval is not None
    assert interval[1] - interval[0] == pytest.approx(2 * 1.96 * values.std() / math.sqrt(200), rel=0.1)


def test_runs_are_pooled_by_their_mean():
    runs = [{"a": Number(v, ">= 0.5", baseline=v - 1, meaning="share")} for v in (0.5, 0.7, 0.9)]
    both = pooled(runs)["a"]
    assert both.value == pytest.approx(0.7)
    assert both.baseline == pytest.approx(-0.3)
    assert both.limit == ">= 0.5"
    assert both.interval is not None
    assert both.interval[0] < 0.7 < both.interval[1]
    assert pooled(runs[:1])["a"].interval is None


def test_cases_of_a_group_count_as_one():
    """Each of 50 values ten times over is no more than the 50: the interval is that of the 50."""
    values = np.random.default_rng(0).normal(size=50)
    repeated, groups = np.repeat(values, 10).tolist(), np.repeat(np.arange(50), 10).tolist()
    _, few = bootstrap_mean(values.tolist())
    mean, grouped = bootstrap_mean(repeated, groups)
    _, blind = bootstrap_mean(repeated)
    assert mean == pytest.approx(values.mean())
    assert grouped == pytest.approx(few, abs=1e-12)
    assert blind[1] - blind[0] < 0.4 * (grouped[1] - grouped[0])
    assert bootstrap_mean([1.0, 2.0], [3, 3])[1] is None
