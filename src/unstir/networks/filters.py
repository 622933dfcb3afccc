"""A filter over a whole signal whose strength at every frequency follows from the conditions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unstir.networks.zeros import zero

RANGE = 12.0
"""Largest logarithm of a frequency's deviation over that of the data, either way."""


class Filter(nn.Module):
    r"""The answer for a stationary Gaussian signal of a spectrum that an embedding decides.

    A pitch is a statement about a whole wave: two notes a semitone apart differ by a few cycles over all of
    it, which layers that see one piece after the other would have to count. Here it is a product at every
    frequency. With v the deviation there, s that of the data and q = alpha / sigma, the preconditioning is
    that of `spectrum.Preconditioner`, whose derivation holds for frequencies as for modes; but v is learned,
    and may be another one for every class,

    .. math:: v = s\,e^{a(e)},

    with a linear and 0 at the beginning: then the filter of x is 0 and nothing is changed.

    Source: Wiener 1949; Karras et al. 2022, appendix B.6, with a deviation for each frequency.

    Args:
        length: of the signal, which is taken to be periodic.
        embedding: features of e.
        deviation: s, the ``sigma_data`` of the denoiser, whose target has to be v.
    """

    def __init__(self, length: int, embedding: int, deviation: float) -> None:
        super().__init__()
        self.length = length
        self.deviation = deviation
        self.levels = zero(nn.Linear(embedding, length // 2 + 1))

    def factors(self, log_snr: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What multiplies the frequencies of x on the way in, of x on the way out, and of the answer.

        Args:
            log_snr: (batch,).
            embedding: (batch, features).

        Returns:
            Three of (batch, 1, frequencies), float32 or better.
        """
        levels = self.levels(embedding)
        levels = levels.to(torch.promote_types(levels.dtype, torch.float32)).clamp(-RANGE, RANGE)
        s = self.deviation
        v = s * levels.exp()[:, None]
        q = (0.5 * log_snr.to(v)).exp()[:, None, None]
        mode, whole = (v * q).square() + 1.0, ((s * q).square() + 1.0).sqrt()
        return v * q * whole / mode, q * (s**2 - v**2) / (s * mode), v * whole / (s * mode.sqrt())

    def spectrum(self, x: Tensor) -> Tensor:
        """Frequencies (batch, channels, length // 2 + 1) of x; half precision has no transform."""
        spectrum: Tensor = torch.fft.rfft(x.to(torch.promote_types(x.dtype, torch.float32)))
        return spectrum

    def signal(self, spectrum: Tensor, like: Tensor) -> Tensor:
        """`spectrum` undone, in the type of ``like``."""
        wave: Tensor = torch.fft.irfft(spectrum, n=self.length)
        return wave.to(like.dtype)
