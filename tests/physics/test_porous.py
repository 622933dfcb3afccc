"""Pores: hindrance in its limits, laminates to round-off, dilute obstacles as Maxwell, percolation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import close
from unstir.noise import Stream, uniform
from unstir.physics.hindered import (
    bungay_brenner,
    hindrance,
    partition,
    radius_ratio,
    renkin,
    stokes_einstein,
    stokes_radius,
)
from unstir.physics.porous import (
    bruggeman,
    effective_diffusivity,
    maxwell,
    parallel,
    percolating,
    series,
)


def test_a_protein_of_three_and_a_half_nanometres_diffuses_at_70_square_micrometres_a_second():
    D = stokes_einstein(3.5e-9, 298.15, 8.9e-4)
    assert pytest.approx(7.01e-11, rel=1e-2) == D
    assert stokes_radius(D, 298.15, 8.9e-4) == pytest.approx(3.5e-9, rel=1e-14)


def test_a_point_is_not_hindered_and_a_tight_sphere_does_not_move():
    small, tight = torch.tensor([0.0, 1e-9]), 1.0 - 1e-6
    for value in (renkin(small), *bungay_brenner(small), *hindrance(small), partition(small)):
        close(value, torch.ones(2), atol=2e-6)
    assert float(hindrance(tight)[0]) < 1e-20
    assert float(bungay_brenner(tight)[0]) < 1e-20


def test_hindrance_of_convection_has_no_first_order_term_and_that_of_diffusion_a_logarithm():
    x = torch.tensor([1e-3, 1e-2], dtype=torch.float64)
    H, W = hindrance(x)
    close(1.0 - W, torch.zeros(2), atol=1e-3)
    close((H - 1.0) / x, 1.125 * x.log() - 1.56034, rtol=3e-3)


def test_the_newer_hindrance_lies_between_the_older_ones_for_large_solutes_and_falls():
    x = torch.linspace(0.0, 0.99, 100, dtype=torch.float64)
    H, _ = hindrance(x)
    assert bool((H.diff() < 0).all())
    below = hindrance(0.9499999)[0]
    close(hindrance(0.9500001)[0] / below, 1.0, rtol=1e-2)
    middle = torch.tensor([0.3, 0.5], dtype=torch.float64)
    close(hindrance(middle)[0] / bungay_brenner(middle)[0], torch.ones(2), rtol=0.15)


def test_renkin_and_bungay_and_brenner_agree_where_both_hold():
    x = torch.linspace(0.0, 0.4, 9, dtype=torch.float64)
    close(renkin(x), bungay_brenner(x)[0], rtol=2e-2)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=6), st.integers(0, 1))
def test_laminates_are_exact_across_and_along(values, axis):
    D = torch.tensor(values, dtype=torch.float64)
    shares = torch.full((len(D),), 1.0 / len(D), dtype=torch.float64)
    field = D[:, None].expand(len(D), 4) if axis == 0 else D.expand(4, len(D))
    across = effective_diffusivity(field, axis, spacing=(0.1, 0.3))
    along = effective_diffusivity(field, 1 - axis, spacing=(0.1, 0.3))
    assert across.value == pytest.approx(float(series(D, shares)), rel=1e-13)
    assert along.value == pytest.approx(float(parallel(D, shares)), rel=1e-13)
    # What rounding leaves of concentrations near 1 grows with the contrast.
    assert across.imbalance < 1e-14 * (1.0 + max(values) / min(values))


def ball(cells: int, radius: float, dimension: int) -> torch.Tensor:
    x = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells - 0.5
    square = sum(g**2 for g in torch.meshgrid(*[x] * dimension, indexing="ij"))
    return square >= radius**2


@pytest.mark.parametrize(("dimension", "cells", "radius"), [(2, 100, 0.2), (3, 36, 0.25)])
def test_dilute_obstacles_obey_maxwell(dimension, cells, radius):
    pores = ball(cells, radius, dimension)
    found = effective_diffusivity(pores, 0, spacing=1.0 / cells)
    expected = float(maxwell(1.0, 0.0, 1.0 - found.porosity, dimension))
    # The voxels' steps make an obstacle a little rougher than it is, to first order in their size.
    assert found.value == pytest.approx(expected, rel=1e-2)
    assert found.value < expected
    assert found.tortuosity == pytest.approx(found.porosity / found.value, rel=1e-12)
    assert found.imbalance < 1e-8


def test_a_filled_array_of_disks_obeys_rayleigh_and_converges_with_the_voxels():
    errors = []
    for cells in (50, 200):
        pores = ball(cells, 0.35, 2)
        phi = 1.0 - float(pores.double().mean())
        rayleigh = 1.0 - 2.0 * phi / (1.0 + phi - 0.305828 * phi**4 - 0.013362 * phi**8)
        errors.append(abs(effective_diffusivity(pores, 1).value - rayleigh))
    assert errors[1] < 4e-3
    assert errors[1] < 0.5 * errors[0]


def test_bruggeman_lies_below_maxwell_and_both_start_alike():
    phi = torch.tensor([1e-4, 0.2, 0.5], dtype=torch.float64)
    m, b = maxwell(1.0, 0.0, phi), bruggeman(1.0 - phi)
    assert bool((b[1:] < m[1:]).all())
    close((1.0 - m[0]) / phi[0], 1.5, rtol=1e-3)
    close((1.0 - b[0]) / phi[0], 1.5, rtol=1e-3)


def test_random_media_lie_between_wiener_s_bounds():
    field = 0.1 + uniform((12, 14), seed=5, index=torch.tensor([0]), stream=Stream.SIMULATE)[0]
    shares = torch.full((field.numel(),), 1.0 / field.numel(), dtype=torch.float64)
    low, high = series(field.reshape(-1), shares), parallel(field.reshape(-1), shares)
    for axis in (0, 1):
        assert float(low) < effective_diffusivity(field, axis).value < float(high)


def test_pores_that_do_not_join_the_faces_carry_nothing_and_do_no_harm():
    pores = torch.zeros(10, 10, dtype=torch.bool)
    pores[:, 2] = True
    pores[3:6, 6] = True
    found = effective_diffusivity(pores, 0)
    assert found.value == pytest.approx(0.1, rel=1e-12)
    assert bool((percolating(pores, 0).sum(0) == torch.tensor([0, 0, 10, 0, 0, 0, 0, 0, 0, 0])).all())
    closed = effective_diffusivity(pores, 1)
    assert closed.value == 0.0
    assert math.isinf(closed.tortuosity)


def test_a_straight_channel_has_tortuosity_one_and_a_step_more():
    straight = torch.zeros(8, 8, dtype=torch.bool)
    straight[:, 3] = True
    assert effective_diffusivity(straight, 0).tortuosity == pytest.approx(1.0, rel=1e-12)
    bent = torch.zeros(9, 9, dtype=torch.bool)
    bent[:5, 2] = bent[4, 2:7] = bent[4:, 6] = True
    assert effective_diffusivity(bent, 0).tortuosity == pytest.approx((13.0 / 9.0) ** 2, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: radius_ratio(5e-9, 4e-9), "does not fit into the pore"),
        (lambda: hindrance(1.0), "a solute as large as the pore does not enter"),
        (lambda: renkin(-0.1), "from 0 to below 1"),
        (lambda: stokes_einstein(1e-9, -10.0, 1e-3), "kelvin and above 0"),
        (lambda: bruggeman(40.0), "divide percentages by 100"),
        (lambda: parallel(torch.ones(2), torch.tensor([0.5, 0.6])), "sum to 1"),
        (lambda: effective_diffusivity(torch.zeros(3, 3, dtype=torch.bool)), "no pore"),
        (lambda: effective_diffusivity(-torch.ones(3, 3)), "finite and at least 0"),
        (lambda: effective_diffusivity(torch.ones(3, 3), 2), "one of the sample's 2 axes"),
    ],
)
def test_impossible_values_are_refused_in_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
