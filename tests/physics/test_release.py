"""Release against the grid: membranes, capsules with partition, spheres with a film, moving fronts."""

from __future__ import annotations

import math

import pytest
import torch

from tests.helpers import close
from unstir.generators import diffusion
from unstir.physics.release import (
    Layer,
    capsule_release,
    exact_slab_release,
    higuchi,
    matrix_release,
    permeability,
    spherical_permeability,
)
from unstir.spaces import Axis, Grid, Robin, Value


def test_a_layer_s_late_permeation_is_its_permeability_after_its_lag():
    layer = Layer(1e-4, 1e-11, 0.3)
    t = torch.tensor([10.0, 20.0], dtype=torch.float64) * layer.lag
    close(layer.permeated(t, 2.0), layer.permeability * 2.0 * (t - layer.lag), rtol=1e-6, atol=1e-10)
    assert float(layer.permeated(0.0, 2.0)) == 0.0


def test_layers_in_series_are_the_grid_s_steady_flux_to_round_off():
    layers = [Layer(2e-5, 1e-11), Layer(1e-5, 3e-13), Layer(2e-5, 5e-10)]
    edges = torch.tensor([0.0, 1e-5, 2e-5, 2.5e-5, 3e-5, 4e-5, 5e-5], dtype=torch.float64)
    axis = Axis.from_edges(edges, boundary=(Value(1.0), Value(0.0)))
    D = torch.tensor([1e-11, 1e-11, 3e-13, 3e-13, 5e-10, 5e-10], dtype=torch.float64)
    u = diffusion(Grid(axis), D).stationary()
    close((1.0 - u[0]) * D[0] / 0.5e-5, permeability(layers), rtol=1e-10)


def test_concentric_shells_are_the_spherical_grid_s_steady_flux_with_order_two():
    layers, errors = [Layer(2e-5, 1e-11), Layer(3e-5, 1e-11)], []
    for cells in (10, 20):
        axis = Axis(5e-5, 1e-4, cells, boundary=(Value(1.0), Value(0.0)), metric="spherical")
        u = diffusion(Grid(axis), 1e-11).stationary()
        P = (1.0 - u[0]) * 1e-11 / (0.5 * axis.widths[0])
        errors.append(abs(float(P) / spherical_permeability(layers, 5e-5) - 1.0))
    assert errors[1] < 1e-2
    assert math.log2(errors[0] / errors[1]) > 1.7


def test_a_thick_shell_tends_to_the_resistance_of_an_infinite_medium():
    close(spherical_permeability([Layer(1e3, 1e-9)], 1e-3), 1e-9 / 1e-3, rtol=1e-5)


def test_a_capsule_with_a_partitioning_wall_releases_as_the_grid_does():
    """The wall takes up K times the water's concentration: a potential of -ln K there."""
    a, wall, D_wall, K, D_core = 1e-3, 1e-4, 1e-11, 0.1, 1e-8
    edges = torch.cat([torch.linspace(0.0, a, 21), a + torch.linspace(0.0, wall, 81)[1:]]).double()
    axis = Axis.from_edges(edges, boundary=("reflect", Value(0.0)), metric="spherical")
    inside = axis.centers < a
    A = diffusion(
        Grid(axis),
        torch.where(inside, D_core, D_wall).double(),
        potential=torch.where(inside, 0.0, -math.log(K)).double(),
    )
    P = spherical_permeability([Layer(wall, D_wall, K)], a)
    start = inside.double()
    t = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64) * a / (3.0 * P)
    left = (A.exp(t, start) * axis.volumes).sum(-1) / (start * axis.volumes).sum()
    # The wall's own content is K * 33 % of the core's, which slows the release by some per cent.
    close(1.0 - left, capsule_release(t, P, a), atol=0.03)
    rate = -torch.log(left[2] / left[1]) / (t[2] - t[1])
    close(rate, 3.0 * P / a, rtol=0.03)


@pytest.mark.parametrize("transfer", [1e-8, 1e-6, 1e-4])
def test_a_sphere_with_a_film_releases_as_the_grid_with_a_robin_end(transfer):
    D, a, cells = 1e-10, 1e-3, 80
    axis = Axis(0.0, a, cells, boundary=("reflect", Robin(transfer, D, 0.0)), metric="spherical")
    t = torch.tensor([0.02, 0.1, 1.0], dtype=torch.float64) * a**2 / D
    grid = Grid(axis)
    left = (
        grid.integrate(diffusion(grid, D).exp(t, torch.ones(cells, dtype=torch.float64))) / grid.volumes.sum()
    )
    close(matrix_release(t, D, a, transfer), 1.0 - left, atol=6e-4)


def test_a_quick_film_is_a_perfect_sink_and_a_slow_one_empties_a_stirred_core():
    t = torch.tensor([0.01, 0.1, 0.5], dtype=torch.float64)
    close(matrix_release(t, 1.0, 1.0, 1e6), matrix_release(t, 1.0, 1.0), atol=5e-6)
    slow = t * 1e6
    close(matrix_release(slow, 1.0, 1.0, 1e-6), capsule_release(slow, 1e-6, 1.0), atol=1e-6)
    assert float(matrix_release(0.0, 1.0, 1.0, 2.0)) == pytest.approx(0.0, abs=1e-12)


def test_higuchi_is_the_front_that_is_steady_and_at_most_eleven_per_cent_low():
    t = 100.0
    loads = torch.tensor([1.0001, 2.0, 10.0, 1e4], dtype=torch.float64).tolist()
    ratio = [float(higuchi(t, 1e-10, load, 1.0) / exact_slab_release(t, 1e-10, load, 1.0)) for load in loads]
    assert ratio == sorted(ratio)
    assert ratio[0] == pytest.approx(math.sqrt(math.pi) / 2.0, rel=1e-3)
    assert ratio[3] == pytest.approx(1.0, abs=1e-4)


def test_the_exact_front_solves_the_balance_at_the_front():
    """Drug set free by the front and drug that has left: A s - integral of the dissolved = release."""
    from unstir.physics.formulas import front_constant

    A, C, D, t = 3.0, 1.0, 1e-10, 50.0
    front = front_constant(C / (A - C))
    s = 2.0 * front * math.sqrt(D * t)
    x = torch.linspace(0.0, s, 4001, dtype=torch.float64)
    dissolved = torch.trapezoid(C * torch.erf(x / (2.0 * math.sqrt(D * t))) / math.erf(front), x)
    close(A * s - dissolved, exact_slab_release(t, D, A, C), rtol=1e-7)


def test_release_is_differentiable_in_time():
    t = torch.tensor([0.0, 0.01, 0.3], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(matrix_release(t, 1.0, 1.0).sum(), t)
    assert bool(torch.isfinite(slope).all())
    h = 1e-6
    there = t.detach()[1:]
    close(
        slope[1:],
        (matrix_release(there + h, 1.0, 1.0) - matrix_release(there - h, 1.0, 1.0)) / (2 * h),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Layer(0.0, 1e-9), "the thickness must be finite and above 0, got 0"),
        (lambda: permeability([]), "at least one layer"),
        (lambda: capsule_release(-1.0, 1e-6, 1e-3), "t must be finite and at least 0, got -1"),
        (lambda: higuchi(1.0, 1e-10, 0.5, 1.0), "all is dissolved; use matrix_release"),
        (lambda: matrix_release(1.0, 1e-10, 1e-3, -1.0), "the transfer must be finite and above 0"),
    ],
)
def test_impossible_values_are_refused_in_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
