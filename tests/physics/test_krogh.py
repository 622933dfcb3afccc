"""Krogh's cylinder against the cylindrical axis, its own limits, and the balance of oxygen."""

from __future__ import annotations

import math

import pytest
import torch

from tests.helpers import close
from unstir.generators import diffusion
from unstir.physics.krogh import MMHG, Blood, Cylinder, along_capillary, critical_radius
from unstir.spaces import Axis, Grid, Robin, Value

RC, RT, M = 3e-6, 26e-6, 3e-2
K = 2.4e-9 * 1.0e-5  # diffusivity times solubility, mol / (m s Pa)
TISSUE = Cylinder(RC, RT, M, K)


def solved(cells: int, cylinder: Cylinder, blood: float, end: object) -> tuple[Axis, torch.Tensor]:
    axis = Axis(RC, cylinder.tissue, cells, boundary=(end, "reflect"), metric="cylindrical")
    # Pressures: K lap P = M, as a unit diffusivity with the supply -M / K.
    supply = torch.full((cells,), -cylinder.consumption / cylinder.krogh, dtype=torch.float64)
    return axis, diffusion(Grid(axis)).solve(0.0, supply)


def test_the_profile_is_that_of_the_cylindrical_axis_with_order_two():
    blood, errors = 95.0 * MMHG, []
    assert float(TISSUE.reach(blood)) == RT
    for cells in (20, 40, 80):
        axis, P = solved(cells, TISSUE, blood, Value(blood))
        errors.append(float((P - TISSUE.profile(axis.centers, blood)).abs().max()))
    assert errors[2] < 1e-3 * blood
    assert math.log2(errors[1] / errors[2]) == pytest.approx(2.0, abs=0.15)


def test_a_wall_with_resistance_is_a_robin_end():
    cylinder, blood = Cylinder(RC, 15e-6, M, K, transfer=2e-8), 90.0 * MMHG
    k = cylinder.transfer / K
    axis, P = solved(80, cylinder, blood, Robin(k, 1.0, k * blood))
    close(P, cylinder.profile(axis.centers, blood), rtol=2e-3)


def test_at_the_critical_radius_pressure_and_slope_vanish_together():
    blood = 60.0 * MMHG
    edge = float(critical_radius(blood, RC, M, K))
    R = torch.tensor(edge, dtype=torch.float64, requires_grad=True)
    close(Cylinder(RC, edge, M, K).drop(edge), blood, rtol=1e-12)
    (slope,) = torch.autograd.grad(Cylinder(RC, 1.0, M, K).drop(R, edge), R)
    close(slope / (blood / RC), 0.0, atol=1e-12)


def test_the_critical_radius_grows_with_the_pressure_from_the_capillary_s_own():
    P = torch.tensor([0.0, 1e-6, 1e2, 1e4], dtype=torch.float64, requires_grad=True)
    R = critical_radius(P, RC, M, K)
    close(R[0], RC, rtol=1e-12)
    assert bool((R.diff() > 0).all())
    (slope,) = torch.autograd.grad(R[3], P)
    h = 1.0
    close(
        slope[3],
        (critical_radius(1e4 + h, RC, M, K) - critical_radius(1e4 - h, RC, M, K)) / (2 * h),
        rtol=1e-6,
    )


def test_beyond_its_reach_the_tissue_has_none_and_the_profile_arrives_smoothly():
    wide, blood = Cylinder(RC, 80e-6, M, K), 40.0 * MMHG
    reach = float(wide.reach(blood))
    assert RC < reach < 80e-6
    r = torch.tensor([reach * 0.999, reach, reach * 1.001, 80e-6], dtype=torch.float64)
    P = wide.profile(r, blood)
    assert 0.0 < float(P[0]) < 1e-4 * blood
    close(P[1:], torch.zeros(3), atol=1e-9 * blood)


def test_a_narrow_shell_is_the_slab():
    thin = Cylinder(1.0, 1.0 + 1e-4, M, K)
    close(thin.drop(1.0 + 1e-4), M / (2.0 * K) * 1e-8, rtol=1e-3)


def test_blood_gives_back_the_pressure_of_its_content():
    blood = Blood()
    P = torch.tensor([0.0, 1.0, 27.0, 95.0, 600.0], dtype=torch.float64) * MMHG
    close(blood.pressure(blood.content(P)), P, rtol=1e-9, atol=1e-9)
    close(blood.content(27.0 * MMHG) - 1e-5 * 27.0 * MMHG, 4.4, rtol=1e-12)


def test_along_the_capillary_blood_loses_what_the_tissue_uses():
    z = torch.linspace(0.0, 5e-4, 21, dtype=torch.float64)
    blood, speed = Blood(), 1e-3
    P = along_capillary(z, TISSUE, 95.0 * MMHG, speed, blood)
    lost = speed * RC**2 * (blood.content(P[0]) - blood.content(P))
    assert float(TISSUE.reach(P[-1])) == RT
    close(lost, M * (RT**2 - RC**2) * z, rtol=1e-9, atol=1e-20)


def test_a_capillary_that_runs_short_supplies_less_and_never_goes_negative():
    z = torch.linspace(0.0, 1e-3, 201, dtype=torch.float64)
    wide, blood, speed = Cylinder(RC, 50e-6, M, K), Blood(), 1e-3
    P = along_capillary(z, wide, 95.0 * MMHG, speed, blood)
    assert float(P.min()) >= 0.0
    assert bool((P.diff() <= 0).all())
    taken = torch.trapezoid(M * (wide.reach(P) ** 2 - RC**2), z)
    close(speed * RC**2 * (blood.content(P[0]) - blood.content(P[-1])), taken, rtol=1e-3)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Cylinder(RT, RC, M, K), "must be larger than the capillary's"),
        (lambda: Cylinder(RC, RT, 0.0, K), "the consumption must be finite and above 0, got 0"),
        (lambda: TISSUE.profile(RC / 2, 1e4), "the tissue is from 3e-06 to 2.6e-05 m"),
        (lambda: critical_radius(-1.0, RC, M, K), "the blood pressure must be finite and at least 0, got -1"),
        (lambda: Blood(hill=0.5), "at least 1, got 0.5"),
        (lambda: along_capillary(torch.tensor([1.0, 2.0]), TISSUE, 1e4, 1e-3, Blood()), "increase from 0"),
    ],
)
def test_impossible_values_are_refused_in_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
