import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tests.helpers import close
from unstir import noise
from unstir.generators import diffusion
from unstir.guidance import NonlinearOperator
from unstir.guidance.measurements import blur, downsample, flow, fourier, heat, mask, radon
from unstir.spaces import Axis, Graph, Grid


def random(*shape, seed=0, dtype=torch.float64):
    """Standard normal numbers, (batch, *event)."""
    index = torch.arange(shape[0])
    return noise.normal(shape[1:], seed=seed, index=index, stream=noise.Stream.DATA, dtype=dtype)


SEEDS = st.integers(0, 2**31)
SIZES = st.integers(1, 6)


@st.composite
def shapes(draw, axes):
    """An event: perhaps channels, then so many axes of cells."""
    lead = draw(st.lists(st.integers(1, 3), max_size=1))
    return tuple(lead), tuple(draw(SIZES) for _ in range(axes))


@st.composite
def keeps(draw, sizes):
    keep = random(1, *sizes, seed=draw(SEEDS))[0] > draw(st.sampled_from([-1.0, 0.0, 0.7]))
    keep.reshape(-1)[draw(st.integers(0, keep.numel() - 1))] = True
    return keep


@st.composite
def masks(draw):
    lead, sizes = draw(shapes(draw(st.integers(1, 2))))
    return mask(draw(keeps(sizes)), (*lead, *sizes))


@st.composite
def frequencies(draw):
    lead, sizes = draw(shapes(draw(st.integers(1, 3))))
    return fourier(draw(keeps(sizes)), (*lead, *sizes))


@st.composite
def block_means(draw):
    lead, sizes = draw(shapes(2))
    factors = tuple(draw(st.integers(1, 3)) for _ in sizes)
    return downsample(factors, (*lead, *(size * own for size, own in zip(sizes, factors, strict=True))))


@st.composite
def blurs(draw):
    axes = draw(st.integers(1, 3))
    lead, sizes = draw(shapes(axes))
    kernel = random(1, *(draw(st.sampled_from([1, 3, 7])) for _ in range(axes)), seed=draw(SEEDS))[0]
    if draw(st.booleans()):
        for axis in range(axes):
            kernel = kernel + kernel.flip(axis)
    return blur(kernel, (*lead, *sizes), boundary=draw(st.sampled_from(["reflect", "periodic"])))


@st.composite
def heats(draw):
    axes = draw(st.integers(1, 3))
    _, sizes = draw(shapes(axes))
    kinds = tuple(draw(st.sampled_from(["reflect", "periodic", "absorb"])) for _ in range(axes))
    scheme = draw(st.sampled_from(["finite-volume", "spectral"]))
    time, D, cell = (draw(st.floats(0.3, 1.5)) for _ in range(3))
    return heat((2, *sizes), time, D=D, boundary=kinds, cell=cell, scheme=scheme)


@st.composite
def flows(draw):
    time = draw(st.floats(0.0, 2.0))
    if draw(st.booleans()):
        n = draw(st.integers(2, 6))
        weights = random(n, n, seed=draw(SEEDS)).abs()
        return flow(diffusion(Graph(weights + weights.mT)), time, (2, n))
    edges = (1.0 + random(1, 6, seed=draw(SEEDS))[0].abs()).cumsum(0)
    metric = draw(st.sampled_from(["cartesian", "cylindrical", "spherical"]))
    axis = Axis.from_edges(edges, metric=metric)
    return flow(diffusion(Grid(axis), potential=random(1, 5, seed=draw(SEEDS))[0]), time)


@st.composite
def projections(draw):
    lead, sizes = draw(shapes(2))
    angles = draw(st.lists(st.floats(-4.0, 4.0), min_size=1, max_size=4))
    return radon(angles, (*lead, *sizes), draw(st.sampled_from([None, 1, 4])))


ALL = [masks(), frequencies(), block_means(), blurs(), heats(), flows(), projections()]
OPERATORS = st.one_of(ALL)


@given(operator=OPERATORS, seed=SEEDS)
@settings(max_examples=150)
def test_the_adjoint_passes_the_dot_product_test(operator, seed):
    u, v = random(3, *operator.event, seed=seed), random(3, *operator.measured, seed=seed + 1)
    a_u, a_t_v = operator(u), operator.adjoint(v)
    scale = float(a_u.norm() * v.norm() + u.norm() * a_t_v.norm()) + 1e-300
    assert abs(float((a_u * v).sum()) - float((u * a_t_v).sum())) < 1e-12 * scale


@given(operator=OPERATORS)
@settings(max_examples=100)
def test_the_singular_value_decomposition_has_orthonormal_factors_and_gives_the_operator(operator):
    s, matrix = operator.singular, operator.matrix
    count = len(s.values)
    unit = torch.eye(count, dtype=torch.float64)
    v, u = s.from_right(unit).flatten(1), s.from_left(unit).flatten(1)
    assert count <= min(matrix.shape)
    assert bool((s.values >= 0).all())
    assert s.values.dtype == torch.float64
    close(v @ v.mT, unit, atol=1e-12)
    close(u @ u.mT, unit, atol=1e-12)
    size = max(float(s.values.max()), 1e-300)
    close(u.mT @ (s.values[:, None] * v), matrix, atol=1e-12 * max(size, 1.0))
    x, y = random(2, *operator.event), random(2, *operator.measured)
    close(s.right(x), x.flatten(1) @ v.mT, atol=1e-12)
    close(s.left(y), y.flatten(1) @ u.mT, atol=1e-12)


@pytest.mark.parametrize("size", [(6, 6), (9, 4), (12, 3)])
def test_a_blur_that_loses_some_waves_altogether_still_has_orthonormal_factors(size):
    # A box three cells wide lets no wave of three cells through: its phase there is that of round-off.
    operator = blur(torch.ones(3, 3), size, boundary="periodic")
    s, count = operator.singular, math.prod(size)
    unit = torch.eye(count, dtype=torch.float64)
    assert int((s.values < 1e-12).sum()) > 0
    close(s.from_left(unit).flatten(1) @ s.from_left(unit).flatten(1).mT, unit, atol=1e-12)
    x = operator.pseudo_inverse(operator(random(2, *size)))
    close(operator(x), operator(random(2, *size)), atol=1e-11)


@given(operator=OPERATORS)
@settings(max_examples=60)
def test_the_pseudo_inverse_is_that_of_the_matrix(operator):
    y = random(2, *operator.measured)
    expected = y.flatten(1) @ torch.linalg.pinv(operator.matrix, rtol=1e-6).mT
    close(
        operator.pseudo_inverse(y).flatten(1), expected, rtol=1e-5, atol=1e-9 + 1e-9 * float(expected.norm())
    )


@given(operator=OPERATORS)
@settings(max_examples=60)
def test_types_are_kept_and_float32_agrees(operator):
    x, y = random(2, *operator.event), random(2, *operator.measured)
    functions = [(operator, x), (operator.adjoint, y), (operator.pseudo_inverse, y)]
    if operator.diagonal:
        functions += [(operator.singular.right, x), (operator.singular.left, y)]
    for function, value in functions:
        wide, narrow = function(value), function(value.float())
        assert (wide.dtype, narrow.dtype) == (torch.float64, torch.float32)
        if function != operator.pseudo_inverse:
            close(narrow, wide, atol=3e-6 * (1.0 + float(wide.abs().max())))


@given(operator=OPERATORS)
@settings(max_examples=60)
def test_a_sample_does_not_depend_on_its_batch(operator):
    x, y = random(3, *operator.event), random(3, *operator.measured)
    close(operator(x)[1:2], operator(x[1:2]), atol=1e-12 * (1.0 + float(operator(x).abs().max())))
    close(operator.adjoint(y)[1:2], operator.adjoint(y[1:2]), atol=1e-11)


@given(operator=OPERATORS)
@settings(max_examples=60)
def test_gradients_flow_through_and_are_those_of_the_adjoint(operator):
    x, v = random(2, *operator.event).requires_grad_(), random(2, *operator.measured)
    (gradient,) = torch.autograd.grad((operator(x) * v).sum(), x, create_graph=True)
    close(gradient.detach(), operator.adjoint(v), atol=1e-11)
    y = v.clone().requires_grad_()
    (back,) = torch.autograd.grad((operator.adjoint(y) * x.detach()).sum(), y)
    close(back, operator(x.detach()), atol=1e-11)


@given(operator=OPERATORS)
@settings(max_examples=25)
def test_a_nonlinear_function_of_one_is_linearised_by_torch(operator):
    # Both modes of torch.func see through: tanh(A x) near x is diag(1 - tanh^2) A.
    x, d, v = (
        random(2, *shape, seed=k) for k, shape in enumerate([operator.event] * 2 + [operator.measured])
    )
    near = NonlinearOperator(lambda state: torch.tanh(operator(state))).near(x)
    slope = 1.0 - torch.tanh(operator(x)) ** 2
    close(near.apply(d), slope * operator(d), atol=1e-11)
    close(near.adjoint(v), operator.adjoint(slope * v), atol=1e-11)


def test_a_mask_keeps_the_entries_in_order_and_its_adjoint_fills_with_zeros():
    keep = torch.tensor([[[True, False], [False, True]]])
    operator = mask(keep, (2, 2, 2))
    x = torch.arange(8.0, dtype=torch.float64).reshape(1, 2, 2, 2)
    close(operator(x), torch.tensor([[0.0, 3.0, 4.0, 7.0]]))
    close(operator.adjoint(operator(x)), x * keep)
    assert mask(keep).event == (1, 2, 2)


def test_block_means_are_those_of_the_blocks():
    operator, x = downsample(2, (3, 4, 6)), random(2, 3, 4, 6)
    assert operator.measured == (3, 2, 3)
    expected = torch.nn.functional.avg_pool2d(x, 2)
    close(operator(x), expected, atol=1e-14)
    close(operator(operator.pseudo_inverse(expected)), expected, atol=1e-14)
    assert downsample(2, (4, 6), channels=False).measured == (2, 3)
    assert downsample((3,), (4, 6)).measured == (4, 2)
    assert downsample(2, (6,)).measured == (3,)


@pytest.mark.parametrize(("boundary", "mode"), [("reflect", "reflect"), ("periodic", "wrap")])
@pytest.mark.parametrize("size", [(3, 5), (1, 9), (11, 3)])
def test_blur_is_the_convolution_of_scipy_with_its_boundary(boundary, mode, size):
    kernel, x = random(1, *size)[0], random(2, 3, 5, 7)
    expected = ndimage.convolve(x.numpy(), kernel.numpy()[None, None], mode=mode)
    close(blur(kernel, (3, 5, 7), boundary=boundary)(x), torch.from_numpy(expected), atol=1e-12)


def test_a_blur_has_a_fast_decomposition_where_the_mathematics_has_one():
    even, odd = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([0.0, 2.0, 1.0])
    assert blur(even, (8,)).diagonal
    assert not blur(odd, (8,)).diagonal
    assert blur(odd, (8,), boundary="periodic").diagonal
    turned = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]])  # even, but not along an axis
    assert not blur(turned, (8, 8)).diagonal


def test_all_frequencies_are_an_isometry_and_low_ones_a_projection():
    x = random(2, 3, 8, 6)
    everything = fourier(torch.ones(8, 6, dtype=torch.bool), (3, 8, 6))
    close(everything(x).flatten(1).norm(dim=1), x.flatten(1).norm(dim=1), rtol=1e-13)
    close(everything.pseudo_inverse(everything(x)), x, atol=1e-13)
    low = torch.zeros(8, 6, dtype=torch.bool)
    low[0, 0] = True
    constant = fourier(low, (3, 8, 6)).pseudo_inverse(fourier(low, (3, 8, 6))(x))
    close(constant, x.mean((2, 3), keepdim=True).expand_as(x), atol=1e-13)


def test_a_frequency_measured_twice_has_the_larger_singular_value():
    keep = torch.zeros(8, dtype=torch.bool)
    keep[[0, 1, 7, 2]] = True  # 1 and 7 are opposite, 2 stands for 6
    values = fourier(keep, (8,)).singular.values.sort().values
    close(values, torch.tensor([math.sqrt(0.5)] * 2 + [1.0] * 3, dtype=torch.float64), atol=1e-15)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mask(torch.ones(3)), "boolean tensor"),
        (lambda: mask(torch.zeros(3, dtype=torch.bool)), "at least one entry"),
        (lambda: mask(torch.ones(3, dtype=torch.bool), (4,)), r"event's shape \(4,\)"),
        (lambda: mask(torch.tensor(True)), "at least 1 axes"),
        (lambda: downsample(3, (1, 8, 9)), "do not fill an axis of 8"),
        (lambda: downsample(0, (8,)), "blocks of 0"),
        (lambda: downsample((2, 2, 2), (8, 8)), "one factor for each axis"),
        (lambda: blur(torch.ones(2), (8,)), "odd sizes"),
        (lambda: blur(torch.ones(3, 3), (8,)), "at least 2 axes"),
        (lambda: blur(torch.tensor([1.0, math.nan, 1.0]), (8,)), "finite numbers"),
        (lambda: blur(torch.ones(3), (8,), boundary="wrap"), "'reflect' or 'periodic'"),
        (lambda: fourier(torch.ones(3, 3), (3, 3)), "boolean tensor of the shape"),
        (lambda: fourier(torch.ones(4, 3, dtype=torch.bool), (3, 3)), "last axes"),
        (lambda: fourier(torch.zeros(3, dtype=torch.bool), (3,)), "at least one frequency"),
    ],
)
def test_bad_settings_are_one_clear_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_measurements_repeat_to_the_last_bit():
    operator, x = blur(random(1, 5, 5)[0], (1, 9, 9)), random(4, 1, 9, 9)
    assert np.array_equal(operator(x).numpy(), operator(x).numpy())
