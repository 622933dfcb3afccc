"""Projections of pictures along parallel rays (computed tomography) as a measurement."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from unstir.guidance.operators import LinearOperator
from unstir.guidance.transforms import check_event, linear


def radon(angles: Tensor | Sequence[float], event: Sequence[int], bins: int | None = None) -> LinearOperator:
    r"""Integrals along parallel rays of every channel, by linear interpolation between cells.

    .. math:: y(\theta, s) = \int f(s \cos\theta - r \sin\theta,\; s \sin\theta + r \cos\theta)\, dr

    x runs along the last axis, y along the one before, both from the middle of the picture and in cells;
    bins are one cell apart, the middle one (or two) at s = 0. A ray is followed from column to column, or
    from row to row if it is steeper, and interpolates linearly between the two cells nearest to it; beyond
    the picture there is nothing. The matrix is sparse, and its adjoint the exact transpose.
    Source: Joseph 1982, "An improved algorithm for reprojecting rays through pixel images".

    Args:
        angles: (A,) in radians, any; theta and theta + pi see the same rays, in reverse order.
        event: (C, H, W) or (H, W).
        bins: detector bins; by default enough for every ray through the picture.

    Returns:
        An operator (batch, ..., H, W) to (batch, ..., A, bins).

    Raises:
        ValueError: for no angle, angles that are not finite, events of fewer than two axes, or no bin.
    """
    theta = torch.as_tensor(angles, dtype=torch.float64).detach().cpu()
    if theta.ndim != 1 or len(theta) == 0 or not bool(torch.isfinite(theta).all()):
        raise ValueError(
            f"the angles of projections are a sequence of finite numbers in radians, got the shape "
            f"{tuple(theta.shape)}"
        )
    shape = check_event(event, 2)
    height, width = shape[-2:]
    if bins is None:
        bins = math.ceil(math.hypot(height, width)) + 1
    if bins < 1:
        raise ValueError(f"a detector has at least 1 bin, got {bins}")
    rows, cols, weights = _rays(theta, height, width, bins)
    lead, rays = shape[:-2], (len(theta), bins)
    size = (math.prod(rays), height * width)
    matrix = torch.sparse_coo_tensor(torch.stack([rows, cols]), weights, size, check_invariants=False)
    kept: dict[tuple[bool, torch.dtype, torch.device], Tensor] = {}

    def product(x: Tensor, transposed: bool, inner: tuple[int, ...]) -> Tensor:
        key = transposed, x.dtype, x.device
        if key not in kept:
            kept[key] = _csr(matrix.t() if transposed else matrix, x)
        columns = x.reshape(-1, kept[key].shape[1]).mT.contiguous()
        return (kept[key] @ columns).mT.reshape(-1, *lead, *inner)

    def project(x: Tensor) -> Tensor:
        return product(x, False, rays)

    def smear(y: Tensor) -> Tensor:
        return product(y, True, (height, width))

    return LinearOperator(
        lambda x: linear(x, project, smear),
        lambda y: linear(y, smear, project),
        event=shape,
        name="projections",
    )


def _rays(theta: Tensor, height: int, width: int, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers of rays and cells, and the length of ray that counts for the cell, each (entries,)."""
    cos, sin = theta.cos(), theta.sin()
    s = torch.arange(bins, dtype=torch.float64) - 0.5 * (bins - 1)
    x = torch.arange(width, dtype=torch.float64) - 0.5 * (width - 1)
    y = torch.arange(height, dtype=torch.float64) - 0.5 * (height - 1)
    flat = sin.abs() > cos.abs()
    steep = ~flat
    number = torch.arange(len(theta) * bins).reshape(len(theta), bins, 1)
    # Along x the ray meets column x at y = (s - x cos) / sin; along y row y at x = (s - y sin) / cos.
    cross = (s[:, None] - x * cos[flat, None, None]) / sin[flat, None, None]
    first = _interpolated(cross + 0.5 * (height - 1), height, 1.0 / sin[flat].abs())
    column = torch.arange(width).expand_as(cross)
    along = (s[:, None] - y * sin[steep, None, None]) / cos[steep, None, None]
    second = _interpolated(along + 0.5 * (width - 1), width, 1.0 / cos[steep].abs())
    row = torch.arange(height).expand_as(along)
    parts = [
        (number[flat].expand_as(cross)[inside], cell * width + column[inside], weight)
        for cell, weight, inside in first
    ] + [
        (number[steep].expand_as(along)[inside], row[inside] * width + cell, weight)
        for cell, weight, inside in second
    ]
    rays, cells, lengths = (torch.cat(list(part)) for part in zip(*parts, strict=True))
    return rays, cells, lengths


def _interpolated(position: Tensor, size: int, length: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The two cells nearest to a position, with their weights, where they exist: (cell, weight, inside)."""
    lower = position.floor()
    share = position - lower
    result = []
    for cell, part in ((lower, 1.0 - share), (lower + 1.0, share)):
        inside = (cell >= 0) & (cell < size) & (part > 0)
        weight = (part * length[:, None, None])[inside]
        result.append((cell[inside].long(), weight, inside))
    return result


def _csr(matrix: Tensor, like: Tensor) -> Tensor:
    with warnings.catch_warnings():  # torch says once that CSR is in beta
        warnings.filterwarnings("ignore", message="Sparse", category=UserWarning)
        return matrix.coalesce().to_sparse_csr().to(device=like.device, dtype=like.dtype)
