"""Where a population began: the forward problem."""

from __future__ import annotations

import pytest
import torch

from unstir.recipes.fields.reaction import ReactionProblem


def test_a_uniform_beginning_grows_logistically():
    """u e^(rT) / (1 + u (e^(rT) - 1)), exactly: nothing spreads."""
    problem = ReactionProblem(6, growth=2.0, time=1.0)
    u = torch.full((6, 6), 0.1, dtype=torch.float64)
    e = torch.tensor(2.0).double().exp()
    expected = 0.1 * e / (1 + 0.1 * (e - 1))
    torch.testing.assert_close(problem.solve(u), expected.expand(6, 6), rtol=1e-10, atol=0.0)


def test_twice_the_steps_change_little():
    problem = ReactionProblem(12)
    start = problem.draw(2)[0][:, 0].double()
    end = problem.solve(start)
    problem.steps = 64
    assert float((problem.solve(start) - end).abs().max()) < 1e-4


def test_densities_stay_between_nothing_and_the_capacity():
    start, end = ReactionProblem(12).draw(8)
    for field in (start, end):
        assert float(field.min()) >= 0.0
        assert float(field.max()) <= 1.0 + 1e-6
    assert bool((end.mean(dim=(1, 2, 3)) > start.mean(dim=(1, 2, 3))).all())


def test_a_sample_does_not_depend_on_its_batch():
    problem = ReactionProblem(8)
    many, one = problem.draw(5, seed=2), problem.draw(1, seed=2, first_index=3)
    torch.testing.assert_close(many[1][3:4], one[1])


def test_the_residual_is_zero_for_a_solution_and_has_gradients():
    problem = ReactionProblem(6)
    start = problem.draw(1)[0][:, 0].double().requires_grad_()
    end = problem.solve(start.detach())
    assert float(problem.residual(start, end).detach().abs().max()) < 1e-12
    problem.residual(start, 0.5 * end).square().sum().backward()
    assert bool((start.grad != 0).all())


def test_numbers_that_cannot_be_are_one_sentence():
    with pytest.raises(ValueError, match="the time of a reaction problem"):
        ReactionProblem(4, time=0.0)
    with pytest.raises(ValueError, match="ends in the shape"):
        ReactionProblem(4).solve(torch.zeros(3, 3))
