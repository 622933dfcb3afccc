"""How good a solution or a posterior is: relative error, honest deviations, distance from the exact one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.guidance.summary import summarise
from unstir.recipes.fields.exact import ExactPosterior


def relative_errors(found: Tensor, truth: Tensor) -> Tensor:
    """|found - truth| / |truth| of each sample, (batch,) float64, over all other axes.

    Each sample has a norm of its own, so the numbers do not depend on the batch.

    Raises:
        ValueError: for other shapes, or a truth that is 0 everywhere.
    """
    if found.shape != truth.shape:
        raise ValueError(
            f"fields to compare have one shape, got {tuple(found.shape)} and {tuple(truth.shape)}"
        )
    size = truth.double().flatten(1).norm(dim=1)
    if not bool((size > 0).all()):
        raise ValueError("a field that is 0 everywhere has no relative error")
    errors: Tensor = (found.double() - truth.double()).flatten(1).norm(dim=1) / size
    return errors


@dataclass(frozen=True)
class Honesty:
    """Posterior samples of many cases held against the truths, for one field.

    Attributes:
        error: mean over the cases of the relative error of the posterior mean.
        coverage: share of the truths' cells within their central intervals.
        level: that the intervals were asked to cover.
        error_over_deviation: root mean square of the error over that of the samples' deviation (with their
            number accounted for, `guidance.Summary.deviation_ratio`); 1 if honest, above 1 if too sure.
    """

    error: float
    coverage: float
    level: float
    error_over_deviation: float


def honesty(samples: Sequence[Tensor], truths: Tensor, channel: int, level: float = 0.9) -> Honesty:
    """Judge posterior samples by the truths.

    Args:
        samples: of each case, (n, channels, *space).
        truths: (cases, channels, *space).
        channel: of the field.
        level: of the intervals.
    """
    group = torch.stack([each[:, channel] for each in samples]).double()
    truth = truths[:, channel].double()
    summary = summarise(group, level, groups=True)
    return Honesty(
        float(relative_errors(summary.mean, truth).mean()),
        summary.coverage(truth),
        summary.covers,
        summary.deviation_ratio(truth),
    )


@dataclass(frozen=True)
class Apart:
    """How far samples are from the exact posterior, for one field.

    Attributes:
        mean_error: |mean - exact mean| / |exact mean| over all cells.
        mean_in_deviations: the same over the exact deviation; 1 / sqrt(n) for n exact samples.
        deviation_ratio: root mean square deviation of the samples over the exact one.
        coverage: exact probability of the samples' central 90 % intervals, mean over the cells.
    """

    mean_error: float
    mean_in_deviations: float
    deviation_ratio: float
    coverage: float


def apart(samples: Tensor, exact: ExactPosterior, channel: int) -> Apart:
    """Hold samples (n, 2, *shape) of one case against its exact posterior.

    The posterior of a cell is Gaussian, so what an interval covers follows from its ends.
    """
    x = samples[:, channel].double()
    mean, deviation = exact.mean[channel], exact.deviation[channel]
    error, size = (x.mean(0) - mean).norm(), deviation.norm()
    summary = summarise(x, 0.9)
    certain = deviation.clamp(min=1e-12 * float(deviation.max()))
    low, high = ((end.double() - mean) / certain for end in (summary.low, summary.high))
    covered = (torch.special.ndtr(high) - torch.special.ndtr(low)).mean()
    return Apart(
        float(error / mean.norm()),
        float(error / size),
        float(x.std(0).norm() / size),
        float(covered),
    )
