from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import close
from unstir.guidance.krylov import conjugate_gradients, gmres

SOLVERS = [conjugate_gradients, gmres]


def systems(seed, batch=3, n=6):
    g = torch.Generator().manual_seed(seed)
    roots = torch.randn(batch, n, n, generator=g, dtype=torch.float64)
    matrices = roots @ roots.mT / n + 0.1 * torch.eye(n, dtype=torch.float64)
    return matrices, torch.randn(batch, n, generator=g, dtype=torch.float64)


def product(matrices):
    return lambda v: (matrices @ v[..., None])[..., 0]


@pytest.mark.parametrize("solver", SOLVERS)
@given(seed=st.integers(0, 10**6))
def test_as_many_steps_as_unknowns_solve_the_system(solver, seed):
    matrices, b = systems(seed)
    solved = solver(product(matrices), b, 6)
    close(product(matrices)(solved.x), b, atol=1e-7)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_coefficients_put_the_solution_together(solver):
    matrices, b = systems(1)
    seen = []

    def apply(v):
        seen.append(v)
        return product(matrices)(v)

    solved = solver(apply, b, 4)
    together = sum(c[:, None] * v for c, v in zip(solved.coefficients, seen, strict=True))
    close(together, solved.x, atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_sample_is_solved_for_itself(solver):
    matrices, b = systems(2)
    scaled = b * torch.tensor([1.0, 1e-6, 1e6])[:, None]
    together = solver(product(matrices), scaled, 3).x
    for k in range(3):
        alone = solver(product(matrices[k : k + 1]), scaled[k : k + 1], 3).x
        close(together[k : k + 1], alone, rtol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_exact_preconditioner_needs_one_step(solver):
    matrices, b = systems(3)
    inverse = product(torch.linalg.inv(matrices))
    close(product(matrices)(solver(product(matrices), b, 1, precondition=inverse).x), b, atol=1e-10)


@pytest.mark.parametrize("solver", SOLVERS)
def test_more_steps_than_the_space_has_and_zeros_change_nothing(solver):
    identity, b = torch.eye(4, dtype=torch.float64).expand(2, 4, 4), torch.zeros(2, 4, dtype=torch.float64)
    b[1] = 1.0
    close(solver(product(identity), b, 5).x, b, atol=1e-12)


def test_gmres_solves_what_is_not_symmetric():
    g = torch.Generator().manual_seed(4)
    matrices = torch.randn(2, 5, 5, generator=g, dtype=torch.float64)
    b = torch.randn(2, 5, generator=g, dtype=torch.float64)
    close(product(matrices)(gmres(product(matrices), b, 5).x), b, atol=1e-8)


def test_gmres_never_makes_the_residual_larger():
    g = torch.Generator().manual_seed(5)
    matrices = torch.randn(4, 8, 8, generator=g, dtype=torch.float64)
    b = torch.randn(4, 8, generator=g, dtype=torch.float64)
    sizes = [(product(matrices)(gmres(product(matrices), b, k).x) - b).norm(dim=1) for k in range(1, 8)]
    assert all(bool((after <= before + 1e-10).all()) for before, after in pairwise(sizes))


def test_conjugate_gradients_stop_at_negative_curvature():
    matrix = torch.diag(torch.tensor([1.0, 2.0, -0.5, 1.5], dtype=torch.float64))[None]
    x = conjugate_gradients(product(matrix), torch.ones(1, 4, dtype=torch.float64), 20).x
    assert torch.isfinite(x).all()


def test_conjugate_gradients_stop_at_the_tolerance():
    matrices, b = systems(6)
    solved = conjugate_gradients(product(matrices), b, 50, tolerance=1e-3)
    assert len(solved.coefficients) < 7
    assert bool(((product(matrices)(solved.x) - b).norm(dim=1) <= 1e-3 * b.norm(dim=1) + 1e-12).all())


def test_states_of_any_rank():
    b = torch.randn(2, 3, 4, dtype=torch.float64)
    for solver in SOLVERS:
        close(solver(lambda v: 2.0 * v, b, 1).x, b / 2.0, atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_residuals_near_the_smallest_numbers_of_their_type_stay_finite(solver):
    assert torch.isfinite(solver(lambda v: 2.0 * v, torch.full((1, 4), 1e-40), 3).x).all()


def test_a_sample_that_is_done_does_not_go_on_for_its_neighbours():
    matrices, b = systems(8)
    matrices[0] = torch.diag(torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 1.001]))
    together = conjugate_gradients(product(matrices), b, 30, tolerance=1e-3)
    for k in range(3):
        alone = conjugate_gradients(product(matrices[k : k + 1]), b[k : k + 1], 30, tolerance=1e-3)
        close(together.x[k : k + 1], alone.x, atol=1e-14)
