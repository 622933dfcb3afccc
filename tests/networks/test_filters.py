"""Filters whose gains a class chooses: products in frequency, circular convolutions in time."""

from __future__ import annotations

import pytest
import torch

from unstir.networks import WaveformUNet
from unstir.networks.filters import Filters


def bank(length: int = 32, count: int = 2) -> Filters:
    filters = Filters(length, count, 5).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in filters.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return filters


@pytest.mark.parametrize("length", [32, 33])
def test_a_filter_is_a_circular_convolution_with_its_own_kernel(length):
    filters = bank(length)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 2, length, generator=generator, dtype=torch.float64)
    embedding = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    found = filters(x, embedding)
    assert found.shape == (3, 2, 2, length)
    impulse = torch.zeros(3, 1, length, dtype=torch.float64)
    impulse[..., 0] = 1.0
    kernel = filters(impulse, embedding)[:, :, 0]
    shifts = (torch.arange(length)[:, None] - torch.arange(length)) % length
    expected = torch.einsum("nkij,ncj->nkci", kernel[:, :, shifts], x)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_each_class_may_keep_one_tone_only():
    filters = Filters(64, 1, 3)
    filters.gains.weight.data[4, 0] = 1.0
    filters.gains.weight.data[9, 1] = 1.0
    time = torch.arange(64) / 64
    tones = torch.stack([torch.sin(2 * torch.pi * k * time + k) for k in (4, 9)])
    x = tones.sum(0).expand(3, 1, 64)
    kept = filters(x, torch.eye(3))[:, 0, 0]
    torch.testing.assert_close(kept[:2], tones, rtol=1e-4, atol=1e-5)
    assert kept[2].abs().max() < 1e-5


def test_filters_start_silent_and_work_in_half_precision():
    x = torch.randn(2, 1, 32, dtype=torch.bfloat16, generator=torch.Generator().manual_seed(0))
    found = Filters(32, 2, 5).to(torch.bfloat16)(x, torch.ones(2, 5, dtype=torch.bfloat16))
    assert found.dtype == torch.bfloat16
    assert not found.any()


def test_a_network_with_filters_has_to_know_the_length():
    with pytest.raises(ValueError, match="filters span the whole wave; give its length"):
        WaveformUNet(1, patch=8, width=16, filters=1)
    x = torch.randn(2, 1, 40, generator=torch.Generator().manual_seed(0))
    plain = WaveformUNet(1, patch=8, width=16)
    assert plain(x, torch.zeros(2)).shape == x.shape  # without filters any length does
