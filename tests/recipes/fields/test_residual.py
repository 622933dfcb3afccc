"""The equation as a measurement: guidance by a residual, a user's own one too."""

from __future__ import annotations

import pytest
import torch

from unstir.guidance import LinearOperator, NonlinearOperator
from unstir.processes import VP
from unstir.recipes.fields.exact import PairDenoiser, exact_posterior
from unstir.recipes.fields.methods import ExactModel
from unstir.recipes.fields.poisson import PoissonProblem
from unstir.recipes.fields.residual import Equation, measurement_of
from unstir.recipes.fields.sensors import Sensors
from unstir.recipes.fields.task import infer
from unstir.training import Scaling

SIZE = 8


@pytest.fixture(scope="module")
def problem():
    return PoissonProblem(SIZE)


@pytest.fixture(scope="module")
def pair(problem):
    return torch.cat(problem.draw(1, seed=3), dim=1)[0].double()


def whole_source(pair):
    cells = torch.cartesian_prod(torch.arange(SIZE), torch.arange(SIZE))
    return Sensors(cells, pair[0].flatten(), 0.02, "source")


@pytest.mark.parametrize(("method", "error"), [("mmps", 0.03), ("dps", 0.2)])
def test_the_residual_brings_the_potential_to_the_exact_one(problem, pair, method, error):
    """A denoiser that knows each field but not that they belong together learns it from the equation."""
    model = ExactModel(PairDenoiser(VP(), problem, joined=False))
    sensors, equation = whole_source(pair), Equation(problem.residual, 0.05)
    without = infer(model, sensors, n=8, method=method, seed=1)
    guided = infer(model, sensors, equation=equation, n=8, method=method, seed=1)
    sizes = []
    for found in (without, guided):
        x = found.samples.double()
        wrong = float((found.mean[1] - pair[1]).norm() / pair[1].norm())
        sizes.append((wrong, float(problem.residual(x[:, 0], x[:, 1]).std())))
    assert sizes[0][0] > 0.9
    assert sizes[1][0] < error
    assert sizes[1][1] < 0.3 * sizes[0][1]


def test_a_linear_residual_becomes_a_linear_operator(problem):
    scaling = Scaling((0.3, -0.1), (2.0, 0.5))
    y, operator, noise = measurement_of(scaling, (2, SIZE, SIZE), None, Equation(problem.residual, 0.1))
    assert isinstance(operator, LinearOperator)
    x = torch.randn(3, 2, SIZE, SIZE, dtype=torch.float64)
    data = scaling.to_data(x)
    expected = problem.residual(data[:, 0], data[:, 1]).flatten(1)
    torch.testing.assert_close(operator(x) - y, expected)
    assert noise == 0.1


def test_a_residual_that_is_not_linear_stays_a_function():
    equation = Equation(lambda a, u: a * u - 1.0, 0.1)
    y, operator, _ = measurement_of(Scaling((0.0, 0.0), (1.0, 2.0)), (2, 4), None, equation)
    assert isinstance(operator, NonlinearOperator)
    x = torch.tensor([[[1.0, 2.0, 0.0, 1.0], [0.5, 0.25, 3.0, 1.0]]]).double()
    torch.testing.assert_close(operator(x) - y, torch.tensor([[0.0, 0.0, -1.0, 1.0]]).double())


def test_sensors_and_an_equation_are_one_measurement(problem, pair):
    """Their joint posterior under independent priors is the closed form of dense Gaussian algebra."""
    seen = whole_source(pair).on((2, SIZE, SIZE))
    y, operator, noise = measurement_of(
        Scaling((0.0, 0.0), (1.0, 1.0)), (2, SIZE, SIZE), seen, Equation(problem.residual, 0.05)
    )
    assert tuple(y.shape) == (2 * SIZE**2,)
    assert noise.tolist() == [0.02] * SIZE**2 + [0.05] * SIZE**2
    # With the prior that knows the equation, its residual says nothing new.
    joint = exact_posterior(problem, y, operator, noise)
    alone = exact_posterior(problem, seen.y, seen.operator, seen.noise)
    torch.testing.assert_close(joint.mean, alone.mean, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(joint.deviation, alone.deviation, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("residual", "sentence"),
    [
        (lambda f, u: (f - u).mean(), r"one row for each of 1 samples, .* gave \(\)"),
        (lambda f, u: (f - u).sum(0, keepdim=True).expand(5, -1, -1, -1), "one row for each"),
        (lambda f, u: f - u[:, :, 1:], "does not take fields of shape"),
        (lambda f, u: 0.0, "gave float"),
        (lambda f, u: (f - u**2).detach(), "cut off from the fields"),
        (lambda f, u: f.log() - u, "not finite for some fields"),
        (lambda f, u: torch.from_numpy(f.numpy()), "does not take fields"),
    ],
)
def test_a_residual_of_the_wrong_kind_is_one_sentence(residual, sentence):
    model = ExactModel(PairDenoiser(VP(), PoissonProblem(4)))
    with pytest.raises(ValueError, match=sentence):
        infer(model, equation=Equation(residual, 0.1), n=2)


def test_a_tolerance_of_zero_or_nothing_to_infer_from_is_one_sentence():
    with pytest.raises(ValueError, match="above 0"):
        Equation(lambda f, u: f, 0.0)
    with pytest.raises(ValueError, match="nothing to infer from"):
        infer(ExactModel(PairDenoiser(VP(), PoissonProblem(4))), n=2)


def test_a_residual_with_a_kernel_of_another_type_is_told_to_follow_its_fields():
    kernel = torch.ones(1, 1, 3, 3)

    def residual(source, potential):
        return torch.nn.functional.conv2d(potential, kernel, padding=1) - source

    event = (2, SIZE, SIZE)
    with pytest.raises(ValueError, match=r"in the type of its fields.*kernel\.to\(u\)"):
        measurement_of(Scaling(), event, None, Equation(residual, 0.1))

    def follows(source, potential):
        return torch.nn.functional.conv2d(potential, kernel.to(potential), padding=1) - source

    assert isinstance(measurement_of(Scaling(), event, None, Equation(follows, 0.1))[1], LinearOperator)
