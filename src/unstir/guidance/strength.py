"""How strongly guidance acts, and at which noise levels."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.processes import Schedule

NOISE_RANGE = (-12.0, 12.0)
"""The log-SNR range that a guidance window is a share of."""

Weight = float | Tensor
"""One weight for all samples, or one for each, (batch,)."""


def check_window(window: tuple[float, float]) -> None:
    """Check a guidance window.

    Raises:
        ValueError: unless it is (low, high) with 0 <= low < high <= 1.
    """
    if len(window) != 2:
        raise ValueError(f"a guidance window is a pair (low, high), got {window}")
    low, high = window
    if not 0.0 <= low < high <= 1.0:
        raise ValueError(f"a guidance window is (low, high) with 0 <= low < high <= 1, got {window}")


def check_weight(weight: Weight, meaning: str) -> None:
    """Check a guidance weight, or one for each sample.

    Args:
        weight: at least 0, a number or (batch,).
        meaning: of 0, for the sentence if it is wrong, such as "0 means conditional only".

    Raises:
        ValueError: for a negative or infinite weight, or a tensor that is not (batch,).
    """
    values = torch.as_tensor(weight)
    if values.ndim > 1:
        raise ValueError(
            f"guidance weights are one number or one for each sample, got the shape {tuple(values.shape)}"
        )
    if not bool((torch.isfinite(values) & (values >= 0)).all()):
        wrong = weight if values.ndim == 0 else float(values[~(values >= 0) | values.isinf()][0])
        raise ValueError(f"guidance weight must be at least 0 ({meaning}), got {wrong}")


def active(schedule: Schedule, t: Tensor | float, window: tuple[float, float]) -> Tensor:
    """Where guidance acts: booleans of the shape of ``t``; both ends of the window belong to it."""
    first, last = NOISE_RANGE
    share = ((schedule.log_snr(t) - first) / (last - first)).clamp(0.0, 1.0)
    return (share >= window[0]) & (share <= window[1])
