"""Diffusion through porous and composite media: bounds and mixing laws, and any voxel image solved exactly.

An effective diffusivity is per area of the whole medium, solid included, so the tortuosity is
porosity * D / D_effective.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.generators import diffusion
from unstir.physics.constants import check_positive, float64
from unstir.spaces import Axis, Grid, Value

_DIRECT = 60_000


@dataclass(frozen=True)
class Effective:
    """The effective diffusivity of a sample in one direction.

    Attributes:
        value: D_effective, in the unit of the field (or relative to the pore's D for a mask); 0 if nothing
            passes from face to face.
        porosity: share of the volume in which the solute moves.
        tortuosity: porosity * mean D there / value; infinite if nothing passes.
        concentration: of the sample's shape, from 0 at the first face to 1 at the last; 0 outside the pores
            and in pores that do not join the two faces.
        imbalance: flux in minus what it dissipates, over the latter: the error of the concentrations, of
            which that of ``value`` is the square.
    """

    value: float
    porosity: float
    tortuosity: float
    concentration: Tensor
    imbalance: float


def effective_diffusivity(
    medium: Tensor, axis: int = 0, spacing: float | Sequence[float] = 1.0, *, tolerance: float = 1e-10
) -> Effective:
    """Solve steady diffusion through a voxel image between two faces, the others closed.

    Fluxes take the harmonic mean between voxels, so laminates are exact in both directions.

    Args:
        medium: bool, True where the solute moves; or the diffusivity of every voxel, at least 0. Any number
            of dimensions.
        axis: the direction.
        spacing: size of a voxel, one number or one for each direction.
        tolerance: of the iterative solver that large samples need.

    Raises:
        ValueError: for a negative diffusivity, or a medium without any pore.
        FloatingPointError: if the iterative solver does not converge.
    """
    image = medium if medium.dtype == torch.bool else float64(medium)
    if image.ndim == 0 or not -image.ndim <= axis < image.ndim:
        raise ValueError(f"the direction is one of the sample's {image.ndim} axes, got {axis}")
    axis %= image.ndim
    field = image.to(torch.float64).detach().cpu()
    if not bool((torch.isfinite(field) & (field >= 0)).all()):
        raise ValueError("a diffusivity is finite and at least 0 in every voxel")
    open_ = field > 0
    if not bool(open_.any()):
        raise ValueError("this medium has no pore: no voxel with a diffusivity above 0")
    sizes = [float(spacing)] * field.ndim if isinstance(spacing, int | float) else [float(s) for s in spacing]
    if len(sizes) != field.ndim:
        raise ValueError(
            f"the spacing is one number or one for each of {field.ndim} directions, got {len(sizes)}"
        )
    check_positive(spacing=torch.tensor(sizes))
    through = percolating(open_, axis)
    porosity = float(open_.double().mean())
    c = torch.zeros(field.shape, dtype=torch.float64)
    if not bool(through.any()):
        return Effective(0.0, porosity, math.inf, c, 0.0)
    ends = [(Value(0.0), Value(1.0)) if k == axis else "reflect" for k in range(field.ndim)]
    axes = [
        Axis(0.0, size * n, n, boundary=end) for size, n, end in zip(sizes, field.shape, ends, strict=True)
    ]
    grid = Grid(*axes, mask=None if bool(through.all()) else through)
    c[through] = _steady(grid, field, through, tolerance)
    half = 2.0 * field / sizes[axis]
    into = float((half * c).select(axis, 0).sum())
    lost = _dissipation(field * through, c, sizes, axis)
    value = lost * axes[axis].length * field.shape[axis] / field.numel()
    mean = float(field[open_].mean())
    return Effective(value, porosity, porosity * mean / value, c, abs(into - lost) / lost)


def _dissipation(field: Tensor, c: Tensor, sizes: list[float], axis: int) -> float:
    r"""The flux as what it dissipates, sum of conductance times squared difference over all faces.

    Equal to the flux for the exact concentrations, and least there (Dirichlet's principle), so their errors
    enter squared; the flux through an end face loses the digits that 1 - c has lost.
    """
    total = 0.0
    for k, size in enumerate(sizes):
        low, high = field.narrow(k, 0, field.shape[k] - 1), field.narrow(k, 1, field.shape[k] - 1)
        mean = 2.0 * low * high / (low + high).clamp(min=1e-300)
        total += float((mean * c.diff(dim=k).square()).sum()) / size * sizes[axis] / size
    half = 2.0 * field / sizes[axis]
    total += float((half * c.square()).select(axis, 0).sum())
    return total + float((half * (1.0 - c).square()).select(axis, -1).sum())


def percolating(pores: Tensor, axis: int = 0) -> Tensor:
    """The pores that join the first face to the last (through faces of voxels), bool of the same shape.

    Args:
        pores: bool, any number of dimensions.
        axis: the direction.
    """
    import numpy as np
    from scipy.ndimage import label

    names, _ = label(pores.detach().cpu().numpy())
    first, last = np.take(names, 0, axis), np.take(names, -1, axis)
    both = np.setdiff1d(np.intersect1d(first, last), [0])
    return torch.from_numpy(np.isin(names, both))


def _steady(grid: Grid, field: Tensor, through: Tensor, tolerance: float) -> Tensor:
    """Steady concentrations of the cells that carry flux, between 0 and 1 at the two faces."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import cg, spsolve

    A = diffusion(grid, field)
    index = A.matrix().indices().numpy()
    entries = A.matrix().values().numpy()
    n = field.numel()
    keep = through.reshape(-1).nonzero()[:, 0].numpy()
    matrix: Any = coo_matrix((-entries, (index[0], index[1])), shape=(n, n)).tocsr()[keep][:, keep]
    assert A.source is not None
    right = A.source.reshape(-1)[keep].numpy()
    if len(keep) <= _DIRECT and len([s for s in field.shape if s > 1]) < 3:
        return torch.from_numpy(spsolve(matrix.tocsc(), right))
    # All voxels have one volume, so the matrix is symmetric; scaled by its diagonal it is well-behaved.
    scale = matrix.diagonal() ** -0.5
    found, failed = cg(_scaled(matrix, scale), scale * right, rtol=tolerance, atol=0.0, maxiter=20_000)
    if failed:
        raise FloatingPointError(
            "the steady concentration of this sample did not converge in 20,000 iterations; allow a larger "
            "tolerance"
        )
    return torch.from_numpy(scale * found)


def _scaled(matrix: Any, scale: Any) -> Any:
    from scipy.sparse import diags

    return (diags(scale) @ matrix @ diags(scale)).tocsr()


def parallel(D: Tensor, shares: Tensor) -> Tensor:
    """Layers along the flux, the upper bound of any mixture: sum of share * D (Wiener 1912).

    Args:
        D: (..., n) of the phases, at least 0.
        shares: (n,) of the volume, of sum 1.
    """
    return (float64(D) * _shares(shares)).sum(-1)


def series(D: Tensor, shares: Tensor) -> Tensor:
    """Layers across the flux, the lower bound of any mixture: 1 / sum of share / D (Wiener 1912).

    Args:
        D: (..., n) of the phases, above 0.
        shares: (n,) of the volume, of sum 1.
    """
    check_positive(D=D)
    return 1.0 / (_shares(shares) / float64(D)).sum(-1)


def maxwell(matrix: float, inclusion: float, share: Tensor | float, dimension: int = 3) -> Tensor:
    r"""Dilute spheres (or disks) in a matrix, each in the field of the others' mean.

    .. math:: D_m \frac{D_i + (d - 1) D_m + (d - 1) \phi (D_i - D_m)}{D_i + (d - 1) D_m - \phi (D_i - D_m)}

    Exact to first order in the share; for inclusions that let nothing through it is 2 D (1 - phi) / (2 +
    phi) in three dimensions. Source: Maxwell 1873, "Treatise on Electricity and Magnetism", section 314;
    Rayleigh 1892 for disks.

    Args:
        matrix: D_m, above 0.
        inclusion: D_i, at least 0 (times its partition coefficient).
        share: (...) of the inclusions in the volume, in [0, 1].
        dimension: 2 for disks (long cylinders across the flux), 3 for spheres.
    """
    check_positive(matrix=matrix)
    phi = _share(share)
    if dimension not in (2, 3) or inclusion < 0:
        raise ValueError(
            f"Maxwell's mixture is of disks (2) or spheres (3) with D >= 0, got {dimension} and {inclusion:g}"
        )
    d = dimension - 1
    step = inclusion - matrix
    return matrix * (inclusion + d * matrix + d * phi * step) / (inclusion + d * matrix - phi * step)


def bruggeman(porosity: Tensor | float, exponent: float = 1.5) -> Tensor:
    r"""D_effective / D of a packing of obstacles of all sizes: porosity^1.5 for spheres, porosity^2 for
    disks.

    Source: Bruggeman 1935. The tortuosity is porosity^(1 - exponent).

    Args:
        porosity: (...) in [0, 1].
        exponent: above 1.
    """
    check_positive(exponent=exponent)
    return _share(porosity) ** exponent


def _share(share: Tensor | float) -> Tensor:
    x = float64(share)
    if not bool(((x >= 0) & (x <= 1)).all()):
        raise ValueError("a share of the volume (porosity) is from 0 to 1; divide percentages by 100")
    return x


def _shares(shares: Tensor) -> Tensor:
    x = _share(shares)
    if abs(float(x.sum()) - 1.0) > 1e-9:
        raise ValueError(f"the shares of the phases sum to 1, got {float(x.sum()):g}")
    return x
