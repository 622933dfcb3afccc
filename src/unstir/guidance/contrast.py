"""What methods share that contrast predictions: several conditions at once, and how hard one pushes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unstir.denoisers import Denoiser, Posterior
from unstir.guidance.strength import Weight, active
from unstir.processes import Schedule, expand

Condition = Mapping[str, Tensor]
"""Tensors by name, of one row for all samples or (batch, ...)."""


def together(
    denoiser: Denoiser, x_t: Tensor, t: Tensor | float, conditions: Sequence[Condition]
) -> list[Posterior]:
    """The posteriors of the same states under several conditions.

    They come from one evaluation of so many times the batch if the denoiser can say "no condition" by value
    (`Denoiser.no_condition`), else from one evaluation each.

    Args:
        denoiser: any denoiser.
        x_t: (batch, *event).
        t: scalar or (batch,).
        conditions: each with rows for all samples or one for each; empty for none.

    Raises:
        ValueError: for a condition whose rows are neither 1 nor as many as the samples.
    """
    rows = [{name: _rows(name, value, x_t) for name, value in c.items()} for c in conditions]
    every = {name: value for condition in rows for name, value in condition.items()}
    nothing = denoiser.no_condition(every)
    if nothing is None:
        return [denoiser(x_t, t, **condition) for condition in rows]
    count = len(rows)
    joined = {name: torch.cat([c.get(name, nothing[name]) for c in rows]) for name in every}
    when = t.repeat(count) if isinstance(t, Tensor) and t.ndim else t
    mean, variance = denoiser(torch.cat([x_t] * count), when, **joined)
    variances = [None] * count if variance is None else variance.chunk(count)
    return [Posterior(*pair) for pair in zip(mean.chunk(count), variances, strict=True)]


def _rows(name: str, value: Tensor, x_t: Tensor) -> Tensor:
    """A condition as one row for each sample."""
    batch = len(x_t)
    if len(value) not in (1, batch):
        raise ValueError(
            f"the condition {name!r} has {len(value)} rows for {batch} samples; give one, or as many"
        )
    return value.to(x_t.device).expand(batch, *value.shape[1:])


def weight_at(weight: Weight, schedule: Schedule, t: Tensor | float, window: tuple[float, float]) -> Tensor:
    """The weight where guidance acts, else 0: float64, a scalar or (batch,)."""
    values = torch.as_tensor(weight, dtype=torch.float64)
    return values * active(schedule, t, window).to(values)


def pushed(weak: Tensor, strong: Tensor, weight: Tensor) -> Tensor:
    """strong + weight (strong - weak), (batch, *event); where the weight is 0, strong to the last bit."""
    return torch.lerp(weak, strong, expand(1.0 + weight, strong))
