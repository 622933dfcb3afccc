import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.guidance.test_measurements import random
from tests.helpers import close
from unstir.guidance import LinearOperator, Measurement, NonlinearOperator, as_operator

MATRIX = torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]], dtype=torch.float64)


def operator(**extra):
    return LinearOperator(lambda x: x @ MATRIX.T.to(x), event=(3,), **extra)


def test_the_adjoint_is_torchs_own_if_none_is_given():
    x = random(4, 2)
    close(operator().adjoint(x), x @ MATRIX, atol=1e-15)
    assert operator().adjoint(x.float()).dtype == torch.float32
    y = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(operator().adjoint(y).sum(), y)
    close(gradient, (MATRIX.sum(1)).expand(4, 2), atol=1e-15)


def test_the_shape_of_measurements_is_found_and_shapes_are_checked():
    a = LinearOperator(lambda x: x[:, :, ::2], event=(2, 5), name="every second")
    assert (a.event, a.measured, a.matrix.shape) == ((2, 5), (2, 3), (6, 10))
    assert repr(a) == "every second (2, 5) -> (2, 3)"
    with pytest.raises(ValueError, match=r"acts on events of shape \(2, 5\), got \(5, 2\)"):
        a(torch.zeros(1, 5, 2))
    with pytest.raises(ValueError, match=r"gives measurements of shape \(2, 3\), got \(3,\)"):
        a.adjoint(torch.zeros(2, 3))


@pytest.mark.parametrize("bad", [torch.tanh, torch.abs, lambda x: x + 1.0, lambda x: x**2])
def test_a_function_that_is_not_linear_is_refused(bad):
    with pytest.raises(ValueError, match="is not linear"):
        LinearOperator(bad, event=(4,))


def test_an_operator_that_lets_next_to_nothing_through_is_no_wrong_one():
    tiny = 1e-183 * MATRIX
    a = LinearOperator(lambda x: x @ tiny.T, lambda y: y @ tiny, event=(3,))
    close(a(torch.ones(1, 3).double()), tiny.sum(1)[None], rtol=1e-12)


@pytest.mark.parametrize("factor", [-1.0, 0.99, 2.0])
def test_a_wrong_adjoint_is_refused(factor):
    with pytest.raises(ValueError, match="dot-product test"):
        operator(adjoint=lambda y: factor * y @ MATRIX)
    with pytest.raises(ValueError, match=r"events of shape \(2,\) instead of \(3,\)"):
        operator(adjoint=lambda y: y)


def test_the_dense_decomposition_gives_the_matrix_and_its_pseudo_inverse():
    s = operator().singular
    unit = torch.eye(2, dtype=torch.float64)
    v, u = s.from_right(unit), s.from_left(unit)
    close(u.T @ (s.values[:, None] * v), MATRIX, atol=1e-14)
    close(v @ v.T, unit, atol=1e-14)
    y = random(5, 2)
    close(operator().pseudo_inverse(y), y @ torch.linalg.pinv(MATRIX).T, atol=1e-13)
    assert not operator().diagonal
    assert operator(singular=s).diagonal


def test_directions_that_are_hardly_measured_are_left_out_of_the_pseudo_inverse():
    thin = torch.diag(torch.tensor([1.0, 1e-9, 0.0], dtype=torch.float64))
    a = as_operator(thin)
    y = torch.ones(1, 3, dtype=torch.float64)
    close(a.pseudo_inverse(y), torch.tensor([[1.0, 0.0, 0.0]]), atol=1e-12)
    close(a.pseudo_inverse(y, smallest=1e-12), torch.tensor([[1.0, 1e9, 0.0]]), rtol=1e-9, atol=1e-6)


def test_two_measurements_of_one_event_are_joined():
    other = LinearOperator(lambda x: x.flip(1)[:, None], event=(3,), name="mirror")
    both, x = operator().beside(other), random(4, 3)
    close(both(x), torch.cat([operator()(x), x.flip(1)], dim=1), atol=1e-15)
    close(both.matrix, torch.cat([MATRIX, torch.eye(3).double().flip(1)]), atol=1e-15)
    y = random(4, 5)
    close(both.adjoint(y), y @ both.matrix, atol=1e-14)
    with pytest.raises(ValueError, match="act on the same events"):
        operator().beside(LinearOperator(lambda x: x, event=(2,)))


def test_a_matrix_that_would_not_fit_is_refused():
    a = LinearOperator(lambda x: x, event=(6000,), name="identity")
    with pytest.raises(ValueError, match="too large for a dense matrix"):
        _ = a.matrix


def test_operators_come_from_matrices_and_functions():
    a, x = as_operator(MATRIX), random(2, 3)
    close(a(x), x @ MATRIX.T, atol=1e-15)
    assert as_operator(a) is a
    assert isinstance(as_operator(torch.tanh), NonlinearOperator)
    with pytest.raises(ValueError, match=r"shape \(m, n\), got \(3,\)"):
        as_operator(torch.ones(3))
    with pytest.raises(TypeError, match="a LinearOperator, a matrix or a function"):
        as_operator("blur")


def test_a_function_is_linearised_where_the_state_is():
    x, d, v = random(2, 3), random(2, 3, seed=1), random(2, 2)
    near = NonlinearOperator(lambda s: torch.tanh(s @ MATRIX.T)).near(x)
    slope = 1.0 - near.value**2
    close(near.apply(d), slope * (d @ MATRIX.T), atol=1e-14)
    close(near.adjoint(v), (slope * v) @ MATRIX, atol=1e-14)
    linear = as_operator(MATRIX).near(x)
    close(linear.apply(d), d @ MATRIX.T, atol=1e-15)


@given(noise=st.floats(0.1, 3.0), seed=st.integers(0, 1000))
def test_the_likelihood_is_that_of_independent_gaussian_noise(noise, seed):
    y, x = random(1, 2, seed=seed)[0], random(4, 3, seed=seed + 1)
    expected = torch.distributions.Normal(x @ MATRIX.T, noise).log_prob(y).sum(1)
    close(Measurement(y, MATRIX, noise).log_likelihood(x), expected, rtol=1e-12)
    each = torch.tensor([noise, 2.0 * noise], dtype=torch.float64)
    expected = torch.distributions.Normal(x @ MATRIX.T, each).log_prob(y).sum(1)
    close(Measurement(y, MATRIX, each).log_likelihood(x), expected, rtol=1e-12)


def test_a_measurement_is_shared_or_one_for_each_sample():
    x = random(4, 3)
    value = x @ MATRIX.T
    for y in (random(1, 2)[0], random(1, 2), random(4, 2)):
        close(Measurement(y, MATRIX, 0.1).residual(value), y - value, atol=1e-15)
    with pytest.raises(ValueError, match="3 measurements for 4 samples"):
        Measurement(random(3, 2), MATRIX, 0.1).residual(value)


def test_measurements_of_a_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"gives measurements of shape \(2,\), but y has shape \(3,\)"):
        Measurement(torch.zeros(3), MATRIX, 0.1)
    with pytest.raises(ValueError, match="but y has shape"):
        Measurement(torch.zeros(1, 4, 2), MATRIX, 0.1)
    with pytest.raises(ValueError, match="one number or one for each entry"):
        Measurement(torch.zeros(2), MATRIX, torch.ones(3))
    nonlinear = Measurement(torch.zeros(5), torch.tanh, 0.1)
    with pytest.raises(ValueError, match=r"shape \(3,\), but y has shape \(5,\)"):
        nonlinear.residual(torch.zeros(2, 3))


@pytest.mark.parametrize("noise", [0.0, -1.0, math.nan, math.inf, torch.tensor([0.1, 0.0])])
def test_noise_that_is_not_above_zero_is_refused(noise):
    with pytest.raises(ValueError, match="standard deviation above 0"):
        Measurement(torch.zeros(2), MATRIX, noise)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_measurement_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="not finite; leave missing ones to a mask"):
        Measurement(torch.tensor([0.0, value]), MATRIX, 0.1)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_functions_with_constants_of_one_type_are_probed_in_that_type(kind):
    matrix = random(3, 2).to(kind)
    operator = LinearOperator(lambda x: x @ matrix.T, lambda y: y @ matrix, event=(2,))
    close(operator.matrix, matrix.double(), atol=1e-6)
    with pytest.raises(ValueError, match="fails the dot-product test"):
        LinearOperator(lambda x: x @ matrix.T, lambda y: 2.0 * (y @ matrix), event=(2,))
