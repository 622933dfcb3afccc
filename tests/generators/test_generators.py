"""Every engine solves the same equation: against closed forms, dense matrix exponentials and each other."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unstir.generators import Dense, Fourier, Kronecker, Sparse, diffusion, kernel, rates
from unstir.spaces import Absorb, Axis, Flux, Graph, Grid, Reflect, Robin, Value, Wall


def uniform(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def reference(A, t, u):
    """exp(tA) u + source by one dense matrix exponential with an extra state."""
    n = u.numel()
    M = torch.zeros(n + 1, n + 1, dtype=torch.float64)
    M[:n, :n] = A.matrix().to_dense()
    if A.source is not None:
        M[:n, n] = A.source.reshape(-1)
    return (torch.matrix_exp(t * M) @ torch.cat([u.reshape(-1), torch.ones(1).double()]))[:n].reshape(u.shape)


BOUNDARIES = {
    "periodic": "periodic",
    "reflect": "reflect",
    "absorb": "absorb",
    "value and Robin": (Value(1.0), Robin(2.0, 0.5, 0.3)),
    "flux in, absorb": (Flux(0.7), "absorb"),
}
METRICS = ("cartesian", "cylindrical", "spherical")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("boundary", BOUNDARIES.values(), ids=BOUNDARIES)
def test_an_axis_of_any_cells_metric_and_boundary_agrees_with_the_matrix_exponential(boundary, metric):
    if boundary == "periodic" and metric != "cartesian":
        pytest.skip("a radius is not periodic")
    edges = torch.cat([torch.zeros(1).double(), uniform(12).cumsum(0)])
    A = diffusion(Grid(Axis.from_edges(edges, boundary=boundary, metric=metric)), D=0.3, sink=0.2)
    assert isinstance(A, Kronecker)
    u = uniform(12, seed=1)
    exact = reference(A, 0.9, u)
    for state in (A.exp(0.9, u), A.exp(0.9, u, positive=True), A.sparse().exp(0.9, u)):
        assert torch.allclose(state, exact, rtol=0, atol=2e-12)


def operators():
    """One of every structure, on few cells."""
    plane = Grid(Axis(0, 1, 6), Axis(0, 2, 5, boundary="periodic"))
    x, y = plane.centers
    mask = uniform(6, 5, seed=3) > 0.3
    holes = Grid(*plane.axes, mask=mask, walls=[Wall(1, 0.8, 0.05)])
    closed = Grid(Axis(0, 1, 6), Axis(0, 2, 5))
    return {
        "separable": diffusion(plane, D=(0.1, 0.2)),
        "separable potential": diffusion(plane, potential=3 * x + torch.cos(math.pi * y)),
        "potential": diffusion(closed, potential=3 * x * y),
        "field of D": diffusion(closed, D=0.1 + x * y),
        "drift round a circle": diffusion(plane, D=0.1, drift=(torch.sin(math.pi * y), 0.5)),
        "drift along": diffusion(closed, D=0.1, drift=(0.4, -0.2)),
        "mask and walls": diffusion(holes, D=0.1),
        "graph": diffusion(Graph((lambda a: a * a.T)(uniform(30, 30, seed=4) > 0.6).double()), D=0.1),
        "chain": rates(uniform(7, 7, seed=5)),
        "kernel": kernel(closed, lambda r: torch.exp(-r)),
        "sum": diffusion(plane, 0.1) + 2.0 * diffusion(plane, (0.0, 0.3)),
        "reversed": diffusion(closed, 0.1).reverse(0.1 + uniform(6, 5, seed=6)),
    }


@pytest.mark.parametrize("name", operators())
def test_every_structure_is_exact_positive_and_conservative(name):
    A = operators()[name]
    u = uniform(*A.shape, seed=1)
    if name == "mask and walls":
        u = u * A.space.mask
    volumes = A.volumes
    for t in (0.05, 2.0):
        exact = reference(A, t, u)
        for positive in (False, True):
            state = A.exp(t, u, positive=positive)
            assert torch.allclose(state, exact, rtol=0, atol=1e-11)
            assert bool((state >= 0).all())
            assert float((state * volumes).sum()) == pytest.approx(float((u * volumes).sum()), rel=1e-12)
        assert A.plan(t).error < 1e-10
    assert A.conservative


@pytest.mark.parametrize("name", operators())
def test_many_times_and_batches_are_the_same_as_one_by_one(name):
    A = operators()[name]
    u = uniform(2, 3, *A.shape, seed=2)
    times = torch.tensor([0.0, 0.3, 1.1], dtype=torch.float64)
    together = A.exp(times, u)
    assert together.shape == (3, 2, 3, *A.shape)
    for k, t in enumerate(times):
        assert torch.allclose(together[k, 1, 2], A.exp(float(t), u[1, 2]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", operators())
def test_the_semigroup_composes_and_starts_at_the_identity(name):
    A = operators()[name]
    u = uniform(*A.shape, seed=3)
    assert torch.allclose(A.exp(0.0, u), u, rtol=0, atol=1e-13)
    assert torch.allclose(A.exp(0.4, A.exp(0.3, u)), A.exp(0.7, u), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", operators())
def test_the_operator_is_its_matrix_and_its_derivative(name):
    A = operators()[name]
    u = uniform(*A.shape, seed=4)
    product = (A.matrix().to_dense() @ u.reshape(-1)).reshape(u.shape)
    assert torch.allclose(A(u), product, rtol=1e-10, atol=1e-10)
    h = 1e-5 / A.rate
    assert torch.allclose((A.exp(h, u) - u) / h, A(u), rtol=1e-3, atol=1e-3 * float(A(u).abs().max()))


@pytest.mark.parametrize("name", operators())
def test_the_stationary_density_does_not_change(name):
    A = operators()[name]
    p = A.stationary()
    assert float((p * A.volumes).sum()) == pytest.approx(1.0)
    assert bool((p >= 0).all())
    assert torch.allclose(A.exp(3.0, p), p, rtol=0, atol=1e-11 * float(p.max()))


@pytest.mark.parametrize("name", operators())
def test_a_resolvent_undoes_its_operator(name):
    A = operators()[name]
    u = uniform(*A.shape, seed=5)
    if name == "mask and walls":
        u = u * A.space.mask
    x = A.solve(0.7, u)
    assert torch.allclose(0.7 * x - A(x), u, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", operators())
def test_the_adjoint_moves_the_operator_to_the_other_side(name):
    A = operators()[name]
    u, v = uniform(2, *A.shape, seed=6)
    left = (v * A(u) * A.volumes).sum()
    right = (A.T(v) * u * A.volumes).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-9, abs=1e-9 * A.rate)


@pytest.mark.parametrize("name", operators())
def test_a_reversal_at_the_stationary_density_keeps_it_and_a_second_one_returns(name):
    A = operators()[name]
    if name in ("graph", "mask and walls"):
        p = 0.1 + uniform(*A.shape, seed=7)
    else:
        p = A.stationary()
        backward = A.reverse(p)
        assert torch.allclose(backward(p), torch.zeros_like(p), atol=1e-10 * A.rate)
        if A.reversible:
            assert torch.allclose(backward.matrix().to_dense(), A.matrix().to_dense(), atol=1e-9 * A.rate)
    twice = A.reverse(p).reverse(p).matrix().to_dense()
    off = ~torch.eye(len(twice), dtype=torch.bool)
    assert torch.allclose(twice[off], A.matrix().to_dense()[off], atol=1e-10 * A.rate)


def test_engines_follow_from_the_structure():
    plane = Grid(Axis(0, 1, 8), Axis(0, 1, 8))
    x, y = plane.centers
    assert isinstance(diffusion(plane), Kronecker)
    assert isinstance(diffusion(plane, potential=x + y**2), Kronecker)
    assert isinstance(diffusion(plane, potential=x * y), Sparse)
    assert isinstance(diffusion(plane, scheme="spectral"), Fourier)
    assert isinstance(diffusion(Grid(Axis(0, 1, 3000))), Fourier)
    assert isinstance(diffusion(Grid(Axis(0, 1, 8), walls=[Wall(0, 0.5, 1.0)])), Kronecker)
    assert isinstance(rates(torch.ones(3, 3)), Dense)


@pytest.mark.parametrize("boundary", ["periodic", "reflect", "absorb"])
@pytest.mark.parametrize("n", [1, 2, 7, 16])
def test_transforms_diagonalise_the_finite_volumes(boundary, n):
    from unstir.generators.build import _KINDS

    grid = Grid(Axis(0, 2, n, boundary=boundary))
    kind = _KINDS[type(grid.axes[0].lower)]
    zero = torch.zeros((), dtype=torch.float64)
    transform = Fourier(grid, [kind], [torch.tensor(0.3, dtype=torch.float64)], None, zero, spectral=False)
    matrix = diffusion(grid, 0.3)
    u = uniform(3, n)
    assert torch.allclose(transform(u), matrix(u), rtol=0, atol=1e-11)
    assert torch.allclose(transform.exp(0.4, u), matrix.exp(0.4, u), rtol=0, atol=1e-13)


@pytest.mark.parametrize("boundary", ["periodic", "reflect", "absorb"])
def test_the_spectral_heat_kernel_of_a_mode_is_exact(boundary):
    axis = Axis(0, 1, 32, boundary=boundary)
    grid = Grid(axis, axis)
    x, y = grid.centers
    shape = {
        "periodic": lambda z: torch.sin(2 * math.pi * z),
        "reflect": lambda z: torch.cos(2 * math.pi * z),
    }
    mode = shape.get(boundary, lambda z: torch.sin(2 * math.pi * z))
    u = mode(x) * mode(y)
    A = diffusion(grid, (0.1, 0.3), scheme="spectral", sink=0.5)
    decay = math.exp(-(0.4 * 4 * math.pi**2 + 0.5) * 0.2)
    assert torch.allclose(A.exp(0.2, u), decay * u, rtol=0, atol=1e-14)


def test_a_spectral_drift_carries_a_mode_along_exactly():
    grid = Grid(Axis(0, 1, 32, boundary="periodic"))
    (x,) = grid.centers
    A = diffusion(grid, 0.01, drift=0.7, scheme="spectral")
    exact = math.exp(-0.01 * 4 * math.pi**2) * torch.sin(2 * math.pi * (x - 0.7))
    assert torch.allclose(A.exp(1.0, torch.sin(2 * math.pi * x)), exact, rtol=0, atol=1e-13)


def orders(errors):
    return [math.log2(a / b) for a, b in pairwise(errors)]


@pytest.mark.parametrize("metric", METRICS)
def test_finite_volumes_converge_with_order_two_in_every_metric(metric):
    # Steady supply 1, value 0 at radius 1: (1 - r^2) / (2 d).
    d = METRICS.index(metric) + 1
    errors = []
    for n in (8, 16, 32):
        axis = Axis(0, 1, n, metric=metric, boundary=("reflect", "absorb"))
        u = diffusion(Grid(axis)).solve(0.0, torch.ones(n).double())
        exact = (1 - axis.centers**2) / (2 * d)
        errors.append(float(((u - exact) * axis.volumes).abs().sum()))
    assert min(orders(errors)) > 1.85


@pytest.mark.parametrize("condition", [Robin(2.0, 0.5, 1.0), Value(0.5), Flux(0.4)])
def test_boundary_conditions_are_of_second_order_with_a_drift(condition):
    # D u'' - w u' = 0 has the solutions a + b exp(w x / D); Value(1) at 0 and the condition at 1.
    D, w = 0.5, 1.0
    e = math.exp(w / D)
    rows = {
        Robin: (2.0 + 0.0, 2.0 * e + 0.5 * w / D * e, 1.0),
        Value: (1.0, e, 0.5),
        # The flux in is minus the flux out, -(w u - D u') = -w a.
        Flux: (-w, 0.0, 0.4),
    }
    p, q, g = rows[type(condition)]
    a, b = torch.linalg.solve(
        torch.tensor([[1.0, 1.0], [p, q]], dtype=torch.float64), torch.tensor([1.0, g], dtype=torch.float64)
    ).tolist()
    errors = []
    for n in (20, 40, 80):
        axis = Axis(0, 1, n, boundary=(Value(1.0), condition))
        u = diffusion(Grid(axis), D, drift=w).solve(0.0, torch.zeros(n).double())
        errors.append(float((u - (a + b * torch.exp(w / D * axis.centers))).abs().max()))
    assert errors[-1] < 1e-10 or min(orders(errors)) > 1.85


def test_scharfetter_gummel_is_exact_for_a_constant_field():
    axis = Axis(0, 1, 10, boundary=(Value(1.0), Value(3.0)))
    u = diffusion(Grid(axis), 0.01, drift=1.0).solve(0.0, torch.zeros(10).double())
    exact = 1.0 + 2.0 * torch.expm1(100 * axis.centers) / math.expm1(100.0)
    assert torch.allclose(u, exact, rtol=1e-12, atol=0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 30.0))
def test_any_potential_keeps_its_boltzmann_density(seed, depth):
    grid = Grid(Axis(0, 1, 7), Axis(0, 2, 6, metric="cylindrical"))
    V = depth * uniform(7, 6, seed=seed)
    A = diffusion(grid, 0.3, potential=V)
    p = torch.exp(-V) / grid.integrate(torch.exp(-V))
    assert torch.allclose(A.stationary(), p, rtol=1e-12, atol=0)
    assert torch.allclose(A.exp(1.0, p), p, rtol=1e-9, atol=1e-12 * float(p.max()))


def test_the_positive_path_is_right_far_out_in_the_tails():
    mpmath = pytest.importorskip("mpmath")
    grid = Grid(Axis(-30.5, 30.5, 61))
    u = torch.zeros(61).double()
    u[30] = 1.0
    state = diffusion(grid, 1.0).exp(1.5, u, positive=True)
    exact = [float(mpmath.exp(-3) * mpmath.besseli(abs(k - 30), 3)) for k in range(61)]
    assert torch.allclose(state[9:52], torch.tensor(exact, dtype=torch.float64)[9:52], rtol=1e-11, atol=0)
    assert exact[9] < 1e-15


def test_series_are_right_for_long_and_short_times_on_a_large_graph():
    n = 900
    ring = torch.zeros(n, n).double()
    nodes = torch.arange(n)
    ring[nodes, (nodes + 1) % n] = ring[(nodes + 1) % n, nodes] = 1.0
    A = diffusion(Graph(ring), 1.0)
    u = uniform(n)
    eigenvalues = -2 + 2 * torch.cos(2 * math.pi * nodes.double() / n)
    for t in (1e-3, 1.0, 1000.0):
        exact = torch.fft.ifft(torch.exp(t * eigenvalues) * torch.fft.fft(u)).real
        assert torch.allclose(A.exp(t, u), exact, rtol=0, atol=3e-12)
        assert torch.allclose(A.exp(t, u, positive=True), exact, rtol=0, atol=3e-12)
    exact = torch.fft.ifft((-eigenvalues).clamp(min=0).sqrt() * torch.fft.fft(u)).real
    root = A.function(lambda z: (-z).clamp(min=0.0).sqrt(), u, tolerance=1e-6)
    assert torch.allclose(root, exact, rtol=0, atol=1e-3)


def test_fractional_heat_decays_each_mode_by_its_power():
    grid = Grid(Axis(0, 1, 32, boundary="periodic"))
    (x,) = grid.centers
    u = torch.sin(4 * math.pi * x)
    A = diffusion(grid, 1.0, scheme="spectral").power(0.6)
    assert torch.allclose(A.exp(0.3, u), math.exp(-0.3 * (4 * math.pi) ** 1.2) * u, rtol=0, atol=1e-14)
    B = diffusion(grid, 1.0).power(0.6)
    assert float(B.exp(0.01, torch.eye(32).double()).min()) > 0
    assert torch.allclose(B.sparse().exp(0.3, u), B.exp(0.3, u), rtol=0, atol=1e-10)


def test_a_membrane_passes_permeability_times_the_step():
    grid = Grid(Axis(0, 1, 20, boundary=(Value(1.0), Value(0.0))), walls=[Wall(0, 0.5, 0.25)])
    u = diffusion(grid, 2.0).solve(0.0, torch.zeros(20).double())
    flux = 1.0 / (1.0 / 2.0 + 1.0 / 0.25)
    exact = torch.where(
        grid.centers[0] < 0.5, 1 - flux * grid.centers[0] / 2, flux * (1 - grid.centers[0]) / 2
    )
    assert torch.allclose(u, exact, rtol=1e-12, atol=0)


def test_a_closed_wall_separates():
    grid = Grid(Axis(0, 1, 10), walls=[Wall(0, 0.5, 0.0)])
    u = torch.zeros(10).double()
    u[0] = 1.0
    after = diffusion(grid).exp(10.0, u)
    assert float(after[5:].abs().max()) < 1e-12
    assert float(after[:5].sum()) == pytest.approx(1.0)


SMALL = Grid(Axis(0, 1, 4), Axis(0, 2, 3, boundary="periodic"))


@pytest.mark.parametrize("positive", [False, True])
def test_exponentials_are_differentiable_in_state_time_and_diffusivity(positive):
    number = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    field = (0.5 + uniform(4, 3)).requires_grad_()
    t = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    u = uniform(4, 3, seed=1).requires_grad_()
    for D in (number, field):
        assert torch.autograd.gradcheck(
            lambda D, t, u: diffusion(SMALL, D).exp(t, u, positive=positive), (D, t, u)
        )


def test_potentials_drifts_sources_and_rates_are_differentiable():
    u, V = uniform(4, 3).requires_grad_(), uniform(4, 3, seed=1).requires_grad_()
    w = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    open_ = Grid(Axis(0, 1, 5, boundary=(Value(1.0), Robin(1.0, 1.0, 0.2))))
    D = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    Q = uniform(4, 4).requires_grad_()
    check = torch.autograd.gradcheck
    assert check(lambda V, u: diffusion(SMALL, 0.2, potential=V).exp(0.3, u, positive=True), (V, u))
    assert check(lambda w, u: diffusion(SMALL, 0.2, drift=(0.0, w)).exp(0.3, u), (w, u))
    assert check(lambda D, u: diffusion(open_, D).exp(0.3, u), (D, uniform(5).requires_grad_()))
    assert check(lambda D, u: diffusion(open_, D).solve(0.3, u), (D, uniform(5).requires_grad_()))
    assert check(lambda Q, p: rates(Q).exp(0.3, p), (Q, uniform(4, seed=2).requires_grad_()))


def test_states_keep_their_type():
    for A in (diffusion(SMALL), diffusion(SMALL, 0.1 + uniform(4, 3)), diffusion(SMALL, scheme="spectral")):
        u = torch.rand(2, 4, 3)
        assert A.exp(0.1, u).dtype == torch.float32
        assert torch.allclose(A.exp(0.1, u).double(), A.exp(0.1, u.double()), atol=1e-6)
        assert A.solve(1.0, u).dtype == torch.float32
        assert A(u).dtype == torch.float32


def test_poisson_with_closed_ends_needs_a_balanced_supply():
    grid = Grid(Axis(0, 1, 16))
    (x,) = grid.centers
    for A in (diffusion(grid), diffusion(grid, 1.0 + 0.0 * x).sparse(), diffusion(grid, scheme="spectral")):
        supply = torch.cos(math.pi * x)
        u = A.solve(0.0, supply)
        assert torch.allclose(-A(u), supply, atol=1e-11)
        assert float(u.sum()) == pytest.approx(0.0, abs=1e-12)
        with pytest.raises(ValueError, match="no steady state"):
            A.solve(0.0, supply + 1.0)


def test_nothing_is_stationary_where_all_leaks_away():
    with pytest.raises(ValueError, match="leaks"):
        diffusion(Grid(Axis(0, 1, 5, boundary="absorb"))).stationary()


def test_sources_lead_to_their_steady_state():
    grid = Grid(Axis(0, 1, 12, boundary=(Flux(0.3), Robin(1.0, 2.0, 0.1))))
    A = diffusion(grid, 0.4)
    u = uniform(12)
    assert torch.allclose(A.exp(300.0, u), A.stationary(), rtol=1e-9)
    assert torch.allclose(A(A.stationary()), torch.zeros(12).double(), atol=1e-11)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: diffusion(SMALL, D=-1.0), "negative diffusion"),
        (lambda: diffusion(SMALL, D=float("nan")), "not finite"),
        (lambda: diffusion(SMALL, D=torch.ones(3)), r"shape \(4, 3\)"),
        (lambda: diffusion(SMALL, D=(1.0,)), "each of 2 axes"),
        (lambda: diffusion(SMALL, drift=1.0), "a tuple"),
        (lambda: diffusion(SMALL, D=0.0, drift=(1.0, 0.0)), "positive diffusivity"),
        (lambda: diffusion(SMALL, sink=-0.1), "sink is at least 0"),
        (lambda: diffusion(SMALL, scheme="chebyshev"), "finite-volume"),
        (lambda: diffusion(SMALL, uniform(4, 3), scheme="spectral"), "constant coefficients"),
        (lambda: diffusion(Graph(torch.ones(3, 3)), drift=(1.0,)), "no directions"),
        (lambda: diffusion(SMALL).exp(-0.1, uniform(4, 3)), "backward"),
        (lambda: diffusion(SMALL).exp(0.1, uniform(3, 4)), r"ends in the shape \(4, 3\)"),
        (lambda: diffusion(SMALL).solve(-1.0, uniform(4, 3)), "at least 0"),
        (lambda: diffusion(SMALL, scheme="spectral").exp(0.1, uniform(4, 3), positive=True), "positive path"),
        (lambda: diffusion(SMALL).reverse(torch.zeros(4, 3)), "positive everywhere"),
        (lambda: diffusion(SMALL).power(1.5), r"\(0, 1\]"),
        (lambda: diffusion(SMALL) + diffusion(Grid(Axis(0, 1, 4))), "same space"),
        (lambda: -1.0 * diffusion(SMALL), "at least 0"),
        (lambda: rates(torch.tensor([[0.0, -1.0], [1.0, 0.0]])), "at least 0"),
        (lambda: rates(torch.ones(2, 3)), "square"),
        (
            lambda: rates(torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])).function(torch.exp, uniform(3)),
            "circulation",
        ),
        (lambda: kernel(SMALL, lambda r: -r), "at least 0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_ends_that_differ_are_no_transform():
    assert isinstance(diffusion(Grid(Axis(0, 1, 2000, boundary=(Reflect(), Absorb())))), Kronecker)


def test_a_spectrum_that_lanczos_misses_is_noticed():
    # A weak start for Lanczos: the stiff pair of nodes is one of thousands, yet the answer must be right.
    n = 1500
    weights = torch.zeros(n, n).double()
    nodes = torch.arange(n - 1)
    weights[nodes, nodes + 1] = weights[nodes + 1, nodes] = 1.0
    weights[700, 701] = weights[701, 700] = 500.0
    A = diffusion(Graph(weights), 1.0)
    A._kept["largest"] = torch.tensor(4.0, dtype=torch.float64)
    u = uniform(n)
    exact = torch.matrix_exp(2.0 * A.matrix().to_dense()) @ u
    assert torch.allclose(A.exp(2.0, u), exact, rtol=0, atol=1e-10)
    assert torch.allclose(diffusion(Graph(weights), 1.0).exp(2.0, u), exact, rtol=0, atol=1e-10)


def test_steady_states_leave_out_what_a_mask_leaves_out():
    mask = torch.ones(6, 5, dtype=torch.bool)
    mask[2, 1:4] = False
    axes = Axis(0, 1, 6, boundary=(Value(1.0), Value(0.0))), Axis(0, 1, 5)
    A = diffusion(Grid(*axes, mask=mask), 0.3)
    u = A.solve(0.0, torch.zeros(6, 5).double())
    assert torch.allclose(A(u)[mask], torch.zeros(27).double(), atol=1e-12)
    assert float(u[~mask].abs().max()) == 0.0
    assert torch.allclose(A.stationary(), u, atol=1e-13)
    closed = diffusion(Grid(Axis(0, 1, 6), Axis(0, 1, 5), mask=mask), 0.3)
    supply = torch.where(mask, uniform(6, 5), 7.0)
    supply = supply - (supply * mask).sum() / mask.sum()
    x = closed.solve(0.0, supply)
    assert torch.allclose(-closed(x)[mask], supply[mask], atol=1e-11)
    assert float((x * mask).sum()) == pytest.approx(0.0, abs=1e-12)


def test_a_lone_node_has_no_steady_state():
    lonely = torch.zeros(4, 4).double()
    lonely[0, 1] = lonely[1, 0] = lonely[1, 2] = lonely[2, 1] = 1.0
    A = diffusion(Graph(lonely))
    assert torch.allclose(
        A.solve(0.0, torch.tensor([1.0, 0, -1, 0])), torch.tensor([1.0, 0, -1, 0]), atol=1e-6
    )
    with pytest.raises(ValueError, match="no unique steady state"):
        A.solve(0.0, torch.tensor([1.0, 0, 0, -1]))


@pytest.mark.parametrize("boundary", ["absorb", Value(2.0), Robin(1.0, 0.5, 1.0), "reflect"])
def test_nothing_passes_an_end_where_nothing_diffuses(boundary):
    line, u = Grid(Axis(0, 1, 6, boundary=boundary)), torch.rand(6, dtype=torch.float64)
    assert torch.equal(diffusion(line, D=0.0)(u), torch.zeros_like(u))
    dead_end = torch.ones(6, dtype=torch.float64)
    dead_end[[0, -1]] = 0.0
    assert float((diffusion(line, D=dead_end)(u) * line.volumes).sum()) == pytest.approx(0.0, abs=1e-13)
