"""Any callable that predicts noise, data, v, velocity or score, as a denoiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unstir.denoisers.denoiser import Denoiser, Posterior, times
from unstir.denoisers.network import LOG_SNR_LIMIT
from unstir.processes import EPSILON, TARGETS, Schedule, Table, Target
from unstir.settings import nearest

Clock = Callable[[Tensor], Tensor]
"""t -> what the function is told of it; (batch,) float64 to (batch,)."""


class FromFunction(Denoiser):
    r"""A denoiser made of a function (x_t, time, \*\*condition) -> prediction.

    The prediction becomes E[x_0 | x_t] by the exact maps of ``processes.targets``, with coefficients of
    the schedule in float64. What the function is told of the time t in [0, 1] is

    ==============  =====================================================================================
    time            value, (batch,)
    ==============  =====================================================================================
    "continuous"    t
    "discrete"      the position t T - 1 in a table of T steps, whose step i = 0 ... T - 1 is t = (i + 1)/T
    "log-snr"       log(alpha^2 / sigma^2), between -20 and 20
    a callable      its value at t
    ==============  =====================================================================================

    A position between two steps is passed as it is, a fraction, because the usual embeddings take one;
    for a function that takes whole steps only (a lookup table), ``rounded`` asks for the nearest as int64.
    Times before the first step of the table (t < 1/T) are its first step.

    Args:
        function: takes x_t (batch, \*event), the time (batch,), and the condition by name; returns the
            prediction, (batch, \*event), of any floating type. A torch module becomes a submodule.
        schedule: the forward process that the function was trained under.
        target: what it predicts: a target or its name ("epsilon", "x0", "v", "score", "velocity").
        time: what it is told of the time, see above.
        steps: T, for "discrete"; by default that of the schedule's table of betas.
        rounded: for "discrete", whole steps only.

    Raises:
        ValueError: for an unknown target or time, with the nearest name; for "discrete" without a table
            of betas or ``steps``; when called, for a prediction that is not a tensor of the state's shape.
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        schedule: Schedule,
        target: str | Target = EPSILON,
        *,
        time: str | Clock = "continuous",
        steps: int | None = None,
        rounded: bool = False,
    ) -> None:
        super().__init__()
        self.function = function
        self.schedule = schedule
        self.target = _find_target(target)
        self.clock = _find_clock(time, schedule, steps, rounded)

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Any) -> Posterior:
        told = self.clock(times(t, len(x_t), x_t.device))
        if told.is_floating_point():
            told = told.to(torch.promote_types(x_t.dtype, torch.float32))
        prediction = self.function(x_t, told, **condition)
        if not isinstance(prediction, Tensor):
            raise ValueError(
                f"the function returned a {type(prediction).__name__}, but a denoiser's function returns "
                f"a tensor of the state's shape {tuple(x_t.shape)}"
            )
        if prediction.shape != x_t.shape:
            raise ValueError(
                f"the function returned the shape {tuple(prediction.shape)} for a state of "
                f"{tuple(x_t.shape)}; it must return one {self.target.name} for each entry of the state"
            )
        return Posterior(self.target.to_x_0(self.schedule, x_t, prediction.to(x_t.dtype), t))


def _find_target(target: str | Target) -> Target:
    if isinstance(target, Target):
        return target
    if target not in TARGETS:
        raise ValueError(f"unknown target {target!r}; {nearest(str(target), list(TARGETS))}")
    return TARGETS[target]


def _find_clock(time: str | Clock, schedule: Schedule, steps: int | None, rounded: bool) -> Clock:
    if not isinstance(time, str):
        return time
    if time == "discrete":
        if steps is None and isinstance(schedule, Table):
            steps = len(schedule.betas)
        if steps is None or steps < 1:
            raise ValueError(
                "discrete time needs the number of steps T >= 1 of the table that the function was "
                f"trained with, got steps={steps}"
            )
        return Steps(steps, rounded)
    if time == "log-snr":
        return lambda t: schedule.log_snr(t).clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT)
    if time == "continuous":
        return lambda t: t
    raise ValueError(f"unknown time {time!r}; {nearest(time, ['continuous', 'discrete', 'log-snr'])}")


class Steps:
    """The position t T - 1 of a time in a table of T steps, at least 0.

    Args:
        steps: T.
        rounded: the nearest whole position, int64.
    """

    def __init__(self, steps: int, rounded: bool = False) -> None:
        self.steps = steps
        self.rounded = rounded

    def __call__(self, t: Tensor) -> Tensor:
        """(batch,) times to (batch,) positions."""
        position = (t * self.steps - 1.0).clamp(0.0, self.steps - 1.0)
        return position.round().long() if self.rounded else position
