"""The constant-field theory against quadrature of Nernst & Planck, the grid, and its own limits."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from tests.helpers import close
from unstir.physics.constants import BODY, FARADAY, GAS, ROOM, thermal_voltage
from unstir.physics.ions import (
    Ion,
    goldman_current,
    goldman_flux,
    goldman_voltage,
    nernst_planck,
    nernst_potential,
    reversal_voltage,
)
from unstir.spaces import Axis, Grid, Value

SQUID = [
    Ion("K", 1, 1.0, 400.0, 20.0),
    Ion("Na", 1, 0.04, 50.0, 440.0),
    Ion("Cl", -1, 0.45, 52.0, 560.0),
]
CALCIUM = Ion("Ca", 2, 0.5, 1e-4, 10.0)


def test_a_tenfold_ratio_is_58_millivolts_at_20_degrees_and_half_for_calcium():
    close(nernst_potential(1.0, 10.0, 1, 293.15), 0.058168, atol=1e-6)
    close(nernst_potential(1.0, 10.0, 2, 293.15), 0.029084, atol=1e-6)
    close(nernst_potential(1.0, 10.0, -1, 293.15), -0.058168, atol=1e-6)


def test_the_squid_axon_rests_where_hodgkin_and_katz_found_it():
    assert goldman_voltage(SQUID, 293.15) == pytest.approx(-0.060, abs=0.001)


def test_one_permeable_ion_makes_the_membrane_its_own_electrode():
    ions = [Ion("K", 1, 1.0, 400.0, 20.0), Ion("Na", 1, 0.0, 50.0, 440.0)]
    expected = float(nernst_potential(400.0, 20.0, 1))
    assert goldman_voltage(ions) == pytest.approx(expected, rel=1e-14)
    assert reversal_voltage(ions) == pytest.approx(expected, rel=1e-12)


def test_the_resting_voltage_is_the_root_of_the_current():
    assert reversal_voltage(SQUID) == pytest.approx(goldman_voltage(SQUID), rel=1e-11)
    mixed = [*SQUID, CALCIUM]
    v = reversal_voltage(mixed, BODY)
    parts = [float(goldman_current(v, [ion], BODY)) for ion in mixed]
    assert abs(sum(parts)) < 1e-12 * max(map(abs, parts))


@given(st.floats(-0.3, 0.3), st.sampled_from([1, -1, 2, -2]), st.floats(0.0, 500.0), st.floats(0.0, 500.0))
def test_the_flux_is_that_of_the_textbook_fraction(voltage, valence, inside, outside):
    u = valence * FARADAY * voltage / (GAS * ROOM)
    if abs(u) > 1e-3:
        expected = 2e-8 * u * (inside - outside * math.exp(-u)) / (1.0 - math.exp(-u))
        close(goldman_flux(voltage, inside, outside, 2e-8, valence), expected, rtol=1e-9, atol=1e-18)


def test_the_flux_is_smooth_through_zero_voltage_and_finite_at_any():
    close(goldman_flux(0.0, 100.0, 10.0, 1e-8, 1), 90e-8, rtol=1e-14)
    v = torch.tensor([-1e-6, 0.0, 1e-6], dtype=torch.float64)
    flux = goldman_flux(v, 100.0, 10.0, 1e-8, 1)
    step = 55.0 * 1e-8 * 1e-6 / thermal_voltage(ROOM)
    close(flux.diff(), torch.full((2,), step), rtol=1e-4)
    far = goldman_flux(torch.tensor([-50.0, 50.0], dtype=torch.float64), 100.0, 10.0, 1e-8, 1)
    u = 50.0 / thermal_voltage(ROOM)
    close(far, torch.tensor([-10.0, 100.0], dtype=torch.float64) * u * 1e-8, rtol=1e-12)


@pytest.mark.parametrize("valence", [1, -1, 2])
@pytest.mark.parametrize("voltage", [-0.12, 0.0, 0.03, 0.4])
def test_the_flux_is_the_steady_one_of_the_grid_to_round_off(valence, voltage):
    """Any number of cells: Scharfetter-Gummel is exact in a constant field."""
    thickness, D, inside, outside = 5e-9, 2e-12, 140.0, 4.0
    axis = Axis(0.0, thickness, 9, boundary=(Value(inside), Value(outside)))
    phi = voltage * (1.0 - axis.centers / thickness)
    A = nernst_planck(Grid(axis), D, valence, phi)
    u = A.stationary()
    h = axis.widths[0]
    drop = valence * (phi[0] - phi[1]) / thermal_voltage(ROOM)
    B = lambda x: x / torch.expm1(x) if x != 0 else torch.tensor(1.0, dtype=torch.float64)  # noqa: E731
    flux = D / h * (B(-drop) * u[:-1] - B(drop) * u[1:])
    expected = goldman_flux(voltage, inside, outside, D / thickness, valence)
    close(flux, expected.expand(8), rtol=1e-10)


def test_the_flux_is_the_integral_of_nernst_and_planck():
    """The integrating factor: flux = D (c_i e^{u_i} - c_o) / integral of e^{u}, for any field."""
    voltage, D, L = 0.07, 3e-12, 4e-9
    u = voltage / thermal_voltage(ROOM)
    bottom = quad(lambda s: math.exp(u * (1.0 - s)), 0.0, 1.0)[0]
    expected = D / L * (140.0 * math.exp(u) - 4.0) / bottom
    close(goldman_flux(voltage, 140.0, 4.0, D / L, 1), expected, rtol=1e-10)


def test_a_closed_box_settles_to_boltzmann_s_distribution():
    axis = Axis(0.0, 1e-8, 40)
    phi = 0.1 * torch.sin(3e8 * axis.centers)
    u = nernst_planck(Grid(axis), 1e-9, -2, phi).stationary()
    weight = torch.exp(2.0 * phi / thermal_voltage(ROOM))
    close(u, weight / (weight * axis.widths).sum(), rtol=1e-11)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: nernst_potential(1.0, 10.0, 0), "whole number other than 0"),
        (lambda: nernst_potential(1.0, 10.0, 1, -3.0), "kelvin and above 0, got -3; add 273.15"),
        (lambda: nernst_potential(0.0, 10.0, 1), "the inside must be finite and above 0"),
        (lambda: Ion("K", 1, -1.0, 1.0, 1.0), "the permeability must be finite and at least 0, got -1"),
        (lambda: goldman_voltage([CALCIUM]), "valences 1 and -1, but Ca has 2; reversal_voltage takes any"),
        (lambda: reversal_voltage([Ion("K", 1, 0.0, 1.0, 2.0)]), "no ion passes"),
    ],
)
def test_impossible_values_are_refused_in_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
