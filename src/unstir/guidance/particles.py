"""Sequential Monte Carlo: populations of samples that are weighed, so exact as they grow."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unstir import noise
from unstir.guidance.beliefs import Belief, Correlated, Round, white_basis
from unstir.guidance.gram import isotropic_variance
from unstir.guidance.operators import Map, Operator
from unstir.guidance.spectral import Spectral
from unstir.guidance.tilt import NOISIEST, watched
from unstir.processes import as_float64
from unstir.samplers.ancestral import posterior_coefficients
from unstir.samplers.solve import Level, Problem, Solver, State


class Population(NamedTuple):
    """What `Twisted` keeps in the memory of a state.

    Attributes:
        log_weights: (batch,) float64, of the particles of each group; those at rest are 0. The twist of the
            present states is still to come, with their evaluation.
        log_evidence: (groups,) float64, log p(y) in nats as far as the weights have been spent.
        effective: (groups,) float64, effective sample size of the last weights, 1 to ``particles``.
        rows: (batch,) number of the measurement of each sample.
    """

    log_weights: Tensor
    log_evidence: Tensor
    effective: Tensor
    rows: Tensor


class _Estimate(NamedTuple):
    """What an evaluation says: of x_0 in entries, of the shift in the coordinates of the state."""

    mean: Tensor
    shift: Tensor
    belief: Belief


class Twisted(Solver):
    r"""The twisted diffusion sampler: guided ancestral steps whose error is undone by weights.

    A group of particles targets the model :math:`p(x_s | x_t) = N(a \hat x + b x_t, \tilde\beta + a^2 V)`,
    V = Var[x_0 | x_t], given y. Steps are proposed from

    .. math:: \tilde p(x_s | x_t, y) = N\left(a (\hat x + \Delta) + b x_t,\ \
              \tilde\beta + a^2 (V - V A^T (R + A V A^T)^{-1} A V)\right),\quad
              \Delta = \frac{\sigma^2}{\alpha} \nabla_{x_t} \log \tilde p(y | x_t)

    with the twist :math:`\tilde p(y | x_t) = N(y; A \hat x, R + A V A^T)`, and weighed by

    .. math:: w = \frac{p(x_s | x_t)\, \tilde p(y | x_s)}{\tilde p(y | x_t)\, \tilde p(x_s | x_t, y)}

    When the effective sample size falls below half of the particles, a group is resampled (systematically,
    Carpenter, Clifford & Fearnhead 1999); in the end always, so the result has equal weights. The last step,
    to data, draws x_0 from p(x_0 | x_t, y) itself, so its weights are 1: the final twist is the true
    likelihood.

    By default V is round: the mean of the denoiser's variance where it gives one, else that of white
    Gaussian data of deviation ``sigma_data`` (`isotropic_variance`), which is the twist of PiGDM. With a
    ``covariance`` C of the data it is :math:`(C^{-1} + \alpha^2 / \sigma^2)^{-1}`, by dense matrices. For
    Gaussian data of that covariance, or white ones, all weights of all steps are equal, and with any number
    of steps the samples and the evidence are exact. For others they are as particles and steps grow:
    particles undo the error of guidance, steps that of taking p(x_s | x_t) for a Gaussian.

    In few dimensions the denoiser's own variance is the better V. In many, where data are correlated,
    weights vary by the mismatch of the twist, and particles of one group come to share ancestors: on
    Gaussian images of 256 pixels the deviations within one group of 64 were 0.1 to 0.8 of the exact with a
    round V and 0.99 to 1.05 with the covariance. Without one take many groups, and look at the effective
    size (`sample_with_evidence`).

    Source: Wu, Trippe, Naesseth, Blei & Cunningham 2023, "Practical and asymptotically exact conditional
    sampling in diffusion models", section 3 and algorithm 1; the round twist is that of Song et al. 2023
    (PiGDM), eq. 7. In the source the proposal has the covariance of the model; so it has here under a
    schedule that blurs, but for the last step.

    A batch of n samples is n / ``particles`` groups of consecutive samples, independent of each other:
    several measurements, or several runs for one. Samples of one group are dependent; one of each,
    ``x[::particles]``, are not. An evaluation counts twice in ``nfe`` where a backward pass through the
    denoiser belongs to it. `sample_with_evidence` also gives log p(y).

    Args:
        y: (*measured), shared by all samples; (groups, *measured), one for each group; or
            (batch, *measured), the same within a group.
        operator: a `LinearOperator` with singular values at hand or small enough, or a matrix.
        noise: standard deviation, above 0; a number or one for each entry of a measurement.
        particles: of a group, at least 1; 1 is guidance alone, without correction.
        covariance: of the data, (d, d) of flattened events, such as ``torch.cov`` of many, d up to about
            1,000 (each step takes d^3 operations). Not under a schedule that blurs.

    Raises:
        ValueError: for fewer than 1 particle, a covariance that is none, or as in `Spectral`; when sampling,
            if the batch is not made of whole groups, or has another number of measurements.
    """

    def __init__(
        self,
        y: Tensor,
        operator: Operator | Tensor | Map,
        noise: float | Tensor,
        *,
        particles: int = 64,
        covariance: Tensor | None = None,
    ) -> None:
        if particles < 1:
            raise ValueError(f"a group has at least 1 particle, got {particles}")
        self.spectral = Spectral(y, operator, noise)
        event = self.spectral.operator.event
        self.data = None if covariance is None else white_basis(covariance, event)
        self.particles = particles

    def init(self, problem: Problem, x: Tensor, t: float) -> State:
        size = self.particles
        if len(x) % size or int(problem.index[0]) % size:
            raise ValueError(
                f"samples come in groups of {size} particles, but these are {len(x)} from number "
                f"{int(problem.index[0])} on; take multiples of {size}"
            )
        if self.data is not None and problem.process is not problem.schedule:
            raise ValueError(
                f"under {type(problem.schedule).__name__} a covariance of the data is not used, because "
                "modes fade differently; leave it out"
            )
        groups = len(x) // size
        zeros = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        full = torch.full((groups,), float(size), dtype=torch.float64, device=x.device)
        population = Population(zeros, torch.zeros_like(full), full, self._rows(len(x), x.device))
        return State(problem, x, t, memory=population)

    def step(self, state: State, s: float) -> State:
        problem = state.problem
        here, there = problem.level(state.t), problem.level(s)
        estimate, log_twist = self._look(state, here, exact=there.clean)
        # Data leave with equal weights.
        population, ancestors = self._weigh(state, log_twist, always=there.clean)
        x, mean = state.x[ancestors], estimate.mean[ancestors]
        estimate = _Estimate(mean, estimate.shift[ancestors], estimate.belief.pick(ancestors))
        z = problem.normal(x, state.step)
        if there.clean:
            return state.advance(self._last(problem, estimate, z), s, population)
        x, log_ratio = self._propose(problem, x, estimate, here, there, z)
        log_weights = population.log_weights + log_ratio - log_twist[ancestors]
        state = state.advance(x, s, population._replace(log_weights=log_weights))
        return self._close(state) if state.step == problem.steps else state

    def _look(self, state: State, level: Level, exact: bool) -> tuple[_Estimate, Tensor]:
        """Evaluate, and find the shift of the mean that the measurement asks for, and the log of the twist.

        The shift is V A^T (R + A V A^T)^{-1} (y - A mean) for a last step, which is exact then, and at pure
        noise, where the gradient times sigma^2 / alpha has this limit for Gaussian data.
        """
        problem, spectral, rows = state.problem, self.spectral, state.memory.rows
        by_gradient = not exact and level.plain[2] >= NOISIEST
        with torch.set_grad_enabled(by_gradient):
            x = watched(state.x)[0] if by_gradient else state.x
            posterior = problem.evaluate(x, state.t)
            mean = problem.leave(posterior.mean)
        belief = self._belief(problem, mean, posterior.variance, level)
        values = spectral.values.to(mean.device)
        residual = spectral.y.to(mean.device)[rows] - values * spectral.analyse(mean.detach().double())
        weighed, log_twist = belief.weigh(residual)
        pull = spectral.synthesise(values * weighed).to(mean)
        if by_gradient:
            (gradient,) = torch.autograd.grad(mean, x, pull)
            problem.nfe += problem.denoiser.cost(state.t)
            shift = gradient * _per_score(level)
        else:
            shift = problem.enter(belief.spread(pull))
        return _Estimate(mean.detach(), shift, belief), log_twist + spectral.log_rest(rows)

    def _belief(self, problem: Problem, mean: Tensor, known: Tensor | None, level: Level) -> Belief:
        """V of the data's covariance if it was given, else round."""
        if self.data is not None:
            basis, values = (part.to(mean.device) for part in self.data)
            alpha, sigma, _ = level.plain
            total = alpha**2 * values + sigma**2
            return Correlated(self.spectral, basis, sigma**2 * values / total)
        if known is not None:
            v = known.detach().double().flatten(1).mean(1).clamp(min=0.0)
        else:
            v = isotropic_variance(problem.denoiser, mean, level.t).to(mean.device).expand(len(mean))
        return Round(self.spectral, v)

    def _propose(
        self, problem: Problem, x: Tensor, estimate: _Estimate, here: Level, there: Level, z: Tensor
    ) -> tuple[Tensor, Tensor]:
        """x_s of the proposal, and log p(x_s | x_t) - log p~(x_s | x_t, y), (batch,) float64."""
        a, b, least, _ = posterior_coefficients(here, there)
        mean, shift = problem.enter(estimate.mean) * a + x * b, estimate.shift * a
        if isinstance(a, float) and isinstance(least, float):
            ahead, log_ratio = estimate.belief.draw(shift, least, a**2, z)
        else:  # modes that fade differently mix those of the operator: the model's covariance stays
            k = estimate.belief.spread(torch.ones_like(z)) * a**2 + least
            ahead = shift + k.sqrt() * z
            log_ratio = 0.5 * (z**2 - ahead**2 / k).flatten(1).sum(1)
        return mean + ahead.to(x), log_ratio

    def _last(self, problem: Problem, estimate: _Estimate, z: Tensor) -> Tensor:
        """x_0 of N(mean, V) given the measurement."""
        ahead, _ = estimate.belief.draw(problem.leave(estimate.shift), 0.0, 1.0, problem.leave(z))
        return problem.enter(estimate.mean + ahead.to(estimate.mean))

    def _weigh(self, state: State, log_twist: Tensor, always: bool = False) -> tuple[Population, Tensor]:
        """Complete the weights by the twist of the present states; resample the groups that need it."""
        population, size = state.memory, self.particles
        log_weights = (population.log_weights + log_twist).reshape(-1, size)
        weights = log_weights.softmax(1)
        effective = 1.0 / weights.square().sum(1)
        chosen = torch.full_like(effective, True, dtype=torch.bool) if always else effective < 0.5 * size
        index = state.problem.index[::size] // size
        u = noise.uniform(
            (2,), seed=state.problem.seed, index=index, stream=noise.Stream.RESAMPLE, step=state.step
        )
        own = torch.arange(size, device=weights.device).expand(len(weights), size)
        drawn = systematic(weights, u[:, :1])
        if always:  # they come sorted by ancestor: turned round, each place alone has the right law
            drawn = drawn.gather(1, (own + (u[:, 1:] * size).long()) % size)
        ancestors = torch.where(chosen[:, None], drawn, own)
        first = torch.arange(len(weights), device=weights.device)[:, None] * size
        spent = torch.where(chosen, log_weights.logsumexp(1) - math.log(size), 0.0)
        left = torch.where(chosen[:, None], 0.0, log_weights).flatten()
        evidence = population.log_evidence + spent
        return Population(left, evidence, effective, population.rows), (first + ancestors).flatten()

    def _close(self, state: State) -> State:
        """A run that ends before data ends with equal weights, too."""
        _, log_twist = self._look(state, state.problem.level(state.t), exact=True)
        population, ancestors = self._weigh(state, log_twist, always=True)
        return State(state.problem, state.x[ancestors], state.t, state.step, population)

    def _rows(self, batch: int, device: torch.device) -> Tensor:
        """The number of the measurement of each sample."""
        count, size, number = len(self.spectral.y), self.particles, torch.arange(batch, device=device)
        if count == 1:
            return torch.zeros_like(number)
        if count == batch // size:
            return number // size
        if count == batch:
            y = self.spectral.y.reshape(-1, size, self.spectral.y.shape[1])
            if bool((y == y[:, :1]).all()):
                return number
            raise ValueError(f"the {size} particles of a group share one measurement, and some differ")
        raise ValueError(
            f"there are {count} measurements for {batch // size} groups of {size} particles; give one, or "
            "one for each group"
        )


def systematic(weights: Tensor, u: Tensor) -> Tensor:
    """Numbers of the particles that are kept: each as often as its weight says, rounded up or down.

    Source: Carpenter, Clifford & Fearnhead 1999, "Improved particle filter for nonlinear problems".

    Args:
        weights: (groups, particles), of sum 1.
        u: (groups, 1) in (0, 1).

    Returns:
        (groups, particles) int64, sorted.
    """
    size = weights.shape[1]
    points = (u + torch.arange(size, device=weights.device)) / size
    return torch.searchsorted(weights.cumsum(1), points).clamp(max=size - 1)


def _per_score(level: Level) -> Any:
    """sigma^2 / alpha, the mean's shift for a score; bounded as in `shifted`."""
    if isinstance(level.alpha, float):
        return level.sigma**2 / level.alpha
    return level.sigma**2 / torch.maximum(level.alpha, math.exp(0.5 * NOISIEST) * as_float64(level.sigma))
