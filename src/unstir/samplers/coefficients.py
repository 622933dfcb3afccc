"""Elementary functions of coefficients, which are plain floats, or tensors of one number a mode.

Floats cost nothing beside a step of a small network, tensors would; only a process that blurs needs them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Coefficient = float | Tensor
"""A float, or a float64 tensor (1 or batch, *event) that multiplies states in the basis of the modes."""

_FADED = 1e8


def sqrt(value: Coefficient) -> Coefficient:
    """The square root."""
    return math.sqrt(value) if isinstance(value, float) else value.sqrt()


def expm1(value: Coefficient) -> Coefficient:
    """exp(value) - 1."""
    return math.expm1(value) if isinstance(value, float) else value.expm1()


def exp(value: Coefficient) -> Coefficient:
    """The exponential."""
    return math.exp(value) if isinstance(value, float) else value.exp()


def hypot(a: Coefficient, b: Coefficient) -> Coefficient:
    """sqrt(a^2 + b^2); both are floats or both tensors."""
    return math.hypot(a, b) if isinstance(a, float) else torch.hypot(a, b)  # type: ignore[arg-type]


def at_least(value: Coefficient, bound: float) -> Coefficient:
    """The larger of a coefficient and a bound."""
    return max(value, bound) if isinstance(value, float) else value.clamp(min=bound)


def at_most(value: Coefficient, bound: float) -> Coefficient:
    """The smaller of a coefficient and a bound."""
    return min(value, bound) if isinstance(value, float) else value.clamp(max=bound)


def is_finite(value: Coefficient) -> bool:
    """Whether every number of it is finite."""
    return math.isfinite(value) if isinstance(value, float) else bool(torch.isfinite(value).all())


def check_epsilon(keep: Coefficient) -> None:
    """Check the factor by which a step that predicts epsilon multiplies the state.

    Raises:
        ValueError: if it would lift a mode out of the noise of rounding.
    """
    if isinstance(keep, Tensor) and float(keep.max()) > _FADED:
        raise ValueError(
            f"a mode grows by a factor of {float(keep.max()):.2g} in one step, and predictions of epsilon "
            "say nothing of data that have faded so far; use a solver that predicts x0 or v, such as "
            "'multistep', or a larger d_min"
        )


def add_product(x: Tensor, y: Tensor, factor: Coefficient) -> Tensor:
    """x + factor y, in place."""
    return x.add_(y, alpha=factor) if isinstance(factor, float) else x.addcmul_(y, factor)


def combine(
    x: Tensor, keep: Coefficient, weights: Sequence[Coefficient], outputs: Sequence[Tensor]
) -> Tensor:
    """keep x + sum of weights times outputs, of which there may be more than weights; a fresh tensor."""
    result = x * keep
    if isinstance(keep, float):
        for weight, output in zip(weights, outputs, strict=False):
            result.add_(output, alpha=weight)  # type: ignore[arg-type]  # all are floats, or all tensors
    else:
        for weight, output in zip(weights, outputs, strict=False):
            result.addcmul_(output, weight)  # type: ignore[arg-type]
    return result
