"""Convolution of what is at least 0 with what is at least 0, right in every entry, however small.

A transform alone leaves round-off of the largest value everywhere, which a growing population then amplifies.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 64


class PositiveConvolution:
    r"""Convolve nonnegative densities with a nonnegative kernel along the last dimension.

    .. math:: y_i = \sum_o k_o u_{i - o}

    A fast Fourier transform is used where its round-off, at most eps log2(n) |u| |k| in the 2-norm (the rms
    of it is far less: Schatzman 1996), is below ``tolerance`` relative to every entry of the result:
    fat tails. Otherwise (thin tails, compact support) the sums are done directly, as one product of matrices
    over blocks of cells; sums of nonnegative products keep their relative accuracy, n eps. What would land
    outside the array is lost.

    Args:
        kernel: (2 L + 1,), k of the offsets -L ... L, finite and at least 0.
        tolerance: relative, of each entry.

    Raises:
        ValueError: for a kernel of an even length, or with a value that is negative or not finite.
    """

    def __init__(self, kernel: Tensor, *, tolerance: float = 1e-6) -> None:
        if kernel.ndim != 1 or len(kernel) % 2 == 0:
            raise ValueError(f"a kernel has an odd number of entries, got shape {tuple(kernel.shape)}")
        if not bool((torch.isfinite(kernel) & (kernel >= 0)).all()):
            raise ValueError("a kernel is finite and at least 0 everywhere")
        reach = int((kernel != 0).nonzero().sub(len(kernel) // 2).abs().max()) if bool(kernel.any()) else 0
        middle = len(kernel) // 2
        self.kernel = kernel[middle - reach : middle + reach + 1]
        self.tolerance = tolerance
        self._blocks: Tensor | None = None

    def __call__(self, u: Tensor) -> Tensor:
        """The convolution.

        Args:
            u: (..., n), at least 0.

        Returns:
            (..., n) of the type of u.

        Raises:
            ValueError: for a negative value.
        """
        if bool((u < 0).any()):
            raise ValueError(f"a density is at least 0, got {float(u.detach().min()):g}")
        y, error = self._by_transform(u)
        if bool((y * self.tolerance >= error).all()):
            return y
        return self._by_sums(u)

    def _by_transform(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The result, and a bound of its error, (..., 1)."""
        reach, n = len(self.kernel) // 2, u.shape[-1]
        length = 2 ** math.ceil(math.log2(n + 2 * reach))
        kernel = self.kernel.to(u)
        product = torch.fft.rfft(u, length) * torch.fft.rfft(kernel, length)
        y = torch.fft.irfft(product, length)[..., reach : reach + n]
        size = u.detach().norm(dim=-1, keepdim=True) * kernel.norm()
        return y, torch.finfo(u.dtype).eps * math.log2(length) * size

    def _by_sums(self, u: Tensor) -> Tensor:
        n = u.shape[-1]
        if self._blocks is None or self._blocks.dtype != u.dtype or self._blocks.device != u.device:
            self._blocks = _blocks(self.kernel.to(u))
        padded = functional.pad(u.reshape(-1, n), (0, -n % _BLOCK))
        channels = padded.reshape(len(padded), -1, _BLOCK).mT
        summed = functional.conv1d(channels, self._blocks, padding=self._blocks.shape[-1] // 2)
        return summed.mT.reshape(len(padded), -1)[:, :n].reshape(u.shape)


def _blocks(kernel: Tensor) -> Tensor:
    """The kernel as products of blocks: (to, from, block offset) of cells within a block."""
    reach = len(kernel) // 2
    far = -(-(reach + _BLOCK - 1) // _BLOCK)
    cells, offsets = torch.arange(_BLOCK), torch.arange(-far, far + 1)
    offset = cells[:, None, None] - cells[None, :, None] - _BLOCK * offsets
    inside = offset.abs() <= reach
    place = (offset.clamp(-reach, reach) + reach).to(kernel.device)
    return kernel[place] * inside.to(kernel)
