import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.helpers import close
from unstir.generators import diffusion
from unstir.physics.walks import (
    diffusivity_from_tracks,
    ftcs,
    lattice_walk,
    stability_number,
    walk_distribution,
)
from unstir.processes import brownian_motion
from unstir.spaces import Axis, Grid


def line(cells, boundary="reflect", length=1.0):
    return Grid(Axis(0.0, length, cells, boundary=boundary))


def point(sites):
    u = torch.zeros(sites, dtype=torch.float64)
    u[sites // 2] = 1.0
    return u


@settings(max_examples=30)
@given(steps=st.integers(0, 60), stay=st.floats(0.0, 1.0))
def test_ftcs_from_a_point_is_exactly_the_distribution_of_a_walk(steps, stay):
    # r = D dt / dx^2 is the probability of a step to either side; no walker reaches the ends.
    sites = 2 * steps + 1
    grid = Grid(Axis(0.0, float(sites), sites))
    u = ftcs(point(sites), grid, 1.0, 0.5 * (1.0 - stay), steps)
    close(u, walk_distribution(steps, stay=stay), atol=1e-13)


def test_a_walk_that_never_stays_is_binomial():
    p = walk_distribution(10)
    close(p[::2], torch.tensor([math.comb(10, k) / 1024 for k in range(11)]).double(), atol=1e-14)
    assert float(p[1::2].abs().max()) == 0.0


@pytest.mark.parametrize("stay", [0.0, 0.4])
def test_walkers_are_distributed_as_ftcs_says(stay):
    x = lattice_walk(20000, 30, stay=stay, seed=1)[:, 0]
    expected = walk_distribution(30, stay=stay)
    counts = torch.bincount(x + 30, minlength=61).double()
    likely = expected * len(x) > 5
    assert float(counts[expected == 0].sum()) == 0.0
    rest = (counts[~likely].sum(), expected[~likely].sum() * len(x))
    observed = torch.cat([counts[likely], rest[0][None]])
    assert stats.chisquare(observed, torch.cat([expected[likely] * len(x), rest[1][None]])).pvalue > 1e-3


def test_a_walk_in_three_dimensions_moves_one_coordinate_by_one_and_spreads_as_its_steps():
    path = lattice_walk(4000, 90, dimensions=3, stay=0.25, path=True, seed=2)
    assert path.shape == (91, 4000, 3)
    jumps = path.diff(dim=0).abs().sum(-1)
    assert int(jumps.max()) == 1
    assert float(jumps.double().mean()) == pytest.approx(0.75, abs=0.004)
    spread = path[-1].double().square().mean(0)
    close(spread, torch.full((3,), 90 * 0.25), atol=4.5 * 22.5 * math.sqrt(2 / 4000))
    assert torch.equal(path[-1], lattice_walk(4000, 90, dimensions=3, stay=0.25, seed=2))


def test_a_walker_walks_the_same_way_in_any_company_and_for_any_number_of_steps():
    whole = lattice_walk(50, 130, path=True, seed=3)
    part = lattice_walk(5, 100, path=True, seed=3, first_index=20)
    assert torch.equal(whole[:101, 20:25], part)


@pytest.mark.parametrize("boundary", ["periodic", "reflect", "absorb"])
def test_a_step_of_ftcs_is_an_euler_step_of_the_operator(boundary):
    grid = Grid(Axis(0.0, 1.0, 7, boundary=boundary), Axis(0.0, 2.0, 5, boundary="reflect"))
    u = torch.rand(3, 7, 5, dtype=torch.float64)
    close(ftcs(u, grid, 0.7, 1e-3), u + 1e-3 * diffusion(grid, 0.7)(u), atol=1e-13)


@pytest.mark.parametrize(("r", "order"), [(0.25, 2.0), (1.0 / 6.0, 4.0)])
def test_ftcs_has_order_two_in_space_and_order_four_at_one_sixth(r, order):
    errors = []
    for cells in (16, 32):
        grid = line(cells, "periodic")
        dx = 1.0 / cells
        wave = (2.0 * math.pi * grid.centers[0]).cos()
        steps = round(0.02 / (r * dx**2))
        u = ftcs(wave, grid, 1.0, r * dx**2, steps)
        exact = math.exp(-4.0 * math.pi**2 * steps * r * dx**2) * wave
        errors.append(float((u - exact).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


@settings(max_examples=30)
@given(r=st.floats(0.01, 0.5), cells=st.integers(3, 20))
def test_stable_steps_conserve_mass_and_make_no_new_extremes(r, cells):
    grid = line(cells)
    u = torch.rand(cells, dtype=torch.float64, generator=torch.Generator().manual_seed(cells))
    v = ftcs(u, grid, 1.0, r / cells**2, 30)
    close(grid.integrate(v), grid.integrate(u), rtol=1e-13)
    assert float(u.min()) - 1e-14 <= float(v.min())
    assert float(v.max()) <= float(u.max()) + 1e-14


def test_an_unstable_step_is_refused_with_the_largest_stable_one_which_is_accepted():
    grid = Grid(Axis(0.0, 1.0, 10), Axis(0.0, 1.0, 20))
    u = torch.zeros(10, 20, dtype=torch.float64)
    assert stability_number(grid, 2.0, 1e-3) == pytest.approx(1.0, rel=1e-12)
    with pytest.raises(ValueError, match=r"= 1 exceeds 1/2; take dt of at most 0\.0005"):
        ftcs(u, grid, 2.0, 1e-3)
    assert ftcs(u, grid, 2.0, 5e-4).shape == u.shape


def test_an_unstable_step_grows_the_shortest_wave_by_its_factor():
    # cos(pi i) is multiplied by 1 - 4 r in every step.
    grid = line(20, "periodic")
    wave = torch.tensor([1.0, -1.0]).double().repeat(10)
    u = ftcs(wave, grid, 1.0, 0.6 / 400, 10, unsafe=True)
    close(u, wave * 1.4**10, rtol=1e-12)


def test_what_ftcs_does_not_take_is_said():
    u = torch.zeros(4)
    with pytest.raises(ValueError, match="uniform cartesian axes"):
        ftcs(u, Grid(Axis(0.0, 1.0, 4, metric="spherical")), 1.0, 1e-3)
    from unstir.spaces import Value

    with pytest.raises(ValueError, match="ends that are periodic, 'reflect' or 'absorb'"):
        ftcs(u, line(4, Value(1.0)), 1.0, 1e-3)
    with pytest.raises(ValueError, match=r"ends in the shape \(4,\), got \(5,\)"):
        ftcs(torch.zeros(5), line(4), 1.0, 1e-3)
    with pytest.raises(ValueError, match="probability of staying from 0 to 1, got 1, 1, 1 and 2"):
        lattice_walk(1, 1, stay=2)


def test_the_diffusivity_from_tracks_is_unbiased_with_the_stated_error():
    grid = torch.linspace(0.0, 2.0, 21, dtype=torch.float64)
    path = brownian_motion(0.3).simulate(torch.zeros(400, 2).double(), grid, path=True, method="exact")
    whole = diffusivity_from_tracks(path, 0.1)
    assert whole.steps == 8000
    assert abs(whole.value - 0.3) < 4 * whole.error
    each = [diffusivity_from_tracks(path[:, i : i + 1], 0.1) for i in range(400)]
    spread = torch.tensor([e.value for e in each]).std()
    assert float(spread) == pytest.approx(0.3 * math.sqrt(2 / 40), rel=0.15)
