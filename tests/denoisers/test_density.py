"""Densities on grids and graphs, forward and exactly back."""

from __future__ import annotations

import math

import pytest
import torch

from unstir.denoisers import ForwardDensity, Gaussian, GraphDensity, GridDensity
from unstir.generators import diffusion, rates
from unstir.processes import SDE, VE, VP, Flow
from unstir.samplers import sample
from unstir.spaces import Axis, Graph, Grid

SQUARE = Grid(Axis(-1.5, 1.5, 32), Axis(-1.5, 1.5, 32))
X, Y = SQUARE.centers
RADIUS, ANGLE = (X**2 + Y**2).sqrt(), torch.atan2(Y, X)
SPIRAL = torch.exp(-((RADIUS - 0.5 - 0.12 * ANGLE.abs()) ** 2) / 0.01) + 1e-4


def variation(density, x):
    """Total variation distance between the histogram of points and the density's cells."""
    return 0.5 * float((density.histogram(x) - density.mass).abs().sum())


@pytest.mark.parametrize("schedule", [VP(), Flow(), VE(0.1, 20.0)], ids=["vp", "flow", "ve"])
@pytest.mark.parametrize("t", [0.05, 0.4, 0.95])
def test_posterior_and_density_are_those_of_a_fine_quadrature(schedule, t):
    grid = Grid(Axis.from_edges([-1.0, -0.2, 0.1, 1.5]), Axis(0, 1, 2))
    mass = torch.tensor([[1.0, 0.2], [3.0, 0.0], [0.1, 0.7]], dtype=torch.float64)
    density = GridDensity(schedule, grid, mass)
    generator = torch.Generator().manual_seed(0)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    x_t = alpha * 0.5 + 2.0 * sigma * torch.randn(6, 2, dtype=torch.float64, generator=generator)
    x_t[-1] = alpha * 1.5 + 12.0 * sigma
    fine = 20_000
    nodes, logs = [], []
    for axis in grid.axes:
        share = (torch.arange(fine, dtype=torch.float64) + 0.5) / fine
        y = axis.edges[:-1, None] + axis.widths[:, None] * share
        nodes.append(y)
    post = density(x_t, t)
    for i, x in enumerate(x_t):
        logs = [-0.5 * ((x[k] - alpha * y) / sigma) ** 2 for k, y in enumerate(nodes)]
        top = [log.max() for log in logs]
        w = [
            torch.exp(log - m) * axis.widths[:, None] / fine
            for log, m, axis in zip(logs, top, grid.axes, strict=True)
        ]
        p = mass / (mass * grid.volumes).sum()
        total = w[0].sum(1) @ p @ w[1].sum(1)
        mean = torch.stack(
            [(w[0] * nodes[0]).sum(1) @ p @ w[1].sum(1), w[0].sum(1) @ p @ (w[1] * nodes[1]).sum(1)]
        )
        log_density = total.log() + sum(top) - math.log(2 * math.pi) - 2 * sigma.log()
        assert torch.allclose(post.mean[i], mean / total, rtol=0, atol=2e-5)
        assert float(density.log_density(x_t, t)[i]) == pytest.approx(
            float(log_density), abs=2e-4 * max(1, abs(float(log_density)))
        )


def test_a_fine_grid_of_a_gaussian_is_the_gaussian():
    axis = Axis(-6, 6, 1200)
    gaussian = Gaussian(VP(), torch.tensor([0.5]), std=0.8)
    density = GridDensity(VP(), Grid(axis), torch.exp(-0.5 * ((axis.centers - 0.5) / 0.8) ** 2))
    x_t = torch.linspace(-3, 3, 50, dtype=torch.float64)[:, None]
    for t in (0.1, 0.5, 0.9):
        a, b = gaussian(x_t, t), density(x_t, t)
        assert torch.allclose(a.mean, b.mean, atol=1e-5)
        assert torch.allclose(a.variance, b.variance, atol=1e-4)
        assert torch.allclose(gaussian.score(x_t, t), density.score(x_t, t), atol=1e-4)
    assert density.sigma_data == pytest.approx(0.8, rel=1e-5)


def test_the_ends_of_the_schedule_are_finite():
    density = GridDensity(Flow(), SQUARE, SPIRAL)
    x = density.sample_data(100, seed=1)
    assert torch.allclose(density(x, 0.0).mean, x, atol=1e-6)
    center = density(torch.randn(5, 2).double(), 1.0).mean
    assert torch.allclose(center, center[:1].expand(5, 2), atol=1e-12)
    assert bool((density(x, 0.5).variance >= 0).all())


def test_samples_of_the_data_follow_the_cells():
    density = GridDensity(VP(), SQUARE, SPIRAL)
    expected = math.sqrt(1 / (2 * math.pi * 20_000)) * float(density.mass.sqrt().sum())
    assert variation(density, density.sample_data(20_000, seed=0)) == pytest.approx(expected, rel=0.15)
    again = density.sample_data(10, seed=0)
    assert torch.equal(again, density.sample_data(20_000, seed=0)[:10])


@pytest.mark.parametrize("solver", ["multistep", "multistep-sde"])
def test_particles_return_from_noise_to_the_density(solver):
    density = GridDensity(VP(), SQUARE, SPIRAL)
    n = 8_000
    fresh = variation(density, density.sample_data(n, seed=5))
    back = sample(density, (n, 2), solver=solver, steps=25, seed=1).x
    assert variation(density, back) < 1.25 * fresh


@pytest.mark.slow
@pytest.mark.parametrize(("solver", "steps"), [("multistep", 20), ("multistep-sde", 60)])
def test_200_000_particles_return_within_twice_the_distance_of_fresh_samples(solver, steps):
    density = GridDensity(VP(), SQUARE, SPIRAL)
    n = 200_000
    fresh = variation(density, density.sample_data(n, seed=5))
    back = sample(density, (n, 2), solver=solver, steps=steps, seed=1).x
    assert variation(density, back) < 2.0 * fresh


def test_any_diffusion_runs_back_by_the_score_of_its_forward_solution():
    # A double well with a drift of its own, far from every schedule.
    grid = Grid(Axis(-2.2, 2.2, 96), Axis(-2.2, 2.2, 96))
    x, y = grid.centers

    def drift(z, t):
        return torch.stack([-4.0 * z[:, 0] * (z[:, 0] ** 2 - 1.0), -2.0 * z[:, 1] - z[:, 0]], dim=1)

    sde = SDE(drift, lambda t: torch.as_tensor(0.8, dtype=torch.float64))
    p_0 = torch.exp(-((x - 0.9) ** 2 + (y - 0.5) ** 2) / 0.08) + torch.exp(
        -((x + 0.4) ** 2 + (y + 0.8) ** 2) / 0.08
    )
    forward = ForwardDensity(sde.generator(grid), p_0)
    n, T = 10_000, 0.4
    coarse = Grid(Axis(-2.2, 2.2, 24), Axis(-2.2, 2.2, 24))

    def pool(p):
        return GridDensity(VP(), coarse, p.reshape(24, 4, 24, 4).mean(dim=(1, 3)))

    start = GridDensity(VP(), grid, forward.at(T)).sample_data(n, seed=2)
    times = torch.linspace(T**0.5, 0.0, 81, dtype=torch.float64) ** 2
    back = sde.reverse(forward.score).simulate(start, times, seed=3)
    target = pool(forward.p_0)
    fresh = variation(target, GridDensity(VP(), grid, forward.p_0).sample_data(n, seed=4))
    assert variation(target, start) > 5 * fresh
    assert variation(target, back) < 2.0 * fresh


@pytest.mark.parametrize("boundary", ["reflect", "periodic"])
def test_the_forward_score_is_of_order_two(boundary):
    errors = []
    points = torch.linspace(0.02, 0.98, 41, dtype=torch.float64)
    for n in (20, 40, 80):
        grid = Grid(Axis(0, 1, n, boundary=boundary), Axis(0, 2, n))
        x, y = grid.centers
        k = 2 * math.pi
        p = (1 + 0.5 * torch.cos(k * x)) * (1 + 0.3 * torch.cos(0.5 * math.pi * y))
        score = ForwardDensity(diffusion(grid, 0.05), p).score(torch.stack([points, 2 * points], 1), 0.3)
        decay = 0.5 * math.exp(-0.05 * 0.3 * k**2)
        exact = -decay * k * torch.sin(k * points) / (1 + decay * torch.cos(k * points))
        inner = slice(None) if boundary == "periodic" else slice(2, -2)
        errors.append(float((score[:, 0] - exact)[inner].abs().max()))
    assert math.log2(errors[0] / errors[2]) / 2 > 1.7


def graphs():
    ring = torch.zeros(12, 12).double()
    for i in range(12):
        ring[i, (i + 1) % 12] = ring[(i + 1) % 12, i] = 1.0 + 0.3 * i
    one_way = torch.rand(7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return {"graph": diffusion(Graph(ring), 0.3), "chain with circulation": rates(one_way)}


@pytest.mark.parametrize("name", graphs())
def test_the_reversed_chain_returns_to_its_start_within_1e_4_with_order_two(name):
    A = graphs()[name]
    p_0 = torch.rand(A.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) ** 4
    chain = GraphDensity(A, p_0)
    noise = chain.mass_at(1.0)
    errors = [float((chain.run_back(noise, 1.0, steps) - chain.p_0).abs().max()) for steps in (30, 60, 120)]
    assert errors[-1] < 1e-4
    assert math.log2(errors[1] / errors[2]) > 1.8
    assert float((noise - chain.p_0).abs().max()) > 0.02


@pytest.mark.parametrize("name", graphs())
def test_bayes_takes_the_chain_back_exactly(name):
    A = graphs()[name]
    p_0 = torch.rand(A.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) ** 4
    chain = GraphDensity(A, p_0)
    back = chain.backward_matrix(0.2, 1.0)
    assert torch.allclose(back.sum(1), torch.ones(len(back)).double(), rtol=1e-13)
    assert torch.allclose(chain.mass_at(1.0) @ back, chain.mass_at(0.2), rtol=1e-12, atol=1e-15)
    states = torch.multinomial(chain.mass_at(1.0), 40_000, True, generator=torch.Generator().manual_seed(3))
    drawn = torch.bincount(chain.sample_back(states, 1.0, seed=1), minlength=len(back)).double() / 40_000
    assert float((drawn - chain.p_0).abs().max()) < 5 * math.sqrt(0.25 / 40_000)
    assert torch.equal(chain.posterior(states[:3], 1.0), chain.backward_matrix(0.0, 1.0)[states[:3]])


def test_what_is_no_density_is_refused():
    leaky = diffusion(Grid(Axis(0, 1, 4, boundary="absorb")))
    for call, message in (
        (lambda: GridDensity(VP(), SQUARE, torch.ones(3, 3)), "shape"),
        (lambda: GridDensity(VP(), SQUARE, -SPIRAL), "at least 0"),
        (lambda: GridDensity(VP(), Grid(Axis(0, 1, 4, metric="spherical")), torch.ones(4)), "cartesian"),
        (lambda: GridDensity(VP(), SQUARE, SPIRAL)(torch.zeros(2, 3), 0.5), "events of shape"),
        (lambda: GraphDensity(leaky, torch.ones(4)), "leaks"),
        (lambda: GraphDensity(rates(torch.ones(3, 3)), torch.zeros(3)), "not all 0"),
        (
            lambda: GraphDensity(rates(torch.ones(3, 3)), torch.ones(3)).run_back(
                torch.ones(3), 0.1, 5, s=0.2
            ),
            "earlier",
        ),
        (lambda: ForwardDensity(rates(torch.ones(3, 3)), torch.ones(3)), "cartesian"),
        (lambda: ForwardDensity(diffusion(SQUARE), torch.zeros(32, 32)), "not 0 everywhere"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
