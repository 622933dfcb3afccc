"""Spreading in generations has the speed of its closed form, on thin tails; on fat ones it accelerates."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from unstir.physics.dispersal import acceleration, beverton_holt, fitted_speed, front, spread, spread_speed
from unstir.physics.dispersal_kernels import GaussianKernel, LaplaceKernel, StudentKernel
from unstir.spaces import Axis

KERNELS = [GaussianKernel(1.3), LaplaceKernel(0.7), StudentKernel(0.9), StudentKernel(1.1, 3.5)]


def measured_speed(kernel, R, half, width, generations):
    """The speed of a front from a bounded start, its lag and the decaying rest fitted (Bramson)."""
    axis = Axis(-half, half, round(2 * half / width))
    u = spread((axis.centers.abs() < 2).double(), generations, axis, kernel, beverton_holt(R))
    assert float(u[-1, :3].max()) < 1e-9, "the front must not reach the end"
    expected = spread_speed(R, kernel, width=width)
    return fitted_speed(front(u, axis, 0.5), expected.decay, first=40), expected.speed


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_density_tail_and_masses_agree(kernel):
    def density(x):
        return float(kernel.density(torch.tensor(x, dtype=torch.float64)))

    for x in (0.0, 0.8, 3.0):
        tail = float(kernel.tail(torch.tensor(x, dtype=torch.float64)))
        assert quad(density, x, math.inf, epsabs=1e-13)[0] == pytest.approx(tail, rel=1e-8)
    masses = kernel.masses(0.25, 40)
    beyond = 2 * float(kernel.tail(torch.tensor(39.5 * 0.25, dtype=torch.float64)))
    assert float(masses.sum()) + beyond == pytest.approx(1.0, abs=1e-14)
    torch.testing.assert_close(masses, masses.flip(0), rtol=0, atol=0)
    assert float(masses[45]) == pytest.approx(quad(density, 5.5 * 0.25, 6.5 * 0.25)[0], rel=1e-9)


@pytest.mark.parametrize("kernel", KERNELS[:2], ids=repr)
def test_the_moment_generating_function_is_that_of_the_density(kernel):
    for s in (0.3, 0.9):
        integral = quad(
            lambda x, s=s: math.exp(s * x) * float(kernel.density(torch.tensor(x, dtype=torch.float64))),
            -60.0, 60.0, limit=400, points=[0.0],
        )[0]  # fmt: skip
        assert float(kernel.moment_generating(torch.tensor(s, dtype=torch.float64))) == pytest.approx(
            integral, rel=1e-9
        )


@given(R=st.floats(1.01, 50.0), scale=st.floats(0.01, 100.0))
def test_the_speed_with_a_gaussian_kernel_is_scale_times_root_two_log_growth(R, scale):
    found = spread_speed(R, GaussianKernel(scale))
    assert found.speed == pytest.approx(scale * math.sqrt(2 * math.log(R)), rel=1e-9)
    assert found.decay == pytest.approx(math.sqrt(2 * math.log(R)) / scale, rel=1e-4)


@given(R=st.floats(1.01, 50.0), scale=st.floats(0.01, 100.0))
def test_the_speed_with_a_laplace_kernel_is_stationary_in_the_decay(R, scale):
    found = spread_speed(R, LaplaceKernel(scale))
    s = found.decay * scale
    # d/ds of log(R / (1 - s^2)) / s vanishes where the speed is 2 s / (1 - s^2).
    assert found.speed == pytest.approx(scale * 2 * s / (1 - s**2), rel=1e-4)
    assert found.speed == pytest.approx(scale * math.log(R / (1 - s**2)) / s, rel=1e-9)


@pytest.mark.parametrize(("kernel", "half"), [(GaussianKernel(1.0), 200.0), (LaplaceKernel(0.7), 220.0)])
def test_thin_tails_spread_at_the_speed_of_the_closed_form(kernel, half):
    measured, expected = measured_speed(kernel, 2.0, half, 0.25, 120)
    assert measured == pytest.approx(expected, rel=1e-3)
    assert expected == pytest.approx(spread_speed(2.0, kernel).speed, rel=4e-3)


def test_the_speed_on_cells_converges_with_order_two_in_their_width():
    kernel = GaussianKernel(1.0)
    true = spread_speed(3.0, kernel).speed
    errors = [spread_speed(3.0, kernel, width=width).speed - true for width in (0.4, 0.2, 0.1)]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert orders == pytest.approx([2.0, 2.0], abs=0.02)


@pytest.mark.parametrize("freedom", [1.0, 2.0])
def test_fat_tails_accelerate_at_the_rate_of_the_closed_form(freedom):
    kernel, generations = StudentKernel(1.0, freedom), 18 if freedom == 1.0 else 24
    axis = Axis(-3000.0, 3000.0, 6000)
    u = spread((axis.centers.abs() < 2).double(), generations, axis, kernel, beverton_holt(2.0))
    log_x = front(u, axis, 0.5)[-4:].log()
    assert float(log_x[-1] - log_x[0]) / 3 == pytest.approx(acceleration(2.0, kernel), rel=0.05)
    assert spread_speed(2.0, kernel).speed == math.inf


def test_round_off_would_outrun_a_front_and_does_not():
    axis = Axis(-200.0, 200.0, 1600)
    kernel, grow = GaussianKernel(1.0), beverton_holt(2.0)
    start = (axis.centers.abs() < 2).double()
    u = spread(start, 80, axis, kernel, grow)
    spectrum = torch.fft.rfft(kernel.masses(0.25, 1600), 4800)
    naive = start
    for _ in range(80):
        naive = torch.fft.irfft(torch.fft.rfft(grow(naive), 4800) * spectrum, 4800)[1599:3199].clamp(min=0.0)
    reached = 80 * spread_speed(2.0, kernel).speed
    assert float(front(u[-1], axis, 0.5)) < reached
    assert float(front(naive, axis, 0.5)) > 1.5 * reached
    slopes = u[-1][u[-1] > 0].log().diff()[-200:]
    assert bool((slopes < 0).all() and (slopes.diff() < 0).all()), "the foot falls ever more steeply"


def test_without_growth_the_moments_are_those_of_the_kernels_sum():
    axis = Axis(-60.0, 60.0, 960)
    start = torch.zeros(960, dtype=torch.float64)
    start[[479, 480]] = 0.5
    u = spread(start, 9, axis, GaussianKernel(1.5), lambda u: u)
    x, width = axis.centers, 0.125
    torch.testing.assert_close(u.sum(-1), torch.ones(10, dtype=torch.float64), rtol=0, atol=1e-13)
    variance = (u * x**2).sum(-1) - variance_of(start, x)
    n = torch.arange(10, dtype=torch.float64)
    torch.testing.assert_close(variance, n * (1.5**2 + width**2 / 12), rtol=1e-9, atol=1e-9)


def variance_of(u, x):
    return (u * x**2).sum()


def test_a_batch_is_each_of_its_members():
    axis = Axis(0.0, 20.0, 100)
    start = torch.rand(3, 100, dtype=torch.float64)
    u = spread(start, 3, axis, LaplaceKernel(1.0), beverton_holt(1.5))
    assert u.shape == (4, 3, 100)
    torch.testing.assert_close(u[:, 2], spread(start[2], 3, axis, LaplaceKernel(1.0), beverton_holt(1.5)))


def test_a_population_at_capacity_stays_there_away_from_the_ends():
    axis = Axis(-50.0, 50.0, 400)
    u = spread(torch.full((400,), 7.0), 5, axis, GaussianKernel(1.0), beverton_holt(3.0, 7.0))
    assert float((u[-1, 150:250] - 7.0).abs().max()) < 1e-4


def test_the_front_is_interpolated_in_the_logarithm():
    axis = Axis(0.0, 10.0, 100)
    u = torch.stack([torch.exp(-3.0 * axis.centers), torch.zeros(100), torch.ones(100)]).double()
    x = front(u, axis, 1e-6)
    assert float(x[0]) == pytest.approx(math.log(1e6) / 3.0, abs=1e-6)
    assert math.isnan(float(x[1]))
    assert float(x[2]) == pytest.approx(9.95)


def test_misuse_is_one_sentence():
    axis = Axis(0.0, 1.0, 8)
    kernel, grow, u = GaussianKernel(1.0), beverton_holt(2.0), torch.ones(8)
    with pytest.raises(ValueError, match="scale must be finite and above 0, got 0"):
        LaplaceKernel(0.0)
    with pytest.raises(ValueError, match=r"is above 1, got 0\.9"):
        spread_speed(0.9, kernel)
    with pytest.raises(ValueError, match="axis of equal cells that is not periodic"):
        spread(u, 1, Axis(0.0, 1.0, 8, boundary="periodic"), kernel, grow)
    with pytest.raises(ValueError, match="have 8 cells, got 9"):
        spread(torch.ones(9), 1, axis, kernel, grow)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        spread(u, -1, axis, kernel, grow)
    with pytest.raises(ValueError, match="a density is at least 0"):
        spread(u, 1, axis, kernel, lambda u: -u)
    with pytest.raises(FloatingPointError, match=r"not finite in generation 1 at position 0\.0625"):
        spread(u, 1, axis, kernel, lambda u: u / 0.0)
    with pytest.raises(ValueError, match="6 or more positions, got 3"):
        fitted_speed(torch.ones(8), 1.0, first=5)
    with pytest.raises(ValueError, match="no front in some generation"):
        fitted_speed(torch.full((20,), math.nan), 1.0, first=5)
