from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unstir.spaces import Axis, Flux, Grid, Periodic, Robin, Value, Wall
from unstir.spaces.boundary import bernoulli


def test_the_volumes_of_a_ball_a_disk_and_an_interval_are_exact():
    assert float(Axis(0, 2, 7, metric="spherical").volumes.sum()) == pytest.approx(
        4 / 3 * math.pi * 8, rel=1e-14
    )
    assert float(Axis(0, 2, 7, metric="cylindrical").volumes.sum()) == pytest.approx(4 * math.pi, rel=1e-14)
    assert float(Axis(-1, 2, 7).volumes.sum()) == pytest.approx(3.0, rel=1e-14)


def test_axes_know_their_cells():
    axis = Axis.from_edges([0.0, 1.0, 4.0], boundary=("absorb", Value(2.0)))
    assert axis.cells == 2
    assert axis.centers.tolist() == [0.5, 2.5]
    assert axis.widths.tolist() == [1.0, 3.0]
    assert not axis.uniform
    assert axis.upper == Value(2.0)
    assert Axis(0, 1, 5).uniform
    assert not Axis(0, 1, 5, metric="spherical").uniform
    assert Axis(0, 1, 5, boundary="periodic").periodic
    assert Axis(0.1, 0.7, 6).edges[-1] == 0.7


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Axis(1, 0, 5), "larger high"),
        (lambda: Axis(0, 1, 0), "at least 1"),
        (lambda: Axis(0, 1, 5, boundary="open"), "a boundary is 'periodic'"),
        (lambda: Axis(0, 1, 5, boundary=("periodic", "reflect")), "at both ends or at neither"),
        (lambda: Axis(0, 1, 5, boundary="periodic", metric="spherical"), "cannot be periodic"),
        (lambda: Axis(-1, 1, 5, metric="cylindrical"), "radius is at least 0"),
        (lambda: Axis(0, 1, 5, metric="polar"), "cartesian, cylindrical or spherical"),
        (lambda: Axis.from_edges([0.0, 0.0, 1.0]), "increasing"),
        (lambda: Robin(-1.0, 1.0, 0.0), "a >= 0 and b >= 0"),
        (lambda: Value(math.nan), "finite"),
        (lambda: Flux(math.inf), "finite"),
        (lambda: Grid(), "one or more axes"),
        (lambda: Grid(Axis(0, 1, 3), mask=torch.ones(4)), r"shape \(3,\)"),
        (lambda: Grid(Axis(0, 1, 3), mask=torch.zeros(3)), "leaves no cell"),
        (lambda: Grid(Axis(0, 1, 3), walls=[Wall(0, 2.0, 1.0)]), "between the cells"),
        (lambda: Grid(Axis(0, 1, 3), walls=[Wall(1, 0.5, 1.0)]), "axes 0 to 0"),
        (lambda: Wall(0, 0.5, -1.0), "at least 0"),
    ],
)
def test_impossible_spaces_end_in_one_sentence(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_integrals_count_volumes_and_leave_out_masked_cells():
    mask = torch.ones(4, 3, dtype=torch.bool)
    mask[0, 0] = False
    grid = Grid(Axis(0, 4, 4), Axis(0, 6, 3), mask=mask)
    assert float(grid.integrate(torch.ones(4, 3))) == pytest.approx(22.0)
    assert grid.integrate(torch.ones(5, 4, 3)).shape == (5,)
    x, y = grid.centers
    assert x[:, 0].tolist() == [0.5, 1.5, 2.5, 3.5]
    assert y[0].tolist() == [1.0, 3.0, 5.0]


def test_conditions_are_plain_data():
    assert Periodic() == Periodic()
    assert Robin(1.0, 2.0, 3.0) == Robin(1.0, 2.0, 3.0)


@given(st.floats(-600, 600))
def test_bernoulli_is_positive_and_satisfies_its_identity(x):
    value = torch.tensor(x, dtype=torch.float64)
    b, mirrored = float(bernoulli(value)), float(bernoulli(-value))
    assert b > 0
    assert mirrored - b == pytest.approx(x, rel=1e-10, abs=1e-13)


def test_the_derivative_of_bernoulli_is_finite_everywhere():
    x = torch.tensor([-900.0, -1e-12, 0.0, 1e-3, 900.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(bernoulli(x).sum(), x)
    assert bool(torch.isfinite(slope).all())
    assert float(slope[2]) == pytest.approx(-0.5)
