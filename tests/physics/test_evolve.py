"""Time-stepping with reactions: orders, errors, exactness, positivity, refusals."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import close
from unstir.generators import diffusion, rates
from unstir.physics import explicit
from unstir.physics.compiled import Compiled
from unstir.physics.etdrk import phi
from unstir.physics.evolve import evolve
from unstir.physics.reaction import GrayScott, Logistic
from unstir.physics.stencil import stencil
from unstir.physics.transport import Transport
from unstir.spaces import Axis, Flux, Graph, Grid, Robin, Value, Wall

SQUARE = Grid(Axis(0.0, 10.0, 24, boundary="periodic"), Axis(0.0, 10.0, 20))
PAIR = (diffusion(SQUARE, 1.0), diffusion(SQUARE, (0.5, 0.3)))
X, Y = SQUARE.centers
PREY = torch.stack(
    [
        0.5 + 0.2 * torch.cos(0.2 * math.pi * X) * torch.cos(0.1 * math.pi * Y),
        0.3 + 0.1 * torch.sin(0.2 * math.pi * X),
    ]
)


def lotka_volterra(w):
    u, v = w.unbind(0)
    return torch.stack([u * (1.0 - u) - u * v, u * v - 0.3 * v])


@pytest.fixture(scope="module")
def reference():
    return evolve(PREY, 2.0, PAIR, lotka_volterra, method="etdrk4", steps=160).u


@pytest.mark.parametrize(("method", "order"), [("strang", 2), ("imex", 2), ("etdrk4", 4)])
def test_the_measured_order_is_the_methods(method, order, reference):
    errors = []
    for steps in (8, 16, 32):
        result = evolve(PREY, 2.0, PAIR, lotka_volterra, method=method, steps=steps)
        assert (result.method, result.steps) == (method, steps)
        errors.append(float((result.u - reference).abs().max()))
        assert errors[-1] / 20 < result.error < 20 * errors[-1]
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)


def test_explicit_steps_have_order_one(reference):
    errors = [
        float((evolve(PREY, 2.0, PAIR, lotka_volterra, method="explicit", steps=n).u - reference).abs().max())
        for n in (100, 200)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("method", ["strang", "imex", "etdrk4"])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
def test_adaptive_steps_keep_the_tolerance(method, tolerance, reference):
    result = evolve(PREY, 2.0, PAIR, lotka_volterra, method=method, tolerance=tolerance)
    assert result.error <= tolerance
    assert float((result.u - reference).abs().max()) <= tolerance


@pytest.mark.parametrize("method", ["strang", "imex", "etdrk4"])
def test_several_times_are_the_states_on_the_way(method):
    times = torch.tensor([0.0, 0.5, 1.25], dtype=torch.float64)
    film = evolve(PREY, times, PAIR, lotka_volterra, method=method, tolerance=1e-5)
    assert film.u.shape == (3, *PREY.shape)
    close(film.u[0], PREY)
    for i in (1, 2):
        alone = evolve(PREY, float(times[i]), PAIR, lotka_volterra, method=method, tolerance=1e-5)
        close(film.u[i], alone.u, atol=1e-5)


def test_without_a_reaction_the_answer_is_the_exponential():
    u = PREY[0]
    result = evolve(u, 0.7, PAIR[0])
    assert (result.method, result.steps) == ("exact", 0)
    close(result.u, PAIR[0].exp(0.7, u))
    close(evolve(PREY, [0.2, 0.7], PAIR).u[1, 0], result.u, atol=1e-14)
    with pytest.raises(ValueError, match="without a reaction"):
        evolve(u, 0.7, PAIR[0], method="strang")


@pytest.mark.parametrize("boundary", [Value(0.3), Flux(0.2), Robin(1.0, 0.5, 0.4)], ids=repr)
@pytest.mark.parametrize("method", ["strang", "imex", "etdrk4", "explicit"])
def test_inhomogeneous_boundaries_lead_to_the_same_steady_state_by_every_method(boundary, method):
    # A linear loss is a sink of the generator: the steady state is known by one linear solve.
    grid = Grid(Axis(0.0, 2.0, 16, boundary=("reflect", boundary)))
    exact = diffusion(grid, 1.0, sink=2.0).solve(0.0, torch.zeros(16, dtype=torch.float64))
    u, A = torch.zeros(16, dtype=torch.float64), diffusion(grid, 1.0)
    steps = {"explicit": None, "strang": 100}.get(method, 200)
    result = evolve(u, 4.0 if method == "strang" else 12.0, A, lambda u: -2.0 * u, method=method, steps=steps)
    # Splitting a source from a sink is off by a boundary layer of the step's width.
    close(result.u, exact, atol=2e-2 if method == "strang" else 1e-9)


@given(st.floats(0.1, 3.0), st.floats(0.5, 2.0))
@settings(max_examples=15, deadline=None)
def test_a_homogeneous_logistic_state_follows_its_closed_form_for_any_step(r, K):
    model = Logistic(r, K)
    u = torch.full(SQUARE.shape, 0.2, dtype=torch.float64)
    result = evolve(u, 3.0, PAIR[0], model, steps=1)
    close(result.u, model.flow(u, 3.0), rtol=1e-12)


@pytest.mark.parametrize("model", [Logistic(1.0, 1.0), Logistic(5.0, 2.0)])
def test_strang_keeps_a_population_between_nothing_and_its_capacity(model):
    u = model.K * (X < 1.0).double()
    result = evolve(u, 2.0, diffusion(SQUARE, 0.1), model, steps=4)
    assert result.method == "strang"
    assert float(result.u.min()) > 0.0
    assert float(result.u.max()) <= model.K * (1 + 1e-12)


def test_a_sample_is_the_same_in_any_batch_with_fixed_steps():
    batch = torch.stack([PREY[0], 0.1 * PREY[0], PREY[1]])
    for method in ("strang", "etdrk4", "imex"):
        together = evolve(batch, 1.0, PAIR[0], Logistic(), method=method, steps=5).u
        alone = evolve(batch[1], 1.0, PAIR[0], Logistic(), method=method, steps=5).u
        close(together[1], alone, atol=1e-15)


@pytest.mark.parametrize("method", ["strang", "etdrk4", "imex", "explicit"])
def test_states_are_differentiable_and_keep_their_type(method):
    grid = Grid(Axis(0.0, 4.0, 8))
    A = diffusion(grid, 0.5)
    u = torch.rand(8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    steps = 40 if method == "explicit" else 4

    def end(start):
        return evolve(start, 0.5, A, Logistic(), method=method, steps=steps).u

    assert torch.autograd.gradcheck(end, (u,), atol=1e-6)
    single = evolve(u.detach().float(), 0.5, A, Logistic(), method=method, steps=steps).u
    assert single.dtype == torch.float32
    close(single, end(u).detach(), atol=1e-6)


# phi functions


@given(st.floats(-60.0, 0.0), st.floats(-40.0, 40.0))
@settings(max_examples=60, deadline=None)
def test_phi_functions_are_right_to_round_off_everywhere(x, y):
    from mpmath import mp, mpc

    with mp.workdps(60):
        z = mpc(x, y)
        for k, value in enumerate(phi(torch.tensor([complex(x, y)], dtype=torch.complex128)), start=1):
            terms = sum(z**j / mp.factorial(j) for j in range(k))
            exact = complex((mp.exp(z) - terms) / z**k) if abs(z) > 1e-12 else 1.0 / math.factorial(k)
            assert abs(complex(value[0]) - exact) < 4e-15 * max(abs(exact), 1e-3)


# the choice


def test_auto_explains_itself():
    flow = evolve(PREY[0], 0.5, PAIR[0], Logistic())
    assert flow.method == "strang"
    assert "exact flow" in flow.why
    smooth = evolve(PREY, 0.5, PAIR, lotka_volterra)
    assert smooth.method == "etdrk4"
    assert "eigenbasis" in smooth.why
    loose = evolve(PREY, 0.5, PAIR, lotka_volterra, tolerance=0.05)
    assert loose.method == "explicit"
    assert "within the tolerance" in loose.why
    circulating = diffusion(Grid(Axis(0.0, 1.0, 8, boundary="periodic")), 0.1, drift=1.0)
    turning = evolve(torch.rand(8).double(), 0.5, circulating, lambda u: -(u**3))
    assert turning.method == "strang"


def test_graphs_and_chains_evolve_too():
    graph = Graph(torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 2.0], [0.0, 2.0, 0.0]]))
    u = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    fine = evolve(u, 1.0, diffusion(graph, 0.5), lambda w: w * (1 - w), method="etdrk4", steps=64).u
    for method in ("strang", "imex", "explicit"):
        n = 2000 if method == "explicit" else 40
        result = evolve(u, 1.0, diffusion(graph, 0.5), lambda w: w * (1 - w), method=method, steps=n)
        close(result.u, fine, atol=2e-4)
    ring = rates(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    assert evolve(u, 1.0, ring, lambda w: w * (1 - w)).method == "strang"
    with pytest.raises(ValueError, match="circulation"):
        evolve(u, 1.0, ring, lambda w: w * (1 - w), method="etdrk4")


def test_the_spectral_scheme_goes_with_etdrk4_and_strang_but_not_with_euler():
    A = diffusion(SQUARE, 0.5, scheme="spectral")
    one = evolve(PREY[0], 1.0, A, Logistic(), method="etdrk4", steps=32).u
    close(evolve(PREY[0], 1.0, A, Logistic(), method="strang", steps=400).u, one, atol=1e-6)
    with pytest.raises(ValueError, match="finite volumes"):
        evolve(PREY[0], 1.0, A, Logistic(), method="explicit")


# explicit steps


GRIDS = {
    "periodic": SQUARE,
    "cylinder": Grid(Axis(0.0, 3.0, 12, metric="cylindrical", boundary=("reflect", "absorb"))),
    "uneven": Grid(
        Axis.from_edges([0.0, 0.1, 0.4, 1.0, 1.2, 2.0], boundary=(Value(1.0), Robin(1.0, 0.5, 0.2)))
    ),
    "masked": Grid(Axis(0.0, 1.0, 6), Axis(0.0, 1.0, 5), mask=torch.arange(30).reshape(6, 5) != 7),
    "walled": Grid(Axis(0.0, 1.0, 6), Axis(0.0, 1.0, 5), walls=[Wall(0, 0.5, 0.3)]),
    "two cells": Grid(Axis(0.0, 1.0, 2, boundary="periodic"), Axis(0.0, 1.0, 1)),
    "box": Grid(
        Axis(0.0, 1.0, 4, boundary="periodic"), Axis(0.0, 1.0, 3), Axis(0.0, 2.0, 5, boundary="absorb")
    ),
}


@pytest.mark.parametrize("name", GRIDS)
def test_the_stencil_is_the_generator(name):
    grid = GRIDS[name]
    potential = sum((x**2 for x in grid.centers), start=torch.zeros(grid.shape).double())
    u = torch.rand(3, *grid.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    if grid.mask is not None:
        u = u * grid.mask
    for A in (diffusion(grid, 0.7, sink=0.4), diffusion(grid, 0.7, potential=potential)):
        close(stencil(A)(u), A(u), atol=1e-12 * A.rate)


def test_jumps_over_cells_are_no_stencil():
    from unstir.generators import kernel

    with pytest.raises(ValueError, match="neighbours"):
        stencil(kernel(Grid(Axis(0.0, 1.0, 8)), lambda r: torch.exp(-r)))


def test_unstable_explicit_steps_are_refused_with_the_largest_stable_one():
    grid = Grid(Axis(0.0, 1.0, 10), Axis(0.0, 1.0, 10))
    u = torch.rand(10, 10).double()
    # dx = 0.1: D dt (2 / dx^2) <= 1/2 allows 0.0025.
    with pytest.raises(ValueError, match=r"1/2; the largest .* 0\.0025, which takes at least 400 steps"):
        evolve(u, 1.0, diffusion(grid, 1.0), Logistic(), method="explicit", steps=399)
    evolve(u, 1.0, diffusion(grid, 1.0), Logistic(), method="explicit", steps=400)


@pytest.mark.parametrize("method", ["explicit", "strang", "etdrk4", "imex"])
def test_a_blow_up_stops_equal_steps_with_step_and_time(method):
    # du/dt = u^2 from 1 ends at t = 1; steps of 0.01 follow it a little longer.
    A = diffusion(Grid(Axis(0.0, 1.0, 8)), 0.01)
    with pytest.raises(FloatingPointError, match=r"after step 1\d\d, t = 1\.[0-9]+"):
        evolve(torch.ones(8).double(), 2.0, A, lambda w: w**2, method=method, steps=200)


def test_a_blow_up_stops_adaptive_steps_at_its_time(monkeypatch):
    monkeypatch.setattr("unstir.physics.stepping._DEEPEST", 12)
    A = diffusion(Grid(Axis(0.0, 1.0, 8)), 0.01)
    with pytest.raises(FloatingPointError, match=r"no step is short enough at t = 0\.9"):
        evolve(torch.ones(8).double(), 2.0, A, lambda w: w**2, method="etdrk4", tolerance=1e-2)


def test_progress_is_told_to_the_end():
    told = []

    def tell(done, total):
        told.append((done, total))

    evolve(PREY, 1.0, PAIR, lotka_volterra, steps=10, method="strang", progress=tell)
    assert told == [(i, 10) for i in range(1, 11)]
    told.clear()
    evolve(PREY, 1.0, PAIR, lotka_volterra, progress=tell)
    assert told[-1] == (1000, 1000)
    assert [a for a, _ in told] == sorted(a for a, _ in told)


@pytest.mark.parametrize("name", ["periodic", "field", "absorbing"])
def test_several_steps_of_one_call_are_as_many_single_steps(name, monkeypatch):
    # The compiler is taken out: what is compiled is checked here, compiling itself in the slow test.
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr("unstir.physics.compiled._KEPT", {})
    supply = torch.rand(24, 20).double()
    grid = Grid(Axis(0.0, 8.0, 24, boundary="absorb"), SQUARE.axes[1]) if name == "absorbing" else SQUARE
    generators = (diffusion(grid, 1.0), diffusion(grid, 0.5, sink=0.1))

    def fed(w):
        return lotka_volterra(w) + torch.stack([supply, 0.0 * supply])

    reaction = fed if name == "field" else lotka_volterra
    system = explicit.Explicit(Transport(generators), reaction, PREY, 8)
    periodic = [axis.periodic for axis in grid.axes]
    many = Compiled(system.stencils, reaction, PREY, periodic, True)
    assert (many.layout is not None) == (name == "periodic")
    u = PREY
    for _ in range(8):
        u = u + 0.01 * system.slope(u)
    close(many.run(PREY, 0.01, 2), u, atol=1e-14)


@pytest.mark.slow
def test_compiled_steps_are_the_eager_ones(monkeypatch):
    grid = Grid(Axis(0.0, 32.0, 32, boundary="periodic"), Axis(0.0, 32.0, 32))
    generators = (diffusion(grid, 0.16), diffusion(grid, 0.08))
    v = torch.zeros(32, 32).double()
    v[10:20, 12:22] = 0.25
    u = torch.stack([1.0 - 2.0 * v, v])
    eager = evolve(u, 200.0, generators, GrayScott(), method="explicit", steps=200)
    monkeypatch.setattr(explicit, "_WORTH", 0)
    fast = evolve(u, 200.0, generators, GrayScott(), method="explicit", steps=200)
    assert "compiled" in fast.why
    close(fast.u, eager.u, atol=1e-12)


def test_a_reaction_that_the_compiler_cannot_read_goes_on_eagerly(monkeypatch):
    def broken(function, **_):
        def call(*args):
            raise RuntimeError("no compiler")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr("unstir.physics.compiled._KEPT", {})
    monkeypatch.setattr(explicit, "_WORTH", 0)
    result = evolve(PREY, 1.0, PAIR, lotka_volterra, method="explicit", steps=100)
    assert "compiling failed (RuntimeError)" in result.why
    monkeypatch.setattr(explicit, "_WORTH", math.inf)
    close(result.u, evolve(PREY, 1.0, PAIR, lotka_volterra, method="explicit", steps=100).u)


# refusals


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"t": -1.0}, "time"),
        ({"t": [1.0, 0.5]}, "increasing"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"steps": 0}, "steps"),
        ({"method": "magic"}, "a method is one of"),
        ({"method": "exact"}, "nothing is exact"),
        ({"u_0": torch.zeros(3, 3)}, "shape"),
        ({"u_0": torch.zeros(3, 24, 20)}, "2 species"),
        ({"u_0": torch.full((2, 24, 20), math.nan)}, "finite"),
        ({"reaction": lambda w: w[0]}, "du/dt"),
        ({"generator": ()}, "needs a generator"),
        ({"generator": (PAIR[0], diffusion(Grid(Axis(0.0, 1.0, 5)), 1.0))}, "share one space"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value,
)
def test_what_cannot_be_is_refused_in_one_sentence(change, text):
    arguments = {"u_0": PREY, "t": 1.0, "generator": PAIR, "reaction": lotka_volterra} | change
    with pytest.raises(ValueError, match=text):
        evolve(**arguments)
