"""Solvers of the reverse stochastic differential equation at the steps of a grid.

Their noise is one Brownian path of each sample, so twice the steps follow the same path.
"""

from __future__ import annotations

from torch import Tensor

from unstir.processes import Schedule
from unstir.samplers import grids
from unstir.samplers.coefficients import Coefficient, add_product, expm1, is_finite, sqrt
from unstir.samplers.solve import Level, Problem, Solver, State


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
        drift, squared = rates(problem, state.t)
        if not (is_finite(drift) and is_finite(squared)):
            raise ValueError(
                f"the SDE of {type(problem.schedule).__name__} is infinite at t = {state.t:g}; take a grid "
                "that starts later, such as 'karras', or another solver"
            )
        mean = problem.evaluate(state.x, state.t).mean
        if there.clean:
            return state.advance(there.alpha * mean, s)
        score = (here.alpha * mean - state.x) / here.sigma**2
        x = state.x + (state.x * drift - squared * score) * (s - state.t)
        noise = problem.increment(x, lambda level: 1.0 - level.t, here, there)
        return state.advance(x + sqrt(squared) * noise, s)


def rates(problem: Problem, t: float) -> tuple[Coefficient, Coefficient]:
    """f and g^2 of the forward SDE at a time."""
    f, squared = problem.process.drift(t), problem.process.diffusion_squared(t)
    return (float(f), float(squared)) if f.ndim == 0 else (f, squared)


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
        if there.clean:
            return state.advance(there.alpha * mean, s)
        gain = _snr(there) - _snr(here)
        scale = there.sigma**2 / there.alpha
        noise = problem.increment(x, _snr, here, there)
        base = add_product(x * (scale * here.alpha / here.sigma**2), noise, scale)
        ahead = problem.evaluate(add_product(base.clone(), mean, scale * gain), s).mean
        share = newest_share(here, there)
        return state.advance(base + (mean + (ahead - mean) * share) * (scale * gain), s)


def _snr(level: Level) -> Coefficient:
    return (level.alpha / level.sigma) ** 2


def newest_share(here: Level, there: Level) -> Coefficient:
    """Weight of the end in the mean over [c_t, c_s] of what is linear in log c; 1/2 for a short step."""
    h = there.log_snr - here.log_snr
    if here.pure:
        return 1.0
    return 1.0 / -expm1(-h) - 1.0 / h
