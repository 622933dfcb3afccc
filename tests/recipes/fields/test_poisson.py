"""Poisson's equation: the modes, the solver, and the prior of its source."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from unstir.recipes.fields.poisson import PoissonProblem
from unstir.spaces import Robin, Value


@pytest.mark.parametrize(
    ("boundary", "waves"),
    [("absorb", range(1, 9)), ("reflect", range(8)), ("periodic", [0, 2, 2, 4, 4, 6, 6, 8])],
)
def test_eigenvalues_are_those_of_sines_and_cosines(boundary, waves):
    """4 / h^2 sin^2(pi k / 2n) of k half-waves, by the discrete sine and cosine transforms."""
    problem = PoissonProblem((8,), boundary=boundary)
    expected = sorted(4 * 64 * math.sin(math.pi * k / 16) ** 2 for k in waves)
    torch.testing.assert_close(problem.eigenvalues.sort().values, torch.tensor(expected).double())


@pytest.mark.parametrize("size", [(9,), (6, 7), (4, 5, 3)])
@pytest.mark.parametrize(
    "boundary", ["absorb", "reflect", "periodic", ("absorb", "reflect"), Robin(1.0, 0.2, 0.0)]
)
def test_the_modes_give_the_potential_of_the_exact_solver(size, boundary):
    problem = PoissonProblem(size, boundary=boundary, diffusivity=1.7)
    z = torch.randn(3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    source, potential = problem.pairs(z).unbind(1)
    torch.testing.assert_close(problem.solve(source), potential, rtol=1e-9, atol=1e-11)
    assert float(problem.residual(source, potential).abs().max()) < 1e-9 * float(source.abs().max())


def test_the_solver_converges_with_order_two():
    """-Laplacian of sin(pi x) sin(2 pi y) is 5 pi^2 times it."""
    errors = []
    for n in (8, 16, 32):
        problem = PoissonProblem(n)
        x, y = problem.grid.centers
        u = torch.sin(math.pi * x) * torch.sin(2 * math.pi * y)
        errors.append(float((problem.solve(5 * math.pi**2 * u) - u).abs().max()))
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert all(1.8 < order < 2.2 for order in orders), orders


@pytest.mark.parametrize("boundary", ["reflect", "periodic"])
def test_where_nothing_leaves_both_fields_have_mean_zero(boundary):
    source, potential = PoissonProblem(8, boundary=boundary).draw(4)
    assert float(source.mean(dim=(1, 2, 3)).abs().max()) < 1e-6
    assert float(potential.mean(dim=(1, 2, 3)).abs().max()) < 1e-6


def test_a_source_with_a_mean_is_balanced_first():
    problem = PoissonProblem(8, boundary="reflect")
    source = problem.draw(1)[0][:, 0].double()
    torch.testing.assert_close(problem.solve(source + 3.0), problem.solve(source))


def test_draws_have_the_deviation_that_was_asked_for():
    problem = PoissonProblem(8, std=2.5)
    source, potential = problem.draw(4000, seed=1)
    expected = problem.variance_of_modes(problem.loadings**2)
    found = torch.cat([source, potential], dim=1).double().var(0)
    # The variance of a variance of 4,000 draws is 2 / 4000 of its square.
    assert float((found / expected - 1).abs().max()) < 5 * math.sqrt(2 / 4000)
    assert math.isclose(float(expected[0].mean().sqrt()), 2.5, rel_tol=1e-9)
    assert math.isclose(float(expected[1].mean().sqrt()), problem.deviations[1], rel_tol=1e-9)


def test_pair_17_is_the_same_in_any_batch():
    problem = PoissonProblem(6)
    many, one = problem.draw(20, seed=3), problem.draw(1, seed=3, first_index=17)
    for a, b in zip(many, one, strict=True):
        torch.testing.assert_close(a[17:18], b)


def test_a_smoother_prior_has_less_power_in_high_modes():
    shares = []
    for alpha in (1.5, 2.0, 3.0):
        power = PoissonProblem(16, smoothness=alpha).loadings[0] ** 2
        shares.append(float(power[8:, 8:].sum() / power.sum()))
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"size": 1}, "one to three axes"),
        ({"size": (4, 4, 4, 4)}, "one to three axes"),
        ({"std": 0.0}, "std of a Poisson problem"),
        ({"diffusivity": -1.0}, "diffusivity of a Poisson problem"),
        ({"inverse_length": float("nan")}, "inverse_length"),
        ({"boundary": Value(1.0)}, "homogeneous"),
        ({"boundary": "open"}, "a boundary is"),
    ],
)
def test_a_problem_that_cannot_be_is_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        PoissonProblem(**{"size": 4, **arguments})


def test_a_source_of_another_shape_or_not_finite_is_one_sentence():
    problem = PoissonProblem(4)
    with pytest.raises(ValueError, match=r"source of this problem ends in the shape \(4, 4\)"):
        problem.solve(torch.zeros(5, 4))
    with pytest.raises(ValueError, match="not finite"):
        problem.solve(torch.full((4, 4), torch.nan))
    with pytest.raises(ValueError, match="potential of this problem"):
        problem.residual(torch.zeros(4, 4), torch.zeros(3))
    with pytest.raises(ValueError, match="at least one pair"):
        problem.draw(0)
