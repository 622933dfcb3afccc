"""Time steps of any one-step method: a given number, or as many as a tolerance asks for.

A method is a function (u, dt) -> u after dt. Errors come from comparing one step with two of half its length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

Step = Callable[[Tensor, float], Tensor]
Progress = Callable[[int, int], None]

_DEEPEST = 30
_PROBES = 16


@dataclass
class Tally:
    """What a run of steps has cost and may be off by.

    Attributes:
        error: sum of the steps' error estimates, relative to the largest |u|.
        steps: number of steps taken.
        dt: length of the last step.
        how: what a step was made of, where that varies.
    """

    error: float = 0.0
    steps: int = 0
    dt: float = math.inf
    how: str = ""


def relative_change(new: Tensor, old: Tensor, dims: int) -> float:
    """The largest |new - old| over the space, relative to the largest |new| of that species and sample.

    A species that is nearly absent is measured against a millionth of the largest one.

    Args:
        new: (..., *shape).
        old: of the same shape.
        dims: number of dimensions of the space.
    """
    over = tuple(range(new.ndim - dims, new.ndim))
    new, old = new.detach(), old.detach()
    size = new.abs().amax(over)
    floor = max(1e-6 * float(size.max()), 1e-300)
    return float(((new - old).abs().amax(over) / size.clamp(min=floor)).max())


def stop_unless_finite(u: Tensor, step: int, t: float) -> None:
    """Raise FloatingPointError with the step and the time if u is not finite."""
    if not bool(torch.isfinite(u.detach()).all()):
        raise FloatingPointError(
            f"the state is no longer finite after step {step}, t = {t:g}: the reaction blows up or the steps "
            "are too long for it; take more steps, a smaller tolerance, or a shorter time"
        )


def segments(times: list[float], steps: int | None) -> Iterator[tuple[float, float, int]]:
    """(start, stop, steps) between consecutive times from 0; the steps in proportion, at least 1 each."""
    start = 0.0
    for stop in times:
        share = (
            0 if steps is None else max(1, round(steps * (stop - start) / times[-1])) if stop > start else 0
        )
        yield start, stop, share
        start = stop


def equal_steps(
    step: Step,
    order: int,
    u: Tensor,
    start: float,
    stop: float,
    count: int,
    tally: Tally,
    dims: int,
    tell: Callable[[], None],
) -> Tensor:
    """``count`` equal steps; the error is measured on a few pairs of steps and taken for all.

    The estimate adds local errors of order + 1; how the equation itself amplifies them is not in it.
    """
    dt = (stop - start) / count
    stride = max(2, count // _PROBES)
    local: list[float] = []
    long = u
    for done in range(count):
        if done % stride == 0:
            long = step(u.detach(), 2.0 * dt) if done + 1 < count else _halved(step, u.detach(), dt)
        u = step(u, dt)
        stop_unless_finite(u, tally.steps + 1, start + (done + 1) * dt)
        if done % stride == 1 or count == 1:
            local.append(relative_change(u, long, dims) / (2.0**order - 1.0))
        tally.steps += 1
        tell()
    # A pair of steps errs by d / (2^order - 1), where d is its distance from one long step; a single one
    # by 2^order times that, with d its distance from two halves.
    tally.error += 2.0**order * local[0] if count == 1 else 0.5 * count * sum(local) / len(local)
    return u


def _halved(step: Step, u: Tensor, dt: float) -> Tensor:
    return step(step(u, 0.5 * dt), 0.5 * dt)


def adaptive_steps(
    step: Step,
    order: int,
    u: Tensor,
    start: float,
    stop: float,
    tolerance: float,
    tally: Tally,
    dims: int,
    tell: Callable[[float], None],
) -> Tensor:
    """Steps of (stop - start) / 2^k, so that propagators are made for a few lengths only.

    A step is accepted when its error estimate is at most the tolerance's share, tolerance * dt, of it. The
    two half steps are kept, so that positive methods stay positive.

    The tolerance is the relative error allowed per unit of time.
    """
    span = stop - start
    level = max(0, math.ceil(math.log2(span / tally.dt) - 1e-9)) if math.isfinite(tally.dt) else 0
    place = 0
    floor = 8.0 * torch.finfo(u.dtype).eps
    coarse: Tensor | None = None
    while place < 2**level:
        dt = span / 2**level
        if coarse is None:
            coarse = step(u, dt)
        half = step(u, 0.5 * dt)
        fine = step(half, 0.5 * dt)
        error = relative_change(fine, coarse, dims) / (2.0**order - 1.0)
        budget = max(tolerance * dt, floor)
        if not error <= budget:  # NaN, too, asks for shorter steps
            if level >= _DEEPEST:
                stop_unless_finite(fine, tally.steps + 1, start + place * dt)
                raise FloatingPointError(
                    f"no step is short enough at t = {start + place * dt:g}: the error of a step of {dt:g} "
                    f"is still {error:.1e}; the reaction blows up there, or is not smooth"
                )
            level, place, coarse = level + 1, 2 * place, half
            continue
        u, coarse, place = fine, None, place + 1
        tally.error += error
        tally.steps += 2
        tally.dt = dt
        tell(start + place * dt)
        # One level up costs 2^(order + 1) times the error, of which a longer step may have twice as much.
        while level and place % 2 == 0 and error * 2.0**order * 2.0 < budget:
            level, place, error = level - 1, place // 2, error * 2.0**order
    return u
