"""Darcy flow: the solver's fluxes, and the media."""

from __future__ import annotations

import math

import pytest
import torch

from unstir.recipes.fields.darcy import DarcyProblem


@pytest.mark.parametrize("size", [(7,), (5, 6), (3, 4, 5)])
@pytest.mark.parametrize("medium", ["lognormal", "two-phase"])
def test_the_residual_of_the_solver_is_zero(size, medium):
    problem = DarcyProblem(size, medium=medium)
    log_a = problem.draw(2)[0][:, 0].double()
    assert float(problem.residual(log_a, problem.solve(log_a)).abs().max()) < 1e-9


def test_a_uniform_medium_in_one_dimension_has_the_parabola():
    """-a u'' = 1 with u = 0 at the ends: x (1 - x) / 2a, up to the grid's own h^2 / 8a."""
    problem = DarcyProblem((40,))
    x = problem.grid.centers[0]
    u = problem.solve(torch.full((40,), math.log(2.0), dtype=torch.float64))
    torch.testing.assert_close(u, x * (1 - x) / 4.0 + 1 / (16 * 40**2), rtol=1e-9, atol=1e-12)


def test_pressure_is_inverse_to_permeability():
    problem = DarcyProblem(6)
    log_a = problem.draw(1)[0][:, 0].double()
    torch.testing.assert_close(problem.solve(log_a + math.log(3.0)), problem.solve(log_a) / 3.0)


def test_two_phases_are_3_and_12():
    log_a, u = DarcyProblem(8, medium="two-phase").draw(3)
    assert {round(value, 4) for value in log_a.exp().unique().tolist()} == {3.0, 12.0}
    assert bool((u > 0).all())


def test_the_residual_has_gradients_in_both_fields():
    problem = DarcyProblem(5)
    log_a, u = (field[:, 0].double().requires_grad_() for field in problem.draw(2))
    problem.residual(log_a, 1.1 * u).square().sum().backward()
    assert bool((log_a.grad != 0).all())
    assert bool((u.grad != 0).all())


def test_a_medium_that_cannot_be_is_one_sentence():
    with pytest.raises(ValueError, match="lognormal"):
        DarcyProblem(4, medium="sand")
    with pytest.raises(ValueError, match="spread"):
        DarcyProblem(4, spread=0.0)
    with pytest.raises(ValueError, match="ends in the shape"):
        DarcyProblem(4).solve(torch.zeros(3, 3))
    with pytest.raises(ValueError, match="not finite"):
        DarcyProblem(4).solve(torch.full((4, 4), math.inf))
