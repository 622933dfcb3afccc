"""The engine for any structure: products with a sparse matrix of rates.

A reversible operator is made symmetric by its stationary weights and takes Chebyshev series (exponentials)
and Lanczos (other functions); one with a circulation, and the positive path, take uniformisation.
"""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unstir.generators.faces import Parts
from unstir.generators.generator import Function, Generator, Plan
from unstir.generators.positive import poisson_terms, positive_expm, uniformise
from unstir.generators.series import chebyshev, exponential_coefficients, lanczos, largest_eigenvalue
from unstir.generators.solve import null_vector, resolvent

_SMALL = 600
_RANGE = 7.0


class _Product(torch.autograd.Function):
    """A sparse matrix times a block; the gradient with respect to the block."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, u: Tensor) -> Tensor:
        ctx.matrices = matrix, transposed
        return torch.mm(matrix, u)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[None, None, Tensor]:
        matrix, transposed = ctx.matrices
        result: Tensor = _Product.apply(transposed, matrix, grad[0])  # type: ignore[no-untyped-call]
        return None, None, result


class Sparse(Generator):
    """A generator as rates between cells; built by `diffusion`, `rates` and the algebra of generators.

    Args:
        parts: the rates.
        shape: of one state.
        space: the grid or graph, or None.
    """

    def __init__(self, parts: Parts, shape: tuple[int, ...], space: Any) -> None:
        self._parts = parts
        self.shape, self.space = tuple(shape), space
        self.volumes = parts.volumes.reshape(self.shape)
        self.source = None if parts.source is None else parts.source.reshape(self.shape)
        scale = parts.log_scale
        self.wide = scale is None or float(scale.max() - scale.min()) > _RANGE
        self.engine = "sparse, uniformisation" if self.wide else "sparse, Chebyshev series"
        self.tracked = parts.rates.requires_grad or parts.diagonal.requires_grad
        self._kept: dict[Any, Any] = {}

    def parts(self) -> Parts:
        return self._parts

    def sparse(self) -> Sparse:
        return self

    def _product(self, u: Tensor, name: str, rates: Tensor, diagonal: Tensor) -> Tensor:
        """(rates off the diagonal, diagonal) times u, (N, B) or (N,)."""
        p = self._parts
        if rates.requires_grad or diagonal.requires_grad:
            flow = rates.to(u)[:, None] * u[p.cols.to(u.device)]
            return torch.index_add(diagonal.to(u)[:, None] * u, 0, p.rows.to(u.device), flow)
        key = (name, u.dtype, u.device)
        if key not in self._kept:
            self._kept[key] = _compressed(p.rows, p.cols, rates, diagonal, u)
        matrix, transposed = self._kept[key]
        if not u.requires_grad:
            return torch.mv(matrix, u) if u.ndim == 1 else torch.mm(matrix, u)
        result: Tensor = _Product.apply(matrix, transposed, u)  # type: ignore[no-untyped-call]
        return result

    def _apply(self, u: Tensor) -> Tensor:
        """A u of (N, B)."""
        return self._product(u, "A", self._parts.rates, self._parts.diagonal)

    def __call__(self, u: Tensor) -> Tensor:
        u = self._checked(u)
        flat = self._apply(u.reshape(-1, self.volumes.numel()).mT)
        if self._parts.source is not None:
            flat = flat + self._parts.source.to(u)[:, None]
        return flat.mT.reshape(u.shape)

    @cached_property
    def conservative(self) -> bool:
        return not self._parts.leaks and self.source is None

    @cached_property
    def rate(self) -> float:
        return float(-self._parts.diagonal.detach().min())

    @property
    def _symmetric(self) -> tuple[Tensor, Tensor]:
        """(s, rates of the symmetric form)."""
        p = self._parts
        if p.log_scale is None:
            raise ValueError(
                "this generator has a circulation (no detailed balance), so its eigenvalues are complex; "
                "functions of it are not defined here, exp and solve are"
            )
        if "symmetric" not in self._kept or self.tracked:
            log_s = p.log_scale - p.log_scale.mean()
            self._kept["symmetric"] = log_s.exp(), p.rates * torch.exp(log_s[p.rows] - log_s[p.cols])
        pair: tuple[Tensor, Tensor] = self._kept["symmetric"]
        return pair

    def width(self) -> Tensor:
        r"""A bound on the magnitude of the eigenvalues, sharp for regular structures, scalar.

        .. math:: \max_i \left(a_i + \sum_j |A_{ij}| a_j / a_i\right),\quad a = |\mathrm{diag}\,A|

        Gershgorin's discs after scaling by a (Horn & Johnson 2013, corollary 6.1.6; Merris 1998 for graphs).
        """
        p = self._parts
        a = -p.diagonal.detach()
        mass = p.rates.detach() * p.volumes[p.rows] / p.volumes[p.cols]
        around = torch.zeros_like(a).index_add(0, p.cols, mass * a[p.rows])
        return torch.where(a > 0, a + around / a.clamp(min=1e-300), 0.0).max().clamp(min=1e-300)

    def _interval(self) -> tuple[Tensor, bool]:
        """The width of the interval for a series, and whether a theorem says that no eigenvalue lies outside.

        Where gradients are not tracked, the largest eigenvalue of some Lanczos steps plus 2 % replaces the
        bound if it is smaller; the series then checks that it held.
        """
        bound = self._kept.get("width")
        if bound is None or self.tracked:
            bound = self._kept["width"] = self.width()
        if self.tracked or not self._kept.get("narrow", True):
            return bound, True
        if "largest" not in self._kept:
            _, rates = self._symmetric
            top = largest_eigenvalue(
                lambda v: -self._product(v, "H", rates, self._parts.diagonal), self.volumes.numel()
            )
            self._kept["largest"] = torch.minimum(bound, torch.as_tensor(1.02 * top, dtype=torch.float64))
        return self._kept["largest"], False

    def _exp(self, times: Tensor, u: Tensor, tolerance: float, positive: bool) -> Tensor:
        block = u.reshape(len(u), -1).mT.contiguous()
        longest = float(times.detach().max()) if len(times) else 0.0
        if longest * self.rate == 0.0:
            result = block + 0.0 * times.to(u)[:, None, None]
        elif positive or self.wide:
            if self.volumes.numel() <= _SMALL and longest * self.rate > 4.0 * _SMALL:
                result = torch.stack([self._dense_exp(t).to(u) @ block for t in times])
            else:
                result = self._uniformised(times, block, tolerance)
        else:
            result = self._series(times, block, tolerance)
        return result.mT.reshape(len(times), len(u), *self.shape)

    def _series(self, times: Tensor, block: Tensor, tolerance: float) -> Tensor:
        s, rates = self._symmetric
        width, guaranteed = self._interval()
        if self.tracked or "scaled" not in self._kept:
            self._kept["scaled"] = 2.0 / width * rates, 2.0 / width * self._parts.diagonal + 1.0
        scaled, diagonal = self._kept["scaled"]
        tracked = scaled.requires_grad or diagonal.requires_grad

        def product(v: Tensor, w: Tensor | None) -> Tensor:
            if tracked or v.requires_grad or w is None:
                once = self._product(v, "one", scaled, diagonal)
                return once if w is None else 2.0 * once - w
            matrix, _ = self._kept[("one", v.dtype, v.device)]
            fused = torch.addmv if v.ndim == 1 else torch.addmm
            return fused(w, matrix, v, beta=-1.0, alpha=2.0)

        # The cut is made in the symmetric form, whose way back magnifies by the spread of the weights.
        cut = max(tolerance * float(s.min() / s.max()), 1e-16)
        coefficients = exponential_coefficients(times, width.to(times), cut)
        s = s.to(block)[:, None]
        start = s * block
        if start.shape[1] == 1 and not (tracked or start.requires_grad):
            start = start[:, 0]
        result, last = chebyshev(product, coefficients, start)
        if not guaranteed and float(last.norm()) > 1.01 * float(start.norm()):
            # |T_k| <= 1 inside the interval, so an eigenvalue lies outside: take the bound that is a theorem.
            self._widen()
            return self._series(times, block, tolerance)
        return self._projected(result.reshape(len(times), *block.shape) / s, block)

    def _widen(self) -> None:
        """Forget the narrow interval and the matrices that were scaled to it."""
        self._kept["narrow"] = False
        self._kept.pop("scaled", None)
        for key in [key for key in self._kept if isinstance(key, tuple) and key[0] == "one"]:
            self._kept.pop(key)

    def _projected(self, result: Tensor, block: Tensor) -> Tensor:
        """Undo what a series' cut and round-off did to signs and mass: no larger than its error."""
        if not bool((block >= 0).all()):
            return result
        result = result.clamp(min=0.0)
        if self.conservative:
            v = self._parts.volumes.to(block)
            before, after = v @ block, torch.einsum("n,tnb->tb", v, result)
            result = result * (before / after.clamp(min=1e-300))[:, None]
        return result

    def _uniformised(self, times: Tensor, block: Tensor, tolerance: float) -> Tensor:
        c = max(self.rate, 1e-300)

        def step(v: Tensor) -> Tensor:
            return self._product(v, "step", self._parts.rates / c, 1.0 + self._parts.diagonal / c)

        return self._projected(uniformise(step, c, times, block, tolerance), block)

    def _with_source(self, times: Tensor, u: Tensor, tolerance: float) -> Tensor:
        """The positive path with a source: the affine map repeated (the matrix with one more state)."""
        c = max(self.rate, 1e-300)
        gain = self._source().reshape(-1, 1).to(u) / c

        def step(v: Tensor) -> Tensor:
            return gain + self._product(v, "step", self._parts.rates / c, 1.0 + self._parts.diagonal / c)

        block = u.reshape(len(u), -1).mT.contiguous()
        result = uniformise(step, c, times, block, tolerance)
        return result.mT.reshape(len(times), len(u), *self.shape)

    def _dense_exp(self, t: Tensor) -> Tensor:
        p = self._parts
        mass = torch.diag(p.diagonal).index_put(
            (p.rows, p.cols), p.rates * p.volumes[p.rows] / p.volumes[p.cols], accumulate=True
        )
        return positive_expm(mass, t.cpu()) * p.volumes / p.volumes[:, None]

    def _function(self, f: Function, u: Tensor, tolerance: float) -> Tensor:
        s, rates = self._symmetric
        block = u.reshape(len(u), -1).mT.double() * s.to(u.device)[:, None]
        if self.volumes.numel() <= _SMALL:
            values, vectors = self._eigen()
            result = vectors.to(u.device) @ (
                f(values).to(u.device)[:, None] * (vectors.mT.to(u.device) @ block)
            )
        else:
            result = lanczos(
                lambda v: self._product(v, "H", rates, self._parts.diagonal), f, block, max(tolerance, 1e-13)
            )
        return (result / s.to(u.device)[:, None]).mT.to(u.dtype).reshape(u.shape)

    def _eigen(self) -> tuple[Tensor, Tensor]:
        if "eigen" not in self._kept or self.tracked:
            p = self._parts
            _, rates = self._symmetric
            H = torch.diag(p.diagonal).index_put((p.rows, p.cols), rates, accumulate=True)
            values, vectors = torch.linalg.eigh(0.5 * (H + H.mT))
            values = torch.where(values > -1e-13 * values.abs().max(), 0.0, values)
            self._kept["eigen"] = values, vectors
        pair: tuple[Tensor, Tensor] = self._kept["eigen"]
        return pair

    def _solve(self, shift: float, u: Tensor) -> Tensor:
        flat = u.reshape(len(u), -1)
        return resolvent(self._parts, shift, flat, self.conservative and shift == 0.0).reshape(u.shape)

    def stationary(self) -> Tensor:
        p = self._parts
        if p.source is not None:
            return self.solve(0.0, torch.zeros(self.shape, dtype=torch.float64))
        if p.leaks:
            raise ValueError("everything leaks out of this space in the end, so no density is stationary")
        if p.log_scale is not None:
            log_density = p.volumes.log() - 2.0 * p.log_scale
            density = torch.exp(log_density - log_density.max())
        else:
            density = null_vector(p)
        return (density / (density * p.volumes).sum()).reshape(self.shape)

    def reverse(self, p: Tensor) -> Sparse:
        parts = self._parts
        if parts.source is not None or parts.leaks:
            raise ValueError("only a process that keeps its mass can be reversed at a density")
        density = self._checked(p).double().reshape(-1)
        if len(density) != len(parts.diagonal) or not bool((density > 0).all()):
            raise ValueError("the density of a reversal has the generator's shape and is positive everywhere")
        mass = density * parts.volumes
        # Mass moves x -> y at the rate of y -> x times m_y / m_x; the diagonal balances it.
        forward = parts.rates * parts.volumes[parts.rows] / parts.volumes[parts.cols]
        rows, cols = parts.cols, parts.rows
        backward = forward * mass[parts.cols] / mass[parts.rows]
        loss = torch.zeros_like(mass).index_add(0, cols, backward)
        rates = backward * parts.volumes[cols] / parts.volumes[rows]
        return Sparse(
            Parts(rows, cols, rates, -loss, None, None, parts.volumes, False), self.shape, self.space
        )

    @property
    def T(self) -> Sparse:  # noqa: N802
        p = self._parts
        rates = p.rates * p.volumes[p.rows] / p.volumes[p.cols]
        scale = None if p.log_scale is None else p.volumes.log() - p.log_scale
        flipped = Parts(p.cols, p.rows, rates, p.diagonal, None, scale, p.volumes, True)
        return Sparse(flipped, self.shape, self.space)

    def plan(self, t: float, *, tolerance: float = 1e-12, positive: bool = False) -> Plan:
        if positive or self.wide:
            if self.volumes.numel() <= _SMALL and t * self.rate > 4.0 * _SMALL:
                return Plan("dense, positive Taylor doubling", 0, 1e-14)
            terms = poisson_terms(t * self.rate, tolerance)
            return Plan("sparse, uniformisation", terms, tolerance + 1e-16 * terms)
        c = exponential_coefficients(torch.tensor([t], dtype=torch.float64), self._interval()[0], tolerance)
        return Plan(self.engine, c.shape[1], tolerance + 1e-16 * c.shape[1])

    def _scaled(self, factor: Tensor) -> Sparse:
        p = self._parts
        source = None if p.source is None else p.source * factor
        parts = Parts(
            p.rows, p.cols, p.rates * factor, p.diagonal * factor, source, p.log_scale, p.volumes, p.leaks
        )
        return Sparse(parts, self.shape, self.space)


def added(one: Generator, other: Generator) -> Sparse:
    """The sum of two generators on the same cells: both spreadings at once.

    Raises:
        ValueError: for other shapes or volumes.
    """
    if one.shape != other.shape or not torch.allclose(one.volumes, other.volumes, rtol=1e-12):
        raise ValueError(f"generators add on the same space; these have shapes {one.shape} and {other.shape}")
    a, b = one.parts(), other.parts()
    source = a.source if b.source is None else b.source if a.source is None else a.source + b.source
    scale = None
    if a.log_scale is not None and b.log_scale is not None:
        gap = a.log_scale - b.log_scale
        scale = a.log_scale if float(gap.max() - gap.min()) < 1e-12 else None
    parts = Parts(
        torch.cat([a.rows, b.rows]),
        torch.cat([a.cols, b.cols]),
        torch.cat([a.rates, b.rates]),
        a.diagonal + b.diagonal,
        source,
        scale,
        a.volumes,
        a.leaks or b.leaks,
    )
    return Sparse(parts, one.shape, one.space)


def _compressed(
    rows: Tensor, cols: Tensor, rates: Tensor, diagonal: Tensor, u: Tensor
) -> tuple[Tensor, Tensor]:
    """The matrix and its transpose as CSR, of the type and device of u."""
    n = len(diagonal)
    cells = torch.arange(n)
    index = torch.stack([torch.cat([rows, cells]), torch.cat([cols, cells])])
    values = torch.cat([rates, diagonal]).detach()
    with warnings.catch_warnings():  # torch says once that CSR is in beta
        warnings.filterwarnings("ignore", message="Sparse", category=UserWarning)
        matrix = torch.sparse_coo_tensor(index, values, (n, n), check_invariants=False).coalesce()
        return _csr(matrix, u), _csr(matrix.t().coalesce(), u)


def _csr(matrix: Tensor, u: Tensor) -> Tensor:
    """A COO matrix as CSR with 32-bit indices, which are read faster."""
    wide = matrix.to_sparse_csr()
    rows, cols, values = wide.crow_indices(), wide.col_indices(), wide.values()
    if max(wide.shape[0], values.numel()) < 2**31:
        rows, cols = rows.int(), cols.int()
    csr: Tensor = torch.sparse_csr_tensor(
        rows.to(u.device), cols.to(u.device), values.to(u), wide.shape, check_invariants=False
    )
    return csr
