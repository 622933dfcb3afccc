"""What every sampler of another library has to look like: problem and budget in, final state out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unstir.evaluation.problems import ExactProblem


class BudgetExceeded(RuntimeError):
    """An adapter called the denoiser more often than it was allowed to: a mistake of the adapter."""


class Unsupported(Exception):
    """The sampler has no run for this schedule and number of evaluations."""


class Oracle:
    """The exact denoiser of a problem at any noise level, its calls counted.

    Args:
        problem: whose denoiser and starting noise are used.
        budget: calls allowed.
    """

    def __init__(self, problem: ExactProblem, budget: int) -> None:
        self.problem = problem
        self.budget = budget
        self.calls = 0
        schedule = problem.denoiser.schedule
        self.z = problem.x_T / float(schedule.sigma(torch.ones((), dtype=torch.float64)))
        """(batch, d) standard normal noise behind x_T."""

    def __call__(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """E[x_0 | x = alpha x_0 + sigma epsilon], (batch, d) float64.

        Raises:
            BudgetExceeded: beyond ``budget`` calls.
        """
        self.calls += 1
        if self.calls > self.budget:
            raise BudgetExceeded(f"{self.calls} denoiser calls where {self.budget} were allowed")
        level = torch.tensor([alpha, sigma], dtype=torch.float64).reshape(2, 1, 1, 1)
        return self.problem.denoiser.posterior_at(x.double(), level[0], level[1]).mean


Solve = Callable[[Oracle], Tensor]


@dataclass(eq=False)
class Configuration:
    """A sampler of a library with all its settings.

    Attributes:
        library: that it comes from.
        name: of the library, sampler, settings and grid; the same under every schedule.
        solve: runs it within the oracle's budget and returns x at t = 0 in data units.
        reasons: why a run gave nothing, by (schedule, evaluations).
    """

    library: str
    name: str
    solve: Solve = field(repr=False)
    reasons: dict[tuple[str, int], str] = field(default_factory=dict, repr=False)

    def run(self, problem: ExactProblem, evaluations: int) -> Tensor | None:
        """The final state (batch, d) after at most ``evaluations`` denoiser calls, or None (see ``reasons``).

        Raises:
            BudgetExceeded: if the sampler would take more calls.
        """
        oracle = Oracle(problem, evaluations)
        try:
            x = self.solve(oracle)
        except BudgetExceeded as error:
            raise BudgetExceeded(f"{self.name}: {error}") from error
        # Whatever a library trips over is that configuration's result, not the end of the comparison.
        except Exception as error:
            self.reasons[problem.schedule_name, evaluations] = f"{type(error).__name__}: {error}"
            return None
        if not math.isfinite(float(x.abs().sum())):
            self.reasons[problem.schedule_name, evaluations] = "the final state is not finite"
            return None
        return x
