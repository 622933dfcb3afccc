"""The modes of an axis of cells as matrices: sines, cosines or waves; and functions of the wave number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

Boundary = Literal["periodic", "cosine", "sine"]
"""How a field goes on beyond the ends of an axis of cells: repeated; mirrored (no flux through the ends); or
mirrored with the sign changed (value 0 at the ends)."""

PER_OCTAVE = 4
"""Functions of the wave number for each doubling of it."""


def wave_numbers(size: int, boundary: Boundary) -> Tensor:
    """Half-waves of each mode of an axis of ``size`` cells, (size,) float64, in the order of `modes_of`."""
    k = torch.arange(size, dtype=torch.float64)
    if boundary == "periodic":
        return 2.0 * ((k + 1.0) / 2.0).floor()
    return k + 1.0 if boundary == "sine" else k


def modes_of(size: int, boundary: Boundary) -> Tensor:
    r"""The orthonormal modes of an axis of ``size`` cells with centres x_j = (j + 1/2) / size, as rows.

    sine: :math:`\sin \pi (k + 1) x_j` (DST-II); cosine: :math:`\cos \pi k x_j` (DCT-II); periodic: 1, then
    :math:`\cos 2 \pi m x_j` and :math:`\sin 2 \pi m x_j` in turn. They are the eigenvectors of the second
    difference with the ghost cells of that boundary (Strang 1999, "The discrete cosine transform").

    Returns:
        (size, size) float64: ``modes @ u`` are the coefficients of a field u, ``modes.T @ c`` is the field.
    """
    x = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    angles = math.pi * wave_numbers(size, boundary)[:, None] * x
    if boundary == "sine":
        rows = angles.sin()
    elif boundary == "cosine":
        rows = angles.cos()
    else:
        odd = torch.arange(size)[:, None] % 2 == 1
        rows = torch.where(odd | (angles == 0.0), angles.cos(), angles.sin())
        if size % 2 == 0:  # the fastest wave has one phase only: cos m pi (j + 1/2) would vanish
            rows[-1] = (-1.0) ** torch.arange(size, dtype=torch.float64)
    result: Tensor = rows / rows.norm(dim=1, keepdim=True)
    return result


@lru_cache(maxsize=64)
def kept_modes(
    size: int, boundary: Boundary, modes: int | None, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The modes of up to ``modes`` half-waves, (kept, size)."""
    with torch.inference_mode(False):  # kept for later calls, which may need gradients
        rows = modes_of(size, boundary)
        if modes is not None:
            rows = rows[wave_numbers(size, boundary) <= modes]
        return rows.to(device, dtype).contiguous()


def transform(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Multiply each axis of space of (batch, channels, *space) by its matrix (out, in)."""
    dims = len(matrices)
    for axis, matrix in enumerate(matrices):
        if axis == dims - 1:
            x = x @ matrix.T
        elif axis == dims - 2:
            x = matrix @ x
        else:
            x = (matrix @ x.flatten(-2)).reshape(*x.shape[:-3], -1, *x.shape[-2:])
    return x


def wave_grid(space: Sequence[int], boundary: Sequence[Boundary], modes: int | None = None) -> Tensor:
    """Wave numbers of every mode of up to ``modes`` half-waves an axis, (dims, *kept) float64."""
    axes = [wave_numbers(size, kind) for size, kind in zip(space, boundary, strict=True)]
    kept = [axis if modes is None else axis[axis <= modes] for axis in axes]
    return torch.stack(torch.meshgrid(*kept, indexing="ij"))


def hats_for(space: Sequence[int]) -> int:
    """How many `hat_functions` reach to the fastest wave of axes of these sizes."""
    return PER_OCTAVE * math.ceil(math.log2(math.hypot(*space) + 1.0)) + 1


def hat_functions(waves: Tensor, count: int) -> Tensor:
    """Piecewise linear functions of log2(|k| + 1), `PER_OCTAVE` of them an octave, that sum to 1.

    Args:
        waves: (dims, *modes) wave numbers.
        count: of functions; beyond the range of all of them the last one is 1.

    Returns:
        (count, modes flattened).
    """
    place = PER_OCTAVE * (waves.square().sum(0).sqrt().flatten() + 1.0).log2()
    knots = torch.arange(count, dtype=place.dtype, device=place.device)[:, None]
    return (1.0 - (place.clamp(max=count - 1.0) - knots).abs()).clamp(min=0.0)
