"""How probable a measurement is under a model: the by-product of a run with particles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unstir.denoisers import Denoiser
from unstir.guidance.particles import Population, Twisted
from unstir.processes import Schedule
from unstir.samplers.solve import Problem, Solution, Solver, State, sample


class Evidence(NamedTuple):
    """A run of `Twisted` with what it says of the measurement.

    Attributes:
        solution: the samples.
        log_evidence: (groups,) float64, log p(y) in nats; its exponential is unbiased for the model.
        effective: (steps, groups) float64, effective sample size at each step, 1 to ``particles``.
    """

    solution: Solution
    log_evidence: Tensor
    effective: Tensor


def sample_with_evidence(
    denoiser: Denoiser, solver: Twisted, shape: Sequence[int] | None = None, **options: Any
) -> Evidence:
    """`sample` with a `Twisted` solver, and its estimate of log p(y).

    Args:
        denoiser: as in `sample`, like ``shape`` and the options.
        solver: with the measurement.
        shape: (batch, *event).
        **options: other arguments of `sample`.
    """
    recorder = _Recorder(solver)
    solution = sample(denoiser, shape, solver=recorder, **options)
    populations = recorder.populations
    return Evidence(solution, populations[-1].log_evidence, torch.stack([p.effective for p in populations]))


class _Recorder(Solver):
    """A solver that lists the memories that another one leaves."""

    def __init__(self, solver: Twisted) -> None:
        self.solver = solver
        self.populations: list[Population] = []

    def default_grid(self, schedule: Schedule, steps: int, sigma_data: float = 1.0) -> Tensor:
        return self.solver.default_grid(schedule, steps, sigma_data)

    def init(self, problem: Problem, x: Tensor, t: float) -> State:
        return self.solver.init(problem, x, t)

    def step(self, state: State, s: float) -> State:
        state = self.solver.step(state, s)
        self.populations.append(state.memory)
        return state
