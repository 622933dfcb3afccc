"""Samplers with Langevin dynamics at fixed noise levels: predictor-corrector and annealed Langevin."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from unstir import noise
from unstir.processes import Schedule, expand
from unstir.samplers import grids
from unstir.samplers.ancestral import posterior_coefficients
from unstir.samplers.coefficients import sqrt
from unstir.samplers.solve import Level, Problem, Solver, State


class ReverseDiffusion(Solver):
    r"""The reverse-diffusion predictor: the forward step's own drift and noise, walked back.

    With q(x_t | x_s) = N(rho x_s, q^2),

    .. math:: x_s = (2 - \rho)\,x_t + q^2 \nabla \log p_t(x_t) + q z

    Source: Song et al. 2021, appendix E, with the exact forward step, as in their algorithms 2 and 3. Weak
    order 1. The step to data returns the posterior mean.
    """

    def default_grid(self, schedule: Schedule, steps: int, sigma_data: float = 1.0) -> Tensor:
        """Equal steps of time; of log-SNR if the schedule ends in pure noise, which this step ignores."""
        ends = float(schedule.alpha(1.0)) == 0.0
        return grids.log_snr(schedule, steps) if ends else grids.uniform(schedule, steps)

    def step(self, state: State, s: float) -> State:
        problem, x = state.problem, state.x
        here, there = problem.level(state.t), problem.level(s)
        mean = problem.evaluate(x, state.t).mean
        if there.clean:
            return state.advance(there.alpha * mean, s)
        forgotten = posterior_coefficients(here, there)[3]
        # q^2 score = forgotten (alpha E[x_0 | x_t] - x_t)
        x_s = x * (2.0 - here.alpha / there.alpha - forgotten) + mean * (forgotten * here.alpha)
        z = problem.normal(x, state.step)
        return state.advance(x_s + here.sigma * sqrt(forgotten) * z, s)


class PredictorCorrector(Solver):
    r"""A step of any solver, then Langevin steps at the new noise level that correct its distribution.

    .. math:: x \leftarrow x + \varepsilon \nabla \log p_s(x) + \sqrt{2 \varepsilon}\, z,\qquad
              \varepsilon = 2 \left(snr\,\frac{\lVert z \rVert}{\lVert \nabla \log p_s(x) \rVert}\right)^2

    Source: Song et al. 2021, algorithms 2 to 5. Their factor alpha_i = 1 - beta_i, which goes to 1 with the
    number of steps, is left out, and their mean of the norms over a batch is replaced, so that a sample
    does not depend on its batch. The stationary variance of a Langevin step is too large by a factor of at
    most about 1 / (1 - snr^2), 1.03 for 0.16. One evaluation a corrector step. Data is reached by the
    predictor alone.

    Args:
        predictor: makes the steps; by default `ReverseDiffusion`. Its default grid is used.
        corrections: Langevin steps after each step, at least 1.
        snr: their r, the signal-to-noise ratio of a corrector step, above 0 and below 1; 0.16 in the paper
            for VE.
        norms: of what the step size is made:
            ``"level"``, the norms of pure noise, \|z\| / \|score\| = sigma, so epsilon = 2 (snr sigma)^2;
            ``"sample"``, each sample's own norms, with epsilon at most sigma^2, half of what is surely
            stable. In hundreds of dimensions norms hardly vary. In few, samples where the score is small
            move most, which biases the distribution: on Gaussian data of one entry and variance 0.16 it
            tripled the variance; in 64 it did not change it.

    Raises:
        ValueError: for a setting out of its range.
    """

    def __init__(
        self,
        predictor: Solver | None = None,
        corrections: int = 1,
        snr: float = 0.16,
        norms: Literal["level", "sample"] = "level",
    ) -> None:
        if corrections < 1:
            raise ValueError(
                f"a corrector takes at least 1 step, got {corrections}; or use the predictor alone"
            )
        if not 0 < snr < 1:
            raise ValueError(f"the signal-to-noise ratio of a corrector step lies between 0 and 1, got {snr}")
        if norms not in ("level", "sample"):
            raise ValueError(
                f"the norms of a corrector step are those of the 'level' or of each 'sample', got {norms!r}"
            )
        self.predictor = ReverseDiffusion() if predictor is None else predictor
        self.corrections = corrections
        self.snr = snr
        self.norms = norms

    def default_grid(self, schedule: Schedule, steps: int, sigma_data: float = 1.0) -> Tensor:
        return self.predictor.default_grid(schedule, steps, sigma_data)

    def init(self, problem: Problem, x: Tensor, t: float) -> State:
        return self.predictor.init(problem, x, t)

    def step(self, state: State, s: float) -> State:
        problem, count = state.problem, state.step
        state = self.predictor.step(state, s)
        level, x = problem.level(s), state.x
        if level.clean:
            return state
        for turn in range(self.corrections):
            mean = problem.evaluate(x, s).mean
            z = problem.normal(x, count * self.corrections + turn, noise.Stream.LANGEVIN)
            share: float | Tensor = 2.0 * self.snr**2
            if self.norms == "sample":
                # The score is (alpha E[x_0 | x] - x) / sigma^2.
                ratio = level.plain[1] * _norm(z) / _norm(level.alpha * mean - x)
                share = (share * ratio**2).clamp(max=1.0)
            x = langevin(x, mean, level, share, z)
        return replace(state, x=x)


class AnnealedLangevin(Solver):
    r"""Langevin dynamics at one noise level after the other, as score matching began.

    .. math:: x \leftarrow x + \tfrac12 a_i \nabla \log p_i(x) + \sqrt{a_i}\, z,\qquad
              a_i = \epsilon\,\sigma_i^2 / \sigma_L^2

    Source: Song & Ermon 2019, algorithm 1, on x / alpha with sigma / alpha as noise level, which is theirs
    for `VE`. Between levels x / alpha of the base stays (the noise alone, where alpha = 0). The start is
    taken to be of the first level, and data is reached by the posterior mean at the last
    (Jolicoeur-Martineau et al. 2021, "Adversarial score matching and improved sampling", section 3). The
    levels should be close (geometric, the default grid) and the steps many: each evaluates the denoiser once.

    Args:
        repeats: Langevin steps at each level, at least 1; 100 in the paper, for 10 levels.
        step_size: their epsilon / sigma_L^2, the step a_i in units of the level's variance, above 0 and
            below 4, where it is unstable; 0.2 in the paper (2e-5 / 0.01^2).

    Raises:
        ValueError: for a setting out of its range.
    """

    def __init__(self, repeats: int = 10, step_size: float = 0.2) -> None:
        if repeats < 1:
            raise ValueError(f"annealed Langevin takes at least 1 step a level, got {repeats}")
        if not 0 < step_size < 4:
            raise ValueError(
                f"the step size, in units of the level's variance, lies between 0 and 4, got {step_size}"
            )
        self.repeats = repeats
        self.step_size = step_size

    def default_grid(self, schedule: Schedule, steps: int, sigma_data: float = 1.0) -> Tensor:
        return grids.log_snr(schedule, steps)

    def step(self, state: State, s: float) -> State:
        problem, x = state.problem, state.x
        here, there = problem.level(state.t), problem.level(s)
        if there.clean:
            return state.advance(there.alpha * problem.evaluate(x, state.t).mean, s)
        (alpha, sigma, _), (alpha_s, sigma_s, _) = here.plain, there.plain
        x = x * (sigma_s / sigma if here.pure else alpha_s / alpha)
        for turn in range(self.repeats):
            mean = problem.evaluate(x, s).mean
            z = problem.normal(x, state.step * self.repeats + turn, noise.Stream.LANGEVIN)
            x = langevin(x, mean, there, 0.5 * self.step_size, z)
        return state.advance(x, s)


def langevin(x: Tensor, mean: Tensor, level: Level, share: float | Tensor, z: Tensor) -> Tensor:
    """One Langevin step x + epsilon score + sqrt(2 epsilon) z.

    Args:
        x: (batch, *event).
        mean: E[x_0 | x], (batch, *event).
        level: the noise level, sigma above 0.
        share: epsilon / sigma^2, a number or (batch,).
        z: standard normal, (batch, *event).
    """
    share = expand(torch.as_tensor(share, dtype=torch.float64, device=x.device), x)
    return x + share * (level.alpha * mean - x) + level.sigma * (2.0 * share).sqrt() * z


def _norm(x: Tensor) -> Tensor:
    """The Euclidean norm of each sample, (batch,) float64; above 0, so that one can divide by it."""
    return x.reshape(len(x), -1).double().square().sum(dim=1).sqrt().clamp(min=1e-150)
