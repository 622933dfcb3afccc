"""Solid-state kinetics: laws against quadrature and the grid's shell, inverses, fits, the moving boundary."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from tests.helpers import close
from unstir.generators import diffusion
from unstir.noise import Stream, normal
from unstir.physics.formulas import front_constant
from unstir.physics.kinetics import (
    Carter,
    GinstlingBrounshtein,
    Jander,
    ShrinkingCore,
    fit_rate,
    rate_constant,
)
from unstir.physics.shrinking_shell import react
from unstir.spaces import Axis, Grid, Value

LAWS = [Jander(), GinstlingBrounshtein(), Carter(2.1), Carter(0.5), ShrinkingCore(0.1, 0.2, 0.3)]


@given(st.sampled_from(LAWS), st.floats(0.0, 0.999))
def test_conversion_is_the_inverse_of_progress(law, share):
    g = share * law.end
    # Near the end 1 - x rounds, and with it the radius.
    assert float(law.progress(law.conversion(g))) == pytest.approx(g, abs=1e-9)


@pytest.mark.parametrize("law", LAWS)
def test_conversion_rises_from_nothing_to_all_and_stays(law):
    x = law.conversion(torch.linspace(0.0, 1.5 * law.end, 301, dtype=torch.float64))
    assert float(x[0]) == 0.0
    assert bool((x.diff() >= 0).all())
    assert bool((x[201:] == 1.0).all())


@pytest.mark.parametrize("law", LAWS)
def test_conversion_has_the_gradient_of_finite_differences(law):
    g = torch.tensor(0.4 * law.end, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(law.conversion(g), g)
    h = 1e-5 * law.end
    close(slope, (law.conversion(g.detach() + h) - law.conversion(g.detach() - h)) / (2 * h), rtol=1e-7)


def test_carter_tends_to_ginstling_and_brounshtein_as_the_volume_ratio_tends_to_one():
    x = torch.linspace(0.0, 1.0, 11, dtype=torch.float64)
    for excess in (1e-4, 1e-8, 1e-11, 0.0):
        close(Carter(1.0 + excess).progress(x), GinstlingBrounshtein().progress(x), atol=excess + 1e-14)
    g = torch.linspace(0.0, 0.33, 12, dtype=torch.float64)
    close(GinstlingBrounshtein().conversion(g), Carter(1.0).conversion(g), atol=1e-12)


def test_jander_is_the_planar_limit_of_the_shell():
    x = torch.tensor([1e-4, 1e-3], dtype=torch.float64)
    close(Jander().progress(x) / GinstlingBrounshtein().progress(x), torch.ones(2), rtol=1e-3)


@pytest.mark.parametrize("z", [0.5, 1.0, 2.1])
def test_the_law_is_the_integral_of_the_grid_s_steady_flux_through_the_shell(z):
    """dt = rho (4 pi a^2) da / flux, with the flux of a spherical axis between the two radii."""

    def time_per_radius(a: float) -> float:
        b = (z + (1.0 - z) * a**3) ** (1.0 / 3.0)
        axis = Axis(a, b, 8, boundary=(Value(0.0), Value(1.0)), metric="spherical")
        u = diffusion(Grid(axis)).stationary()
        flux = float(axis.areas[0] * u[0] / (0.5 * axis.widths[0]))
        return 2.0 * 4.0 * math.pi * a**2 / flux

    total = quad(time_per_radius, 0.5, 1.0 - 1e-9, epsabs=1e-9)[0]
    # Eight cells see the face's area to second order in their width.
    assert total == pytest.approx(float(Carter(z).progress(1.0 - 0.5**3)), rel=1e-2)


@pytest.mark.parametrize("z", [0.5, 1.0, 2.1])
def test_the_moving_boundary_tends_to_the_law_in_proportion_to_the_supply(z):
    law, errors = Carter(z), []
    for supply in (0.02, 0.01):
        t = torch.linspace(0.1, 0.9, 5, dtype=torch.float64) * law.end / (2.0 * supply)
        shell = react(t, supply, volume_ratio=z, cells=20, tolerance=1e-7)
        assert shell.imbalance < 1e-5
        errors.append(float((shell.conversion - law.conversion(2.0 * supply * t)).abs().max()))
    assert errors[1] < 0.01
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.1)


def test_the_moving_boundary_starts_as_neumann_s_plane():
    supply, z = 1.0, 1.5
    t = torch.tensor([1e-6, 4e-6], dtype=torch.float64)
    shell = react(t, supply, volume_ratio=z)
    thickness = 2.0 * front_constant(supply * z) * t.sqrt()
    close(shell.outer - shell.core, thickness, rtol=5e-3)


def test_the_moving_boundary_converges_with_order_two():
    t = torch.tensor([0.3], dtype=torch.float64)
    x = [float(react(t, 0.5, volume_ratio=2.0, cells=n).conversion) for n in (8, 16, 32)]
    assert math.log2((x[1] - x[0]) / (x[2] - x[1])) == pytest.approx(2.0, abs=0.3)


def test_a_fit_recovers_the_rate_within_its_interval_and_prefers_the_true_law():
    t = torch.linspace(0.0, 20.0, 30, dtype=torch.float64)
    true = Carter(2.1)
    noise = normal((30,), seed=3, index=torch.tensor([0]), stream=Stream.SIMULATE, dtype=torch.float64)[0]
    x = true.conversion(0.018 * t) + 0.005 * noise
    fits = {type(law).__name__: fit_rate(t, x, law) for law in (Jander(), GinstlingBrounshtein(), true)}
    low, high = fits["Carter"].interval
    assert low < 0.018 < high
    assert high / low < 1.05
    assert fits["Carter"].deviation == pytest.approx(0.005, rel=0.4)
    assert fits["Carter"].aicc < min(fits["Jander"].aicc, fits["GinstlingBrounshtein"].aicc)


def test_an_exact_curve_is_fitted_exactly():
    t = torch.linspace(0.0, 5.0, 12, dtype=torch.float64)
    for law in LAWS[:4]:
        assert fit_rate(t, law.conversion(0.05 * t), law).k == pytest.approx(0.05, rel=1e-6)


def test_the_rate_constant_has_the_units_of_its_parts():
    k = rate_constant(1e-15, 100.0, 1e-5, 1e-6, stoichiometry=2.0)
    assert k == pytest.approx(1e-15 * 100.0 * 1e-5 / 1e-12)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Jander().progress(30.0), "fraction from 0 to 1; divide percentages by 100"),
        (lambda: Jander().conversion(-0.1), "the progress must be finite and at least 0"),
        (lambda: Carter(0.0), "the volume ratio must be finite and above 0"),
        (lambda: rate_constant(1e-15, 1.0, 1e-5, -1e-6), "the radius must be finite and above 0, got -1e-06"),
        (lambda: ShrinkingCore(0.0, 0.0, 0.0), "at least one of film, shell and reaction"),
        (lambda: react(torch.tensor([2.0, 1.0]), 0.1), "increasing numbers"),
        (lambda: fit_rate(torch.arange(2.0), torch.arange(2.0), Jander()), "n >= 3"),
    ],
)
def test_impossible_values_are_refused_in_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
