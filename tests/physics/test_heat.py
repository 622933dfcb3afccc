"""Heat against its kernel in one to three dimensions, on rods, balls and graphs, and back in time."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from unstir.generators import diffusion
from unstir.physics.backward import backward_heat
from unstir.physics.heat import amplification, gaussian_spread, heat_kernel, rod, step_profile
from unstir.spaces import Axis, Flux, Grid, Robin, Value


def orders(errors):
    return [math.log2(a / b) for a, b in pairwise(errors)]


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_gaussian_spreads_as_its_closed_form_with_order_two_in_space(dimensions):
    D, t, width = 0.5, 0.3, 0.7
    errors = []
    for n in (16, 32, 64) if dimensions < 3 else (12, 24, 48):
        grid = Grid(*[Axis(-5, 5, n)] * dimensions)
        r = sum(x**2 for x in grid.centers).sqrt()
        start = gaussian_spread(r, 0.0, D, width, dimensions=dimensions)
        exact = gaussian_spread(r, t, D, width, dimensions=dimensions)
        errors.append(float((diffusion(grid, D).exp(t, start) - exact).abs().max()))
    assert min(orders(errors)[1:]) > 1.8


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_the_spectral_scheme_is_exact_in_space_as_well(dimensions):
    D, t, width = 0.5, 0.3, 0.5
    n = 64 if dimensions < 3 else 48
    grid = Grid(*[Axis(-6, 6, n, boundary="periodic")] * dimensions)
    r = sum(x**2 for x in grid.centers).sqrt()
    state = diffusion(grid, D, scheme="spectral").exp(
        t, gaussian_spread(r, 0.0, D, width, dimensions=dimensions)
    )
    exact = gaussian_spread(r, t, D, width, dimensions=dimensions)
    assert float((state - exact).abs().max()) < 1e-12


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_the_kernel_has_unit_mass_composes_and_is_the_limit_of_a_narrow_gaussian(dimensions):
    r = torch.linspace(0, 12, 4001, dtype=torch.float64)
    surface = {1: 2.0, 2: 2 * math.pi, 3: 4 * math.pi}[dimensions] * r ** (dimensions - 1)
    kernel = heat_kernel(r, 0.7, 1.3, dimensions=dimensions)
    assert float(torch.trapezoid(kernel * surface, r)) == pytest.approx(1.0, rel=1e-5)
    narrow = gaussian_spread(r, 0.7, 1.3, 1e-4, dimensions=dimensions)
    assert torch.allclose(kernel, narrow, rtol=1e-6, atol=1e-12)
    later = gaussian_spread(r, 0.5, 1.3, math.sqrt(2 * 1.3 * 0.2), dimensions=dimensions)
    assert torch.allclose(kernel, later, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("metric", "dimensions"), [("cylindrical", 2), ("spherical", 3)])
def test_a_radial_axis_spreads_like_the_plane_and_space(metric, dimensions):
    D, t, width = 0.5, 0.4, 0.6
    errors = []
    for n in (20, 40, 80):
        axis = Axis(0, 6, n, metric=metric)
        start = gaussian_spread(axis.centers, 0.0, D, width, dimensions=dimensions)
        exact = gaussian_spread(axis.centers, t, D, width, dimensions=dimensions)
        u = diffusion(Grid(axis), D).exp(t, start)
        errors.append(float(((u - exact).abs() * axis.volumes).sum()))
        assert float((u * axis.volumes).sum()) == pytest.approx(
            float((start * axis.volumes).sum()), rel=1e-12
        )
    assert min(orders(errors)) > 1.9


def test_a_cooling_rod_and_a_spreading_step_follow_their_series():
    D, t = 0.2, 0.05
    errors = []
    for n in (25, 50, 100):
        axis = Axis(0, 1, n, boundary="absorb")
        u = diffusion(Grid(axis), D).exp(t, torch.ones(n).double())
        errors.append(float((u - rod(axis.centers, t, D, 1.0)).abs().max()))
    assert min(orders(errors)) > 1.8
    axis = Axis(-4, 4, 400)
    start = (axis.centers < 0).double()
    assert (
        float((diffusion(Grid(axis), D).exp(t, start) - step_profile(axis.centers, t, D)).abs().max()) < 1e-3
    )


def test_heating_through_the_end_raises_the_mean_by_the_flux():
    grid = Grid(Axis(0, 2, 40, boundary=(Flux(0.3), "reflect")))
    u = diffusion(grid, 0.7).exp(1.7, torch.zeros(40).double())
    assert float(grid.integrate(u)) == pytest.approx(0.3 * 1.7, rel=1e-12)


def test_newton_cooling_decays_with_the_root_of_its_characteristic_equation():
    # u' = -h u at x = 1: decay rate D k^2 with k tan k = h (Carslaw & Jaeger 1959, section 3.11).
    from scipy.optimize import brentq

    h = 1.5
    k = brentq(lambda k: k * math.tan(k) - h, 1e-6, 1.57)
    rates = []
    for n in (20, 40, 80):
        A = diffusion(Grid(Axis(0, 1, n, boundary=("reflect", Robin(h, 1.0, 0.0)))), 1.0)
        rates.append(abs(float(A.spectrum().max()) + k**2))
    assert min(orders(rates)) > 1.9


def test_the_maximum_principle_holds_with_any_boundary_values():
    A = diffusion(Grid(Axis(0, 1, 30, boundary=(Value(0.2), Value(0.9)))), 1.0)
    u = torch.rand(5, 30, dtype=torch.float64)
    states = A.exp(torch.tensor([1e-5, 1e-3, 0.1, 10.0], dtype=torch.float64), u)
    assert float(states.min()) >= 0.0
    assert float(states.max()) <= 1.0 + 1e-12


GRID = Grid(Axis(0, 1, 64))
SMOOTH = 1.0 + torch.cos(math.pi * GRID.centers[0]) + 0.5 * torch.cos(3 * math.pi * GRID.centers[0])


def test_exact_data_of_a_short_time_come_back_whole():
    A = diffusion(GRID, 1.0)
    back = backward_heat(A, 1e-3, A.exp(1e-3, SMOOTH), noise=0.0, method="none")
    assert torch.allclose(back.u, SMOOTH, atol=1e-5)
    assert back.amplification == back.worst == pytest.approx(math.exp(1e-3 * -float(A.spectrum().min())))


def test_a_hopeless_inverse_is_refused_with_its_reason():
    A = diffusion(GRID, 1.0)
    with pytest.raises(ValueError, match="round-off of 2e-16"):
        backward_heat(A, 0.1, A.exp(0.1, SMOOTH), noise=0.0, method="none")
    # The same step is fine in float64 and hopeless in float32.
    with pytest.raises(ValueError, match="round-off of 1e-07"):
        backward_heat(A, 1e-3, A.exp(1e-3, SMOOTH).float(), noise=0.0, method="none")


@pytest.mark.parametrize("method", ["tikhonov", "truncated"])
def test_regularised_inverses_bound_the_noise_and_beat_the_blur(method):
    A, t, noise = diffusion(GRID, 1.0), 0.02, 1e-3
    generator = torch.Generator().manual_seed(0)
    blurred = A.exp(t, SMOOTH)
    data = blurred + noise * torch.randn(64, dtype=torch.float64, generator=generator)
    back = backward_heat(A, t, data, noise=noise, method=method)
    assert float((back.u - SMOOTH).norm()) < 0.25 * float((blurred - SMOOTH).norm())
    assert back.amplification <= 1.0 / noise * (0.5 if method == "tikhonov" else 1.0) * (1 + 1e-9)
    assert back.worst > 1e10
    assert 0 < back.kept < 0.5
    assert "noise" in back.why


def test_tikhonov_is_the_posterior_mean_of_white_gaussian_data():
    A, t, noise, signal = diffusion(GRID, 1.0), 0.003, 0.05, 0.7
    H = A.exp(t, torch.eye(64, dtype=torch.float64)).T
    y = torch.rand(64, dtype=torch.float64)
    exact = torch.linalg.solve(H.T @ H + (noise / signal) ** 2 * torch.eye(64).double(), H.T @ y)
    assert torch.allclose(backward_heat(A, t, y, noise=noise, signal=signal).u, exact, atol=1e-10)


def test_amplification_is_that_of_a_ripple():
    A = diffusion(Grid(Axis(0, 1, 64, boundary="periodic")), 0.3, scheme="spectral")
    (x,) = A.space.centers
    ripple = torch.cos(2 * math.pi * 4 * x)
    lost = float(ripple.norm() / A.exp(0.01, ripple).norm())
    assert amplification(0.01, 0.3, 0.25) == pytest.approx(lost, rel=1e-10)
    assert amplification(1e6, 1.0, 1e-3) == math.inf


def test_bad_questions_get_one_sentence():
    A = diffusion(GRID, 1.0)
    for call, message in (
        (lambda: backward_heat(A, -1.0, SMOOTH, noise=0.1), "t >= 0"),
        (lambda: backward_heat(A, 1.0, SMOOTH, noise=0.0), "above 0"),
        (lambda: backward_heat(A, 1.0, SMOOTH, noise=0.1, method="magic"), "tikhonov"),
        (lambda: heat_kernel(SMOOTH, 0.0, 1.0), "t > 0"),
        (lambda: step_profile(SMOOTH, 0.0, 1.0), "t > 0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
