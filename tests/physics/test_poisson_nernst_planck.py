"""Ions in their own field: closed forms of the double layer, conservation, positivity, orders."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import solve_ivp

from tests.helpers import close
from unstir.generators import diffusion
from unstir.physics.constants import FARADAY, ROOM, thermal_voltage
from unstir.physics.double_layer import (
    WATER,
    charging_rate,
    debye_hueckel,
    debye_length,
    gouy_chapman,
    grahame,
    grahame_potential,
)
from unstir.physics.ions import goldman_flux
from unstir.physics.poisson_nernst_planck import Electrolyte, Ends, simulate, steady
from unstir.spaces import Axis, Flux, Grid, Reflect, Value

C = 10.0
SALT = Electrolyte((1, -1), (1e-9, 1e-9))
LENGTH = debye_length([C, C], [1, -1])
V = thermal_voltage(ROOM)


def bulk(cells: int, ions: int = 2) -> torch.Tensor:
    return torch.full((ions, cells), C, dtype=torch.float64)


def at_wall(potential, cells: int, edges: torch.Tensor | None = None):
    """The layer at one wall, with the bulk 12 Debye lengths away."""
    axis = Axis(0.0, 12.0 * LENGTH, cells) if edges is None else Axis.from_edges(edges)
    ends = Ends((potential, Value(0.0)), (None, (C, C)))
    return axis, steady(axis, SALT, bulk(axis.cells), ends)


def test_a_hundred_millimolar_salt_has_a_debye_length_of_a_nanometre():
    assert debye_length([100.0, 100.0], [1, -1]) == pytest.approx(0.96e-9, rel=5e-3)


def test_gouy_and_chapman_solve_poisson_and_boltzmann():
    def rhs(x, y):
        return [-2.0 * math.sinh(y[0] / 2.0)]

    x = torch.linspace(0.0, 5.0, 6, dtype=torch.float64)
    solution = solve_ivp(rhs, (0.0, 5.0), [8.0], t_eval=x.numpy(), rtol=1e-12, atol=1e-14)
    close(gouy_chapman(x * LENGTH, 8.0 * V, LENGTH) / V, torch.from_numpy(solution.y[0]), rtol=1e-9)


def test_gouy_and_chapman_tend_to_debye_and_hueckel_for_small_potentials():
    x = torch.linspace(0.0, 5.0, 6, dtype=torch.float64) * LENGTH
    close(gouy_chapman(x, 1e-5, LENGTH), debye_hueckel(x, 1e-5, LENGTH), rtol=1e-7)


def test_grahame_s_charge_is_the_slope_of_the_potential_and_inverts():
    x = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(gouy_chapman(x, 0.12, LENGTH), x)
    close(grahame(0.12, C), -WATER * slope, rtol=1e-10)
    close(grahame_potential(grahame(-0.12, C), C), -0.12, rtol=1e-12)


def test_the_layer_at_a_wall_is_gouy_and_chapman_s_with_order_two():
    errors, charges = [], []
    for cells in (100, 200, 400):
        axis, ions = at_wall(Value(0.05), cells)
        errors.append(float((ions.potential[0] - gouy_chapman(axis.centers, 0.05, LENGTH)).abs().max()))
        charges.append(abs(float(ions.wall_charge[0, 0] / grahame(0.05, C)) - 1.0))
    assert errors[2] < 2e-5
    assert math.log2(errors[1] / errors[2]) == pytest.approx(2.0, abs=0.1)
    assert math.log2(charges[1] / charges[2]) == pytest.approx(2.0, abs=0.1)


def test_a_highly_charged_wall_has_grahame_s_potential_on_graded_cells():
    share = torch.linspace(0.0, 1.0, 161, dtype=torch.float64)
    axis, ions = at_wall(
        Flux(float(grahame(0.2, C))), 160, 12.0 * LENGTH * torch.expm1(8.0 * share) / math.expm1(8.0)
    )
    exact = gouy_chapman(axis.centers, 0.2, LENGTH)
    close(ions.potential[0], exact, atol=5e-4)
    assert float(ions.concentration[0, 1, 0]) > 1000.0 * C


def test_at_rest_every_ion_is_boltzmann_distributed_in_the_field_to_round_off():
    _, ions = at_wall(Value(0.1), 60)
    for s, z in enumerate(SALT.valences):
        close(ions.concentration[0, s], C * torch.exp(-z * ions.potential[0] / V), rtol=1e-10)


@pytest.mark.parametrize("salt", [SALT, Electrolyte((2, -1), (0.8e-9, 2e-9))])
def test_between_blocking_walls_mass_and_charge_are_kept_and_concentrations_positive(salt):
    axis = Axis(-10 * LENGTH, 10 * LENGTH, 80)
    start = torch.stack([bulk(80)[0] / salt.valences[0], bulk(80)[0]])
    t = torch.tensor([1e-9, 1e-8, 1e-7, 1e-5], dtype=torch.float64)
    ions = simulate(axis, salt, start, t, Ends((Value(0.2), Value(-0.2))), tolerance=3e-3)
    amount = (ions.concentration * axis.widths).sum(-1)
    close(amount, (start * axis.widths).sum(-1).expand(4, 2), rtol=1e-12)
    charge = FARADAY * (amount * torch.tensor(salt.valences, dtype=torch.float64)).sum(-1)
    close(ions.wall_charge.sum(1) + charge, torch.zeros(4), atol=1e-12 * float(ions.wall_charge.abs().max()))
    assert float(ions.concentration.min()) > 0.0


def test_a_step_as_long_as_the_whole_run_is_still_positive_and_conservative():
    axis = Axis(0.0, 20 * LENGTH, 60)
    start = torch.zeros(2, 60, dtype=torch.float64)
    start[:, :10] = C
    ions = simulate(axis, SALT, start, [1e-6], Ends((Value(0.3), Value(0.0))), steps=1)
    close((ions.concentration[0] * axis.widths).sum(1), (start * axis.widths).sum(1), rtol=1e-12)
    assert float(ions.concentration.min()) > 0.0


def test_a_cell_charges_at_the_rate_of_the_closed_form():
    half = 10.0 * LENGTH
    axis = Axis(-half, half, 160)
    rate = charging_rate(half, 1e-9, LENGTH)
    assert rate == pytest.approx(1e-9 / (LENGTH * half), rel=0.08)
    ends = Ends((Value(1e-4), Value(-1e-4)))
    final = steady(axis, SALT, bulk(160), ends).wall_charge[0, 0]
    t = torch.tensor([1.0, 2.0], dtype=torch.float64) / rate
    measured = []
    for steps in (20, 40):
        left = 1.0 - simulate(axis, SALT, bulk(160), t, ends, steps=steps).wall_charge[:, 0] / final
        measured.append(float(torch.log(left[0] / left[1])))
    # Order one in the step, so the two extrapolate to the rate but for the cells.
    assert 2.0 * measured[1] - measured[0] == pytest.approx(1.0, abs=1.5e-3)
    assert (1.0 - measured[0]) / (1.0 - measured[1]) == pytest.approx(2.0, abs=0.3)


def test_adaptive_steps_meet_their_tolerance():
    axis, ends = Axis(-8 * LENGTH, 8 * LENGTH, 60), Ends((Value(0.05), Value(-0.05)))
    t = [1e-7]
    exact = simulate(axis, SALT, bulk(60), t, ends, steps=300).wall_charge[0, 0]
    rough = simulate(axis, SALT, bulk(60), t, ends, tolerance=2e-2)
    fine = simulate(axis, SALT, bulk(60), t, ends, tolerance=5e-4)
    assert abs(float(fine.wall_charge[0, 0] / exact) - 1.0) < abs(
        float(rough.wall_charge[0, 0] / exact) - 1.0
    )
    assert abs(float(fine.wall_charge[0, 0] / exact) - 1.0) < 5e-3
    assert rough.steps < fine.steps < 300


def test_without_charge_effects_ions_diffuse_as_the_heat_equation():
    """Equal diffusivities and equal profiles make no field."""
    axis = Axis(0.0, 1e-6, 40)
    start = C * (1.0 + 0.5 * torch.cos(math.pi * axis.centers / 1e-6)).expand(2, 40)
    ions = simulate(axis, SALT, start, [1e-4], Ends((Value(0.0), Value(0.0))), steps=200)
    exact = diffusion(Grid(axis), 1e-9).exp(1e-4, start)
    close(ions.concentration[0], exact, rtol=2e-3)


def test_a_dilute_membrane_under_voltage_passes_goldman_s_flux():
    """Far fewer ions than would bend the field: the constant field of Goldman, Hodgkin & Katz."""
    thickness, voltage = 4e-9, 0.08
    axis = Axis(0.0, thickness, 30)
    electrolyte = Electrolyte((1, -1), (1e-11, 1e-11))
    inside, outside = (1e-4, 1e-4), (1e-5, 1e-5)
    start = torch.full((2, 30), 1e-4, dtype=torch.float64)
    ends = Ends((Value(voltage), Value(0.0)), (inside, outside))
    ions = steady(axis, electrolyte, start, ends)
    u = voltage / V * axis.widths[0] / thickness / 2.0
    flux = (
        1e-11
        / (0.5 * axis.widths[0])
        * u
        / (1.0 - torch.exp(-u))
        * (1e-4 - ions.concentration[0, 0, 0] * torch.exp(-u))
    )
    close(flux, goldman_flux(voltage, 1e-4, 1e-5, 1e-11 / thickness, 1), rtol=1e-6)


def test_fixed_charge_draws_the_potential_of_donnan():
    axis = Axis(0.0, 40 * LENGTH, 200)
    fixed = torch.where(axis.centers < 20 * LENGTH, -FARADAY * C, 0.0)
    ends = Ends((Flux(0.0), Value(0.0)), (None, (C, C)))
    ions = steady(axis, SALT, bulk(200), ends, fixed_charge=fixed)
    close(ions.potential[0, 0], -V * math.asinh(0.5), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Electrolyte((1, 0), (1e-9, 1e-9)), "whole number other than 0"),
        (lambda: Electrolyte((1, -1), (1e-9,)), "got 2 valences and 1 of D"),
        (lambda: Electrolyte((1, -1), (1e-9, 1e-9), temperature=0.0), "kelvin and above 0"),
        (lambda: Ends((Flux(0.1), Flux(0.1))), "needs a reference"),
        (lambda: Ends((Reflect(), Value(0.0))), "Value\\(volts\\) or Flux"),
        (lambda: steady(Axis(0, 1e-8, 9), SALT, bulk(8), Ends((Value(0.0), Value(0.0)))), "shape \\(2, 9\\)"),
        (
            lambda: simulate(Axis(0, 1e-8, 9), SALT, bulk(9), [2.0, 1.0], Ends((Value(0.0), Value(0.0)))),
            "increasing numbers",
        ),
        (lambda: debye_length([0.0], [1]), "at least one concentration must be above 0"),
        (lambda: charging_rate(1e-9, 1e-9, 1e-9), "the layers overlap"),
    ],
)
def test_impossible_values_are_refused_in_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
