"""Times and coefficients against states: how (batch,) meets (batch, *event)."""

from __future__ import annotations

import torch
from torch import Tensor


def as_float64(value: Tensor | float) -> Tensor:
    """A float64 tensor of a time, a log-SNR or a coefficient; the device of a tensor is kept."""
    return torch.as_tensor(value, dtype=torch.float64)


def expand(coefficient: Tensor, x: Tensor) -> Tensor:
    """Shape a scalar or (batch,) coefficient so that it multiplies ``x`` of (batch, *event).

    A coefficient for each mode, (1 or batch, *event) of at least two axes, has its shape already.

    Returns:
        A tensor of the type and device of ``x``, of shape (), (batch, 1, ..., 1) or (1 or batch, *event).

    Raises:
        ValueError: if the coefficient is neither a scalar nor one number a sample or a mode.
    """
    if coefficient.ndim == 0:
        return coefficient.to(x)
    if coefficient.ndim > 1 and coefficient.shape[1:] == x.shape[1:] and len(coefficient) in (1, len(x)):
        return coefficient.to(x)
    if coefficient.shape != x.shape[:1]:
        raise ValueError(
            f"expected a scalar or one value for each of {len(x)} samples, got a tensor of shape "
            f"{tuple(coefficient.shape)}"
        )
    return coefficient.to(x).reshape(-1, *[1] * (x.ndim - 1))


def log_expm1(x: Tensor) -> Tensor:
    """log(exp(x) - 1) for x >= 0, where exp(x) would overflow too."""
    return torch.where(x > 50.0, x, torch.expm1(x.clamp(max=50.0)).log())
