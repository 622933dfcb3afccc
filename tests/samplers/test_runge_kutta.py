"""The embedded Runge-Kutta integrator against equations with closed-form solutions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import close
from unstir.samplers import integrate

Y = torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=torch.float64)
LOOSE = {"rtol": 1e9, "atol": 1e9}


def swing(y, u):
    """dy/du = -y cos u, so y = y_0 exp(-sin u)."""
    return -y * u.cos().to(y)[:, None]


def one_step(slope, y, start, stop):
    """A single step of the method: any error is accepted."""
    result, evaluations = integrate(slope, y, start, stop, first_step=abs(stop - start), **LOOSE)
    assert evaluations == 7
    return result


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9, 1e-12])
def test_the_error_is_a_small_multiple_of_the_tolerance_in_both_directions(tolerance):
    end, _ = integrate(swing, Y, 0.0, 5.0, rtol=tolerance, atol=tolerance)
    assert float((end - Y * math.exp(-math.sin(5.0))).abs().max()) < 30 * tolerance
    back, _ = integrate(swing, end, 5.0, 0.0, rtol=tolerance, atol=tolerance)
    assert float((back - Y).abs().max()) < 30 * tolerance


def test_evaluations_grow_like_the_fifth_root_of_the_tolerance():
    counts = [integrate(swing, Y, 0.0, 5.0, rtol=tol, atol=tol)[1] for tol in (1e-5, 1e-10)]
    assert 5 < counts[1] / counts[0] < 15


def test_the_measured_order_of_equal_steps_is_five():
    def error(count):
        y, h = Y, 5.0 / count
        for i in range(count):
            y = one_step(swing, y, i * h, (i + 1) * h)
        return float((y - Y * math.exp(-math.sin(5.0))).abs().max())

    assert math.log2(error(32) / error(64)) == pytest.approx(5.0, abs=0.15)


@given(st.floats(-2.0, 2.0))
@settings(max_examples=30, deadline=None)
def test_a_step_of_a_linear_equation_is_the_stability_polynomial(z):
    # Hairer & Wanner 1996, section IV.2: the exponential series to z^5, then z^6 / 600.
    y = one_step(lambda y, u: z * y, torch.ones(1, dtype=torch.float64), 0.0, 1.0)
    close(y, [sum(z**k / math.factorial(k) for k in range(6)) + z**6 / 600], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("power", range(5))
def test_polynomials_of_degree_five_are_integrated_exactly_in_any_step(power):
    y = one_step(lambda y, u: u**power, torch.zeros(1, dtype=torch.float64), -0.5, 1.5)
    close(y, [(1.5 ** (power + 1) - (-0.5) ** (power + 1)) / (power + 1)], rtol=1e-13)


def test_a_sample_is_bit_for_bit_the_same_in_any_batch():
    rates = torch.tensor([0.1, 3.0, 40.0], dtype=torch.float64)
    y = torch.tensor([[1.0, 2.0], [0.5, 0.1], [3.0, -1.0]], dtype=torch.float64)

    def slope(rate):
        return lambda y, u: -rate[:, None] * y + u.cos()[:, None]

    together, most = integrate(slope(rates), y, 0.0, 3.0)
    counts = []
    for i in range(3):
        alone, count = integrate(slope(rates[i : i + 1]), y[i : i + 1], 0.0, 3.0)
        assert torch.equal(alone[0], together[i])
        counts.append(count)
    assert most == max(counts)
    assert min(counts) < 0.3 * most


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 2, 4, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_of_any_rank_keep_their_type(shape, dtype):
    y, evaluations = integrate(lambda y, u: -y, torch.ones(shape, dtype=dtype), 0.0, 1.0)
    assert y.shape == shape
    assert y.dtype == dtype
    close(y, torch.full(shape, math.exp(-1.0)), atol=1e-4)
    assert evaluations < 60


@pytest.mark.parametrize(("start", "stop"), [(0.0, 2.0), (2.0, -1.0)])
def test_slopes_are_counted_and_asked_for_within_the_interval_only(start, stop):
    seen = []

    def slope(y, u):
        assert u.dtype == torch.float64
        assert u.shape == (2,)
        seen.append(u)
        return swing(y, u)

    _, evaluations = integrate(slope, Y, start, stop)
    assert evaluations == len(seen)
    u = torch.cat(seen)
    assert min(start, stop) - 1e-12 <= float(u.min())
    assert float(u.max()) <= max(start, stop) + 1e-12


def test_nothing_is_asked_for_nothing():
    assert integrate(swing, Y, 1.0, 1.0) == (Y, 0)
    empty, evaluations = integrate(swing, Y[:0], 0.0, 1.0)
    assert evaluations == 0
    assert empty.shape == (0, 2)


def test_a_slope_of_zero_leaves_the_state():
    y, _ = integrate(lambda y, u: torch.zeros_like(y), Y, 0.0, 1e3, rtol=1e-3, atol=0.0)
    assert torch.equal(y, Y)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_slope_that_is_not_finite_stops_the_integration(bad):
    def slope(y, u):
        return torch.where((u > 0.5)[:, None], bad, swing(y, u))

    with pytest.raises(FloatingPointError, match=r"the slope is not finite in the step from u = 0\.\d+ by"):
        integrate(slope, Y, 0.0, 1.0)
    with pytest.raises(FloatingPointError, match="not finite in the step from u = 0 by"):
        integrate(lambda y, u: y * bad, Y, 0.0, 1.0)


def test_too_many_evaluations_stop_the_integration():
    with pytest.raises(RuntimeError, match=r"from 0 to 5 has reached .* needs more than 50 evaluations"):
        integrate(swing, Y, 0.0, 5.0, rtol=1e-9, atol=1e-9, max_evaluations=50)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rtol": -1.0}, "rtol and atol are at least 0 and not both 0, got -1.0"),
        ({"atol": math.nan}, "at least 0"),
        ({"rtol": 0.0, "atol": 0.0}, "not both 0, got 0.0 and 0.0"),
        ({"first_step": 0.0}, "size above 0, got 0.0"),
        ({"stop": math.inf}, "finite u, got 0.0 and inf"),
        ({"y": torch.ones(2, dtype=torch.int64)}, "batch of real numbers"),
        ({"y": torch.tensor(1.0)}, "batch of real numbers"),
    ],
)
def test_arguments_out_of_range_are_refused(change, message):
    arguments = {"y": Y, "start": 0.0, "stop": 1.0} | change
    with pytest.raises(ValueError, match=message):
        integrate(swing, **arguments)
