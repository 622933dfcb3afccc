"""Reactions, Turing's theory, fronts and gradients against closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import close
from unstir.generators import diffusion
from unstir.physics.evolve import evolve
from unstir.physics.fronts import (
    bramson_position,
    exact_wave,
    fisher_speed,
    front_position,
    lattice_speed,
)
from unstir.physics.gradients import decay_length, morphogen, morphogen_rise, source_zone, zone_width
from unstir.physics.reaction import Brusselator, GrayScott, Logistic, Schnakenberg
from unstir.physics.turing import Turing, pattern_wavenumber
from unstir.spaces import Axis, Flux, Grid

MODELS = [
    GrayScott(0.04, 0.06),
    GrayScott(0.03, 0.055),
    Brusselator(4.5, 7.0),
    Brusselator(1.0, 3.0),
    Schnakenberg(0.1, 0.9),
    Schnakenberg(0.0, 1.3),
]


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_homogeneous_states_do_not_react_and_jacobians_are_the_derivatives(model):
    states = model.states()
    close(model(states.mT), torch.zeros_like(states.mT), atol=1e-14)
    for state in states:
        automatic = torch.autograd.functional.jacobian(model, state)
        close(model.jacobian(state), automatic, rtol=1e-13, atol=1e-14)


def test_gray_scott_has_three_states_only_where_the_feed_allows_it():
    assert len(GrayScott(0.04, 0.03).states()) == 3
    assert len(GrayScott(0.04, 0.07).states()) == 1


@given(st.floats(0.0, 3.0), st.floats(0.01, 5.0), st.floats(0.1, 4.0), st.floats(0.5, 3.0))
@settings(max_examples=40, deadline=None)
def test_the_logistic_flow_is_a_semigroup_that_solves_its_equation(u, dt, r, K):
    growth = Logistic(r, K)
    start = torch.tensor([u], dtype=torch.float64)
    close(
        growth.flow(growth.flow(start, dt), 2.0 * dt), growth.flow(start, 3.0 * dt), rtol=1e-13, atol=1e-300
    )
    small = 1e-6
    slope = (growth.flow(start, dt + small) - growth.flow(start, dt - small)) / (2.0 * small)
    close(slope, growth(growth.flow(start, dt)), rtol=1e-5, atol=1e-7)


def test_the_logistic_flow_keeps_nothing_and_the_capacity_for_any_time():
    ends = torch.tensor([0.0, 2.0], dtype=torch.float64)
    close(Logistic(1.0, 2.0).flow(ends, 1e6), ends)
    close(Logistic(1.0, 2.0).flow(torch.tensor([1e-300], dtype=torch.float64), 1e6), [2.0], rtol=1e-7)


@pytest.mark.parametrize(
    "bad", [lambda: Logistic(0.0), lambda: GrayScott(-1.0), lambda: Schnakenberg(-0.1, 1.0)]
)
def test_rates_that_cannot_be_are_refused(bad):
    with pytest.raises(ValueError, match="needs"):
        bad()


# Turing


@pytest.mark.parametrize(
    ("model", "D"),
    [
        (Brusselator(4.5, 7.0), (2.0, 16.0)),
        (Schnakenberg(0.1, 0.9), (1.0, 20.0)),
        (Schnakenberg(0.2, 2.0), (1.0, 40.0)),
    ],
)
def test_the_fastest_wave_is_the_maximum_of_the_dispersion_relation(model, D):
    theory = Turing(model.jacobian(model.states()[0]), D)
    assert theory.unstable
    wave, growth = theory.fastest()
    q = torch.linspace(0.2 * wave, 3.0 * wave, 20001, dtype=torch.float64)
    rates = theory.growth(q**2)
    close(growth, float(rates.max()), rtol=1e-5)
    assert float(q[rates.argmax()]) == pytest.approx(wave, rel=1e-3)
    automatic = torch.linalg.eigvals(
        theory.jacobian - wave**2 * torch.diag(torch.tensor(D).double())
    ).real.max()
    close(growth, automatic, rtol=1e-12, atol=1e-13)


def test_the_fastest_wave_does_not_depend_on_the_order_of_the_species():
    model = Schnakenberg(0.1, 0.9)
    J = model.jacobian(model.states()[0])
    one, other = Turing(J, (1.0, 20.0)).fastest(), Turing(J.flip(0, 1), (20.0, 1.0)).fastest()
    close(torch.tensor(one), torch.tensor(other), rtol=1e-12)


def test_the_brusselator_sets_in_where_its_closed_form_says():
    D = (2.0, 16.0)
    onset, wave = Brusselator(4.5).onset(D)
    for B, grows in ((onset * (1 - 1e-6), False), (onset * (1 + 1e-6), True)):
        model = Brusselator(4.5, B)
        theory = Turing(model.jacobian(model.states()[0]), D)
        assert theory.unstable is grows
        assert theory.critical() == pytest.approx(wave, rel=1e-5)
        assert (float(theory.growth(wave**2)) > 0) is grows
        if grows:
            assert theory.fastest()[0] == pytest.approx(wave, rel=1e-2)


def test_equal_diffusivities_are_refused_and_oscillations_are_no_pattern():
    model = Brusselator(1.0, 3.0)
    with pytest.raises(ValueError, match="two different"):
        Turing(model.jacobian(model.states()[0]), (1.0, 1.0))
    assert not Turing(model.jacobian(model.states()[0]), (1.0, 2.0)).unstable


@pytest.mark.parametrize("boundary", ["reflect", "periodic"])
@pytest.mark.parametrize("waves", [4, 6, 8])
def test_small_waves_grow_at_the_rate_of_the_grids_own_mode(boundary, waves):
    model, D, n, length = Brusselator(4.5, 7.0), (2.0, 16.0), 64, 40.0
    axis = Axis(0.0, length, n, boundary=boundary)
    grid = Grid(axis)
    angle = math.pi * waves / length * axis.centers
    mu = (2.0 * n / length * math.sin(0.5 * math.pi * waves / length * length / n)) ** 2
    theory = Turing(model.jacobian(model.states()[0]), D)
    state, shape = model.states()[0][:, None], torch.cos(angle)[None]
    u_0 = state + 1e-7 * theory.mode(mu)[:, None] * shape
    t = 0.5
    end = evolve(u_0, t, (diffusion(grid, D[0]), diffusion(grid, D[1])), model, method="etdrk4", steps=100)
    share = ((end.u - state)[0] * shape).sum() / ((u_0 - state)[0] * shape).sum()
    measured = float(share.log()) / t
    assert measured == pytest.approx(float(theory.growth(mu)), rel=1e-3)


@pytest.mark.parametrize("boundary", ["reflect", "periodic"])
def test_the_wavenumber_of_a_pure_wave_is_its_own(boundary):
    grid = Grid(Axis(0.0, 10.0, 64, boundary=boundary), Axis(0.0, 6.0, 32, boundary=boundary))
    x, _ = grid.centers
    q = 2.0 * math.pi * 3 / 10.0
    assert pattern_wavenumber(2.0 + torch.cos(q * x), grid) == pytest.approx(q, rel=1e-12)
    with pytest.raises(ValueError, match="homogeneous"):
        pattern_wavenumber(torch.ones(64, 32), grid)


# Fronts


def test_the_exact_wave_solves_fishers_equation():
    x = torch.linspace(-20.0, 20.0, 81, dtype=torch.float64, requires_grad=True)
    t = torch.zeros(81, dtype=torch.float64, requires_grad=True)
    r, D, K = 1.7, 0.6, 2.5
    u = exact_wave(x, t, r, D, K)
    u_x, u_t = torch.autograd.grad(u.sum(), (x, t), create_graph=True)
    (u_xx,) = torch.autograd.grad(u_x.sum(), x)
    close(u_t, D * u_xx + Logistic(r, K)(u), atol=1e-14)


def test_the_exact_wave_is_followed_pointwise_with_second_order():
    gaps = []
    for cells, steps in ((140, 30), (280, 60)):
        axis = Axis(-30.0, 40.0, cells)
        A = diffusion(Grid(axis), 1.0)
        end = evolve(exact_wave(axis.centers, 0.0), 5.0, A, Logistic(), method="strang", steps=steps).u
        gaps.append(float((end - exact_wave(axis.centers, 5.0)).abs().max()))
    assert gaps[1] < 2e-3
    assert 3.5 < gaps[0] / gaps[1] < 4.5


def test_the_lattice_speed_tends_to_fishers_with_second_order():
    gaps = [lattice_speed(2.0, 0.5, dx)[0] - fisher_speed(2.0, 0.5) for dx in (0.2, 0.1)]
    # c (1 + (q dx)^2 / 24) with q = sqrt(r / D) = 2
    assert gaps[0] == pytest.approx(2.0 * 4.0 * 0.04 / 24.0, rel=0.03)
    assert gaps[0] / gaps[1] == pytest.approx(4.0, rel=0.03)


def test_a_front_from_a_step_lags_behind_its_speed_by_bramsons_logarithm():
    axis = Axis(0.0, 270.0, 540)
    times = torch.tensor([30.0, 120.0], dtype=torch.float64)
    result = evolve((axis.centers < 5.0).double(), times, diffusion(Grid(axis), 1.0), Logistic(), steps=240)
    assert result.method == "strang"
    place = front_position(result.u, axis.centers, 0.5)
    speed, steepness = lattice_speed(1.0, 1.0, 0.5)
    coefficient = -float((place - speed * times).diff()) / math.log(4.0)
    assert coefficient == pytest.approx(1.5 / steepness, rel=0.05)
    close(bramson_position(times).diff()[0], 2.0 * 90.0 - 1.5 * math.log(4.0), rtol=1e-14)


def test_the_tail_ahead_of_a_front_is_positive_and_never_above_the_linear_equation():
    axis = Axis(0.0, 100.0, 200)
    u_0 = (axis.centers < 5.0).double()
    A = diffusion(Grid(axis), 1.0)
    result = evolve(u_0, 10.0, A, Logistic(), steps=20)
    linear = u_0
    for _ in range(20):
        linear = math.exp(0.5) * A.exp(0.5, linear, positive=True)
    assert bool((result.u > 0).all())
    assert bool((result.u <= linear * (1 + 1e-9)).all())
    assert float(result.u[-1]) < 1e-60


def test_front_positions_interpolate_and_say_when_there_is_none():
    x = torch.arange(5, dtype=torch.float64)
    u = torch.tensor([[1.0, 1.0, 0.75, 0.25, 0.0], [0.1, 0.0, 0.0, 0.0, 0.0], [1.0] * 5], dtype=torch.float64)
    place = front_position(u, x, 0.5)
    close(place[0], 2.5)
    assert math.isnan(float(place[1]))
    close(place[2], 4.0)


# Gradients


@pytest.mark.parametrize("length", [3.0, 12.0])
def test_a_morphogen_gradient_is_the_steady_state_of_its_equation(length):
    D, k, flux = 0.7, 0.3, 2.0
    gaps = []
    for cells in (100, 200):
        axis = Axis(0.0, length, cells, boundary=(Flux(flux), "reflect"))
        steady = diffusion(Grid(axis), D, sink=k).solve(0.0, torch.zeros(cells, dtype=torch.float64))
        gaps.append(float((steady / morphogen(axis.centers, D, k, flux, length) - 1.0).abs().max()))
    assert gaps[1] < 1e-3
    assert gaps[0] / gaps[1] == pytest.approx(4.0, rel=0.1)


def test_a_long_tissue_is_an_endless_one_and_fills_over_time():
    x = torch.linspace(0.0, 8.0, 33, dtype=torch.float64)
    D, k, flux = 0.7, 0.3, 2.0
    close(morphogen(x, D, k, flux, 60.0), morphogen(x, D, k, flux), rtol=1e-12)
    close(morphogen_rise(x, 200.0, D, k, flux), morphogen(x, D, k, flux), rtol=1e-12)
    axis = Axis(0.0, 30.0, 600, boundary=(Flux(flux), "reflect"))
    risen = diffusion(Grid(axis), D, sink=k).exp(1.5, torch.zeros(600, dtype=torch.float64))
    close(risen, morphogen_rise(axis.centers, 1.5, D, k, flux), atol=2e-3)


def test_the_zone_of_active_rhoa_is_the_steady_state_and_has_exponential_flanks():
    D, k, supply, width = 0.2, 0.05, 1.5, 4.0
    axis = Axis(-30.0, 30.0, 1500)
    source = supply * (axis.centers.abs() < width / 2).double()
    steady = diffusion(Grid(axis), D, sink=k).solve(0.0, source)
    exact = source_zone(axis.centers, D, k, supply, width)
    close(steady / exact.max(), exact / exact.max(), atol=2e-4)
    flank = (axis.centers > 4.0) & (axis.centers < 12.0)
    slope = steady[flank].log().diff() / axis.centers[flank].diff()
    close(slope, -1.0 / decay_length(D, k) * torch.ones_like(slope), rtol=1e-3)


@given(st.floats(0.01, 10.0), st.floats(0.01, 10.0), st.floats(0.1, 20.0))
@settings(max_examples=60, deadline=None)
def test_the_zone_is_at_half_its_maximum_at_half_its_width_and_inhibition_widens_it(D, k, width):
    full = zone_width(D, k, width)
    ends = source_zone(torch.tensor([0.0, 0.5 * full], dtype=torch.float64), D, k, 1.0, width)
    close(ends[1], 0.5 * ends[0], rtol=1e-9)
    assert zone_width(D, 0.25 * k, width) > full * (1 - 1e-12) > width * (1 - 2e-12)
