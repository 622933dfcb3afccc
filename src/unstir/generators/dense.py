"""Operators that join every cell with every other: Markov chains of a few states, long-range kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unstir.generators.faces import Parts
from unstir.generators.generator import Function, Generator, Plan
from unstir.generators.kronecker import Factor


class Dense(Generator):
    """A generator as a full matrix; built by `rates` and `kernel`.

    Args:
        factor: the matrix on flattened densities, with its symmetrising weights if there are any.
        shape: of one state.
        space: the space, or None for a bare chain.
        leaks: whether mass is lost.
    """

    def __init__(self, factor: Factor, shape: tuple[int, ...], space: Any, leaks: bool = False) -> None:
        self.factor, self.shape, self.space = factor, tuple(shape), space
        self.volumes = factor.volumes.reshape(self.shape)
        self.source = None
        self.leaks = leaks
        self.engine = "dense matrix"
        self._kept: dict[tuple[Any, ...], Tensor] = {}

    def dense(self) -> Tensor:
        """(N, N) float64, acting on flattened densities."""
        return self.factor.scale * self.factor.matrix

    def __call__(self, u: Tensor) -> Tensor:
        u = self._checked(u)
        return (u.reshape(-1, self.volumes.numel()) @ self.dense().to(u).mT).reshape(u.shape)

    def _exp(self, times: Tensor, u: Tensor, tolerance: float, positive: bool) -> Tensor:
        flat = u.reshape(len(u), -1)
        P = torch.stack([self._propagator(t, positive).to(u) for t in times])
        return (flat @ P.mT).reshape(len(times), len(u), *self.shape)

    def _propagator(self, t: Tensor, positive: bool) -> Tensor:
        """exp(tA), (N, N) float64; kept for the last few times."""
        key = (float(t.detach()), positive)
        if key in self._kept and not t.requires_grad:
            return self._kept[key]
        P = self.factor.propagator(t.cpu(), positive)
        if not P.requires_grad:
            if len(self._kept) >= 16:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = P
        return P

    def _function(self, f: Function, u: Tensor, tolerance: float) -> Tensor:
        values, into, out = self.factor.eigen()
        flat = u.reshape(len(u), -1) @ into.to(u).mT
        return ((f(self.factor.scale * values).to(u) * flat) @ out.to(u).mT).reshape(u.shape)

    def plan(self, t: float, *, tolerance: float = 1e-12, positive: bool = False) -> Plan:
        path = ", positive Taylor doubling" if positive or self.factor.wide else ", eigenvectors"
        return Plan(self.engine + path, 0, 1e-14)

    def parts(self) -> Parts:
        matrix = self.dense()
        i, j = (
            (self.factor.matrix.detach() - torch.diag(self.factor.matrix.detach().diagonal()))
            .nonzero()
            .unbind(1)
        )
        return Parts(
            i,
            j,
            matrix[i, j],
            matrix.diagonal(),
            None,
            self.factor.log_scale,
            self.factor.volumes,
            self.leaks,
        )

    def _scaled(self, factor: Tensor) -> Dense:
        f = self.factor
        new = Factor(f.matrix, f.log_scale, f.volumes, f.scale * factor)
        new._eigen = f._eigen
        return Dense(new, self.shape, self.space, self.leaks)


def reversible_scale(Q: Tensor) -> Tensor | None:
    """log s that makes A = Q^T symmetric, from detailed balance along a spanning tree; None if it fails.

    Kolmogorov's criterion: a chain is reversible if the products of rates round every cycle agree in both
    directions (Kelly 1979, theorem 1.7).
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import breadth_first_order

    n = len(Q)
    joined = (Q > 0) | (Q.mT > 0)
    if bool((joined & ~((Q > 0) & (Q.mT > 0))).any()):
        return None
    log_pi = torch.full((n,), float("nan"), dtype=torch.float64)
    graph = csr_matrix(joined.numpy())
    for start in range(n):
        if not torch.isnan(log_pi[start]):
            continue
        log_pi[start] = 0.0
        order, parent = breadth_first_order(graph, start, directed=False)
        for node in order[1:]:
            up = int(parent[node])
            log_pi[node] = log_pi[up] + torch.log(Q[up, node]) - torch.log(Q[node, up])
    i, j = joined.nonzero().unbind(1)
    gap = log_pi[i] + torch.log(Q[i, j]) - log_pi[j] - torch.log(Q[j, i])
    return -0.5 * log_pi if not len(gap) or float(gap.abs().max()) < 1e-9 else None
