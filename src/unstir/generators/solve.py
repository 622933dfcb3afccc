"""Linear systems with a generator's matrix, by sparse LU (scipy's SuperLU)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unstir.generators.faces import Parts

_NO_STATE = (
    "no unique steady state: part of this space neither loses anything nor is joined to the rest; "
    "give a shift above 0"
)


def resolvent(parts: Parts, shift: float, u: Tensor, balanced: bool) -> Tensor:
    """(shift - A)^-1 u for each row of u (B, N), differentiable in u and the rates.

    Args:
        parts: the generator.
        shift: at least 0.
        u: (B, N).
        balanced: A is singular and u integrates to 0; the answer will, too.
    """
    if shift == 0.0 and bool((_alone(parts, parts.diagonal.detach()) & (u.detach() != 0).any(0)).any()):
        raise ValueError(_NO_STATE)
    result: Tensor = _Resolvent.apply(  # type: ignore[no-untyped-call]
        parts.rates, parts.diagonal, u, parts, shift, balanced
    )
    return result


class _Resolvent(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rates: Tensor, diagonal: Tensor, u: Tensor, parts: Parts, shift: float, balanced: bool
    ) -> Tensor:
        lu = _factor(parts, rates.detach(), diagonal.detach(), shift, balanced)
        x = _back(lu, u, "N", len(diagonal))
        ctx.save_for_backward(x)
        ctx.lu, ctx.parts = lu, parts
        return x.to(u)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        adjoint = _back(ctx.lu, grad[0], "T", x.shape[-1])
        p = ctx.parts
        on_rates = (adjoint[:, p.rows] * x[:, p.cols]).sum(0) if ctx.needs_input_grad[0] else None
        on_diagonal = (adjoint * x).sum(0) if ctx.needs_input_grad[1] else None
        return on_rates, on_diagonal, adjoint.to(grad[0]), None, None, None


def _factor(parts: Parts, rates: Tensor, diagonal: Tensor, shift: float, balanced: bool) -> Any:
    from scipy.sparse import bmat, coo_matrix
    from scipy.sparse.linalg import splu

    n = len(diagonal)
    cells = torch.arange(n)
    rows, cols = torch.cat([parts.rows, cells]), torch.cat([parts.cols, cells])
    # A cell that neither gives nor takes, such as one outside a mask, is an equation of its own.
    alone = _alone(parts, diagonal) if shift == 0.0 else torch.zeros_like(diagonal, dtype=torch.bool)
    values = torch.cat([-rates, torch.where(alone, diagonal.abs().max().clamp(min=1e-300), shift - diagonal)])
    matrix: Any = coo_matrix((values.numpy(), (rows.numpy(), cols.numpy())), shape=(n, n))
    if balanced:
        present = torch.where(alone, 0.0, parts.volumes)
        weights = (present / present.sum()).numpy()[None]
        # One multiplier for the constraint of mean 0; its size is that of the matrix, for the pivots' sake.
        size = float(values.abs().max())
        ones = (~alone).double().numpy()[:, None]
        matrix = bmat([[matrix, size * ones], [size * weights, None]])
    try:
        return splu(matrix.tocsc())
    except RuntimeError as error:
        raise ValueError(_NO_STATE) from error


def _alone(parts: Parts, diagonal: Tensor) -> Tensor:
    """Cells without any rate, (N,) bool."""
    taken = torch.zeros_like(diagonal).index_add(0, parts.rows, parts.rates.detach())
    return (diagonal == 0) & (taken == 0)


def _back(lu: Any, u: Tensor, transposed: str, n: int) -> Tensor:
    import numpy as np

    right = u.detach().double().cpu().numpy().T
    if lu.shape[0] > n:
        right = np.concatenate([right, np.zeros((1, right.shape[1]))])
    solution = lu.solve(np.ascontiguousarray(right), trans=transposed)[:n]
    return torch.as_tensor(np.ascontiguousarray(solution.T)).to(u.device)


def null_vector(parts: Parts) -> Tensor:
    """The density that a conservative generator leaves alone, (N,), by inverse iteration; at least 0.

    Inverse iteration at a shift of 1e-9 of the rate; each turn divides what is not stationary by the ratio
    of the spectral gap to the shift (Golub & Van Loan 2013, section 7.6.1).
    """
    rate = float(-parts.diagonal.detach().min())
    density = torch.ones_like(parts.volumes)
    for _ in range(4):
        density = resolvent(parts, 1e-9 * rate, density[None], False)[0].clamp(min=0.0)
        density = density / (density * parts.volumes).sum()
    return density
