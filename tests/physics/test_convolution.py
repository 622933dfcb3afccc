"""A convolution of nonnegative numbers is right in every entry, however small."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unstir.physics.convolution import PositiveConvolution


def exact(u, k):
    """The sums in extended precision, which has a wider exponent, too."""
    wide = np.convolve(k.numpy().astype(np.longdouble), u.numpy().astype(np.longdouble))
    return wide[len(k) // 2 : len(k) // 2 + len(u)]


def worst(y, u, k):
    """The largest relative error among entries of at least the smallest normal number."""
    truth = exact(u, k)
    seen = truth > 1e-300
    return float(np.abs(y.numpy()[seen] / truth[seen] - 1).max(initial=0.0))


@given(
    n=st.integers(1, 300), reach=st.integers(0, 400), spread=st.floats(0.0, 300.0), seed=st.integers(0, 99)
)
def test_every_entry_is_right_over_hundreds_of_orders_of_magnitude(n, reach, spread, seed):
    random = np.random.default_rng(seed)
    u = torch.from_numpy(np.exp(-spread * random.random(n)))
    k = torch.from_numpy(np.exp(-spread * random.random(2 * reach + 1)) * random.random(2 * reach + 1))
    assert worst(PositiveConvolution(k)(u), u, k) < 1e-6


def test_sums_keep_the_relative_accuracy_of_thin_tails():
    x = torch.arange(-1000, 1001, dtype=torch.float64)
    u, k = torch.exp(-0.3 * x.abs()), torch.exp(-0.5 * (x / 20.0) ** 2)
    assert worst(PositiveConvolution(k)(u), u, k) < 1e-13
    transformed = PositiveConvolution(k)._by_transform(u)[0]
    assert worst(transformed.abs(), u, k) > 1e10


def test_fat_tails_take_the_transform_within_its_tolerance():
    x = torch.arange(-4000, 4001, dtype=torch.float64)
    k = 1.0 / (1.0 + x**2)
    u = (x.abs() < 500).double()[2000:-2000]
    convolution = PositiveConvolution(k)
    y = convolution(u)
    assert convolution._blocks is None
    assert worst(y, u, k) < 1e-9


@given(n=st.integers(1, 200), reach=st.integers(0, 250))
def test_an_asymmetric_kernel_moves_to_the_right_side(n, reach):
    u = torch.zeros(n, dtype=torch.float64)
    u[0] = 1.0
    k = torch.zeros(2 * reach + 1, dtype=torch.float64)
    k[-1] = 2.0
    y = PositiveConvolution(k)(u)
    assert y.nonzero().flatten().tolist() == ([reach] if reach < n else [])


def test_batches_and_types_are_kept():
    u = torch.rand(3, 2, 130)
    k = torch.rand(41, dtype=torch.float64)
    y = PositiveConvolution(k)(u)
    assert y.dtype == torch.float32
    assert y.shape == u.shape
    alone = PositiveConvolution(k)(u[1, 1])
    torch.testing.assert_close(y[1, 1], alone)


@pytest.mark.parametrize("by", ["_by_sums", "_by_transform"])
def test_the_gradient_is_the_convolution_with_the_kernel_turned_round(by):
    k, weight = torch.rand(21, dtype=torch.float64), torch.rand(100, dtype=torch.float64)
    u = torch.rand(100, dtype=torch.float64, requires_grad=True)
    y = getattr(PositiveConvolution(k), by)(u)
    y = y[0] if by == "_by_transform" else y
    (gradient,) = torch.autograd.grad((y * weight).sum(), u)
    torch.testing.assert_close(gradient, PositiveConvolution(k.flip(0))(weight))


def test_nothing_gives_nothing():
    assert bool((PositiveConvolution(torch.zeros(5))(torch.rand(9)) == 0).all())
    assert bool((PositiveConvolution(torch.ones(5))(torch.zeros(9)) == 0).all())


def test_what_is_negative_or_even_is_refused():
    with pytest.raises(ValueError, match="odd number of entries"):
        PositiveConvolution(torch.ones(4))
    with pytest.raises(ValueError, match="finite and at least 0 everywhere"):
        PositiveConvolution(torch.tensor([1.0, -1.0, 1.0]))
    with pytest.raises(ValueError, match="a density is at least 0, got -1"):
        PositiveConvolution(torch.ones(3))(torch.tensor([1.0, -1.0]))
