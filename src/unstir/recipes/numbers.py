"""Named numbers of a check: a value with interval and limit, beside a baseline's and the real data's."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from rich.table import Table

_ONE = re.compile(r"(>=|<=|>|<) (\S+)")
_TWO = re.compile(r"(\S+) to (\S+)")
_COMPARISONS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True)
class Number:
    """One measured number.

    Attributes:
        value: of the model.
        limit: ">= 0.9", "> 0.9", "<= 0.9", "< 0.9", "0.8 to 1.25" (both ends allowed), or "" for none.
        baseline: the same of the baseline, or None.
        reference: the same of real data or of the exact method, or None.
        interval: its 95 % confidence interval, or None where chance has no part.
        meaning: a sentence for people, with the unit.

    Raises:
        ValueError: for a limit that reads otherwise, or that no value can keep.
    """

    value: float
    limit: str = ""
    baseline: float | None = None
    reference: float | None = None
    interval: tuple[float, float] | None = None
    meaning: str = ""

    def __post_init__(self) -> None:
        _rule(self.limit)

    @property
    def ok(self) -> bool:
        """Whether the value is finite and keeps the limit."""
        return math.isfinite(self.value) and _rule(self.limit)(self.value)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what is not finite is null."""
        return {
            "value": _plain(self.value),
            "limit": self.limit,
            "ok": self.ok,
            "baseline": _plain(self.baseline),
            "reference": _plain(self.reference),
            "interval": None if self.interval is None else [_plain(end) for end in self.interval],
            "meaning": self.meaning,
        }


@lru_cache
def _rule(limit: str) -> Callable[[float], bool]:
    """What a limit asks of a value.

    Raises:
        ValueError: for one that cannot be read, or that no value can keep.
    """
    if not limit:
        return lambda value: True
    one, two = _ONE.fullmatch(limit), _TWO.fullmatch(limit)
    texts = (one[2],) if one else two.groups() if two else ()
    try:
        ends = [float(text) for text in texts]
    except ValueError:
        ends = []
    if not ends or not all(map(math.isfinite, ends)):
        raise ValueError(f"a limit reads like '>= 0.9' or '0.8 to 1.25', got {limit!r}")
    low, high = ends[0], ends[-1]
    if low > high:
        raise ValueError(f"a limit goes from the lower to the higher value, got {limit!r}")
    if one is None:
        return lambda value: low <= value <= high
    compare = _COMPARISONS[one[1]]
    return lambda value: bool(compare(value, low))


def _plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def table(numbers: Mapping[str, Number]) -> Table:
    """The numbers for a terminal."""
    result = Table(box=None, header_style="bold")
    for title in ("number", "value", "95 %", "limit", "baseline", "reference", ""):
        justify: Literal["left", "right"] = "left" if title in ("number", "") else "right"
        # On a narrow screen names are broken, never numbers.
        result.add_column(title, justify=justify, no_wrap=title != "number", overflow="fold")
    for name, number in numbers.items():
        verdict = "" if not number.limit else "[green]ok[/]" if number.ok else "[red]short[/]"
        interval = "" if number.interval is None else " to ".join(f"{end:.3g}" for end in number.interval)
        shown = [
            f"{number.value:.3g}",
            interval,
            number.limit,
            *map(_cell, (number.baseline, number.reference)),
        ]
        result.add_row(name, *shown, verdict)
    return result


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def proportion(successes: int, trials: int) -> tuple[float, tuple[float, float]]:
    """A share and its 95 % Wilson interval.

    Source: Wilson 1927, by scipy.

    Raises:
        ValueError: for no trials.
    """
    from scipy.stats import binomtest

    if trials < 1:
        raise ValueError("a share needs at least one trial")
    found = binomtest(successes, trials).proportion_ci(method="wilson")
    return successes / trials, (float(found.low), float(found.high))


def mean_of(values: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """The mean over runs and its 95 % interval by Student's t; no interval for a single one."""
    from scipy.stats import t

    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return mean, None
    half = float(t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / math.sqrt(len(array)))
    return mean, (mean - half, mean + half)


def bootstrap_mean(
    values: Sequence[float], groups: Sequence[int] | None = None, *, seed: int = 0
) -> tuple[float, tuple[float, float] | None]:
    """The mean over cases and its 95 % interval by the percentile bootstrap, 2,000 draws.

    Source: Efron & Tibshirani 1993, section 13.3, by scipy; Davison & Hinkley 1997, section 3.8, for groups.

    Args:
        values: of the cases.
        groups: number of the group of each case, where cases of a group depend on each other: whole groups
            are drawn then. By default every case is one.
        seed: of the draws.
    """
    from scipy.stats import bootstrap

    array = np.asarray(values, dtype=np.float64)
    _, group = np.unique(np.arange(len(array)) if groups is None else np.asarray(groups), return_inverse=True)
    counts = np.bincount(group)
    if len(counts) < 2 or float(array.std()) == 0.0:
        return float(array.mean()), None
    found = bootstrap(
        (np.bincount(group, array), counts),
        lambda sums, sizes, axis: sums.sum(axis=axis) / sizes.sum(axis=axis),
        paired=True,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    ends = found.confidence_interval
    return float(array.mean()), (float(ends.low), float(ends.high))


def pooled(runs: Sequence[Mapping[str, Number]]) -> dict[str, Number]:
    """The numbers of several runs as one: mean value, interval over runs, mean baseline and reference.

    The limits and meanings are those of the first run; a limit is for the mean.
    """
    result = {}
    for name, first in runs[0].items():
        every = [run[name] for run in runs]
        value, interval = mean_of([number.value for number in every])
        baselines = [n.baseline for n in every if n.baseline is not None]
        references = [n.reference for n in every if n.reference is not None]
        result[name] = Number(
            value,
            first.limit,
            mean_of(baselines)[0] if baselines else None,
            mean_of(references)[0] if references else None,
            interval if len(runs) > 1 else first.interval,
            first.meaning,
        )
    return result
