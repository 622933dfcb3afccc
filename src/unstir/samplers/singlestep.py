"""Single-step solvers of the probability flow: Heun with EDM's churn, Runge-Kutta, and DPM-Solver."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from unstir import noise
from unstir.processes import Schedule
from unstir.samplers import grids
from unstir.samplers.coefficients import Coefficient, at_least, check_epsilon, expm1, sqrt
from unstir.samplers.solve import Level, Problem, Solver, State


class Heun(Solver):
    r"""Heun's second-order method in the noise level r = sigma / alpha, with optional churn.

    With y = x / alpha the probability flow is dy/dr = epsilon(x): an Euler step, then the mean of both
    slopes. Two evaluations a step, one for the step to data. Before each step, churn raises the noise
    level by a factor 1 + gamma with fresh noise. (Where modes have noise levels of their own, r is that of
    the base; so in `RungeKutta`.)

    Source: Karras et al. 2022, algorithm 2. Order 2 without churn. A step from pure noise (alpha = 0) is
    an Euler step, of order 1. The default grid is that of the paper.

    Args:
        churn: their S_churn, at least 0; gamma = min(churn / steps, sqrt(2) - 1).
        window: (S_tmin, S_tmax), the noise levels sigma/alpha between which to churn.
        inflation: their S_noise, factor of the fresh noise's deviation.

    Raises:
        ValueError: for negative churn, an empty window or an inflation that is not positive.
    """

    def __init__(
        self,
        churn: float = 0.0,
        window: tuple[float, float] = (0.0, math.inf),
        inflation: float = 1.0,
    ) -> None:
        if not churn >= 0:
            raise ValueError(f"churn is at least 0, got {churn}")
        if not 0 <= window[0] < window[1]:
            raise ValueError(f"the churn window is (low, high) with 0 <= low < high, got {window}")
        if not inflation > 0:
            raise ValueError(f"the noise inflation is positive, got {inflation}")
        self.churn = churn
        self.window = window
        self.inflation = inflation

    def default_grid(self, schedule: Schedule, steps: int, sigma_data: float = 1.0) -> Tensor:
        return grids.karras(schedule, steps)

    def step(self, state: State, s: float) -> State:
        problem = state.problem
        x, here = self._stir(state)
        there = problem.level(s)
        mean = problem.evaluate(x, here.t).mean
        x_s = _first_order(x, mean, here, there)
        if not (there.clean or here.pure):
            # Half the change of the slope from the first, which Euler's step has used (see `RungeKutta`).
            start, end = _noise_level(here), _noise_level(there)
            change = mean - problem.evaluate(x_s, s).mean
            x_s = x_s + change * (0.5 * (end - start) / end * there.pace * there.alpha)
        return state.advance(x_s, s)

    def _stir(self, state: State) -> tuple[Tensor, Level]:
        problem = state.problem
        here = problem.level(state.t)
        gamma = min(self.churn / problem.steps, math.sqrt(2.0) - 1.0)
        level = _noise_level(here)
        if gamma == 0 or not self.window[0] <= level <= self.window[1] or here.pure:
            return state.x, here
        raised = min(level * (1.0 + gamma), _noise_level(problem.level(1.0)))
        if raised <= level:
            return state.x, here
        stirred = _level_of(problem, -math.log(raised))
        added = self.inflation * sqrt(at_least(stirred.ratio**2 - here.ratio**2, 0.0))
        z = problem.normal(state.x, state.step, noise.Stream.CHURN)
        return (state.x / here.alpha + added * z) * stirred.alpha, stirred


# Rows of the stages after the first, and the weights (Hairer, Nørsett & Wanner 1993, section II.1).
_TABLEAUS: dict[int, tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]] = {
    1: ((), (1.0,)),
    2: (((0.5,),), (0.0, 1.0)),
    3: (((0.5,), (-1.0, 2.0)), (1 / 6, 2 / 3, 1 / 6)),
    4: (((0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}


class RungeKutta(Solver):
    r"""The classical Runge-Kutta methods in the noise level r = sigma / alpha.

    With y = x / alpha the probability flow is dy/dr = epsilon(x), whatever the schedule. Order 1 is
    Euler's method, which in this variable is `DDIM`; 2 the midpoint rule; 3 and 4 Kutta's methods. As many
    evaluations a step as the order. Steps from pure noise (alpha = 0) and to data (sigma = 0) are Euler
    steps of one evaluation: the step to data returns the posterior mean. The default grid is `karras`.

    Source: Karras et al. 2022, eq. 1 with s(t) = 1; Kutta 1901, "Beitrag zur näherungsweisen Integration
    totaler Differentialgleichungen".

    Args:
        order: 1 to 4, order of convergence.

    Raises:
        ValueError: for another order.
    """

    def __init__(self, order: int = 4) -> None:
        if order not in _TABLEAUS:
            raise ValueError(f"the Runge-Kutta methods have orders 1 to 4, got {order}")
        self.order = order

    def default_grid(self, schedule: Schedule, steps: int, sigma_data: float = 1.0) -> Tensor:
        return grids.karras(schedule, steps)

    def step(self, state: State, s: float) -> State:
        problem, x = state.problem, state.x
        here, there = problem.level(state.t), problem.level(s)
        mean = problem.evaluate(x, here.t).mean
        x_s = _first_order(x, mean, here, there)
        if there.clean or here.pure:
            return state.advance(x_s, s)
        rows, weights = _TABLEAUS[self.order]
        start = _noise_level(here)
        h = _noise_level(there) - start
        # Slopes are kept as differences from the first, which Euler's step has used: at high noise these
        # are far below rounding of the slopes themselves, and h is large.
        changes: list[Tensor] = []
        for row in rows:
            level = _level_of(problem, -math.log(start + sum(row) * h))
            shift = _weighted(row[1:], changes, h)
            x_mid = _first_order(x, mean, here, level) + shift * level.alpha
            change = mean - problem.evaluate(x_mid, level.t).mean + shift
            # The slope in the noise level of the base, of which other levels are functions.
            changes.append(change * (level.pace / _noise_level(level)))
        return state.advance(x_s + _weighted(weights[1:], changes, h) * there.alpha, s)


class SingleStep(Solver):
    r"""DPM-Solver's single-step methods: exponential Runge-Kutta in the half log-SNR l = log(alpha / sigma).

    With D = E[x_0 | x_t] and h the step of l, order 2 is the exponential midpoint rule

    .. math:: x_s = \frac{\sigma_s}{\sigma_t} x_t + \alpha_s (1 - e^{-h}) D(l_t + h / 2) ,

    and order 3 takes D as linear through its values at l_t and l_t + h / 3 to reach l_t + 2 h / 3, and
    through l_t and l_t + 2 h / 3 to reach l_s. Predicting epsilon is the same with the places of alpha and
    sigma, and of D and epsilon, exchanged and h negative. Order 1 of both would be `DDIM`. As many
    evaluations a step as the order. Steps from pure noise (alpha = 0) and to data (sigma = 0) are of
    order 1 and one evaluation: the step to data returns the posterior mean. The default grid is `log_snr`.

    Source: Lu et al. 2022, DPM-Solver, algorithms 1 (r_1 = 1/2) and 2 (r_1 = 1/3, r_2 = 2/3) for epsilon;
    Lu et al. 2022b, DPM-Solver++, algorithm 1 for x0.

    Args:
        order: 2 or 3, order of convergence.
        prediction: the output that is taken as constant or linear over a step, "x0" or "epsilon".

    Raises:
        ValueError: for another order or prediction.
    """

    def __init__(self, order: int = 2, prediction: Literal["x0", "epsilon"] = "x0") -> None:
        if order not in (2, 3):
            raise ValueError(f"the single-step solver has orders 2 and 3, got {order}")
        if prediction not in ("x0", "epsilon"):
            raise ValueError(f"the single-step solver predicts 'x0' or 'epsilon', got {prediction!r}")
        self.order = order
        self.prediction = prediction

    def default_grid(self, schedule: Schedule, steps: int, sigma_data: float = 1.0) -> Tensor:
        return grids.log_snr(schedule, steps)

    def step(self, state: State, s: float) -> State:
        problem, x = state.problem, state.x
        here, there = problem.level(state.t), problem.level(s)
        mean = problem.evaluate(x, here.t).mean
        if there.clean or here.pure:
            return state.advance(_first_order(x, mean, here, there), s)
        if self.prediction == "epsilon":
            check_epsilon(there.alpha / here.alpha)
        first = self._output(x, mean, here)
        start, end = here.reference.point[2], there.reference.point[2]
        level = _level_of(problem, start + (end - start) / self.order)
        output = self._evaluate(problem, self._move(x, here, level, first), level)
        if self.order == 2:
            return state.advance(self._move(x, here, there, output), s)
        later = _level_of(problem, start + 2.0 * (end - start) / 3.0)
        x_mid = self._move(x, here, later, first, (output - first) * _stretch(here, level, later))
        output = self._evaluate(problem, x_mid, later)
        change = (output - first) * _stretch(here, later, there)
        return state.advance(self._move(x, here, there, first, change), s)

    def _evaluate(self, problem: Problem, x: Tensor, level: Level) -> Tensor:
        return self._output(x, problem.evaluate(x, level.t).mean, level)

    def _output(self, x: Tensor, mean: Tensor, level: Level) -> Tensor:
        return mean if self.prediction == "x0" else _epsilon(x, mean, level)

    def _move(
        self, x: Tensor, start: Level, end: Level, output: Tensor, change: Tensor | None = None
    ) -> Tensor:
        """The exact step if the output is linear, and changes by ``change`` from ``start`` to ``end``."""
        h = end.half_log_snr - start.half_log_snr
        keep, size = end.sigma / start.sigma, end.alpha
        if self.prediction == "epsilon":
            h, keep, size = -h, end.alpha / start.alpha, end.sigma
        x = x * keep + output * (-expm1(-h) * size)
        return x if change is None else x + change * ((1.0 + expm1(-h) / h) * size)


def _stretch(start: Level, middle: Level, end: Level) -> Coefficient:
    """The length of a step in the log-SNR, in units of that to a level within it."""
    return (end.log_snr - start.log_snr) / (middle.log_snr - start.log_snr)


def _first_order(x: Tensor, mean: Tensor, here: Level, there: Level) -> Tensor:
    """The step with the posterior mean held, which is finite at alpha = 0 and at sigma = 0."""
    keep = there.sigma / here.sigma
    return x * keep + mean * (there.alpha - here.alpha * keep)


def _weighted(weights: Sequence[float], changes: Sequence[Tensor], h: float) -> Tensor | float:
    pairs = zip(weights, changes, strict=True)
    return sum((change * (h * weight) for weight, change in pairs if weight), start=0.0)


def _noise_level(level: Level) -> float:
    """sigma / alpha of the base."""
    alpha, sigma, _ = level.plain
    return sigma / alpha if alpha > 0 else math.inf


def _level_of(problem: Problem, half_log_snr: float) -> Level:
    return problem.level(float(problem.schedule.time(2.0 * half_log_snr)))


def _epsilon(x: Tensor, mean: Tensor, level: Level) -> Tensor:
    return (x - level.alpha * mean) / level.sigma
