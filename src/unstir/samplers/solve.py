"""The one sampling loop, and what a solver has to give it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unstir import noise
from unstir.brownian import BrownianPath
from unstir.denoisers import Denoiser, Posterior
from unstir.processes import Schedule
from unstir.samplers import grids


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


@dataclass(frozen=True)
class Level:
    """The coefficients of one time, as plain floats."""

    t: float
    alpha: float
    sigma: float
    log_snr: float

    @property
    def ratio(self) -> float:
        """sigma / alpha, the noise level of x_t / alpha; inf for pure noise."""
        return self.sigma / self.alpha if self.alpha > 0 else math.inf

    @property
    def half_log_snr(self) -> float:
        """log(alpha / sigma), the variable in which exponential integrators are exact."""
        return 0.5 * self.log_snr


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

    def level(self, t: float) -> Level:
        """alpha, sigma and log-SNR at a time; free for the times of the grid."""
        if t not in self._levels:
            self._levels[t] = Level(t, *(float(f(t)) for f in self._functions()))
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

    problem = Problem(denoiser, times, index, seed, condition or {})
    state = method.init(problem, x_T, first)
    _check_finite(state)
    states = [state.x] if path else []
    for s in times[1:].tolist():
        state, began = method.step(state, s), state.t
        _check_finite(state, began)
        if path:
            states.append(state.x)
        if on_step is not None:
            on_step(Progress(state.step, problem.steps, s, state.x))
    return Solution(state.x, problem.nfe, times, torch.stack(states) if path else None)


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
        f"the state is not finite {where} t = {level.t:.6g} (log-SNR {level.log_snr:.4g}); "
        "check the denoiser there, or take another grid or solver"
    )
