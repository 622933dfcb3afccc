"""The one sampling loop, and what a solver has to give it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from unstir import noise
from unstir.brownian import BrownianPath
from unstir.denoisers import Denoiser, Posterior
from unstir.processes import Schedule
from unstir.samplers import grids
from unstir.samplers.coefficients import Coefficient
from unstir.samplers.exponential import Coordinate, Point, Prediction, step_coefficients


@dataclass(frozen=True)
class Solution:
    """The result of a sampling run.

    Attributes:
        x: the samples, (batch, *event).
        nfe: number of network evaluations that every sample took; guidance takes two a call.
        grid: the times, (steps + 1,).
        path: the states at those times, (steps + 1, batch, *event), if they were asked for.
    """

    x: Tensor
    nfe: int
    grid: Tensor
    path: Tensor | None = None


class Level(NamedTuple):
    """The coefficients of one time: plain floats, or a number for each mode of a process that blurs.

    Attributes:
        t: the time.
        alpha: scale of the data.
        sigma: deviation of the noise.
        log_snr: log(alpha^2 / sigma^2).
        base: the plain floats of the same time, where the others are not.
        pace: how much faster the log-SNR falls than that of ``base``.
    """

    t: float
    alpha: Coefficient
    sigma: Coefficient
    log_snr: Coefficient
    base: Level | None = None
    pace: Coefficient = 1.0

    @property
    def reference(self) -> Level:
        """The level in plain floats: itself, or that of the mode that is not blurred."""
        return self if self.base is None else self.base

    @property
    def clean(self) -> bool:
        """Whether there is no noise."""
        return bool(self.sigma == 0.0 if self.base is None else self.base.sigma == 0.0)

    @property
    def pure(self) -> bool:
        """Whether there is no data."""
        return bool(self.alpha == 0.0 if self.base is None else self.base.alpha == 0.0)

    @property
    def ratio(self) -> Coefficient:
        """sigma / alpha, the noise level of x_t / alpha; inf for pure noise."""
        return math.inf if self.pure else self.sigma / self.alpha

    @property
    def half_log_snr(self) -> Coefficient:
        """log(alpha / sigma), the variable in which exponential integrators are exact."""
        return 0.5 * self.log_snr

    @property
    def plain(self) -> tuple[float, float, float]:
        """alpha, sigma and log-SNR of `reference`, as floats."""
        return cast(tuple[float, float, float], self.reference[1:4])

    @property
    def point(self) -> Point:
        """alpha, sigma and log(alpha / sigma) of `reference`."""
        alpha, sigma, log_snr = self.plain
        return alpha, sigma, 0.5 * log_snr


LevelClock = Callable[[Level], Coefficient]
"""The time of a Brownian motion at a level."""


class Problem:
    """What a run is about and does not change: the denoiser, its condition, the levels and the noise."""

    def __init__(
        self, denoiser: Denoiser, grid: Tensor, index: Tensor, seed: int, condition: Mapping[str, Tensor]
    ) -> None:
        self.denoiser = denoiser
        self.schedule: Schedule = denoiser.schedule
        self.sigma_data: float = denoiser.sigma_data
        self.steps = len(grid) - 1
        self.index = index
        self.seed = seed
        self.condition = dict(condition)
        self.nfe = 0
        self._brownian: BrownianPath | None = None
        columns = (grid, *(f(grid) for f in self._functions()))
        rows = zip(*(column.tolist() for column in columns), strict=True)
        self._levels = {row[0]: Level(*row) for row in rows}

    def _functions(self) -> tuple[Callable[[Any], Tensor], ...]:
        return self.schedule.alpha, self.schedule.sigma, self.schedule.log_snr

    @property
    def process(self) -> Schedule:
        """The process of the states that a solver sees, entry by entry."""
        return self.schedule

    def enter(self, x: Tensor) -> Tensor:
        """A state of the denoiser in the coordinates that a solver sees."""
        return x

    def leave(self, x: Tensor) -> Tensor:
        """The inverse of `enter`."""
        return x

    def level(self, t: float) -> Level:
        """alpha, sigma and log-SNR at a time; free for the times of the grid."""
        if t not in self._levels:
            alpha, sigma, log_snr = (float(f(t)) for f in self._functions())
            self._levels[t] = Level(t, alpha, sigma, log_snr)
        return self._levels[t]

    def evaluate(self, x: Tensor, t: float | Tensor) -> Posterior:
        """The denoiser's posterior at one time, or one for each sample, its network evaluations counted.

        Raises:
            ValueError: if the denoiser's answer has another shape or type than the state.
        """
        self.nfe += self.denoiser.cost(float(t.max()) if isinstance(t, Tensor) else t)
        posterior: Posterior = self.denoiser(x, t, **self.condition)
        mean = posterior.mean
        if mean.shape != x.shape or mean.dtype != x.dtype:
            raise ValueError(
                f"the denoiser answered {tuple(mean.shape)} {mean.dtype} to a state of "
                f"{tuple(x.shape)} {x.dtype}; its posterior mean must have the state's shape and type"
            )
        return posterior

    def normal(self, x: Tensor, step: int, stream: noise.Stream = noise.Stream.STEP) -> Tensor:
        """Standard normal noise of the shape of ``x`` that depends on seed, sample and step only."""
        return noise.normal(
            x.shape[1:], seed=self.seed, index=self.index, stream=stream, step=step, dtype=x.dtype
        )

    def brownian(self, x: Tensor) -> BrownianPath:
        """The run's Brownian motion of the shape of ``x``: a path that does not depend on the steps taken.

        A solver asks for the increments of its own clock, so twice the steps follow the same path.
        """
        if self._brownian is None:
            self._brownian = BrownianPath(x.shape[1:], seed=self.seed, index=self.index, dtype=x.dtype)
        return self._brownian

    def increment(self, x: Tensor, clock: LevelClock, here: Level, there: Level) -> Tensor:
        """The Brownian motion's increment of a step, between the clock's times of two levels."""
        a, b = clock(here), clock(there)
        return self.brownian(x).increment(min(a, b), max(a, b))

    def stretch(self, increment: Tensor, change: Tensor, of: Tensor) -> Tensor:
        """An increment of the Brownian motion over a change ``of`` of its clock, made one over ``change``.

        Args:
            increment: of the shape of the state.
            change: of a clock of ``process``; here that of the Brownian motion itself.
            of: (batch,).
        """
        return increment

    def coefficients(
        self,
        prediction: Prediction,
        coordinate: Coordinate,
        eta: float,
        sigma_data: float,
        start: Level,
        end: Level,
        nodes: tuple[Level, ...],
    ) -> tuple[Coefficient, Sequence[Coefficient]]:
        """The factors of x and of the predictions at the nodes in an exponential step."""
        return _step_coefficients(prediction, coordinate, eta, sigma_data, start, end, nodes)


@lru_cache(maxsize=8192)
def _step_coefficients(
    prediction: Prediction,
    coordinate: Coordinate,
    eta: float,
    sigma_data: float,
    start: Level,
    end: Level,
    nodes: tuple[Level, ...],
) -> tuple[float, tuple[float, ...]]:
    """`step_coefficients` of levels in plain floats, which are kept as they come."""
    anchors = tuple(node.point[2] for node in nodes)
    return step_coefficients(prediction, coordinate, eta, sigma_data, start.point, end.point, anchors)


@dataclass(frozen=True)
class State:
    """Where a run is.

    Attributes:
        problem: the unchanging part.
        x: (batch, *event).
        t: the time of ``x``.
        step: number of steps taken.
        memory: what the solver needs of earlier steps; its own business.
    """

    problem: Problem
    x: Tensor
    t: float
    step: int = 0
    memory: Any = None

    def advance(self, x: Tensor, s: float, memory: Any = None) -> State:
        """The state after a step to ``s``."""
        return State(self.problem, x, s, self.step + 1, memory)


class Solver(ABC):
    """A way to step from t to s < t; it holds settings only, all history lives in the `State`."""

    def default_grid(self, schedule: Schedule, steps: int, sigma_data: float = 1.0) -> Tensor:
        """The grid that is used if none is given."""
        return grids.arctan(schedule, steps, sigma_data=sigma_data)

    def init(self, problem: Problem, x: Tensor, t: float) -> State:
        """The state before the first step."""
        return State(problem, x, t)

    @abstractmethod
    def step(self, state: State, s: float) -> State:
        """Advance to ``s`` < ``state.t``."""


@dataclass(frozen=True)
class Progress:
    """What ``on_step`` is told: the step just done, of how many, and the state."""

    step: int
    steps: int
    t: float
    x: Tensor = field(repr=False)


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    shape: Sequence[int] | None = None,
    *,
    x_T: Tensor | None = None,
    solver: str | Solver = "multistep",
    steps: int = 20,
    grid: str | grids.GridFunction | Tensor | None = None,
    seed: int = 0,
    first_index: int = 0,
    condition: Mapping[str, Tensor] | None = None,
    on_step: Callable[[Progress], None] | None = None,
    path: bool = False,
) -> Solution:
    """Run a diffusion backwards, from noise to data.

    Args:
        denoiser: any denoiser, exact, learned or guided.
        shape: (batch, *event); not needed with ``x_T``.
        x_T: the noise to start from at the first time of the grid; by default sigma times standard
            normal noise decided by ``seed`` and the sample's number.
        solver: a solver or its name (see ``samplers.SOLVERS``).
        steps: intervals of the grid; one evaluation each, for the single-step solvers as many as their
            order. Ignored if ``grid`` is a tensor, and by the adaptive solver.
        grid: a tensor of times, a function (schedule, steps) -> times, or its name (``samplers.GRIDS``);
            by default the solver's own.
        seed: sample i of a seed is the same whatever the batch size.
        first_index: number of the first sample within the seed.
        condition: (batch, ...) tensors that the denoiser takes by name, such as ``label``.
        on_step: called after every step.
        path: keep all states.

    Returns:
        A `Solution`.

    Raises:
        ValueError: for neither or contradicting shapes, an unknown name, a bad grid or fewer than 1 step.
        FloatingPointError: if a state is not finite, with the step and the noise level.
    """
    from unstir.samplers.modal import problem_for
    from unstir.samplers.registry import find_grid, find_solver

    method = find_solver(solver) if isinstance(solver, str) else solver
    if not isinstance(grid, Tensor):
        function = find_grid(grid) if isinstance(grid, str) else grid or method.default_grid
        grid = grids.make_grid(function, denoiser.schedule, steps, denoiser.sigma_data)
    times = grids.check_grid(grid)
    first = float(times[0])
    if x_T is None:
        if shape is None:
            raise ValueError("sample needs either a shape (batch, *event) or a starting noise x_T")
        index = torch.arange(first_index, first_index + shape[0], device=_device(denoiser))
        z = noise.normal(shape[1:], seed=seed, index=index, stream=noise.Stream.START)
        x_T = z * float(denoiser.schedule.sigma(first))
    else:
        if shape is not None and tuple(shape) != tuple(x_T.shape):
            raise ValueError(f"x_T has shape {tuple(x_T.shape)}, but the shape asked for is {tuple(shape)}")
        index = torch.arange(first_index, first_index + len(x_T), device=x_T.device)
    for name, value in (condition or {}).items():
        if len(value) != len(x_T):
            raise ValueError(f"condition {name!r} has {len(value)} entries for {len(x_T)} samples")

    problem = problem_for(denoiser, times, index, seed, condition or {}, x_T)
    state = method.init(problem, problem.enter(x_T), first)
    _check_finite(state)
    states = [x_T] if path else []
    for s in times[1:].tolist():
        state, began = method.step(state, s), state.t
        _check_finite(state, began)
        if path:
            states.append(problem.leave(state.x))
        if on_step is not None:
            on_step(Progress(state.step, problem.steps, s, problem.leave(state.x)))
    return Solution(problem.leave(state.x), problem.nfe, times, torch.stack(states) if path else None)


def _device(denoiser: Denoiser) -> torch.device:
    for tensor in (*denoiser.parameters(), *denoiser.buffers()):
        return tensor.device
    return torch.device("cpu")


def _check_finite(state: State, began: float | None = None) -> None:
    # One sum is cheaper than a look at every entry; only a sum that overflows needs the second look.
    if math.isfinite(float(state.x.sum())) or bool(torch.isfinite(state.x).all()):
        return
    level = state.problem.level(state.t if began is None else began)
    where = f"after step {state.step} of {state.problem.steps}, from" if state.step else "at the start, at"
    raise FloatingPointError(
        f"the state is not finite {where} t = {level.t:.6g} (log-SNR {level.plain[2]:.4g}); "
        "check the denoiser there, or take another grid or solver"
    )
