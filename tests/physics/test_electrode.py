"""Electrode currents against finite-volume solutions on spherical, planar and cylindrical grids."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.helpers import close
from unstir.generators import diffusion
from unstir.physics.constants import FARADAY, thermal_voltage
from unstir.physics.electrode import (
    cottrell,
    cottrell_charge,
    disk_current,
    layer_current,
    levich,
    levich_layer,
    semi_infinite_current,
    sphere_current,
    sphere_depletion,
    surface_share,
    sweep_peak,
    voltammogram,
)
from unstir.spaces import Axis, Grid, Value

D, C, A = 1e-9, 2.0, 1e-6


def graded(low: float, high: float, cells: int, steep: float = 4.0) -> torch.Tensor:
    """Edges that are exp(steep) times denser at the low end."""
    share = torch.linspace(0.0, 1.0, cells + 1, dtype=torch.float64)
    return low + (high - low) * torch.expm1(steep * share) / math.expm1(steep)


def wall_current(axis: Axis, u: torch.Tensor) -> torch.Tensor:
    """Current of one electron into the first face, at which the concentration is 0."""
    return FARADAY * D * axis.areas[0] * u[..., 0] / (0.5 * axis.widths[0])


def test_the_planar_current_is_cottrell_s():
    t = torch.tensor([0.3, 1.0], dtype=torch.float64)
    axis = Axis.from_edges(graded(0.0, 3e-4, 150), boundary=(Value(0.0), Value(C)))
    u = diffusion(Grid(axis), D).exp(t, torch.full((150,), C, dtype=torch.float64))
    close(wall_current(axis, u) * A, cottrell(t, D, C, A), rtol=1e-3)


def test_the_charge_is_the_integral_of_the_current():
    t = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    (current,) = torch.autograd.grad(cottrell_charge(t, D, C, A, 2.0), t)
    close(current, cottrell(2.0, D, C, A, 2.0), rtol=1e-13)


def test_the_spherical_current_and_profile_are_those_of_a_spherical_axis_with_order_two():
    radius, t = 1e-5, torch.tensor([0.02, 0.2, 2.0], dtype=torch.float64)
    errors = []
    for cells in (60, 120):
        axis = Axis.from_edges(
            graded(radius, 4e-4, cells), boundary=(Value(0.0), Value(C)), metric="spherical"
        )
        u = diffusion(Grid(axis), D).exp(t, torch.full((cells,), C, dtype=torch.float64))
        exact = C * sphere_depletion(axis.centers, t[:, None], D, radius)
        errors.append(float((u - exact).abs().max() / C))
    close(wall_current(axis, u), sphere_current(t, D, C, radius), rtol=4e-3)
    assert errors[1] < 2e-3
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.3)


def test_the_sphere_turns_from_cottrell_to_its_steady_current():
    area = 4.0 * math.pi * 1e-10
    early = sphere_current(1e-9, D, C, 1e-5)
    close(early / cottrell(1e-9, D, C, area), 1.0, rtol=2e-4)
    close(sphere_current(math.inf, D, C, 1e-5), 4.0 * math.pi * FARADAY * D * C * 1e-5, rtol=1e-14)


def test_the_disk_turns_from_cottrell_to_four_r():
    early = disk_current(1e-10, D, C, 1e-5)
    close(early / cottrell(1e-10, D, C, math.pi * 1e-10), 1.0, rtol=1e-4)
    close(disk_current(math.inf, D, C, 1e-5), 4.0 * FARADAY * D * C * 1e-5, rtol=1e-14)


def test_the_disk_current_is_that_of_a_cylindrical_grid():
    """The disk is a sink half a cell away in the first layer; its edge is singular, hence 4 per cent."""
    radius, cells = 1e-5, 44
    inner = torch.linspace(0.0, 1.0, 25, dtype=torch.float64) ** 0.5 * radius
    r = torch.cat([inner, radius + graded(0.0, 3e-4, cells, 6.0)[1:]])
    z = graded(0.0, 3e-4, cells, 6.0)
    axes = (
        Axis.from_edges(r, boundary=("reflect", Value(1.0)), metric="cylindrical"),
        Axis.from_edges(z, boundary=("reflect", Value(1.0))),
    )
    grid = Grid(*axes)
    sink = torch.zeros(grid.shape, dtype=torch.float64)
    sink[:24, 0] = D / (0.5 * axes[1].widths[0]) / axes[1].widths[0]
    u = diffusion(grid, D, sink=sink).stationary()
    current = FARADAY * grid.integrate(sink * u)
    close(current / disk_current(math.inf, D, 1.0, radius), 1.0, rtol=0.04)


def test_the_layer_current_is_the_steady_flux_of_the_grid():
    axis = Axis(0.0, 1e-5, 7, boundary=(Value(0.0), Value(C)))
    u = diffusion(Grid(axis), D).stationary()
    close(wall_current(axis, u) * A, layer_current(D, C, 1e-5, A), rtol=1e-12)


def test_levich_s_current_is_that_of_convective_diffusion_on_a_grid():
    nu, omega = 1e-6, 100.0
    speed = 0.5102326189 * omega**1.5 / nu**0.5
    errors = []
    for cells in (100, 200):
        axis = Axis(0.0, 3.0 * float(levich_layer(D, nu, omega)), cells, boundary=(Value(0.0), Value(C)))
        z = axis.centers
        # v dc/dz = d(v c)/dz - v' c: what the plane loses sideways is a sink to this one axis.
        u = diffusion(Grid(axis), D, drift=(-speed * z**2,), sink=2.0 * speed * z).stationary()
        errors.append(abs(float(wall_current(axis, u) * A / levich(D, nu, omega, C, A)) - 1.0))
    assert errors[1] < 7e-4
    assert errors[0] / errors[1] > 3.4


def test_von_karman_s_number_is_that_of_the_rotating_disk_s_equations():
    from scipy.integrate import solve_bvp

    def equations(x, y):
        f, f1, g, g1, h = y
        return [f1, f**2 - g**2 + h * f1, g1, 2 * f * g + h * g1, -2 * f]

    def ends(a, b):
        return [a[0], a[2] - 1.0, a[4], b[0], b[2]]

    x = np.linspace(0.0, 12.0, 60)
    guess = np.array([0.5 * x * np.exp(-x), 0 * x, np.exp(-x), -np.exp(-x), -0.9 * (1 - np.exp(-x))])
    solution = solve_bvp(equations, ends, x, guess, tol=1e-8, max_nodes=20000)
    assert solution.success
    assert float(solution.y[1, 0]) == pytest.approx(0.5102326, abs=2e-5)


def test_a_step_in_the_general_course_is_cottrell_s_and_a_second_one_superposes():
    t = torch.linspace(0.0, 2.0, 201, dtype=torch.float64)
    current = semi_infinite_current(t, torch.zeros(201, dtype=torch.float64), D, C, A)
    close(current[1:], cottrell(t[1:], D, C, A), rtol=1e-12)
    back = torch.where(t < 1.0 + 1e-12, 0.0, C)
    late = t[150:]
    there = semi_infinite_current(t, back, D, C, A)[150:]
    close(there, cottrell(late, D, C, A) - cottrell(late - 1.005, D, C, A), rtol=1e-3)


def test_the_general_course_is_that_of_the_grid():
    """A surface that falls as sqrt(t) draws a constant current: n F A c k sqrt(pi D) / 2."""
    t = torch.linspace(0.0, 1.0, 401, dtype=torch.float64)
    current = semi_infinite_current(t, C * (1.0 - 0.5 * t.sqrt()), D, C, A)
    expected = FARADAY * A * C * 0.5 * math.sqrt(math.pi * D) / 2.0
    close(current[100:], torch.full((301,), expected), rtol=2e-3)


def test_a_reversible_sweep_peaks_where_randles_and_sevcik_say():
    t = torch.linspace(0.0, 1.0, 2001, dtype=torch.float64)
    potential = 0.4 - 0.8 * t
    current = voltammogram(t, potential, 0.0, D, C, A)
    close(current.max() / sweep_peak(0.8, D, C, A), 1.0, rtol=2e-4)
    assert float(-potential[current.argmax()]) == pytest.approx(1.109 * thermal_voltage(298.15), abs=5e-4)


def test_the_surface_obeys_nernst():
    step = thermal_voltage(298.15) * math.log(10.0)
    share = surface_share(torch.tensor([0.2 + step, 0.2, 0.2 - step]), 0.2)
    close(share / (1.0 - share), torch.tensor([10.0, 1.0, 0.1]), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: cottrell(0.0, D, C, A), "t must be finite and above 0"),
        (lambda: sphere_current(-1.0, D, C, 1e-5), "infinite at the step itself"),
        (lambda: disk_current(1.0, D, C, 0.0), "the radius must be finite and above 0, got 0"),
        (lambda: sphere_depletion(0.5e-5, 1.0, D, 1e-5), "outside the sphere"),
        (lambda: levich(D, 1e-6, 100.0, C, -A), "the area must be finite and above 0"),
        (lambda: surface_share(0.1, 0.0, temperature=-20.0), "kelvin and above 0, got -20"),
        (lambda: semi_infinite_current(torch.tensor([1.0, 2.0]), torch.zeros(2), D, C, A), "increase from 0"),
    ],
)
def test_impossible_values_are_refused_in_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
