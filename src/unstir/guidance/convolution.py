"""Blur as a measurement: convolution with any kernel, exact at the boundary, by Fourier transforms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unstir.guidance.operators import LinearOperator, Singular
from unstir.guidance.transforms import apply_each, check_event, diagonal, hartley
from unstir.processes.heat import cosines


def blur(kernel: Tensor, event: Sequence[int], *, boundary: str = "reflect") -> LinearOperator:
    r"""Convolution of the last axes with a kernel, every channel for itself.

    .. math:: y_i = \sum_j k_j\, x_{i - j},\qquad j = 0 \text{ in the middle of the kernel}

    ``reflect`` continues the event beyond its edges by its mirror image, edge cells doubled (insulated
    walls; scipy.ndimage's "reflect"); ``periodic`` round to the other side. A periodic convolution is
    diagonal in Fourier waves; a reflecting one is in cosines if its kernel is symmetric along every axis,
    and other reflecting kernels have no fast decomposition.
    Source: Hansen, Nagy & O'Leary 2006, "Deblurring images", sections 4.2 (periodic) and 4.3 (reflexive).

    Args:
        kernel: of 1 to 3 axes, each of an odd size; it is not normalised here. May be larger than the event.
        event: shape of one sample; axes before those of the kernel are channels.
        boundary: 'reflect' or 'periodic'.

    Returns:
        An operator (batch, *event) to (batch, *event).

    Raises:
        ValueError: for a kernel of an even size, of more axes than 3 or than the event, or not finite, or
            another boundary.
    """
    kernel = torch.as_tensor(kernel).detach().double().cpu()
    if not 1 <= kernel.ndim <= 3 or any(size % 2 == 0 for size in kernel.shape):
        raise ValueError(
            "a blur kernel has 1 to 3 axes of odd sizes, so that it has a middle; got the shape "
            f"{tuple(kernel.shape)}"
        )
    if not bool(torch.isfinite(kernel).all()):
        raise ValueError("a blur kernel holds finite numbers, and this one has others")
    if boundary not in ("reflect", "periodic"):
        raise ValueError(f"the boundary of a blur is 'reflect' or 'periodic', got {boundary!r}")
    axes, shape = kernel.ndim, check_event(event, kernel.ndim)
    sizes, mirrored = shape[-axes:], boundary == "reflect"
    period = tuple(2 * size for size in sizes) if mirrored else sizes
    spectrum = torch.fft.fftn(_wrapped(kernel, period))
    half = spectrum[..., : period[-1] // 2 + 1]

    def forward(x: Tensor) -> Tensor:
        return _crop(_filtered(_extend(x, axes) if mirrored else x, half, period), sizes)

    def adjoint(y: Tensor) -> Tensor:
        if not mirrored:
            return _filtered(y, half.conj(), period)
        padded = torch.nn.functional.pad(y, [side for size in reversed(sizes) for side in (0, size)])
        return _fold(_filtered(padded, half.conj(), period), axes)

    singular = None
    if not mirrored:
        singular = _in_waves(spectrum, shape, axes)
    elif all(torch.equal(kernel, kernel.flip(axis)) for axis in range(axes)):
        bases = [cosines(size) for size in sizes]
        singular = diagonal(
            _crop(spectrum.real, sizes),
            analyse=lambda x: apply_each([basis.mT for basis in bases], x),
            synthesise=lambda c: apply_each(bases, c),
            event=shape,
        )
    return LinearOperator(forward, adjoint, event=shape, singular=singular, name="blur")


def _wrapped(kernel: Tensor, period: tuple[int, ...]) -> Tensor:
    """A kernel on a periodic array, its middle at the origin; what reaches round falls on what is there."""
    where = [
        (torch.arange(size) - size // 2) % length for size, length in zip(kernel.shape, period, strict=True)
    ]
    array = torch.zeros(period, dtype=torch.float64)
    return array.index_put(tuple(torch.meshgrid(*where, indexing="ij")), kernel, accumulate=True)


def _filtered(x: Tensor, half: Tensor, period: tuple[int, ...]) -> Tensor:
    dims = tuple(range(-len(period), 0))
    spectrum = half.to(x.device, torch.promote_types(x.dtype, torch.complex64))
    filtered: Tensor = torch.fft.irfftn(torch.fft.rfftn(x, dim=dims) * spectrum, s=period, dim=dims)
    return filtered


def _extend(x: Tensor, axes: int) -> Tensor:
    """The event and its mirror image along each of the last axes."""
    for axis in range(-axes, 0):
        x = torch.cat([x, x.flip(axis)], dim=axis)
    return x


def _fold(x: Tensor, axes: int) -> Tensor:
    """The adjoint of `_extend`."""
    for axis in range(-axes, 0):
        first, second = x.chunk(2, dim=axis)
        x = first + second.flip(axis)
    return x


def _crop(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    for axis, size in zip(range(-len(sizes), 0), sizes, strict=True):
        x = x.narrow(axis, 0, size)
    return x


def _in_waves(spectrum: Tensor, event: tuple[int, ...], axes: int) -> Singular:
    """A periodic convolution: sizes of the spectrum between Hartley waves, turned by its phases on the left.

    With W the convolution by the phases alone, which is orthogonal, A = W H |spectrum| H.
    """
    dims = tuple(range(-axes, 0))
    # The spectrum of a real kernel, conjugate to the last bit: else phases of what is nearly 0 turn wrong.
    mirrored = spectrum.flip(dims).roll((1,) * axes, dims)
    spectrum = 0.5 * (spectrum + mirrored.conj())
    size = spectrum.abs()
    phase = torch.where(size > 0, spectrum / torch.where(size > 0, size, 1.0), 1.0)
    plain = diagonal(size, lambda x: hartley(x, axes), lambda c: hartley(c, axes), event)

    def turned(x: Tensor, by: Tensor) -> Tensor:
        factor = by.to(x.device, torch.promote_types(x.dtype, torch.complex64))
        waves: Tensor = torch.fft.ifftn(torch.fft.fftn(x, dim=dims) * factor, dim=dims)
        return waves.real

    return plain._replace(
        left=lambda y: plain.right(turned(y, phase.conj())),
        from_left=lambda c: turned(plain.from_right(c), phase),
    )
