"""Noise clocks: inverses, rates as derivatives, and their ends."""

import math

import pytest
import torch

from tests.helpers import close, derivative
from unstir.processes import CosineClock, Geometric, LogLinear, Steady

CLOCKS = {
    "steady": Steady(),
    "log-linear": LogLinear(),
    "log-linear-left": LogLinear(1e-3),
    "geometric": Geometric(),
    "cosine": CosineClock(),
}
T = torch.tensor([1e-9, 1e-4, 0.1, 0.3, 0.5, 0.7, 0.99], dtype=torch.float64)


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_time_inverts_the_integral(clock):
    close(clock.time(clock.integral(T)), T, rtol=1e-12)


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_the_rate_is_the_derivative_of_the_integral(clock):
    close(derivative(clock.integral, T), clock.rate(T), rtol=1e-10)


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_nothing_has_happened_at_time_0_and_the_integral_grows(clock):
    grid = torch.linspace(0.0, 1.0, 101, dtype=torch.float64)
    integral = clock.integral(grid)
    assert float(integral[0]) == 0.0
    assert bool((integral.diff() > 0.0).all())
    assert float(clock.passed(1.0, 1.0)) == 0.0


def test_survival_is_the_published_curve():
    close(LogLinear().survival(T), 1.0 - T, rtol=1e-14)
    close(CosineClock().survival(T), 1.0 - torch.cos(0.5 * math.pi * (1.0 - T)), rtol=1e-13)
    assert float(LogLinear().survival(1.0)) == 0.0
    assert float(LogLinear(0.25).survival(1.0)) == pytest.approx(0.25, rel=1e-14)


@pytest.mark.parametrize(
    "make",
    [lambda: Steady(0.0), lambda: LogLinear(1.0), lambda: Geometric(2.0, 1.0)],
    ids=["steady", "log-linear", "geometric"],
)
def test_clocks_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match=r"clock|share"):
        make()
