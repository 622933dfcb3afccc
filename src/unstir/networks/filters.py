"""Filters over a whole signal, whose gain at every frequency is chosen by the class and the noise level."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unstir.networks.zeros import zero


class Filters(nn.Module):
    """A bank of filters: the signal's Fourier transform times real gains that an embedding decides.

    A pitch is a statement about a whole wave: two notes a semitone apart differ by a few cycles over all of
    it, which layers that see one piece after the other have to count. Here it is one product a frequency. The
    best estimate of a stationary Gaussian signal in noise is such a filter (Wiener 1949). All gains start at
    0.

    Args:
        length: of the signal, which is taken to be periodic.
        count: filters, each applied to every channel.
        embedding: features of the embedding.
    """

    def __init__(self, length: int, count: int, embedding: int) -> None:
        super().__init__()
        self.count = count
        self.gains = zero(nn.Linear(embedding, count * (length // 2 + 1)))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Filter ``x`` (batch, channels, length): (batch, count, channels, length)."""
        precise = torch.promote_types(x.dtype, torch.float32)  # no transform of half precision exists
        gains = self.gains(embedding).reshape(len(x), self.count, 1, -1).to(precise)
        spectrum = torch.fft.rfft(x.to(precise))[:, None]
        filtered: Tensor = torch.fft.irfft(gains * spectrum, n=x.shape[-1])
        return filtered.to(x)
