"""The embedded Runge-Kutta integrator: each sample of a batch steps at its own size, to a tolerance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unstir.processes import expand

Slope = Callable[[Tensor, Tensor], Tensor]
"""dy/du: (y (batch, ...), u (batch,) float64) -> (batch, ...)."""

# Dormand & Prince 1980, table 2 (RK5(4)7M): nodes, rows of the stages, and the difference of the two weights.
_NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_ROWS = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)

# Hairer & Wanner 1996, section IV.2: the proportional-integral controller of DOPRI5 and its limits.
_SAFETY, _INTEGRAL = 0.9, 0.04
_PROPORTIONAL = 1 / 5 - 0.75 * _INTEGRAL
_SLOWEST, _FASTEST = 0.2, 10.0


def integrate(
    slope: Slope,
    y: Tensor,
    start: float,
    stop: float,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    first_step: float | None = None,
    max_evaluations: int = 10_000,
) -> tuple[Tensor, int]:
    r"""Solve dy/du = slope(y, u) from ``start`` to ``stop`` with the method of Dormand & Prince, order 5(4).

    A step is accepted when the root mean square over one sample's entries of
    error / (atol + rtol max(\|y\|, \|y'\|)) is at most 1. Error and step size are those of each sample, so
    a sample does not depend on its batch; a sample that has arrived stays where it is while ``slope``
    is still called with the whole batch. The last slope of a step is the first of the next.

    Source: Dormand & Prince 1980, table 2; Hairer, Nørsett & Wanner 1993, section II.4, for the error norm
    and the first step; Hairer & Wanner 1996, section IV.2, for the step size control.

    Args:
        slope: (y, u (batch,) float64) -> dy/du of the shape of y.
        y: the value at ``start``, (batch, ...) of any rank; the arithmetic is of its type.
        start: where u begins, finite.
        stop: where u ends, finite; may lie on either side of ``start``.
        rtol: tolerance relative to y, at least 0.
        atol: absolute tolerance, at least 0 and not 0 together with ``rtol``.
        first_step: size of the first step, above 0; by default one more slope is spent to choose it.
        max_evaluations: most calls of ``slope``.

    Returns:
        y at ``stop``, and the number of calls of ``slope``.

    Raises:
        ValueError: for an argument out of its range.
        FloatingPointError: if a slope is not finite.
        RuntimeError: if ``stop`` is not reached within ``max_evaluations``.
    """
    _check(y, start, stop, rtol, atol, first_step)
    if start == stop or len(y) == 0:
        return y, 0
    u = torch.full((len(y),), start, dtype=torch.float64, device=y.device)
    first, evaluations = slope(y, u), 1
    span = stop - start
    if first_step is None:
        size = _first_size(slope, y, u, first, span, rtol, atol)
        evaluations += 1
    else:
        size = torch.full_like(u, first_step)
    previous = torch.full_like(u, 1e-4)
    rejected = torch.zeros_like(u, dtype=torch.bool)
    active = ~rejected
    while bool(active.any()):
        evaluations += len(_ROWS) - 1
        if evaluations > max_evaluations:
            raise RuntimeError(
                f"the integration from {start:g} to {stop:g} has reached {float(_slowest(u, stop)):g} and "
                f"needs more than {max_evaluations} evaluations; loosen rtol and atol, or allow more"
            )
        arrives = size >= (stop - u).abs()
        h = torch.where(arrives, stop - u, math.copysign(1.0, span) * size)
        y_new, last, error = _attempt(slope, y, u, h, first)
        norm = _norm(error, torch.maximum(y.abs(), y_new.abs()), rtol, atol)
        broken = active & ~torch.isfinite(norm)
        if bool(broken.any()):
            raise FloatingPointError(
                f"the slope is not finite in the step from u = {float(u[broken][0]):g} by "
                f"{float(h[broken][0]):g}; check it there, or give a smaller first_step"
            )
        accepted = active & (norm <= 1.0)
        y, first = _choose(accepted, y_new, y), _choose(accepted, last, first)
        u = torch.where(accepted, torch.where(arrives, stop, u + h), u)
        norm = norm.clamp(min=1e-10)
        factor = _SAFETY * norm**-_PROPORTIONAL * previous**_INTEGRAL
        # A step after a rejected one may not grow, and a rejected one shrinks without the integral part.
        factor = torch.where(norm <= 1.0, factor, _SAFETY * norm ** (-1 / 5))
        factor = torch.where(rejected, factor.clamp(max=1.0), factor).clamp(_SLOWEST, _FASTEST)
        size = torch.where(active, h.abs() * factor, size)
        previous = torch.where(accepted, norm.clamp(min=1e-4), previous)
        rejected = active & ~accepted
        active = u != stop
    return y, evaluations


def _attempt(slope: Slope, y: Tensor, u: Tensor, h: Tensor, first: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One step of every sample: its end, the slope there, and the estimate of its error."""
    step = expand(h, y)
    slopes, end = [first], y
    for node, row in zip(_NODES[1:], _ROWS[1:], strict=True):
        end = y + step * _combine(row, slopes)
        slopes.append(slope(end, u + node * h))
    return end, slopes[-1], step * _combine(_ERROR, slopes)


def _combine(weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    total = slopes[0] * weights[0]
    for weight, k in zip(weights[1:], slopes[1:], strict=True):
        if weight:
            total = torch.add(total, k, alpha=weight)
    return total


def _choose(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b)


def _norm(x: Tensor, size: Tensor, rtol: float, atol: float) -> Tensor:
    """The root mean square of x in units of the tolerance, (batch,) float64."""
    scaled = x / (atol + rtol * size).clamp(min=torch.finfo(x.dtype).tiny)
    return scaled.reshape(len(x), -1).double().square().mean(1).sqrt()


def _first_size(
    slope: Slope, y: Tensor, u: Tensor, first: Tensor, span: float, rtol: float, atol: float
) -> Tensor:
    """The first step's size of every sample (Hairer, Nørsett & Wanner 1993, section II.4)."""
    size = y.abs()
    d0, d1 = _norm(y, size, rtol, atol), _norm(first, size, rtol, atol)
    trial = torch.where((d0 < 1e-5) | (d1 < 1e-5), 1e-6, 0.01 * d0 / d1).clamp(max=abs(span))
    h = math.copysign(1.0, span) * trial
    second = slope(y + expand(h, y) * first, u + h)
    d2 = _norm(second - first, size, rtol, atol) / trial
    top = torch.maximum(d1, d2)
    guess = torch.where(top <= 1e-15, (trial * 1e-3).clamp(min=1e-6), (0.01 / top) ** (1 / 5))
    return torch.minimum(100.0 * trial, guess)


def _slowest(u: Tensor, stop: float) -> Tensor:
    return u[(stop - u).abs().argmax()]


def _check(y: Tensor, start: float, stop: float, rtol: float, atol: float, first_step: float | None) -> None:
    if not (y.ndim >= 1 and y.is_floating_point()):
        raise ValueError(
            f"y is a batch of real numbers, (batch, ...), got {y.dtype} of shape {tuple(y.shape)}"
        )
    if not (math.isfinite(start) and math.isfinite(stop)):
        raise ValueError(f"an integration begins and ends at finite u, got {start} and {stop}")
    check_tolerances(rtol, atol)
    if first_step is not None and not first_step > 0:
        raise ValueError(f"the first step has a size above 0, got {first_step}")


def check_tolerances(rtol: float, atol: float) -> None:
    """Check a pair of tolerances.

    Raises:
        ValueError: unless both are finite and at least 0, and one is above.
    """
    if not (0 <= rtol < math.inf and 0 <= atol < math.inf and rtol + atol > 0):
        raise ValueError(f"rtol and atol are at least 0 and not both 0, got {rtol} and {atol}")
