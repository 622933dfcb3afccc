"""Separable least squares: what is linear is eliminated exactly, and intervals are those of theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from unstir.physics.least_squares import Parameter, Separable, aicc, ljung_box


def decay(rates, amplitudes, noise, seed=0, n=80):
    t = np.linspace(0, 5, n)
    draws = np.random.default_rng(seed).normal(size=n)
    y = sum(a * np.exp(-k * t) for k, a in zip(rates, amplitudes, strict=True)) + noise * draws
    names = [Parameter(f"k{i}", "1/s", 0.01, 100.0) for i in range(len(rates))]

    def columns(values):
        return [np.stack([np.exp(-values[p.name] * t) for p in names], axis=1)]

    return Separable(names, columns, [y], [1.0])


def test_without_noise_the_parameters_are_exact():
    problem = decay([0.5, 4.0], [1.0, 2.0], 0.0)
    found = problem.fit()
    assert sorted(problem.values(found.theta).values()) == pytest.approx([0.5, 4.0], rel=1e-5)
    assert sorted(found.coefficients[0]) == pytest.approx([1.0, 2.0], rel=1e-5)


def test_both_intervals_agree_where_the_problem_is_nearly_linear():
    problem = decay([0.5], [1.0], 0.002)
    fit, (profile,) = problem.intervals(problem.fit(), 0.95)
    assert profile == pytest.approx(problem.covariance_interval(fit, 0, 0.95), rel=1e-4)


def test_at_the_ends_of_the_profile_interval_the_distance_is_students_quantile():
    problem = decay([0.5], [1.0], 0.2)
    fit, (ends,) = problem.intervals(problem.fit(), 0.9)
    limit = stats.t.ppf(0.95, 80 - 2)
    assert problem.quantile(0.9) == pytest.approx(limit)
    for end in ends:
        assert problem.distance(fit, 0, end) == pytest.approx(limit, rel=1e-3)
    low, high = ends
    # The likelihood is not symmetric here, and the profile shows it.
    assert abs(high / problem.values(fit.theta)["k0"] - 1) > abs(1 - low / problem.values(fit.theta)["k0"])


def test_an_end_that_the_data_do_not_bound_is_open():
    t = np.linspace(1.0, 5.0, 30)  # too late to see how fast the first phase was
    y = np.exp(-0.5 * t) + 0.01 * np.random.default_rng(0).normal(size=30)

    def columns(values):
        return [np.stack([np.exp(-0.5 * t), np.exp(-values["k"] * t)], axis=1)]

    problem = Separable([Parameter("k", "1/s", 0.6, 1e3)], columns, [y], [1.0])
    _, ((low, high),) = problem.intervals(problem.fit(), 0.95)
    assert high is None
    assert low is None or low > 0.6


def test_an_end_that_only_another_bound_closes_is_open():
    t = np.linspace(0.0, 5.0, 60)
    y = np.exp(-t) + 0.05 * np.random.default_rng(1).normal(size=60)

    def columns(values):  # only the product a * b is decided
        return [np.exp(-values["a"] * values["b"] * t)[:, None]]

    bounds = [Parameter("a", "", 1e-2, 1e2), Parameter("b", "", 1e-1, 1e1)]
    problem = Separable(bounds, columns, [y], [1.0])
    fit, intervals = problem.intervals(problem.fit(), 0.95)
    assert intervals == [(None, None), (None, None)]
    assert problem.covariance_interval(fit, 0, 0.95)[1] > 1e100


def test_negative_coefficients_are_not_allowed():
    found = decay([0.5], [-1.0], 0.01).fit()
    assert found.coefficients[0][0] == 0.0


def test_noisier_data_count_less():
    t = np.linspace(0, 5, 60)
    draws = np.random.default_rng(0).normal(size=(2, 60))
    data = [np.exp(-0.5 * t) + 0.01 * draws[0], np.exp(-2.0 * t) + 0.5 * draws[1]]

    def columns(values):
        return [np.exp(-values["k"] * t)[:, None]] * 2

    problem = Separable([Parameter("k", "1/s", 0.01, 100.0)], columns, data, [0.01, 0.5])
    assert problem.values(problem.fit().theta)["k"] == pytest.approx(0.5, rel=0.05)


def test_too_few_measurements_are_one_sentence():
    with pytest.raises(ValueError, match="3 measurements cannot decide 2 unknowns"):
        decay([0.5], [1.0], 0.1, n=3)


def test_aicc_is_the_formula_of_hurvich_and_tsai():
    assert aicc(2.0, 20, 3) == pytest.approx(20 * math.log(0.1) + 8 + 2 * 4 * 5 / 15)
    assert aicc(2.0, 5, 3) == math.inf


def test_correlated_residuals_are_seen_and_independent_ones_are_not():
    draws = np.random.default_rng(0).normal(size=(200, 100))
    p = np.array([ljung_box([run])[1] for run in draws])
    assert 0.01 <= (p < 0.05).mean() <= 0.1
    red = draws.copy()
    for i in range(1, 100):
        red[:, i] += 0.5 * red[:, i - 1]
    r, p_value = ljung_box(list(red))
    assert r == pytest.approx(0.5, abs=0.05)
    assert p_value < 1e-12
