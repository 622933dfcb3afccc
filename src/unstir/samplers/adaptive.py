"""The adaptive sampler: the probability flow to a tolerance, each sample at its own steps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unstir.processes import Angle, Schedule, expand
from unstir.samplers import grids
from unstir.samplers.coefficients import hypot
from unstir.samplers.runge_kutta import check_tolerances, integrate
from unstir.samplers.solve import Level, Problem, Solver, State


class Adaptive(Solver):
    r"""Dormand & Prince's embedded Runge-Kutta method of order 5(4) on the probability flow.

    In the angle phi = arctan(sigma / alpha) and y = x / sqrt(alpha^2 + sigma^2) the flow is

    .. math:: dy / d\phi = (y \cos\phi - E[x_0 | x_t]) / \sin\phi ,

    (Song et al. 2021, eq. 13, in the variables of Salimans & Ho 2022, appendix D), regular for every
    schedule from pure noise (phi = pi / 2) to data (phi = 0), where a step from the angle ``end`` returns
    the posterior mean, with an error of order end^2. (A process that blurs is followed in the angle of its
    base, see `Modes.at_angle`.) The grid only says at which times the state is wanted;
    the steps between are chosen for each sample (see `runge_kutta.integrate`), and all samples are
    evaluated until the last one has arrived.

    Args:
        rtol: tolerance relative to y of a step, at least 0.
        atol: absolute tolerance in y, whose noise has deviation 1; at least 0, and not 0 with ``rtol``.
        end: sigma / alpha from which to step to data, above 0; by default the root of the larger
            tolerance, so that this step has an error of the size of the tolerance.
        max_evaluations: most evaluations between two times of the grid.

    Raises:
        ValueError: for a setting out of its range.
        FloatingPointError: when sampling, if the denoiser's answer is not finite, with the noise level.
        RuntimeError: when sampling, if ``max_evaluations`` are not enough.
    """

    def __init__(
        self,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        end: float | None = None,
        max_evaluations: int = 10_000,
    ) -> None:
        check_tolerances(rtol, atol)
        if end is not None and not 0 < end < math.inf:
            raise ValueError(f"the last noise level sigma/alpha before data is above 0, got {end}")
        if max_evaluations < 1:
            raise ValueError(f"an adaptive solver takes at least 1 evaluation, got {max_evaluations}")
        self.rtol = rtol
        self.atol = atol
        self.end = math.sqrt(max(rtol, atol)) if end is None else end
        self.max_evaluations = max_evaluations

    def default_grid(self, schedule: Schedule, steps: int, sigma_data: float = 1.0) -> Tensor:
        """Only the ends, (1, 0), whatever the number of steps."""
        return grids.uniform(schedule, steps)[[0, -1]]

    def step(self, state: State, s: float) -> State:
        problem, x = state.problem, state.x
        here, there = problem.level(state.t), problem.level(s)
        start, stop = angle_of(here), angle_of(there)
        last = min(start, math.atan(self.end)) if there.clean else stop
        y, _ = integrate(
            lambda y, phi: _slope(problem, y, phi),
            x / hypot(here.alpha, here.sigma),
            start,
            last,
            rtol=self.rtol,
            atol=self.atol,
            max_evaluations=self.max_evaluations,
        )
        if not there.clean:
            return state.advance(y * hypot(there.alpha, there.sigma), s)
        phi = torch.full((len(y),), last, dtype=torch.float64, device=y.device)
        return state.advance(mean_at_angle(problem, y, problem.process.at_angle(phi)), s)


def angle_of(level: Level) -> float:
    """arctan(sigma / alpha) of the base."""
    alpha, sigma, _ = level.plain
    return math.atan2(sigma, alpha)


def _slope(problem: Problem, y: Tensor, phi: Tensor) -> Tensor:
    """dy / dphi, at one angle for each sample."""
    angle = problem.process.at_angle(phi)
    return (y * expand(angle.cosine, y) - mean_at_angle(problem, y, angle)) / expand(angle.divisor, y)


def mean_at_angle(problem: Problem, y: Tensor, angle: Angle) -> Tensor:
    """E[x_0 | x_t] of y = x_t / sqrt(alpha^2 + sigma^2) at the angle arctan(sigma / alpha) of each sample.

    Raises:
        FloatingPointError: if it is not finite, with the noise level.
    """
    t = angle.t
    mean = problem.evaluate(y * expand(angle.norm, y), t).mean
    broken = ~torch.isfinite(mean).reshape(len(mean), -1).all(dim=1)
    if bool(broken.any()):
        where = t[broken][0]
        raise FloatingPointError(
            f"the denoiser's posterior mean is not finite at t = {float(where):.6g} "
            f"(log-SNR {float(problem.schedule.log_snr(where)):.4g}); check the denoiser there"
        )
    return mean
