r"""What a measurement does to the data, y = A(x) + noise: the contract of operators, and its checks.

The ready-made ones are in `measurements.py`; a user's own come as a matrix, a pair of functions, or one
function that torch can differentiate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from unstir import noise

Map = Callable[[Tensor], Tensor]
"""A function of batches, (batch, ...) to (batch, ...), each sample for itself."""

LARGEST_MATRIX = 2**25
"""Entries of a dense matrix that is still made where one is needed (256 MB)."""


class Singular(NamedTuple):
    r"""A singular value decomposition A = U diag(s) V^T as functions, k values: the rank of A to min(m, n).

    Attributes:
        values: (k,) float64, at least 0, in any order.
        right: V^T x, (batch, *event) to (batch, k).
        from_right: V c, its transpose.
        left: U^T y, (batch, *measured) to (batch, k).
        from_left: U c, its transpose.
    """

    values: Tensor
    right: Map
    from_right: Map
    left: Map
    from_left: Map


class Local(NamedTuple):
    """An operator near a state: A(x + d) = value + apply(d), and the adjoint of apply."""

    value: Tensor
    apply: Map
    adjoint: Map


class LinearOperator:
    r"""A linear map from events to measurements, and its adjoint.

    Args:
        forward: (batch, *event) to (batch, *measured), linear.
        adjoint: its adjoint, checked here by the dot-product test <A u, v> = <u, A^T v> on random u, v
            (Claerbout 1992, "Earth soundings analysis", section 5.3); by default torch's own derivative.
        event: shape of one sample.
        singular: its singular value decomposition, if it has a fast one.
        name: for messages and pictures.

    Attributes:
        measured: shape of one measurement.

    Raises:
        ValueError: if forward is not linear, or adjoint is not its adjoint.
    """

    def __init__(
        self,
        forward: Map,
        adjoint: Map | None = None,
        *,
        event: Sequence[int],
        singular: Singular | None = None,
        name: str = "operator",
    ) -> None:
        self.event = tuple(event)
        self.name = name
        self._forward = forward
        self._adjoint = adjoint
        self._singular = singular
        self._dtype, probe = self._tried()
        self.measured = tuple(probe.shape[1:])
        self._check()

    def __call__(self, x: Tensor) -> Tensor:
        """A x, (batch, *event) to (batch, *measured)."""
        if tuple(x.shape[1:]) != self.event:
            raise ValueError(
                f"the {self.name} acts on events of shape {self.event}, got {tuple(x.shape[1:])}"
            )
        return self._forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y, (batch, *measured) to (batch, *event)."""
        if tuple(y.shape[1:]) != self.measured:
            raise ValueError(
                f"the {self.name} gives measurements of shape {self.measured}, got {tuple(y.shape[1:])}"
            )
        if self._adjoint is not None:
            return self._adjoint(y)
        zeros = torch.zeros(len(y), *self.event, dtype=y.dtype, device=y.device)
        pull = torch.func.vjp(self._forward, zeros)[1]
        result: Tensor = pull(y)[0]
        return result

    def near(self, x: Tensor) -> Local:
        """The operator near a state; a linear one is the same everywhere."""
        return Local(self(x), self.__call__, self.adjoint)

    @cached_property
    def matrix(self) -> Tensor:
        """The same as a dense matrix (m, n), float64, of flattened events.

        Raises:
            ValueError: if it would have more than 2^25 entries.
        """
        m, n = math.prod(self.measured), math.prod(self.event)
        if m * n > LARGEST_MATRIX:
            raise ValueError(
                f"the {self.name} of {m} measurements of {n} entries is too large for a dense matrix; use a "
                "method that needs no singular values (MMPS, PiGDM, DPS)"
            )
        parts = torch.split(torch.eye(n, dtype=self._dtype), 1024)
        rows = [self(part.reshape(-1, *self.event)).flatten(1).double() for part in parts]
        return torch.cat(rows).T.contiguous()

    @cached_property
    def singular(self) -> Singular:
        """Its singular value decomposition: the one given, or that of the dense matrix.

        Raises:
            ValueError: if the dense matrix is too large.
        """
        if self._singular is not None:
            return self._singular
        u, values, v = torch.linalg.svd(self.matrix, full_matrices=False)
        return Singular(
            values,
            right=lambda x: x.flatten(1) @ v.T.to(x),
            from_right=lambda c: (c @ v.to(c)).reshape(-1, *self.event),
            left=lambda y: y.flatten(1) @ u.to(y),
            from_left=lambda c: (c @ u.T.to(c)).reshape(-1, *self.measured),
        )

    @property
    def diagonal(self) -> bool:
        """Whether a singular value decomposition was given, so that it costs no more than the operator."""
        return self._singular is not None

    def pseudo_inverse(self, y: Tensor, *, smallest: float = 1e-6) -> Tensor:
        """A^+ y: the shortest x with the least |A x - y|, (batch, *event).

        Args:
            y: (batch, *measured).
            smallest: singular values below this share of the largest count as 0.
        """
        s = self.singular
        kept = s.values > smallest * s.values.max()
        inverse = torch.where(kept, 1.0 / torch.where(kept, s.values, 1.0), 0.0)
        return s.from_right(s.left(y) * inverse.to(y))

    def beside(self, other: LinearOperator) -> LinearOperator:
        """Both measurements of the same event, joined flat: (batch, m + m')."""
        if other.event != self.event:
            raise ValueError(
                f"operators are joined if they act on the same events, got {self.event} and {other.event}"
            )
        m = math.prod(self.measured)

        def forward(x: Tensor) -> Tensor:
            return torch.cat([self(x).flatten(1), other(x).flatten(1)], dim=1)

        def adjoint(y: Tensor) -> Tensor:
            first = self.adjoint(y[:, :m].reshape(-1, *self.measured))
            return first + other.adjoint(y[:, m:].reshape(-1, *other.measured))

        return LinearOperator(forward, adjoint, event=self.event, name=f"{self.name} and {other.name}")

    def _tried(self) -> tuple[torch.dtype, Tensor]:
        """The widest type that forward takes (its own constants may have only one), and an answer."""
        try:
            return torch.float64, self._forward(torch.zeros(1, *self.event, dtype=torch.float64))
        except RuntimeError:
            return torch.float32, self._forward(torch.zeros(1, *self.event))

    def _check(self) -> None:
        index = torch.arange(2)
        stream = noise.Stream.OPERATOR
        u = noise.normal(self.event, seed=0, index=index, stream=stream, dtype=self._dtype)
        v = noise.normal(self.measured, seed=0, index=index, stream=stream, step=1, dtype=self._dtype)
        a_u = self._forward(u)
        size = float(a_u.norm()) + 1e-300
        doubled = self._forward(torch.stack([2.0 * u[0] - 3.0 * u[1], torch.zeros_like(u[0])]))
        expected = torch.stack([2.0 * a_u[0] - 3.0 * a_u[1], torch.zeros_like(a_u[0])])
        if not float((doubled - expected).norm()) <= 1e-5 * size:
            raise ValueError(
                f"the {self.name} is not linear: A(2u - 3v) is not 2A(u) - 3A(v); give it as a plain "
                "function to a method for nonlinear measurements"
            )
        a_t_v = self.adjoint(v)
        if tuple(a_t_v.shape) != tuple(u.shape):
            raise ValueError(
                f"the adjoint of the {self.name} gives events of shape {tuple(a_t_v.shape[1:])} instead of "
                f"{self.event}"
            )
        left, right = float((a_u * v).sum()), float((u * a_t_v).sum())
        allowed = 1e-5 * (size * float(v.norm()) + float(u.norm()) * float(a_t_v.norm()))
        allowed += 1e-9 * abs(left)  # norms of numbers below 1e-160 underflow to 0
        if not abs(left - right) <= allowed:
            raise ValueError(
                f"the adjoint of the {self.name} fails the dot-product test: <A u, v> = {left:.6g}, but "
                f"<u, A^T v> = {right:.6g}; check it, or leave it out and torch's derivative is used"
            )

    def __repr__(self) -> str:
        return f"{self.name} {self.event} -> {self.measured}"


class NonlinearOperator:
    """A measurement by any function that torch can differentiate, (batch, *event) to (batch, *measured).

    Methods for linear operators use it by its linearisation at the present estimate.
    """

    def __init__(self, function: Map, name: str = "function") -> None:
        self.function = function
        self.name = name

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)

    def near(self, x: Tensor) -> Local:
        """The operator linearised at ``x``."""
        value, pull = torch.func.vjp(self.function, x)[:2]

        def push(d: Tensor) -> Tensor:
            result: Tensor = torch.func.jvp(self.function, (x,), (d,))[1]
            return result

        return Local(value, push, lambda v: pull(v)[0])


Operator = LinearOperator | NonlinearOperator


def as_operator(a: Operator | Tensor | Map) -> Operator:
    """An operator from what a user has: itself, a matrix (m, n) of vectors (n,), or a function.

    Raises:
        ValueError: for a tensor that is no matrix.
        TypeError: for anything else.
    """
    if isinstance(a, LinearOperator | NonlinearOperator):
        return a
    if isinstance(a, Tensor):
        if a.ndim != 2:
            raise ValueError(f"a measurement matrix has shape (m, n), got {tuple(a.shape)}")
        matrix = a.double()
        return LinearOperator(
            lambda x: x @ matrix.T.to(x),
            lambda y: y @ matrix.to(y),
            event=(a.shape[1],),
            name="matrix",
        )
    if callable(a):
        return NonlinearOperator(a)
    raise TypeError(f"a measurement operator is a LinearOperator, a matrix or a function, got {type(a)}")
