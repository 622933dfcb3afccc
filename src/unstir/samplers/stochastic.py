"""Solvers of the reverse stochastic differential equation at the steps of a grid.

Their noise is one Brownian path of each sample, so twice the steps follow the same path.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unstir.processes import Schedule
from unstir.samplers import grids
from unstir.samplers.solve import Level, Solver, State


class EulerMaruyama(Solver):
    r"""Euler & Maruyama on the reverse SDE in time t.

    .. math:: x_s = x_t - (f x_t - g^2 \nabla \log p_t(x_t)) (t - s) + g\,(B(1 - s) - B(1 - t))

    Source: Song et al. 2021, eq. 6 and section 4.1. Weak order 1; strong order 1, as the noise does not
    depend on the state. The step to data returns the posterior mean. The SDE of `Flow`, `Cosine` and other
    schedules with alpha(1) = 0 is infinite at t = 1: start their grids later, or take `StochasticHeun`.
    """

    def default_grid(self, schedule: Schedule, steps: int, sigma_data: float = 1.0) -> Tensor:
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
        x = torch.add(state.x, state.x * drift - squared * score, alpha=s - state.t)
        noise = problem.brownian(x).increment(1.0 - state.t, 1.0 - s)
        return state.advance(x + math.sqrt(squared) * noise, s)


class StochasticHeun(Solver):
    r"""Heun's method on the reverse SDE in the clock in which it has no linear part: weak order 2.

    With the signal-to-noise ratio c = alpha^2 / sigma^2 as clock and u = alpha x / sigma^2, the reverse SDE
    of every schedule is

    .. math:: du = E[x_0 | x_t]\,dc + dB(c)

    (Montanari 2023, "Sampling, diffusions, and stochastic localization", section 3), from u = 0 at pure
    noise. A step takes the mean as constant, then as linear in log c from its value at t to that at the
    predicted x_s, with the same noise. Additive noise makes Heun's method of weak order 2
    (Kloeden & Platen 1992, section 15.1) and, as the constant mean is Ho et al.'s ancestral step, no step
    size is unstable. Two evaluations a step, one for the step to data, which returns the posterior mean.
    """

    def step(self, state: State, s: float) -> State:
        problem, x = state.problem, state.x
        here, there = problem.level(state.t), problem.level(s)
        mean = problem.evaluate(x, state.t).mean
        if there.sigma == 0:
            return state.advance(there.alpha * mean, s)
        start, end = (here.alpha / here.sigma) ** 2, (there.alpha / there.sigma) ** 2
        scale = there.sigma**2 / there.alpha
        noise = problem.brownian(x).increment(start, end)
        base = torch.add(x * (scale * here.alpha / here.sigma**2), noise, alpha=scale)
        ahead = problem.evaluate(torch.add(base, mean, alpha=scale * (end - start)), s).mean
        share = newest_share(here, there)
        return state.advance(base + torch.lerp(mean, ahead, share) * (scale * (end - start)), s)


def newest_share(here: Level, there: Level) -> float:
    """Weight of the end in the mean over [c_t, c_s] of what is linear in log c; 1/2 for a short step."""
    h = there.log_snr - here.log_snr
    if not math.isfinite(h):
        return 1.0
    return 1.0 / -math.expm1(-h) - 1.0 / h
