"""Single-step solvers of the probability flow: Heun's method with EDM's churn."""

from __future__ import annotations

import math

from torch import Tensor

from unstir import noise
from unstir.processes import Schedule
from unstir.samplers import grids
from unstir.samplers.solve import Level, Solver, State


class Heun(Solver):
    r"""Heun's second-order method in the noise level r = sigma / alpha, with optional churn.

    With y = x / alpha the probability flow is dy/dr = epsilon(x): an Euler step, then the mean of both
    slopes. Two evaluations a step, one for the step to data. Before each step, churn raises the noise
    level by a factor 1 + gamma with fresh noise.

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

    def default_grid(self, schedule: Schedule, steps: int) -> Tensor:
        return grids.karras(schedule, steps)

    def step(self, state: State, s: float) -> State:
        problem = state.problem
        x, here = self._stir(state)
        there = problem.level(s)
        mean = problem.evaluate(x, here.t).mean
        keep = there.sigma / here.sigma
        x_s = x * keep + mean * (there.alpha - here.alpha * keep)
        if there.sigma > 0 and here.alpha > 0:
            ahead = problem.evaluate(x_s, s).mean
            slope = (_epsilon(x, mean, here) + _epsilon(x_s, ahead, there)) / 2
            scale = there.alpha / here.alpha
            x_s = x * scale + slope * (there.sigma - here.sigma * scale)
        return state.advance(x_s, s)

    def _stir(self, state: State) -> tuple[Tensor, Level]:
        problem = state.problem
        here = problem.level(state.t)
        gamma = min(self.churn / problem.steps, math.sqrt(2.0) - 1.0)
        if gamma == 0 or not self.window[0] <= here.ratio <= self.window[1] or here.alpha == 0:
            return state.x, here
        noisiest = problem.level(1.0).ratio
        raised = min(here.ratio * (1.0 + gamma), noisiest)
        if raised <= here.ratio:
            return state.x, here
        stirred = problem.level(float(problem.schedule.time(-2.0 * math.log(raised))))
        added = self.inflation * math.sqrt(max(stirred.ratio**2 - here.ratio**2, 0.0))
        z = problem.normal(state.x, state.step, noise.Stream.CHURN)
        return (state.x / here.alpha + added * z) * stirred.alpha, stirred


def _epsilon(x: Tensor, mean: Tensor, level: Level) -> Tensor:
    return (x - level.alpha * mean) / level.sigma
