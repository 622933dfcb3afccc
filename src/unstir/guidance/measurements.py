"""Ready-made measurements: entries left out, blur, heat flow, block means, Fourier samples, projections.

Each is a `LinearOperator` with its exact adjoint and, where a fast one exists, its singular value
decomposition. All act on batches of any floating type and device, and torch differentiates them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unstir.guidance.convolution import blur
from unstir.guidance.heat_flow import flow, heat
from unstir.guidance.operators import LinearOperator, Map, Singular
from unstir.guidance.tomography import radon
from unstir.guidance.transforms import check_event

__all__ = ["blur", "downsample", "flow", "fourier", "heat", "mask", "radon"]


def mask(keep: Tensor, event: Sequence[int] | None = None) -> LinearOperator:
    """Some entries of the event, the others not measured (inpainting, sparse sensors).

    The measurement is flat, the kept entries in the event's order: entries that were not measured have no
    residual and no share in a likelihood, and a picture with zeros for them would give them both. The
    zero-filled picture is ``operator.adjoint(y)``.

    Args:
        keep: boolean, of the event's shape, or of one that broadcasts against ``event``, such as (1, H, W).
        event: shape of one sample; by default that of ``keep``.

    Returns:
        An operator (batch, *event) to (batch, number kept); all its singular values are 1.

    Raises:
        ValueError: for a mask that is not boolean, keeps nothing, or does not fit the event.
    """
    keep = torch.as_tensor(keep)
    if keep.dtype != torch.bool:
        raise ValueError(
            f"a mask is a boolean tensor, True where an entry is measured, got {keep.dtype}; compare it "
            "with something, as in mask(image > 0)"
        )
    shape = check_event(keep.shape if event is None else event)
    try:
        whole = keep.cpu().expand(shape)
    except RuntimeError:
        raise ValueError(
            f"a mask has the event's shape {shape} or one that broadcasts against it, got {tuple(keep.shape)}"
        ) from None
    place, n = whole.flatten().nonzero()[:, 0], math.prod(shape)
    if len(place) == 0:
        raise ValueError("a mask keeps at least one entry; this one is False everywhere")

    def forward(x: Tensor) -> Tensor:
        return x.flatten(1).index_select(1, place.to(x.device))

    def adjoint(y: Tensor) -> Tensor:
        return y.new_zeros(len(y), n).index_add(1, place.to(y.device), y).reshape(-1, *shape)

    ones = torch.ones(len(place), dtype=torch.float64)
    itself = Singular(ones, forward, adjoint, lambda y: y, lambda c: c)
    return LinearOperator(forward, adjoint, event=shape, singular=itself, name="mask")


def downsample(factor: int | Sequence[int], event: Sequence[int], *, channels: bool = True) -> LinearOperator:
    r"""Means of blocks of cells (super-resolution asks for its inverse).

    The rows are orthogonal and of one length, so with blocks of P cells all singular values are
    :math:`1 / \sqrt{P}` (Kawar et al. 2022, "Denoising diffusion restoration models", appendix D).

    Args:
        factor: cells of a block along each axis, or one number for all; a sequence shorter than the event
            is for its last axes.
        event: shape of one sample; the factors divide its sizes.
        channels: whether one number leaves the first axis of events of two or more axes alone.

    Returns:
        An operator (batch, *event) to (batch, *event / factor).

    Raises:
        ValueError: for a factor below 1 or one that does not divide its axis, or more factors than axes.
    """
    shape = check_event(event)
    if isinstance(factor, int):
        axes = len(shape) - 1 if channels and len(shape) > 1 else len(shape)
        factors = (factor,) * axes
    else:
        factors = tuple(factor)
    if not 1 <= len(factors) <= len(shape):
        raise ValueError(f"there is one factor for each axis of the event {shape}, got {len(factors)}")
    factors = (1,) * (len(shape) - len(factors)) + factors
    for size, own in zip(shape, factors, strict=True):
        if own < 1 or size % own:
            raise ValueError(
                f"blocks of {own} cells do not fill an axis of {size}; take a divisor of {size}, or crop the "
                "events"
            )
    coarse = tuple(size // own for size, own in zip(shape, factors, strict=True))
    split = tuple(number for pair in zip(coarse, factors, strict=True) for number in pair)
    kept = tuple(number for size in coarse for number in (size, 1))
    within = tuple(range(2, 2 * len(shape) + 1, 2))
    scale = 1.0 / math.sqrt(math.prod(factors))

    def sums(x: Tensor) -> Tensor:
        return x.reshape(-1, *split).sum(within)

    def spread(y: Tensor) -> Tensor:
        return y.reshape(-1, *kept).expand(-1, *split).reshape(-1, *shape)

    values = torch.full((math.prod(coarse),), scale, dtype=torch.float64)
    singular = Singular(
        values,
        right=lambda x: sums(x).flatten(1) * scale,
        from_right=lambda c: spread(c) * scale,
        left=lambda y: y.flatten(1),
        from_left=lambda c: c.reshape(-1, *coarse),
    )
    return LinearOperator(
        lambda x: sums(x) * scale**2,
        lambda y: spread(y) * scale**2,
        event=shape,
        singular=singular,
        name="block means",
    )


def fourier(keep: Tensor, event: Sequence[int]) -> LinearOperator:
    r"""Some frequencies of the orthonormal Fourier transform of the last axes, as in magnetic resonance.

    .. math:: y_k = \frac{1}{\sqrt{N}} \sum_j x_j\, e^{-2 \pi i k \cdot j},\qquad k \text{ kept}

    The events are real, so y_k and y_-k are conjugates: keeping both measures the same wave twice, with
    singular value 1, and keeping one of them measures it once, with :math:`1/\sqrt{2}`; frequencies that are
    their own opposite have the value 1. Only waves that are measured have a singular value.
    Source: Lustig, Donoho & Pauly 2007, "Sparse MRI", section "Theory" (undersampled Fourier operator).

    Args:
        keep: boolean over the frequencies, in the order of torch.fft (0 first; for a mask with frequency 0
            in its middle take ``torch.fft.ifftshift(keep)``), of the shape of the event's last axes.
        event: shape of one sample; axes before those of ``keep`` are channels.

    Returns:
        An operator (batch, *channels, *sizes) to (batch, *channels, number kept, 2), real and imaginary part.

    Raises:
        ValueError: for a mask that is not boolean, keeps nothing, or does not fit the event.
    """
    keep = torch.as_tensor(keep).cpu()
    shape = check_event(event, max(keep.ndim, 1))
    sizes, lead = shape[len(shape) - keep.ndim :], shape[: len(shape) - keep.ndim]
    if keep.dtype != torch.bool or tuple(keep.shape) != sizes or not keep.ndim:
        raise ValueError(
            f"the frequencies to keep are a boolean tensor of the shape of the event's last axes ({shape}), "
            f"got {keep.dtype} of shape {tuple(keep.shape)}"
        )
    place, n = keep.flatten().nonzero()[:, 0], math.prod(sizes)
    if len(place) == 0:
        raise ValueError("a Fourier measurement keeps at least one frequency; this mask is False everywhere")
    dims = tuple(range(-keep.ndim, 0))

    def transform(x: Tensor) -> Tensor:
        waves: Tensor = torch.fft.fftn(x, dim=dims, norm="ortho")
        return waves.flatten(-keep.ndim)

    def back(z: Tensor) -> Tensor:
        waves: Tensor = torch.fft.ifftn(z.reshape(-1, *shape), dim=dims, norm="ortho")
        return waves.real

    def forward(x: Tensor) -> Tensor:
        return torch.view_as_real(transform(x).index_select(-1, place.to(x.device)))

    def adjoint(y: Tensor) -> Tensor:
        z = torch.view_as_complex(y.contiguous())
        return back(z.new_zeros(*z.shape[:-1], n).index_add(-1, place.to(y.device), z))

    singular = _waves(keep, place, lead, transform, back)
    return LinearOperator(forward, adjoint, event=shape, singular=singular, name="Fourier samples")


def _waves(keep: Tensor, place: Tensor, lead: tuple[int, ...], transform: Map, back: Map) -> Singular:
    """The decomposition of kept frequencies: standing waves first, then cosines, then sines of the others."""
    n = keep.numel()
    number = torch.arange(n).reshape(keep.shape)
    axes = tuple(range(keep.ndim))
    opposite = number.flip(axes).roll((1,) * keep.ndim, axes).flatten()
    number, kept = number.flatten(), keep.flatten()
    alone = number[kept & (number == opposite)]
    pair = number[(number < opposite) & (kept | kept[opposite])]
    mirror = opposite[pair]
    times = (kept[pair].double() + kept[mirror].double()).sqrt()
    count, half = len(alone) + 2 * len(pair), math.sqrt(0.5)

    def split(own: Tensor, waves: Tensor) -> Tensor:
        return torch.cat([own, waves.real, waves.imag], dim=-1).flatten(1)

    def joined(c: Tensor, scale: Tensor) -> Tensor:
        c = c.reshape(-1, *lead, count)
        own, even, odd = torch.split(c, [len(alone), len(pair), len(pair)], dim=-1)
        waves = torch.complex(even, odd) * scale.to(c)
        z = waves.new_zeros(*c.shape[:-1], n).index_add(-1, alone.to(c.device), own.to(waves))
        z = z.index_add(-1, pair.to(c.device), waves)
        return z.index_add(-1, mirror.to(c.device), waves.conj().resolve_conj())

    def right(x: Tensor) -> Tensor:
        z = transform(x)
        return split(z[..., alone.to(x.device)].real, z[..., pair.to(x.device)] / half)

    def left(y: Tensor) -> Tensor:
        z = torch.view_as_complex(y.contiguous())
        z = z.new_zeros(*z.shape[:-1], n).index_add(-1, place.to(y.device), z)
        waves = z[..., pair.to(y.device)] + z[..., mirror.to(y.device)].conj()
        return split(z[..., alone.to(y.device)].real, waves / times.to(y))

    def from_left(c: Tensor) -> Tensor:
        return torch.view_as_real(joined(c, 1.0 / times).index_select(-1, place.to(c.device)))

    values = torch.cat([torch.ones(len(alone), dtype=torch.float64), times.repeat(2) * half])
    whole = torch.full_like(times, half)
    return Singular(values.repeat(math.prod(lead)), right, lambda c: back(joined(c, whole)), left, from_left)
