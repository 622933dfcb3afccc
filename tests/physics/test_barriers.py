"""Walls and holes of a grid let through what the closed forms of barriers say."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from unstir.generators import diffusion
from unstir.physics.barriers import crossed_share, permeability_of_gaps, wall_flux
from unstir.spaces import Axis, Grid, Value, Wall


def released(axis, distance):
    """A unit mass at -distance on two neighbouring cells whose common face is there."""
    u = torch.zeros(axis.cells, dtype=torch.float64)
    face = int((axis.edges + distance).abs().argmin())
    u[[face - 1, face]] = 0.5 / float(axis.widths[0])
    return u


@pytest.mark.parametrize("place", [0.5, 1.0, 3.25])
@pytest.mark.parametrize("permeability", [0.0, 0.3, 5.0, math.inf])
def test_the_steady_flux_through_a_wall_is_that_of_resistances_in_series(permeability, place):
    axis = Axis(0.0, 4.0, 64, boundary=(Value(1.0), Value(0.2)))
    grid = Grid(axis, walls=(Wall(0, place, permeability),))
    u = diffusion(grid, 2.0).solve(0.0, torch.zeros(64, dtype=torch.float64))
    inflow = 2.0 * (1.0 - float(u[0])) / (0.5 * 4.0 / 64)
    assert inflow == pytest.approx(float(wall_flux(0.8, 2.0, 4.0, permeability)), abs=1e-10)


def test_the_share_behind_a_wall_converges_to_the_closed_form_with_order_two():
    t = torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64)
    errors = []
    for cells in (200, 400, 800):
        axis = Axis(-20.0, 20.0, cells)
        grid = Grid(axis, walls=(Wall(0, 0.0, 0.3),))
        u = diffusion(grid, 2.0).exp(t, released(axis, 1.0))
        share = grid.integrate(u * (axis.centers > 0))
        errors.append((share - crossed_share(t, 1.0, 2.0, 0.3)).abs())
        torch.testing.assert_close(grid.integrate(u), torch.ones_like(t), rtol=0, atol=1e-12)
        assert bool((u >= -1e-15).all())
    orders = torch.log2(errors[-2] / errors[-1])
    torch.testing.assert_close(orders, torch.full_like(orders, 2.0), rtol=0, atol=0.05)


@given(t=st.floats(1e-3, 1e3), d=st.floats(0.0, 20.0), D=st.floats(0.01, 10.0), P=st.floats(1e-4, 1e4))
def test_the_share_behind_a_wall_grows_with_time_up_to_what_an_open_line_lets_through(t, d, D, P):
    share = float(crossed_share(t, d, D, P))
    assert 0.0 <= share <= float(crossed_share(2 * t, d, D, P)) <= 0.5
    assert share <= 0.5 * math.erfc(d / (2 * math.sqrt(D * t))) + 1e-15
    assert share <= float(crossed_share(t, d, D, 2 * P)) + 1e-15


def test_the_share_behind_a_wall_is_the_integral_of_the_flux_through_it():
    D, P, d = 2.0, 0.3, 1.0
    h = 2 * P / D

    def flux(t):
        """P times the jump at the wall, Carslaw & Jaeger's radiation solution doubled for the odd part."""
        root = math.sqrt(D * t)
        bell = math.exp(-(d**2) / (4 * D * t))
        scaled = float(torch.special.erfcx(torch.tensor(d / (2 * root) + h * root, dtype=torch.float64)))
        return P * bell * (1 / math.sqrt(math.pi * D * t) - h * scaled)

    assert quad(flux, 0.0, 5.0)[0] == pytest.approx(float(crossed_share(5.0, d, D, P)), rel=1e-8)
    assert float(crossed_share(0.0, d, D, P)) == 0.0
    assert float(crossed_share(5.0, d, D, 0.0)) == 0.0


def test_gaps_in_a_closed_wall_act_from_afar_as_the_closed_form_says():
    excess = []
    for n in (16, 32, 64):
        y = (torch.arange(n) + 0.5) / n
        closed = (y > 0.125) & (y < 0.875)  # the gap is at the mirrored ends: width 1/4 every 1
        ends = Axis(-2.0, 2.0, 4 * n, boundary=(Value(1.0), Value(0.0)))
        grid = Grid(ends, Axis(0.0, 1.0, n), walls=(Wall(0, 0.0, 0.0, closed),))
        u = diffusion(grid, 1.0).solve(0.0, torch.zeros(grid.shape, dtype=torch.float64))
        flux = float(u[-1].mean()) / (0.5 / n)
        excess.append(1.0 / flux - 4.0)
    expected = 1.0 / permeability_of_gaps(0.25, 1.0, 1.0)
    # The flow is singular at the gap's rims, so the first order is what there is; it extrapolates.
    assert abs(excess[-1] - expected) < 0.6 * abs(excess[-2] - expected)
    assert 2 * excess[-1] - excess[-2] == pytest.approx(expected, rel=5e-3)


def test_wide_gaps_leave_no_wall_and_what_cannot_be_is_refused():
    assert permeability_of_gaps(1.0, 1.0, 1.0) == math.inf
    with pytest.raises(ValueError, match="do not fit"):
        permeability_of_gaps(2.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="permeability is at least 0, got -1"):
        wall_flux(1.0, 1.0, 1.0, -1.0)
    with pytest.raises(ValueError, match="must be finite and at least 0"):
        crossed_share(-1.0, 1.0, 1.0, 1.0)


def test_nothing_enters_a_lake_and_all_of_it_goes_round():
    open_land = torch.ones(40, 20, dtype=torch.bool)
    open_land[15:25, 5:20] = False
    grid = Grid(Axis(0.0, 4.0, 40), Axis(0.0, 2.0, 20), mask=open_land)
    u = torch.zeros(40, 20, dtype=torch.float64)
    u[3, 10] = 100.0
    spread = diffusion(grid, 1.0).exp(torch.tensor([0.1, 200.0]), u)
    assert float((spread * ~open_land).abs().max()) == 0.0
    torch.testing.assert_close(grid.integrate(spread), torch.ones(2, dtype=torch.float64))
    settled = spread[1][open_land]
    torch.testing.assert_close(settled, torch.full_like(settled, float(settled.mean())), rtol=1e-6, atol=0)
