"""Functions of a symmetric operator from products with it alone: Chebyshev series and Lanczos."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unstir.generators.generator import Function

_LONGEST = 600


class _Bessel(torch.autograd.Function):
    """exp(-z) I_k(z) for k = 0 ... K - 1, differentiable in z (DLMF 10.29.1)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, count: int) -> Tensor:
        from scipy.special import ive

        k = torch.arange(count + 1, dtype=torch.float64)
        values = torch.as_tensor(ive(k.numpy(), z.detach().cpu().numpy()[:, None])).to(z.device)
        ctx.save_for_backward(values)
        return values[:, :count].clone()

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        (values,) = ctx.saved_tensors
        lower = torch.cat([values[:, 1:2], values[:, :-2]], dim=1)
        slope = 0.5 * (lower + values[:, 1:]) - values[:, :-1]
        return (grad[0] * slope).sum(1), None


def exponential_coefficients(times: Tensor, width: Tensor, tolerance: float) -> Tensor:
    r"""Chebyshev coefficients of exp(t x) on [-width, 0], (T, K), cut where the rest is below ``tolerance``.

    .. math:: e^{tx} = e^{-z} \left(I_0(z) + 2 \sum_k I_k(z) T_k(2x/w + 1)\right),\quad z = t w / 2

    Source: Tal-Ezer & Kosloff 1984, eq. 3.3; Bergamaschi & Vianello 2000 for the bound of the tail.

    Args:
        times: (T,) float64.
        width: scalar, the largest eigenvalue's magnitude.
        tolerance: of the sum of the coefficients left out.
    """
    z = 0.5 * times * width
    largest = float(z.detach().max())
    most = int(1.2 * math.sqrt(2.0 * (largest + 20.0) * math.log(1.0 / tolerance))) + 40
    values = _Bessel.apply(z, most)  # type: ignore[no-untyped-call]
    tail = values.detach().flip(1).cumsum(1).flip(1).amax(0) * 2.0
    count = max(1, int((tail > tolerance).sum()))
    factor = torch.full((count,), 2.0, dtype=torch.float64, device=values.device)
    factor[0] = 1.0
    result: Tensor = values[:, :count] * factor
    return result


def chebyshev(
    product: Callable[[Tensor, Tensor | None], Tensor], coefficients: Tensor, u: Tensor
) -> tuple[Tensor, Tensor]:
    """Sum of c_k T_k(X) u for several rows of coefficients with one recurrence.

    Args:
        product: (v, w) -> 2 X v - w, or X v where w is None.
        coefficients: (T, K).
        u: (N, B) or (N,).

    Returns:
        (T, *u.shape), and the last T_k(X) u, whose norm tells whether the spectrum lies within [-1, 1].
    """
    c = coefficients.to(u)
    if u.requires_grad or c.requires_grad:
        return _chebyshev_tracked(product, c, u)
    rows = c.tolist()
    before, now = u, u
    sums = [row[0] * u for row in rows]
    for k in range(1, c.shape[1]):
        before, now = now, product(now, before if k > 1 else None)
        if now.requires_grad:
            return _chebyshev_tracked(product, c, u)
        for row, total in zip(rows, sums, strict=True):
            total.add_(now, alpha=row[k])
    return torch.stack(sums), now


def _chebyshev_tracked(
    product: Callable[[Tensor, Tensor | None], Tensor], c: Tensor, u: Tensor
) -> tuple[Tensor, Tensor]:
    """The same without writing into tensors that autograd keeps."""
    shape = (-1, *[1] * u.ndim)
    before, now = u, u
    result = c[:, 0].reshape(shape) * u
    for k in range(1, c.shape[1]):
        before, now = now, product(now, before if k > 1 else None)
        result = result + c[:, k].reshape(shape) * now
    return result, now.detach()


def largest_eigenvalue(product: Callable[[Tensor], Tensor], n: int, *, steps: int = 24) -> float:
    """The largest Ritz value of a symmetric operator after some Lanczos steps plus the last residual.

    Source: Zhou & Li 2011, "Bounding the spectrum of large Hermitian matrices", eq. 2.10 (their safest
    practical bound). The start is fixed, so the answer is reproducible.
    """
    v = torch.cos(torch.arange(n, dtype=torch.float64) ** 1.5)
    basis = [v / v.norm()]
    alphas, betas = [], []
    for _ in range(min(steps, n)):
        w = product(basis[-1])
        alphas.append(float(basis[-1] @ w))
        V = torch.stack(basis)
        w = w - V.mT @ (V @ w)
        betas.append(float(w.norm()))
        if betas[-1] < 1e-10 * max(abs(a) for a in alphas):
            break
        basis.append(w / betas[-1])
    off = torch.tensor(betas[: len(alphas) - 1], dtype=torch.float64)
    T = torch.diag(torch.tensor(alphas, dtype=torch.float64))
    if len(off):
        T = T + torch.diag(off, 1) + torch.diag(off, -1)
    values, vectors = torch.linalg.eigh(T)
    return float(values[-1] + betas[-1] * vectors[-1, -1].abs())


def lanczos(product: Callable[[Tensor], Tensor], f: Function, u: Tensor, tolerance: float) -> Tensor:
    r"""f(H) u for each column by Lanczos with full reorthogonalisation.

    .. math:: f(H) u \approx \|u\| V_m f(T_m) e_1

    The steps double until two answers agree; their difference is the estimate of the error.
    Source: Druskin & Knizhnerman 1989; Higham 2008, section 13.2.

    Args:
        product: v -> H v, H symmetric.
        f: of eigenvalues.
        u: (N, B).
        tolerance: of the change between m and m / 2 steps, relative to each column's norm.

    Raises:
        RuntimeError: if 600 steps do not reach it.
    """
    columns = [_lanczos_one(product, f, u[:, b : b + 1], tolerance) for b in range(u.shape[1])]
    return torch.cat(columns, dim=1)


def _lanczos_one(product: Callable[[Tensor], Tensor], f: Function, u: Tensor, tolerance: float) -> Tensor:
    norm = u.norm()
    if float(norm) == 0.0:
        return torch.zeros_like(u)
    basis = [u / norm]
    alphas: list[Tensor] = []
    betas: list[Tensor] = []
    previous, checked = None, 8
    while True:
        w = product(basis[-1])
        alphas.append((basis[-1] * w).sum())
        V = torch.cat(basis, dim=1)
        w = w - V @ (V.mT @ w)
        w = w - V @ (V.mT @ w)
        beta = w.norm()
        finished = float(beta) < 1e-13 * float(torch.stack([a.abs() for a in alphas]).max()) or len(
            basis
        ) == len(u)
        if finished or len(basis) == checked:
            answer: Tensor = norm * (V @ _first_column(alphas, betas, f))
            if finished:
                return answer
            if previous is not None and float((answer - previous).norm()) <= tolerance * float(answer.norm()):
                return answer
            previous, checked = answer, min(2 * checked, checked + 64)
        if len(basis) >= _LONGEST:
            raise RuntimeError(
                f"Lanczos did not reach a tolerance of {tolerance:g} in {_LONGEST} steps; a function that is "
                "rough on the spectrum needs a larger tolerance"
            )
        betas.append(beta)
        basis.append(w / beta)


def _first_column(alphas: list[Tensor], betas: list[Tensor], f: Function) -> Tensor:
    """f(T) e_1 of the tridiagonal matrix, (m, 1)."""
    T = torch.diag(torch.stack(alphas))
    if betas:
        off = torch.stack(betas)
        T = T + torch.diag(off, 1) + torch.diag(off, -1)
    values, vectors = torch.linalg.eigh(T.double())
    column: Tensor = vectors @ (f(values) * vectors[0])
    return column[:, None].to(alphas[0])
