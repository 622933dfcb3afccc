"""A denoiser whose answers come from outside, for loops that call the network themselves."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from unstir.denoisers import Denoiser, Posterior
from unstir.processes import VP, X0, Schedule, Target
from unstir.samplers import Problem, Solver

TOO_MANY = (
    "{solver} evaluates the denoiser otherwise than once at the start of a step, but a pipeline of diffusers "
    "gives its scheduler one evaluation there; use 'multistep', 'ddim' or 'ddpm', or unstir.sample"
)


class Given(Denoiser):
    """Answers with the prediction that it was given, once, for the time that it was given for.

    Args:
        schedule: the forward process.
        target: what the predictions are.
        solver: the name of the solver that asks, for the error's sentence.
        clip: the posterior mean is clamped to [-clip, clip], if this is not None.
    """

    def __init__(self, schedule: Schedule, target: Target, solver: str, clip: float | None = None) -> None:
        super().__init__()
        self.schedule = schedule
        self.target = target
        self.solver = solver
        self.clip = clip
        self._answer: tuple[Tensor, float] | None = None
        self.mean: Tensor | None = None

    def give(self, prediction: Tensor, t: float) -> None:
        """Hand in the prediction, (batch, *event), for the state at time ``t``."""
        self._answer = prediction, t

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        """The posterior mean that the prediction implies.

        Raises:
            ValueError: if there is no prediction for this time (any more).
        """
        if self._answer is None or isinstance(t, Tensor) or t != self._answer[1]:
            raise ValueError(TOO_MANY.format(solver=self.solver))
        prediction, _ = self._answer
        self._answer = None
        mean = self.target.to_x_0(self.schedule, x_t, prediction.to(x_t.dtype), t)
        self.mean = mean if self.clip is None else mean.clamp(-self.clip, self.clip)
        return Posterior(self.mean)


def check_solver(solver: Solver) -> None:
    """Try a solver on four steps of one number.

    Raises:
        ValueError: unless it evaluates the denoiser once a step, where the step starts.
    """
    given = Given(VP(), X0, type(solver).__name__)
    times = [1.0, 0.7, 0.4, 0.2, 0.0]
    problem = Problem(
        given, torch.tensor(times, dtype=torch.float64), torch.zeros(1, dtype=torch.int64), 0, {}
    )
    x = torch.ones(1, 1)
    given.give(torch.zeros_like(x), times[0])
    state = solver.init(problem, x, times[0])
    for t, s in pairwise(times):
        given.give(torch.zeros_like(x), t)
        state = solver.step(state, s)
