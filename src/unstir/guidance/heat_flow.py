"""Heat flow as a measurement: the state after some time, from which the state before is asked."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unstir.generators import Generator
from unstir.generators.fourier import wavenumbers
from unstir.guidance.operators import LinearOperator
from unstir.guidance.transforms import apply_each, blockwise, check_event, diagonal, linear, sines, waves
from unstir.processes.heat import cosines

_KINDS = {
    "reflect": ("dct", cosines),
    "periodic": ("fft", waves),
    "absorb": ("dst", sines),
}
_SCHEMES = ("finite-volume", "spectral")
_SMALL = 1024
"""Cells up to which any generator's flow is decomposed as one dense matrix."""


def heat(
    event: Sequence[int],
    time: float,
    *,
    D: float = 1.0,
    boundary: str | Sequence[str] = "reflect",
    cell: float = 1.0,
    channels: bool = True,
    scheme: str = "finite-volume",
) -> LinearOperator:
    r"""The exact heat flow between the cells of an array, every channel for itself.

    .. math:: y = e^{t A} x,\qquad A = U\, \mathrm{diag}\Big(-\sum_a \frac{4 D}{h^2}
              \sin^2 \frac{k_a h}{2}\Big)\, U^T

    with A the generator `unstir.generators.diffusion` of a grid of equal cells of width h, whose eigenvectors
    U are cosines (reflect), Hartley waves (periodic) or sines (absorb) along each axis. As time grows every
    scale below sqrt(2 D t) fades, each by its own factor: these are the singular values.
    Source: Strang 1999, "The discrete cosine transform", section 2 (eigenvectors of second differences).

    Args:
        event: shape of one sample.
        time: at least 0.
        D: diffusivity, length^2 / time, at least 0.
        boundary: 'reflect', 'periodic' or 'absorb', or one for each axis along which heat flows.
        cell: width of a cell, above 0.
        channels: whether the first axis of events of two or more axes counts channels, not cells.
        scheme: 'finite-volume', or 'spectral' for the eigenvalues -D k^2 of the continuous operator.

    Returns:
        An operator (batch, *event) to (batch, *event), symmetric.

    Raises:
        ValueError: for a time, a diffusivity or a width out of its range, or an unknown boundary or scheme.
    """
    shape = check_event(event)
    sizes = shape[1:] if channels and len(shape) > 1 else shape
    kinds = (boundary,) * len(sizes) if isinstance(boundary, str) else tuple(boundary)
    if len(kinds) != len(sizes) or any(kind not in _KINDS for kind in kinds):
        raise ValueError(
            "the boundary of a heat flow is 'reflect', 'periodic' or 'absorb', or one of them for each of "
            f"{len(sizes)} axes, got {boundary!r}; other grids and graphs go through flow(generator, time)"
        )
    if scheme not in _SCHEMES:
        raise ValueError(f"a scheme is 'finite-volume' or 'spectral', got {scheme!r}")
    _check_time(time)
    if not (0 <= D < math.inf and 0 < cell < math.inf):
        raise ValueError(
            f"a heat flow has a diffusivity of at least 0 and cells of a width above 0, got D = {D:g} and "
            f"cell = {cell:g}"
        )
    total, bases, steps = torch.zeros((), dtype=torch.float64), [], []
    for size, kind in zip(sizes, kinds, strict=True):
        transform, basis = _KINDS[kind][0], _KINDS[kind][1](size)
        wave = wavenumbers(size, cell, transform)
        square = wave**2 if scheme == "spectral" else (2.0 / cell * torch.sin(0.5 * cell * wave)) ** 2
        exponent = -time * D * square
        total = total[..., None] + exponent
        bases.append(basis)
        steps.append((basis * exponent.exp()) @ basis.mT)

    def forward(x: Tensor) -> Tensor:
        return apply_each(steps, x)

    singular = diagonal(
        total.exp(),
        analyse=lambda x: apply_each([basis.mT for basis in bases], x),
        synthesise=lambda c: apply_each(bases, c),
        event=shape,
    )
    return LinearOperator(forward, forward, event=shape, singular=singular, name="heat flow")


def flow(generator: Generator, time: float, event: Sequence[int] | None = None) -> LinearOperator:
    r"""The exact spreading by any generator, on a graph, a masked grid, in a potential or with a drift.

    .. math:: y = e^{t A} x,\qquad (e^{t A})^T = V\, e^{t A^\dagger}\, V^{-1}

    with the volumes V of the cells: the adjoint of a generator is that of densities and observables, and
    here it is that of plain sums over cells. Up to 1024 cells the decomposition is that of the dense matrix
    of one channel (for symmetric flows the generator's eigenbasis); beyond, none is given.
    Source: Gardiner 2009, "Stochastic methods", section 3.6 (forward and backward equations are adjoint).

    Args:
        generator: without a source.
        time: at least 0.
        event: shape of one sample, which ends in the generator's; by default the generator's own. Axes
            before are channels.

    Returns:
        An operator (batch, *event) to (batch, *event).

    Raises:
        ValueError: for a generator with a source, an event that does not end in its shape, or a bad time.
    """
    if generator.source is not None:
        raise ValueError(
            "a flow with a source adds something to every state, so it is no linear measurement; take the "
            "homogeneous boundary, and subtract from y what the source alone gives"
        )
    _check_time(time)
    inner = tuple(generator.shape)
    shape = check_event(inner if event is None else event, len(inner))
    if shape[len(shape) - len(inner) :] != inner:
        raise ValueError(f"the events of this flow end in the generator's shape {inner}, got {shape}")
    backward, volumes = generator.T, generator.volumes.double()

    def spread(x: Tensor) -> Tensor:
        return generator.exp(time, x)

    def gather(y: Tensor) -> Tensor:
        v = volumes.to(y)
        return v * backward.exp(time, y / v)

    cells, singular = math.prod(inner), None
    if cells <= _SMALL:
        each = generator.exp(time, torch.eye(cells, dtype=torch.float64).reshape(-1, *inner))
        singular = blockwise(each.reshape(cells, cells).mT, shape[: len(shape) - len(inner)], inner)
    return LinearOperator(
        lambda x: linear(x, spread, gather),
        lambda y: linear(y, gather, spread),
        event=shape,
        singular=singular,
        name="flow",
    )


def _check_time(time: float) -> None:
    if not 0 <= time < math.inf:
        raise ValueError(
            f"heat flows for a finite time of at least 0, got {time:g}; the state before is what guidance "
            "samples"
        )
