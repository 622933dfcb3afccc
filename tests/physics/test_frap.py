"""The recovery curves agree with each other, with independent series and inversions, and with a grid."""

from __future__ import annotations

from itertools import pairwise

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.helpers import close
from unstir.generators import diffusion
from unstir.physics import frap
from unstir.physics.binding import bound_shares, diffuse_and_bind
from unstir.spaces import Axis, Grid

T = torch.tensor([0.0, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0], dtype=torch.float64)
rate = st.floats(0.01, 30.0)


def sprague(t, D, w, k_on, k_off):
    """The full model inverted by Talbot's method in 20 digits."""
    free = 1 / (1 + sum(on / off for on, off in zip(k_on, k_off, strict=True)))

    def transform(p):
        b = 1 + sum(on / (p + off) for on, off in zip(k_on, k_off, strict=True))
        q = mpmath.sqrt(p * b / D) * w
        held = sum(free * on / off / (p + off) for on, off in zip(k_on, k_off, strict=True))
        return 1 / p - free / p * (1 - 2 * mpmath.besselk(1, q) * mpmath.besseli(1, q)) * b - held

    with mpmath.workdps(20):
        return float(mpmath.invertlaplace(transform, t, method="talbot", degree=20))


@pytest.mark.parametrize(("k_on", "k_off"), [((2.0,), (0.5,)), ((2.0, 0.3), (0.5, 0.02))])
def test_reaction_diffusion_is_the_inverse_transform_of_sprague(k_on, k_off):
    t = torch.tensor([0.003, 2.0], dtype=torch.float64)
    exact = torch.tensor([sprague(float(x), 1.3, 0.7, k_on, k_off) for x in t], dtype=torch.float64)
    close(frap.reaction_diffusion(t, 1.3, 0.7, k_on, k_off), exact, atol=1e-10)


def test_without_binding_it_is_the_recovery_of_soumpasis():
    close(frap.reaction_diffusion(T, 1.3, 0.7), frap.uniform_spot(T, 1.3, 0.7), atol=1e-11)


@given(D=st.floats(0.01, 50.0), on=rate, off=rate)
@hypothesis_settings(max_examples=30)
def test_a_recovery_rises_from_zero_and_is_slower_than_without_binding(D, on, off):
    t = torch.linspace(0.0, 20.0, 60, dtype=torch.float64)
    f = frap.reaction_diffusion(t, D, 1.0, (on,), (off,))
    assert float(f[0]) == 0.0
    assert bool((f.diff() > -1e-11).all())
    assert bool((f <= frap.uniform_spot(t, D, 1.0) + 1e-10).all())


def test_fast_binding_is_slower_diffusion():
    f = frap.reaction_diffusion(T, 2.0, 1.0, (3e4,), (1e4,))
    assert frap.effective_diffusion(2.0, (3e4,), (1e4,)) == pytest.approx(0.5)
    close(f, frap.uniform_spot(T, 0.5, 1.0), atol=2e-3)


def test_fast_diffusion_leaves_unbinding():
    f = frap.reaction_diffusion(T[2:], 1e6, 1.0, (3.0,), (1.0,))
    close(f, frap.reaction_dominant(T[2:], 1.0, 0.75), atol=2e-4)


@pytest.mark.parametrize("K", [1e-3, 0.3, 3.0, 20.0])
def test_a_gaussian_bleach_follows_the_series_of_axelrod(K):
    D, w = 1.3, 0.7
    depth = float(frap.gaussian_depth(K))
    for t, f in zip(T, frap.gaussian_spot(T, D, w, K), strict=True):
        b = 1 + 2 * float(t) * 4 * D / w**2
        with mpmath.workdps(30):
            series = mpmath.nsum(
                lambda n, b=b: mpmath.mpf(-K) ** n / mpmath.factorial(n) / (1 + n * b), [0, mpmath.inf]
            )
        assert float(f) == pytest.approx(1 - (1 - float(series)) / depth, abs=2e-12)


def test_a_weak_gaussian_bleach_recovers_as_t_over_t_plus_tau():
    tau = 0.7**2 / 4 / 1.3
    close(frap.gaussian_spot(T, 1.3, 0.7, 1e-7), T / (T + tau), atol=1e-7)


@pytest.mark.parametrize(("k_on", "k_off"), [((), ()), ((2.0, 0.3), (0.5, 0.02))])
def test_a_large_cell_recovers_like_one_without_end(k_on, k_off):
    t = T[1:6]
    infinite = frap.reaction_diffusion(t, 1.3, 0.7, k_on, k_off)
    close(frap.finite_cell(t, 1.3, 0.7, 35.0, k_on, k_off), infinite, atol=1e-6)


def test_a_small_cell_ends_at_the_share_that_was_not_bleached():
    t = torch.tensor([0.0, 1e4], dtype=torch.float64)
    f = frap.finite_cell(t, 1.0, 1.0, 3.0, (1.0,), (0.1,))
    close(f, torch.tensor([0.0, 1 - 1 / 9], dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize(("k_on", "k_off"), [((2.0,), (0.5,)), ((2.0, 0.3), (0.5, 0.02))])
def test_a_grid_with_binding_states_converges_to_the_closed_form_with_order_two(k_on, k_off):
    t = torch.tensor([0.02, 0.1, 0.5, 2.0], dtype=torch.float64)
    free, bound = bound_shares(k_on, k_off)
    shares = torch.tensor([free, *bound], dtype=torch.float64)[:, None]
    exact = frap.finite_cell(t, 1.3, 0.5, 5.0, k_on, k_off)
    errors = []
    for cells in (100, 200, 400):
        grid = Grid(Axis(0.0, 5.0, cells, metric="cylindrical"))
        spot = (grid.centers[0] < 0.5).double()
        u = diffuse_and_bind(shares * (1 - spot), t, diffusion(grid, 1.3), k_on, k_off)
        f = grid.integrate(u.sum(1) * spot) / grid.integrate(spot)
        errors.append(float((f - exact).abs().max()))
        close(grid.integrate(u.sum(1)), grid.integrate(1 - spot).expand(4), rtol=1e-11)
        assert float(u.min()) > -1e-12
    assert errors[2] < 5e-5
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(4.0, abs=0.4)


def test_soumpasis_and_axelrod_have_gradients():
    D = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    for curve in (lambda D: frap.uniform_spot(T, D, 0.7), lambda D: frap.gaussian_spot(T, D, 0.7, 2.0)):
        (slope,) = torch.autograd.grad(curve(D).sum(), D)
        with torch.no_grad():
            step = (curve(D + 1e-5).sum() - curve(D - 1e-5).sum()) / 2e-5
        close(slope, step, rtol=1e-6)


def test_what_was_bleached_and_does_not_move_is_lost():
    f = frap.observed(torch.tensor([0.0, 1.0]), before=200.0, depth=0.6, mobile=0.75)
    close(f, torch.tensor([80.0, 170.0], dtype=torch.float64), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: frap.uniform_spot(-T, 1.0, 1.0), "counted from the bleach"),
        (lambda: frap.uniform_spot(T, 0.0, 1.0), "D must be above 0"),
        (lambda: frap.reaction_diffusion(T, 1.0, 1.0, (1.0,), ()), "a k_on and a k_off"),
        (lambda: frap.reaction_diffusion(T, 1.0, 1.0, (-1.0,), (1.0,)), "at least 0"),
        (lambda: frap.finite_cell(T, 1.0, 2.0, 1.0), "inside the cell"),
    ],
)
def test_impossible_numbers_are_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
