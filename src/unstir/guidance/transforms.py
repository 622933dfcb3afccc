"""What ready-made measurements are built of: orthonormal transforms, and pairs of adjoint functions.

A pair of functions that torch cannot look into (a sparse product, a series) is differentiated through its
adjoint, so gradients of a measurement are as exact as the measurement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unstir.generators.kronecker import along
from unstir.guidance.operators import Map, Singular


class _Pair(torch.autograd.Function):
    """A linear function whose derivative is given by its adjoint, in both modes of differentiation."""

    @staticmethod
    def forward(x: Tensor, apply: Map, adjoint: Map) -> Tensor:
        return apply(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Map, Map], output: Tensor) -> None:
        ctx.forth, ctx.back = inputs[1:]

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None, None]:
        return linear(grad[0], ctx.back, ctx.forth), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return linear(tangents[0], ctx.forth, ctx.back)


def linear(x: Tensor, apply: Map, adjoint: Map) -> Tensor:
    """apply(x), differentiated through ``adjoint``; both (batch, ...) to (batch, ...) and linear."""
    result: Tensor = _Pair.apply(x, apply, adjoint)  # type: ignore[no-untyped-call]
    return result


def hartley(x: Tensor, axes: int) -> Tensor:
    r"""The orthonormal discrete Hartley transform of the last axes, (..., *sizes); its own inverse.

    .. math:: h_k = \frac{1}{\sqrt{N}} \sum_j x_j\, \mathrm{cas}(2 \pi k \cdot j),\qquad
              \mathrm{cas} = \cos + \sin

    A real orthonormal basis in which periodic convolutions with even spectra are diagonal.
    Source: Bracewell 1983, "Discrete Hartley transform", J. Opt. Soc. Am. 73, 1832.
    """
    waves = torch.fft.fftn(x, dim=tuple(range(-axes, 0)), norm="ortho")
    result: Tensor = waves.real - waves.imag
    return result


def waves(n: int) -> Tensor:
    """The matrix of the orthonormal Hartley transform of n cells, (n, n) float64, symmetric."""
    return hartley(torch.eye(n, dtype=torch.float64), 1)


def sines(n: int) -> Tensor:
    r"""The orthonormal DST-II as a matrix, (n, n) float64: mode k = 1 ... n in column k - 1.

    .. math:: U_{jk} = \sqrt{(2 - \delta_{kn}) / n}\, \sin(\pi k (j + 1/2) / n)

    Source: Britanak, Yip & Rao 2007, "Discrete cosine and sine transforms", chapter 2.
    """
    j, k = torch.arange(n, dtype=torch.float64), torch.arange(1, n + 1, dtype=torch.float64)
    turns = ((2.0 * j[:, None] + 1.0) * k) % (4 * n)
    matrix = torch.sin(math.pi / (2 * n) * turns) * math.sqrt(2.0 / n)
    matrix[:, -1] *= math.sqrt(0.5)
    return matrix


def apply_each(matrices: Sequence[Tensor], x: Tensor) -> Tensor:
    """A matrix along each of the last axes, in their order: (..., *sizes) to (..., *rows)."""
    for number, matrix in enumerate(matrices):
        x = along(matrix.to(x), x, number - len(matrices))
    return x


def diagonal(
    eigenvalues: Tensor, analyse: Map, synthesise: Map, event: tuple[int, ...], sign: Tensor | None = None
) -> Singular:
    """The decomposition of an operator that is diagonal in a real orthonormal basis of events.

    Args:
        eigenvalues: real, of a shape that broadcasts against the event.
        analyse: (batch, *event) to the coefficients, (batch, *event).
        synthesise: its inverse.
        event: shape of one sample.
        sign: what a negative eigenvalue turns into in the left vectors; by default its sign.
    """
    values = eigenvalues.double().expand(event).flatten()
    turn = torch.where(values < 0, -1.0, 1.0).double()

    def right(x: Tensor) -> Tensor:
        return analyse(x).flatten(1)

    def from_right(c: Tensor) -> Tensor:
        return synthesise(c.reshape(-1, *event))

    return Singular(
        values.abs(),
        right=right,
        from_right=from_right,
        left=lambda y: right(y) * turn.to(y),
        from_left=lambda c: from_right(c * turn.to(c)),
    )


def blockwise(matrix: Tensor, lead: tuple[int, ...], inner: tuple[int, ...]) -> Singular:
    """The decomposition of one dense matrix (n, n) that acts alike on every channel.

    Args:
        matrix: square, on the flattened inner axes.
        lead: shape of the channels.
        inner: shape of what the matrix acts on.
    """
    u, s, v = torch.linalg.svd(matrix.double())
    count = math.prod(lead)

    def into(x: Tensor, basis: Tensor) -> Tensor:
        return (x.reshape(-1, len(s)) @ basis.to(x)).reshape(-1, count * len(s))

    def out(c: Tensor, basis: Tensor) -> Tensor:
        return (c.reshape(-1, len(s)) @ basis.mT.to(c)).reshape(-1, *lead, *inner)

    return Singular(
        s.repeat(count),
        right=lambda x: into(x, v.mT),
        from_right=lambda c: out(c, v.mT),
        left=lambda y: into(y, u),
        from_left=lambda c: out(c, u),
    )


def check_event(event: Sequence[int], axes: int = 1) -> tuple[int, ...]:
    """The shape of an event as a tuple.

    Raises:
        ValueError: for fewer than ``axes`` axes, or an axis without an entry.
    """
    shape = tuple(int(size) for size in event)
    if len(shape) < axes or any(size < 1 for size in shape):
        raise ValueError(
            f"this measurement acts on events of at least {axes} axes, each of at least 1 entry, got the "
            f"shape {shape}"
        )
    return shape
