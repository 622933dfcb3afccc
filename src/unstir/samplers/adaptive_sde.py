"""The adaptive stochastic sampler: the reverse SDE to a tolerance, each sample at its own steps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unstir.processes import Schedule, expand
from unstir.samplers import grids
from unstir.samplers.adaptive import angle_of, mean_at_angle
from unstir.samplers.coefficients import hypot
from unstir.samplers.runge_kutta import check_tolerances
from unstir.samplers.solve import Problem, Solver, State

# Jolicoeur-Martineau et al. 2021, algorithm 1: theta and r; growth and fall of a step are bounded besides.
_SAFETY, _EXPONENT = 0.9, 0.9
_SLOWEST, _FASTEST = 0.2, 5.0


class AdaptiveSDE(Solver):
    r"""Euler's against Heun's step on the reverse SDE, with step sizes chosen for each sample.

    Both steps are those of `StochasticHeun` (order 1, and weak order 2 from the same noise), taken in the
    angle phi = arctan(sigma / alpha) of y = x / sqrt(alpha^2 + sigma^2), which is regular for every
    schedule from pure noise (pi / 2) to data (0). The second is kept if the root mean square of

    .. math:: (y' - y'') / \max(atol,\ rtol \max(|y'|, |y'_{prev}|))

    over one sample's entries is at most 1, and the step is multiplied by 0.9 error^-0.9, bounded by 0.2
    and 5. A step that is rejected asks the same Brownian path again at an earlier time, so no noise is
    lost. Still, steps whose noise happened to be small are accepted more often: in few dimensions, where
    the error norm varies, a loose tolerance loses variance. On Gaussian data of variance 0.16 the default
    gave 0.13 in one dimension and 0.16 in 64; there a tenth of the tolerance is due.

    Source: Jolicoeur-Martineau et al. 2021, "Gotta go fast when generating data with score-based models",
    algorithms 1 and 2; there in time t, here in the variable in which the noise is additive. The grid
    only says at which times the state is wanted. Two evaluations an attempt, and all samples are
    evaluated until the last one has arrived.

    Args:
        rtol: tolerance relative to y of a step, at least 0; 0.01 to 0.1 in the paper.
        atol: absolute tolerance in y, whose noise has deviation 1; at least 0, and not 0 with ``rtol``.
            0.0078 in the paper for data in [-1, 1], the step of 8-bit colours; half of it by default.
        first_step: the first step of the angle, above 0.
        end: sigma / alpha from which to step to data by the posterior mean, above 0.
        max_evaluations: most evaluations between two times of the grid.

    Raises:
        ValueError: for a setting out of its range.
        FloatingPointError: when sampling, if the denoiser's answer is not finite, with the noise level.
        RuntimeError: when sampling, if ``max_evaluations`` are not enough.
    """

    def __init__(
        self,
        rtol: float = 0.01,
        atol: float = 0.004,
        first_step: float = 0.01,
        end: float = 0.01,
        max_evaluations: int = 10_000,
    ) -> None:
        check_tolerances(rtol, atol)
        if not 0 < first_step < math.inf:
            raise ValueError(f"the first step of the angle is above 0, got {first_step}")
        if not 0 < end < math.inf:
            raise ValueError(f"the last noise level sigma/alpha before data is above 0, got {end}")
        if max_evaluations < 1:
            raise ValueError(f"an adaptive solver takes at least 1 evaluation, got {max_evaluations}")
        self.rtol = rtol
        self.atol = atol
        self.first_step = first_step
        self.end = end
        self.max_evaluations = max_evaluations

    def default_grid(self, schedule: Schedule, steps: int, sigma_data: float = 1.0) -> Tensor:
        """Only the ends, (1, 0), whatever the number of steps."""
        return grids.uniform(schedule, steps)[[0, -1]]

    def step(self, state: State, s: float) -> State:
        problem, x = state.problem, state.x
        here, there = problem.level(state.t), problem.level(s)
        start, stop = angle_of(here), angle_of(there)
        last = min(start, math.atan(self.end)) if there.clean else stop
        y = self._integrate(problem, x / hypot(here.alpha, here.sigma), start, last)
        if not there.clean:
            return state.advance(y * hypot(there.alpha, there.sigma), s)
        phi = torch.full((len(y),), last, dtype=torch.float64, device=y.device)
        return state.advance(mean_at_angle(problem, y, problem.process.at_angle(phi)), s)

    def _integrate(self, problem: Problem, y: Tensor, start: float, stop: float) -> Tensor:
        phi = torch.full((len(y),), start, dtype=torch.float64, device=y.device)
        size = torch.full_like(phi, self.first_step)
        brownian = problem.brownian(y)
        before, previous, evaluations = brownian.at(_clock(phi)), y, 0
        while bool((phi > stop).any()):
            evaluations += 2
            if evaluations > self.max_evaluations:
                raise RuntimeError(
                    f"the sampler has reached the noise level {float(phi.max().tan()):.4g} and needs more "
                    f"than {self.max_evaluations} evaluations; loosen rtol and atol, or allow more"
                )
            target = (phi - size).clamp(min=stop)
            after = brownian.at(_clock(target))
            euler, heun = _attempt(problem, y, phi, target, after - before)
            tolerance = (self.rtol * torch.maximum(euler.abs(), previous.abs())).clamp(min=self.atol)
            error = ((euler - heun) / tolerance.clamp(min=torch.finfo(y.dtype).tiny)).reshape(len(y), -1)
            norm = error.double().square().mean(dim=1).sqrt()
            accepted = (phi > stop) & (norm <= 1.0)
            size = (phi - target) * (_SAFETY * norm**-_EXPONENT).clamp(_SLOWEST, _FASTEST)
            y, previous = _choose(accepted, heun, y), _choose(accepted, euler, previous)
            before, phi = _choose(accepted, after, before), torch.where(accepted, target, phi)
        return y


def _attempt(
    problem: Problem, y: Tensor, phi: Tensor, target: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Euler's and Heun's step to the target angle of each sample; see `StochasticHeun`."""
    here, there = problem.process.at_angle(phi), problem.process.at_angle(target)
    noise = problem.stretch(noise, there.snr - here.snr, _clock(target) - _clock(phi))
    log_step = there.snr.log() - here.snr.log()
    share = torch.where(log_step > 0, 1.0 / -torch.expm1(-log_step) - 1.0 / log_step, 0.5)
    # y = u sin^2 / cos with u and c of `StochasticHeun`
    scale = there.sine**2 / there.cosine
    base = expand(scale * here.cosine / here.sine**2, y) * y + expand(scale, y) * noise
    gain = expand(scale * (there.snr - here.snr), y)
    mean = mean_at_angle(problem, y, here)
    euler = base + gain * mean
    ahead = mean_at_angle(problem, euler, there)
    return euler, base + gain * torch.lerp(mean, ahead, expand(share, y))


def _clock(phi: Tensor) -> Tensor:
    """The signal-to-noise ratio alpha^2 / sigma^2 at an angle."""
    return phi.tan() ** -2


def _choose(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b)
