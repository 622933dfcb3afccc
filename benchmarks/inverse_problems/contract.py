"""What every method has to look like: a task and a budget of evaluations in, samples of the posterior out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from inverse_problems.problems import Problem
from unstir import noise
from unstir.denoisers import Denoiser, GaussianMixture, Posterior


class BudgetExceeded(RuntimeError):
    """A method took more evaluations than it was allowed to: a mistake of its adapter."""


class Unsupported(Exception):
    """The method has no run for this problem or this budget."""


@dataclass
class Task:
    """One run to make: samples of the posteriors of several measurements of one problem, all in one batch.

    Attributes:
        problem: what is measured.
        y: (measurements, m).
        count: samples for each measurement.
        evaluations: the budget of each sample. A forward pass of the denoiser counts as one, and so does a
            backward pass through it.
        seed: of everything random in the run.
    """

    problem: Problem
    y: Tensor
    count: int
    evaluations: int
    seed: int = 0
    used: int = field(default=0, init=False)

    @property
    def rows(self) -> Tensor:
        """(measurements * count, m): the measurement of each sample."""
        return self.y.repeat_interleave(self.count, dim=0)

    @property
    def batch(self) -> int:
        """All samples of the run."""
        return len(self.y) * self.count

    def z(self) -> Tensor:
        """(batch, *event) standard normal float64, to start from."""
        index = torch.arange(self.batch)
        stream = noise.Stream.START
        return noise.normal(
            self.problem.prior.event, seed=self.seed, index=index, stream=stream, dtype=torch.float64
        )

    def each(self) -> list[Task]:
        """A task for each measurement alone, for methods whose samples depend on each other."""
        return [
            Task(self.problem, y[None], self.count, self.evaluations, self.seed + 1000 * k)
            for k, y in enumerate(self.y)
        ]

    def spend(self, _: Any = None) -> None:
        """Count one evaluation."""
        self.used += 1

    def watch(self, mean: Tensor) -> Tensor:
        """Count the forward pass that gave ``mean`` and every backward pass through it."""
        self.spend()
        if mean.requires_grad:
            mean.register_hook(self.spend)
        return mean

    def check(self) -> None:
        """Raise if more was used than the budget."""
        if self.used > self.evaluations:
            raise BudgetExceeded(f"{self.used} evaluations where {self.evaluations} were allowed")


class Counted(Denoiser):
    """The exact denoiser of a task, its forward and backward passes counted.

    Args:
        task: what is counted for.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        self.prior: GaussianMixture = task.problem.prior
        self.schedule = self.prior.schedule
        self.sigma_data = self.prior.sigma_data

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        mean, variance = self.prior(x_t, t, **condition)
        return Posterior(self.task.watch(mean), variance)


Run = Callable[[Task], Tensor]


@dataclass(frozen=True)
class Method:
    """A method of a library with all its settings.

    Attributes:
        library: that it comes from.
        name: of the method, the same for the same method in different libraries.
        settings: what was chosen, for the tables and for `key`.
        run: task to samples (batch, *event) within its budget.
        every: shown also where tuning takes other settings: our defaults.
    """

    library: str
    name: str
    settings: str
    run: Run = field(repr=False, compare=False)
    every: bool = False

    @property
    def key(self) -> str:
        """Library, name and settings."""
        return f"{self.library} {self.name} {self.settings}".strip()

    def __call__(self, task: Task) -> Tensor | None:
        """The samples, (batch, d), or None if the method has no run there or ends in values not finite.

        Raises:
            BudgetExceeded: if it took more than the budget.
        """
        try:
            x = self.run(task)
        except Unsupported:
            return None
        except FloatingPointError:
            return None
        try:
            task.check()
        except BudgetExceeded as error:
            raise BudgetExceeded(f"{self.key} on {task.problem.name}: {error}") from error
        return x.flatten(1).double() if math.isfinite(float(x.abs().sum())) else None


def to_json(value: Any) -> str:
    """Indented, for files that people read."""
    return json.dumps(value, indent=2) + "\n"
