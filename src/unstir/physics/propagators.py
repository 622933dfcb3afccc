"""Transition probabilities of a Markov chain over many times at once, differentiable in rates and times."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unstir.generators.dense import reversible_scale

_CONDITION = 1e5
"""Eigenvectors worse conditioned than this lose more than half the digits: then scaling and squaring."""


def chain_generator(Q: Tensor) -> Tensor:
    """Rates (k, k) with the diagonal recomputed so that rows sum to 0, float64.

    Raises:
        ValueError: for a matrix that is not square, or rates that are negative or not finite.
    """
    Q = torch.as_tensor(Q, dtype=torch.float64)
    if Q.ndim != 2 or Q.shape[0] != Q.shape[1]:
        raise ValueError(f"rates form a square matrix, got shape {tuple(Q.shape)}")
    off = Q - torch.diag(Q.diagonal())
    if not bool((off.detach().isfinite() & (off.detach() >= 0)).all()):
        raise ValueError("rates of jumping are finite and at least 0 (only the diagonal may be negative)")
    return off - torch.diag(off.sum(1))


def propagators(Q: Tensor, times: Tensor) -> Tensor:
    r"""P(t) = exp(tQ) for many times from one eigendecomposition.

    .. math:: P(t) = I + V\,(e^{t\Lambda} - 1)\,V^{-1}

    In this form small entries of short times keep their digits and P(0) is I exactly. A reversible chain is
    symmetrised first; one without enough eigenvectors goes through scaling and squaring. The gradient is the
    Daleckii-Krein formula, which equal eigenvalues do not disturb.

    Source: Moler & Van Loan 2003, method 14; gradient: Higham 2008, theorem 3.11.

    Args:
        Q: (k, k) rates, [i, j] from i to j; the diagonal is recomputed.
        times: (m,) at least 0.

    Returns:
        (m, k, k) float64, [.., i, j] the probability of j after t from i; at least 0, rows summing to 1 up to
        round-off. Differentiable once.

    Raises:
        ValueError: for rates that are not a square matrix, negative or not finite.
    """
    Q = chain_generator(Q)
    values, left, right = _eigen(Q.detach())
    if left is None or right is None:
        P: Tensor = torch.linalg.matrix_exp(times.to(Q)[:, None, None] * Q).clamp(min=0.0)
        return P
    result: Tensor = _Propagators.apply(  # type: ignore[no-untyped-call]
        Q, times.to(torch.float64), values, left, right
    )
    return result


def _eigen(Q: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(values, V, V^-1), Q = V diag(values) V^-1; V is None where it is ill conditioned."""
    log_scale = reversible_scale(Q - torch.diag(Q.diagonal()))
    if log_scale is not None and float(log_scale.max() - log_scale.min()) < 10.0:
        s = torch.exp(log_scale - log_scale.mean())
        # log_scale symmetrises the transpose, which acts on densities.
        symmetric = Q / s[:, None] * s
        values, vectors = torch.linalg.eigh(0.5 * (symmetric + symmetric.mT))
        return values.clamp(max=0.0), vectors * s[:, None], vectors.mT / s
    values, vectors = torch.linalg.eig(Q)
    condition = float(torch.linalg.cond(vectors))
    if not condition < _CONDITION:
        return values, None, None
    return values, vectors, torch.linalg.inv(vectors)


class _Propagators(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, Q: Tensor, times: Tensor, values: Tensor, left: Tensor, right: Tensor) -> Tensor:
        decay = torch.expm1(times[:, None] * values)
        change = torch.matmul(left * decay[:, None, :], right)
        P = torch.eye(len(Q), dtype=Q.dtype) + (change.real if change.is_complex() else change)
        ctx.save_for_backward(Q, times, values, left, right, P)
        return P.clamp(min=0.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        Q, times, values, left, right, P = ctx.saved_tensors
        for_times = (grad * torch.matmul(Q, P)).sum((1, 2)) if ctx.needs_input_grad[1] else None
        for_Q = None
        if ctx.needs_input_grad[0]:
            inside = left.mT @ grad.to(left.dtype) @ right.mT
            total = (inside * _divided_differences(times, values)).sum(0)
            for_Q = right.mT @ total @ left.mT
            for_Q = for_Q.real if for_Q.is_complex() else for_Q
        return for_Q, for_times, None, None, None


def _divided_differences(times: Tensor, values: Tensor) -> Tensor:
    """(exp(t a) - exp(t b)) / (a - b) for all pairs of eigenvalues, t exp(t a) for equal ones, (m, k, k)."""
    a, b = values[:, None], values
    # The larger one is factored out, so that nothing overflows.
    swap = a.real < b.real if values.is_complex() else a < b
    high, low = torch.where(swap, b, a), torch.where(swap, a, b)
    t = times[:, None, None]
    z = t * (low - high)
    tiny = z.abs() < 1e-8
    phi = torch.where(tiny, 1.0 + 0.5 * z, torch.expm1(z) / torch.where(tiny, torch.ones_like(z), z))
    return t * torch.exp(t * high) * phi
