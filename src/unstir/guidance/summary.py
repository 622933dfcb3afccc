"""What posterior samples say: mean, deviation and intervals of every entry, and whether they are honest.

Coverage alone passes a posterior that is too wide in one place and too narrow in another, and one whose
deviations are wrong but whose intervals are lucky: look at the deviation ratio beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Summary:
    """Posterior samples in numbers, entry by entry.

    Attributes:
        mean: (*event), or (groups, *event).
        std: standard deviation (divisor n - 1), of that shape; NaN for one sample.
        low: lower end of the interval, a value of one of the samples.
        high: upper end.
        level: probability that the interval was asked to cover.
        covers: probability that it does cover a new draw of the same distribution, exactly if that is
            continuous: at least ``level``, or (n - 1) / (n + 1) if there are too few samples.
        count: number of samples n.
    """

    mean: Tensor = field(repr=False)
    std: Tensor = field(repr=False)
    low: Tensor = field(repr=False)
    high: Tensor = field(repr=False)
    level: float
    covers: float
    count: int

    def coverage(self, truth: Tensor) -> float:
        """Share of the entries of the truth that lie in their intervals; compare it with ``covers``.

        Args:
            truth: of the shape of ``mean``.
        """
        return coverage(self.low, self.high, truth)

    def deviation_ratio(self, truth: Tensor) -> float:
        r"""How large errors are beside the deviations of the samples; 1 for an honest posterior.

        .. math:: \sqrt{\frac{\sum (x - \bar x)^2}{(1 + 1/n) \sum s^2}}

        over all entries: the truth is one more draw of the posterior, and the mean of n samples is itself
        uncertain, so that errors have (1 + 1/n) times the variance of a draw. Above 1 the samples are too
        sure, below 1 too vague. Source: Fortin, Abaza, Anctil & Turcotte 2014, "Why should ensemble spread
        match the RMSE of the ensemble mean?" (their correction for the number of members).

        Args:
            truth: of the shape of ``mean``.

        Raises:
            ValueError: for a truth of another shape, or fewer than 2 samples.
        """
        truth = _checked(truth, self.mean).to(self.mean)
        if self.count < 2:
            raise ValueError("one sample has no deviation; a deviation ratio takes at least 2")
        error = ((truth - self.mean) ** 2).mean()
        spread = (self.std**2).mean() * (1.0 + 1.0 / self.count)
        return float((error / spread).sqrt())


def summarise(samples: Tensor, level: float = 0.9, *, groups: bool = False) -> Summary:
    r"""Mean, deviation and central interval of posterior samples, entry by entry.

    The interval reaches from the l-th smallest sample to the l-th largest,

    .. math:: l = \max\Big(1, \Big\lfloor (n + 1) \frac{1 - level}{2} \Big\rfloor\Big),\qquad
              P(x_{(l)} < x_{new} < x_{(n + 1 - l)}) = \frac{n + 1 - 2 l}{n + 1}

    exactly, for any continuous distribution, because a new draw is as likely to have any of the n + 1 ranks:
    these are the sample quantiles at positions (n + 1) p, rounded outward instead of interpolated, which
    would be exact for one distribution only. With n = 19, 39, 99 or 199 samples ``covers`` is exactly 0.9.
    Samples of one measurement are such draws; if they come in pairs (antithetic noise) they are not.

    Source: Hyndman & Fan 1996, "Sample quantiles in statistical packages", definition 6; Wilks 1941,
    "Determination of sample sizes for setting tolerance limits" (order statistics, any distribution).

    Args:
        samples: (n, *event), of one measurement; with ``groups`` (groups, n, *event), n of each of several.
        level: of the interval, between 0 and 1.
        groups: whether the first axis counts measurements.

    Returns:
        A `Summary`. If n is below 2 / (1 - level) - 1 the interval is the widest, from the smallest to the
        largest sample, and ``covers`` says less than ``level``.

    Raises:
        ValueError: for no sample, values that are not finite, or a level outside (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"the level of an interval lies between 0 and 1, got {level}")
    axis = 1 if groups else 0
    if samples.ndim <= axis or samples.shape[axis] == 0:
        raise ValueError(
            f"samples have the shape {'(groups, n, *event)' if groups else '(n, *event)'} with n at least 1, "
            f"got {tuple(samples.shape)}"
        )
    if not bool(torch.isfinite(samples).all()):
        raise ValueError("samples hold values that are not finite, so they have no mean and no interval")
    x = samples.movedim(axis, 0)
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    n = len(x)
    # Round-off in 1 - level must not take a rank away: (n + 1) p = 5 is 4.9999999 in floating point.
    rank = max(1, math.floor((n + 1) * (1.0 - level) / 2.0 + 1e-9))
    rank = min(rank, (n + 1) // 2)
    ordered = x.sort(dim=0).values
    std = x.std(dim=0) if n > 1 else torch.full_like(x[0], math.nan)
    covers = (n + 1 - 2 * rank) / (n + 1)
    return Summary(x.mean(0), std, ordered[rank - 1], ordered[n - rank], level, covers, n)


def coverage(low: Tensor, high: Tensor, truth: Tensor) -> float:
    """Share of the entries of the truth that lie in their intervals, ends included.

    Args:
        low: lower ends, of any shape.
        high: upper ends, of that shape.
        truth: of that shape.

    Raises:
        ValueError: for a truth of another shape.
    """
    truth = _checked(truth, low).to(low)
    return float(((truth >= low) & (truth <= high)).double().mean())


def _checked(truth: Tensor, like: Tensor) -> Tensor:
    if truth.shape != like.shape:
        raise ValueError(
            f"the truth has one value for each of {tuple(like.shape)} entries, got {tuple(truth.shape)}"
        )
    return truth
