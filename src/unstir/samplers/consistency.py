"""The sampler of distilled models: jump to data, add fresh noise, jump again."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unstir.processes import Schedule
from unstir.samplers.coefficients import add_product
from unstir.samplers.solve import Solver, State


class Consistency(Solver):
    r"""Multistep consistency sampling: one, two or a few evaluations of a consistency function.

    .. math:: x_s = \alpha_s f(x_t, t) + \sigma_s z

    Source: Song et al. 2023, "Consistency models", algorithm 1. The last step, to data, returns f(x_t, t).
    With the exact consistency function (see `training.distill`), which takes x_t to the data at the end of
    its probability flow, every step has the exact marginal, so more steps only mend the errors of a learned
    one. With an ordinary denoiser f is the posterior mean, and the samples lack variance.

    The default grid starts at t = 1 and takes its inner levels at equal quantiles of a normal distribution
    of log(sigma / alpha), so that one more step makes all of them denser.

    Args:
        centre: mean of log(sigma / alpha) of the inner levels, in units of the data's deviation.
        spread: its standard deviation, above 0.

    Raises:
        ValueError: for a spread that is not above 0.
    """

    def __init__(self, centre: float = 0.0, spread: float = 1.0) -> None:
        if not spread > 0:
            raise ValueError(f"the spread of the noise levels is above 0, got {spread}")
        self.centre = centre
        self.spread = spread

    def default_grid(self, schedule: Schedule, steps: int, sigma_data: float = 1.0) -> Tensor:
        if steps < 1:
            raise ValueError(f"a sampler takes at least 1 step, got {steps}")
        shares = torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)[1:-1]
        inner = self.times(schedule, shares, sigma_data)
        return torch.cat([inner.new_ones(1), inner, inner.new_zeros(1)])

    def times(self, schedule: Schedule, shares: Tensor, sigma_data: float = 1.0) -> Tensor:
        """Times at shares, in (0, 1), of the distribution of inner levels; float64, shaped as ``shares``.

        Small shares lie near data. The distribution is cut off at the level of t = 1.
        """
        centre = math.log(sigma_data) + self.centre
        first = torch.tensor((-0.5 * float(schedule.log_snr(1.0)) - centre) / self.spread).double()
        quantiles = torch.special.ndtri(shares * torch.special.ndtr(first))
        return schedule.time(-2.0 * (centre + self.spread * quantiles))

    def step(self, state: State, s: float) -> State:
        problem = state.problem
        x_0 = problem.evaluate(state.x, state.t).mean
        there = problem.level(s)
        x = x_0 * there.alpha
        if not there.clean:
            x = add_product(x, problem.normal(x, state.step), there.sigma)
        return state.advance(x, s)
