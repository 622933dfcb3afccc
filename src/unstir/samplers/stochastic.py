"""Solvers of the reverse stochastic differential equation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unstir.processes import Schedule
from unstir.samplers import grids
from unstir.samplers.solve import Solver, State


class EulerMaruyama(Solver):
    r"""Euler & Maruyama on the reverse SDE in time t.

    .. math:: x_s = x_t - (f x_t - g^2 \nabla \log p_t(x_t)) (t - s) + g \sqrt{t - s}\, z

    Source: Song et al. 2021, eq. 6 and section 4.1. Weak order 1. The step to data returns the posterior
    mean. The SDE of `Flow`, `Cosine` and other schedules with alpha(1) = 0 is infinite at t = 1: start
    their grids later.
    """

    def default_grid(self, schedule: Schedule, steps: int) -> Tensor:
        return grids.uniform(schedule, steps)

    def step(self, state: State, s: float) -> State:
        problem = state.problem
        here, there = problem.level(state.t), problem.level(s)
        drift = float(problem.schedule.drift(state.t))
        squared = float(problem.schedule.diffusion_squared(state.t))
        if not (math.isfinite(drift) and math.isfinite(squared)):
            raise ValueError(
                f"the SDE of {type(problem.schedule).__name__} is infinite at t = {state.t:g}; take a grid "
                "that starts later, such as 'karras', or another solver"
            )
        mean = problem.evaluate(state.x, state.t).mean
        if there.sigma == 0:
            return state.advance(there.alpha * mean, s)
        score = (here.alpha * mean - state.x) / here.sigma**2
        dt = state.t - s
        z = problem.normal(state.x, state.step)
        x = torch.add(state.x, state.x * drift - squared * score, alpha=-dt)
        return state.advance(x + math.sqrt(squared * dt) * z, s)
