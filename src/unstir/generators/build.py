"""Generators from spaces: diffusion in potentials and drifts, Markov chains, long-range kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from unstir.generators.dense import Dense, reversible_scale
from unstir.generators.faces import (
    Coefficients,
    assemble_graph,
    assemble_grid,
    profile,
    separated,
    single,
)
from unstir.generators.fourier import Fourier
from unstir.generators.generator import Generator
from unstir.generators.kronecker import Factor, Kronecker
from unstir.generators.sparse import Sparse
from unstir.spaces import Absorb, Graph, Grid, Periodic, Reflect
from unstir.spaces.axis import Axis

Field = Tensor | float
_LONG = 96
"""Cells of an axis from which a transform is faster than a matrix."""
_WIDEST = 2048
"""Cells of an axis up to which a matrix is an option."""
_KINDS: dict[type, str] = {Periodic: "fft", Reflect: "dct", Absorb: "dst"}


def diffusion(
    space: Grid | Graph,
    D: Field | Sequence[Field] = 1.0,
    potential: Field | None = None,
    drift: Field | Sequence[Field] | None = None,
    sink: Field = 0.0,
    *,
    scheme: str = "finite-volume",
) -> Generator:
    r"""The generator of diffusion in a potential with drift and loss.

    .. math:: \partial_t u = \nabla \cdot (D \nabla u + D u \nabla V) - \nabla \cdot (w u) - k u

    on a grid by finite volumes with Scharfetter-Gummel fluxes (second order; positive, conservative and with
    the exact stationary density exp(-V) at any resolution), on a graph by rates D w_ij. The engine follows
    from the structure: a matrix an axis where the coefficients separate, transforms for long uniform axes,
    sparse series otherwise; ``generator.engine`` says which.

    Args:
        space: a grid or a graph.
        D: diffusivity, length^2 / time: a number, one entry for each axis, or a field of the space's shape;
            at least 0 (on a graph: a number, the rate for weight 1). For a field it is Fick's D grad u; an
            Ito equation needs the drift that `SDE.generator` adds.
        potential: V in units of kT, of the space's shape.
        drift: velocity w, length / time: one entry for each axis, a number or a field; grids only.
        sink: loss rate k, 1 / time, a number or a field, at least 0.
        scheme: 'finite-volume', or 'spectral' for the continuous operator on uniform axes with constant
            coefficients (exact in space where u is resolved, but not positive).

    Raises:
        ValueError: for a negative diffusivity or sink, values that are not finite, fields of another shape,
            or a scheme that the space does not allow.
    """
    if scheme not in ("finite-volume", "spectral"):
        raise ValueError(f"a scheme is 'finite-volume' or 'spectral', got {scheme!r}")
    loss = _checked("sink", sink, space.shape)
    V = None if potential is None else _checked("potential", potential, space.shape, signed=True)
    if isinstance(space, Graph):
        if drift is not None or scheme == "spectral":
            raise ValueError("a graph has no directions: drift and the spectral scheme are for grids")
        rate = _checked("D", D if not isinstance(D, Sequence) else D[0], ())
        return Sparse(assemble_graph(space, rate, V, loss), space.shape, space)
    c = Coefficients(
        _each("D", D, space), V, None if drift is None else _each("drift", drift, space, signed=True), loss
    )
    if c.drift is not None and any(
        bool(((d == 0) & (w != 0)).any()) for d, w in zip(c.D, c.drift, strict=True)
    ):
        raise ValueError("drift needs a positive diffusivity wherever it is not 0")
    if scheme == "spectral":
        return _spectral(space, c)
    return (
        _transformed(space, c) or _separable(space, c) or Sparse(assemble_grid(space, c), space.shape, space)
    )


def rates(Q: Any, names: Sequence[str] | None = None) -> Generator:
    """The generator of a Markov chain in continuous time: dp/dt = Q^T p.

    Args:
        Q: (K, K), entry [i, j] the rate of jumping from i to j, at least 0; the diagonal is recomputed so
            that rows sum to 0. A tensor, array or scipy sparse matrix.
        names: of the states, kept in ``generator.space.names``.

    Raises:
        ValueError: for a matrix that is not square, or rates that are negative or not finite.
    """
    if hasattr(Q, "tocoo") or (isinstance(Q, Tensor) and Q.layout != torch.strided):
        graph = Graph(Q, names, directed=True)
        return Sparse(
            assemble_graph(graph, torch.ones((), dtype=torch.float64), None, torch.zeros(())),
            graph.shape,
            graph,
        )
    matrix = torch.as_tensor(Q, dtype=torch.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"rates form a square matrix, got shape {tuple(matrix.shape)}")
    off = matrix - torch.diag(matrix.diagonal())
    if not bool((torch.isfinite(off.detach()) & (off.detach() >= 0)).all()):
        raise ValueError("rates of jumping are finite and at least 0 (only the diagonal may be negative)")
    graph = Graph(off.detach(), names, directed=True)
    A = off.mT - torch.diag(off.sum(1))
    scale = reversible_scale(off.detach())
    volumes = torch.ones(len(A), dtype=torch.float64)
    return Dense(Factor(A, scale, volumes, torch.ones((), dtype=torch.float64)), graph.shape, graph)


def kernel(space: Grid, k: Callable[[Tensor], Tensor], *, rate: float = 1.0) -> Generator:
    r"""Jumps of any length: :math:`\partial_t u(x) = r \int k(|x - y|) (u(y) - u(x))\, dy`.

    Source: Mollison 1977, section 2 (contact processes with a dispersal kernel). Jumps out of the grid do not
    happen; round periodic axes the shorter way counts. The matrix is dense: up to some 4,000 cells.

    Args:
        space: a grid of cartesian axes.
        k: density of the jump's end, per volume, for distances (n, n) of at least 0.
        rate: of jumping, 1 / time.

    Raises:
        ValueError: for a kernel that is negative or not finite, or a grid with a radius.
    """
    if any(axis.metric != "cartesian" for axis in space.axes):
        raise ValueError("a dispersal kernel needs cartesian axes")
    square = torch.zeros((), dtype=torch.float64)
    for axis, x in zip(space.axes, space.centers, strict=True):
        gap = (x.reshape(-1)[:, None] - x.reshape(-1)).abs()
        square = square + (torch.minimum(gap, axis.length - gap) if axis.periodic else gap) ** 2
    density = torch.as_tensor(k(square.sqrt()), dtype=torch.float64)
    if not bool((torch.isfinite(density) & (density >= 0)).all()):
        raise ValueError("a dispersal kernel is finite and at least 0 at every distance, 0 included")
    volumes = space.volumes.reshape(-1)
    A = rate * density * volumes
    A = A - torch.diag(A.diagonal())
    lost = (volumes @ A) / volumes
    A = A - torch.diag(lost)
    return Dense(
        Factor(A, 0.5 * volumes.log(), volumes, torch.ones((), dtype=torch.float64)), space.shape, space
    )


def _checked(name: str, value: Field, shape: tuple[int, ...], signed: bool = False) -> Tensor:
    """A coefficient as float64, a scalar or of the shape; the gradient is kept."""
    tensor = torch.as_tensor(value, dtype=torch.float64).cpu()
    if tensor.ndim and tuple(tensor.shape) != shape:
        raise ValueError(
            f"{name} is a number or has the shape {shape} of the space, got {tuple(tensor.shape)}"
        )
    if not bool(torch.isfinite(tensor.detach()).all()):
        raise ValueError(f"{name} has values that are not finite")
    if not signed and bool((tensor.detach() < 0).any()):
        least = float(tensor.detach().min())
        if name == "D":
            raise ValueError(
                f"diffusivity is at least 0, got {least:g}; negative diffusion concentrates without bound"
            )
        raise ValueError(f"{name} is at least 0, got {least:g}")
    return tensor


def _each(name: str, value: Any, grid: Grid, signed: bool = False) -> list[Tensor]:
    """One coefficient for each axis."""
    d = len(grid.shape)
    if isinstance(value, tuple | list):
        if len(value) != d:
            raise ValueError(f"{name} has one entry for each of {d} axes, got {len(value)}")
        return [_checked(name, entry, grid.shape, signed) for entry in value]
    if name == "drift" and d > 1:
        raise ValueError(f"drift on a grid of {d} axes is a tuple, one velocity for each axis")
    return [_checked(name, value, grid.shape, signed)] * d


def _kinds(grid: Grid) -> list[str] | None:
    """The transform of every axis, or None if one has none."""
    kinds = []
    for axis in grid.axes:
        kind = _KINDS.get(type(axis.lower))
        if kind is None or type(axis.lower) is not type(axis.upper) or not axis.uniform:
            return None
        kinds.append(kind)
    return kinds


def _constant(grid: Grid, c: Coefficients) -> bool:
    numbers = [*c.D, *(c.drift or []), c.sink]
    return (
        grid.mask is None
        and not grid.walls
        and c.potential is None
        and all(value.ndim == 0 for value in numbers)
    )


def _spectral(grid: Grid, c: Coefficients) -> Generator:
    kinds = _kinds(grid)
    if kinds is None or not _constant(grid, c):
        raise ValueError(
            "the spectral scheme needs constant coefficients, no potential, mask or walls, and uniform "
            "cartesian axes that are periodic, reflecting or absorbing; finite volumes take everything"
        )
    if c.drift is not None and any(
        kind != "fft" and bool(w != 0) for kind, w in zip(kinds, c.drift, strict=True)
    ):
        raise ValueError("the spectral scheme takes a drift along periodic axes only")
    return Fourier(grid, kinds, c.D, c.drift, c.sink, spectral=True)


def _transformed(grid: Grid, c: Coefficients) -> Generator | None:
    """Transforms, where axes are too long for a matrix each."""
    kinds = _kinds(grid)
    if kinds is None or c.drift is not None or max(grid.shape) <= _LONG or not _constant(grid, c):
        return None
    return Fourier(grid, kinds, c.D, None, c.sink, spectral=False)


def _separable(grid: Grid, c: Coefficients) -> Generator | None:
    """A matrix for each axis, where every coefficient depends on its own axis alone."""
    if grid.mask is not None or c.sink.ndim or max(grid.shape) > _WIDEST:
        return None
    if any(wall.where is not None for wall in grid.walls):
        return None
    fields = [field for field in c.tensors if field.requires_grad]
    if any(field is not D for field in fields for D in c.D if field.ndim == 0) and c.drift is not None:
        return None
    if any(field.ndim or not any(field is D for D in c.D) for field in fields if field is not c.sink):
        return None
    if fields and (c.drift is not None or grid.walls):
        return None
    lines = None if c.potential is None else separated(c.potential.expand(grid.shape), grid)
    if c.potential is not None and lines is None:
        return None
    factors, source = [], torch.zeros(grid.shape, dtype=torch.float64)
    has_source = False
    for k, axis in enumerate(grid.axes):
        D = profile(c.D[k], grid, k)
        w = None if c.drift is None else profile(c.drift[k], grid, k)
        if D is None or (c.drift is not None and w is None):
            return None
        made = _factor(grid, axis, k, D, None if lines is None else lines[k], w)
        if made is None:
            return None
        factor, gain = made
        factors.append(factor)
        if gain is not None:
            like = [1] * len(grid.shape)
            like[k] = -1
            source, has_source = source + gain.reshape(like), True
    if has_source and any(factor.wide for factor in factors):
        return None
    return Kronecker(grid, factors, c.sink, source if has_source else None)


def _factor(
    grid: Grid, axis: Axis, k: int, D: Tensor, V: Tensor | None, w: Tensor | None
) -> tuple[Factor, Tensor | None] | None:
    """The matrix of one axis, with a scalar D taken out where the matrix is proportional to it."""
    own = single(axis)
    for wall in grid.walls:
        if wall.axis == k:
            own.walls = (*own.walls, _along(wall))
    zero = torch.zeros((), dtype=torch.float64)
    one = torch.ones((), dtype=torch.float64)
    parts = assemble_grid(own, Coefficients([D], V, None if w is None else [w], zero))
    if D.ndim == 0 and D.requires_grad:
        unit = assemble_grid(own, Coefficients([one], V, None, zero))
        scale, base = D, unit
        if parts.source is not None and w is None and not _proportional(parts, unit, D):
            return None
    else:
        scale, base = one, parts
    matrix = torch.diag(base.diagonal).index_put((base.rows, base.cols), base.rates, accumulate=True)
    return Factor(matrix, base.log_scale, axis.volumes, scale), parts.source


def _proportional(parts: Any, unit: Any, D: Tensor) -> bool:
    return bool(torch.allclose(parts.diagonal, D * unit.diagonal, rtol=1e-12))


def _along(wall: Any) -> Any:
    from unstir.spaces import Wall

    return Wall(0, wall.position, wall.permeability)
