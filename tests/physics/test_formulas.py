"""Shared closed forms against quadrature, against each other, and against the grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import erfc

from tests.helpers import close
from unstir.generators import diffusion
from unstir.physics.formulas import (
    front_constant,
    half_space,
    ierfc,
    membrane_permeation,
    slab_uptake,
    sphere_profile,
    sphere_uptake,
)
from unstir.spaces import Axis, Grid, Value

TAU = torch.tensor([0.003, 0.02, 0.1, 0.2, 0.3, 0.8], dtype=torch.float64)


def test_the_integral_of_erfc_is_that_of_quadrature():
    for x in (0.0, 0.3, 2.0, 5.0):
        expected = quad(erfc, x, x + 12.0, epsabs=1e-16)[0]
        close(ierfc(torch.tensor(x, dtype=torch.float64)), expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("law", [slab_uptake, sphere_uptake, membrane_permeation])
def test_early_and_late_series_meet_without_a_step(law):
    a, b, c = law(torch.tensor([0.2499, 0.25, 0.25 + 1e-9], dtype=torch.float64))
    slope = (b - a) / 1e-4
    assert abs(float(c - b)) < 2.0 * float(slope) * 1e-9 + 1e-15


def test_the_sphere_s_uptake_is_the_integral_of_its_profile():
    for tau in TAU.tolist():
        total = quad(lambda r, tau=tau: 3.0 * r**2 * float(sphere_profile(r, tau)), 0.0, 1.0, epsabs=1e-13)[0]
        assert total == pytest.approx(float(sphere_uptake(tau)), abs=1e-11)


@pytest.mark.parametrize(
    ("metric", "law", "size"), [("cartesian", slab_uptake, 1.0), ("spherical", sphere_uptake, 1.0)]
)
def test_uptake_is_that_of_the_grid_with_order_two(metric, law, size):
    errors = []
    for cells in (50, 100):
        grid = Grid(Axis(0.0, size, cells, boundary=("reflect", Value(1.0)), metric=metric))
        u = diffusion(grid).exp(TAU[2:], torch.zeros(cells, dtype=torch.float64))
        errors.append((grid.integrate(u) / grid.volumes.sum() - law(TAU[2:])).abs().max())
    assert float(errors[1]) < 1e-4
    assert 3.5 < float(errors[0] / errors[1]) < 4.5


def test_permeation_is_that_of_the_grid_and_its_line_meets_zero_at_a_sixth():
    cells = 100
    A = diffusion(Grid(Axis(0.0, 1.0, cells, boundary=(Value(1.0), Value(0.0)))))
    start = torch.zeros(cells, dtype=torch.float64)
    came = []
    for tau in (0.1, 0.3, 0.8):
        # Gauss-Legendre over time: what leaves is the last cell's value over half a cell.
        nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(40))
        u = A.exp(0.5 * tau * (nodes + 1.0), start)[:, -1] * 2.0 * cells
        came.append(0.5 * tau * float((weights * u).sum()))
    close(torch.tensor(came), membrane_permeation(torch.tensor([0.1, 0.3, 0.8])), atol=2e-5)
    close(membrane_permeation(5.0), 5.0 - 1.0 / 6.0, atol=1e-12)


def test_the_half_space_solves_the_heat_equation_by_automatic_differentiation():
    x = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    t = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    u = half_space(x, t, 0.3)
    u_x, u_t = torch.autograd.grad(u, (x, t), create_graph=True)
    (u_xx,) = torch.autograd.grad(u_x, x)
    close(u_t, 0.3 * u_xx, rtol=1e-12)
    close(half_space(0.0, 0.0, 1.0), 1.0)


@pytest.mark.parametrize("supply", [1e-8, 1e-3, 1.0, 1e3, 1e12])
def test_the_front_constant_solves_neumann_s_equation(supply):
    front = front_constant(supply)
    assert math.sqrt(math.pi) * front * math.exp(front**2) * math.erf(front) == pytest.approx(
        supply, rel=1e-11
    )


@pytest.mark.parametrize("law", [slab_uptake, sphere_uptake, membrane_permeation])
def test_negative_times_are_refused(law):
    with pytest.raises(ValueError, match="tau must be finite and at least 0, got -1"):
        law(-1.0)
