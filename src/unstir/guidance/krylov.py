"""Linear systems that are known by their products only, each sample for itself.

All inner products are of single samples, so an answer does not depend on the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from unstir.processes import expand

Map = Callable[[Tensor], Tensor]


class Solved(NamedTuple):
    """An approximate solution and how it was put together.

    Attributes:
        x: of the shape of the right-hand side.
        coefficients: x is the sum of these, (batch,) float64 each, times the arguments that ``apply`` was
            called with, in their order; so whatever is linear in x can be put together from by-products.
    """

    x: Tensor
    coefficients: list[Tensor]


def conjugate_gradients(
    apply: Map, b: Tensor, iterations: int, *, precondition: Map | None = None, tolerance: float = 0.0
) -> Solved:
    """Solve M x = b for symmetric positive definite M.

    A sample whose direction has no positive curvature (M is not positive definite there) keeps what it has.

    Source: Hestenes & Stiefel 1952; with a preconditioner Saad 2003, algorithm 9.1; the stop at negative
    curvature Steihaug 1983.

    Args:
        apply: M, (batch, ...) to (batch, ...).
        b: (batch, ...).
        iterations: products with M, at least 1.
        precondition: an approximate inverse of M, symmetric positive definite.
        tolerance: a sample stops when its residual is below this share of b.
    """
    r, x = b, torch.zeros_like(b)
    z = r if precondition is None else precondition(r)
    p, rho = z, _dot(r, z)
    size, coefficients = _dot(b, b), []
    for _ in range(iterations):
        w = apply(p)
        curvature = _dot(p, w)
        step = torch.where(curvature > 0, rho / torch.where(curvature > 0, curvature, 1.0), 0.0)
        if tolerance > 0:  # a sample that is done does not go on for the sake of its neighbours
            step = torch.where(_dot(r, r) <= tolerance**2 * size, 0.0, step)
        coefficients.append(step)
        x = x + expand(step, p) * p
        r = r - expand(step, p) * w
        if tolerance > 0 and bool((_dot(r, r) <= tolerance**2 * size).all()):
            break
        z = r if precondition is None else precondition(r)
        new = _dot(r, z)
        # A direction that was given up stays given up.
        alive = (rho > 0) & (step > 0)
        p = expand(alive.double(), p) * (z + expand(new / torch.where(rho > 0, rho, 1.0), p) * p)
        rho = new
    return Solved(x, coefficients)


def gmres(apply: Map, b: Tensor, iterations: int, *, precondition: Map | None = None) -> Solved:
    """The x in a Krylov space with the smallest |M x - b|; M need not be symmetric.

    Source: Saad & Schultz 1986, algorithm 4; preconditioned from the right, Saad 2003, algorithm 9.5.

    Args:
        apply: M, (batch, ...) to (batch, ...).
        b: (batch, ...).
        iterations: products with M, at least 1.
        precondition: an approximate inverse of M.
    """
    norm = _norm(b)
    basis, arguments = [_over(b, norm)], []
    columns: list[list[Tensor]] = []
    for _ in range(iterations):
        v = basis[-1]
        arguments.append(v if precondition is None else precondition(v))
        w = apply(arguments[-1])
        column = []
        for u in basis:
            h = _dot(u, w)
            w = w - expand(h, w) * u
            column.append(h)
        size = _norm(w)
        # What is left of a vector that was in the space already is round-off, and no direction.
        whole = torch.stack(column).detach().norm(dim=0)
        size = torch.where(size > 1e-6 * whole, size, 0.0)
        columns.append([*column, size])
        basis.append(_over(w, size))
    rows = len(columns) + 1
    padded = [torch.stack([*c, *[torch.zeros_like(norm)] * (rows - len(c))], dim=1) for c in columns]
    hessenberg = torch.stack(padded, dim=2)
    y = norm[:, None] * torch.linalg.pinv(hessenberg, rtol=1e-10)[:, :, 0]
    coefficients = list(y.unbind(1))
    x = sum((expand(c, b) * a for c, a in zip(coefficients, arguments, strict=True)), torch.zeros_like(b))
    return Solved(x, coefficients)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of each sample, (batch,) float64."""
    return (a.double() * b.double()).flatten(1).sum(1)


def _norm(a: Tensor) -> Tensor:
    """The length of each sample, (batch,) float64; its derivative at 0 is 0."""
    square = _dot(a, a)
    return torch.where(square > 0, torch.where(square > 0, square, 1.0).sqrt(), 0.0)


def _over(a: Tensor, norm: Tensor) -> Tensor:
    """a / norm, 0 where the norm is 0, or so small that one over it is no number of the type of a."""
    real = norm > 1e3 * torch.finfo(a.dtype).tiny
    return a * expand(torch.where(real, 1.0 / torch.where(real, norm, 1.0), 0.0), a)
