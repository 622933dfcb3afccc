r"""Back from noise for discrete data: reversed jump processes, in steps or exactly.

A solver in steps says with which law each entry moves from t to s; the entries of a step are drawn
independently, so all of them are of order 1 where entries depend on each other. `Exact` makes no steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from unstir import noise
from unstir.denoisers.discrete import DiscreteDenoiser
from unstir.processes import Jump, Reset
from unstir.processes.jump import categorical
from unstir.samplers import grids
from unstir.settings import nearest

LATEST = 25.0
"""Rates are taken where B is at most this: beyond, 1e-11 of the data is left, and they may be infinite."""
_LAST_DRAW = 2**24 - 1
"""The number of the draw that ends an exact run, however many events each sample of the batch had."""


@dataclass(frozen=True)
class JumpSolution:
    """The result of a run.

    Attributes:
        x: the samples, (batch, *event) int64.
        nfe: evaluations of the denoiser that each sample took, (batch,) int64.
        grid: the times, (steps + 1,).
        path: the states at those times, (steps + 1, batch, *event), if they were asked for.
    """

    x: Tensor
    nfe: Tensor
    grid: Tensor
    path: Tensor | None = None


@dataclass(frozen=True)
class JumpProblem:
    """What a run is about: the denoiser, its condition, the samples' numbers and their seed."""

    denoiser: DiscreteDenoiser
    index: Tensor
    seed: int
    condition: Mapping[str, Tensor]

    def posterior(self, x: Tensor, t: Tensor | float, rows: Tensor | None = None) -> Tensor:
        """p(x_0 | x_t), (batch, *event, K) float64, for all samples or for some rows of them."""
        condition = {k: v if rows is None else v[rows] for k, v in self.condition.items()}
        p: Tensor = self.denoiser(x, t, **condition)
        if p.shape != (*x.shape, self.denoiser.process.states):
            raise ValueError(
                f"the denoiser answered {tuple(p.shape)} to a state of {tuple(x.shape)}; it gives a "
                f"probability of each of {self.denoiser.process.states} states for each entry"
            )
        return p.double()


class JumpSolver(ABC):
    """A way back in steps; it holds settings only."""

    @abstractmethod
    def law(self, process: Jump, p_0: Tensor, x: Tensor, t: float, s: float) -> Tensor:
        """The law at s < t of each entry, (batch, *event, K), given p(x_0 | x_t) of it; s > 0."""

    def run(
        self, problem: JumpProblem, x: Tensor, grid: Tensor, step_done: StepDone
    ) -> tuple[Tensor, Tensor]:
        """From the first time of the grid to the last; the step to t = 0 is ancestral for every solver."""
        process = problem.denoiser.process
        times = grid.tolist()
        for step, (t, s) in enumerate(pairwise(times)):
            p_0 = problem.posterior(x, t)
            law = self.law(process, p_0, x, t, s) if s > 0.0 else process.reverse_step(p_0, x, s, t)
            x = categorical(law, seed=problem.seed, index=problem.index, stream=noise.Stream.STEP, step=step)
            step_done(step + 1, x)
        return x, torch.full((len(x),), len(times) - 1)


StepDone = Callable[[int, Tensor], None]
"""Told the number of the grid's time that was reached, and the state there."""


class JumpAncestral(JumpSolver):
    r"""Each entry by its exact posterior: :math:`\sum_{x_0} p(x_0 | x_t)\, q(x_s | x_t, x_0)`.

    Source: Austin et al. 2021, eq. 4 (D3PM); for masks, Sahoo et al. 2024, eq. 6 and 7; equal to Tweedie
    tau-leaping, Lou et al. 2024, theorem 4.2. Exact for one entry at any step; order 1 for several.
    """

    def law(self, process: Jump, p_0: Tensor, x: Tensor, t: float, s: float) -> Tensor:
        return process.reverse_step(p_0, x, s, t)


class TauLeaping(JumpSolver):
    r"""Poisson numbers of jumps at the rates of the beginning of the step.

    With R the rate out of an entry's state, a step of h makes one jump with probability :math:`hR e^{-hR}`;
    entries that would jump more than once stay, because states have no order in which jumps could add up.

    Source: Campbell et al. 2022, section 4.2 and appendix D (multiple jumps are rejected). Order 1.
    """

    def law(self, process: Jump, p_0: Tensor, x: Tensor, t: float, s: float) -> Tensor:
        rates, h = _rates(process, p_0, x, t, s)
        return _moved(x, rates * h * torch.exp(-h * rates.sum(-1, keepdim=True)))


class JumpEuler(JumpSolver):
    """Euler's method on the reversed master equation of each entry: it jumps to y with probability h R(y).

    Source: Lou et al. 2024, eq. 16; probabilities beyond 1 are scaled back to it. Order 1.
    """

    def law(self, process: Jump, p_0: Tensor, x: Tensor, t: float, s: float) -> Tensor:
        rates, h = _rates(process, p_0, x, t, s)
        moves = rates * h
        return _moved(x, moves / moves.sum(-1, keepdim=True).clamp(min=1.0))


class Exact(JumpSolver):
    r"""The reversed process itself, event by event, by thinning; for `Reset` processes (masks, uniform).

    An entry in a state of reset probability pi leaves it, per unit of B, at a rate of at most

    .. math:: \frac{e^{-B}}{1 - e^{-B}} + 1 - \pi

    whatever the data, and a masked token at exactly the first term. Candidate events come at the sum of these
    bounds, by inversion; one at B is accepted with the share that its true rate has of its bound. For masks
    all are accepted: one evaluation of the denoiser a token, at the time when it is revealed.

    What is not exact: events at B below ``last`` are made in one ancestral step, whose error is the chance
    that two entries move in it, some (entries x last)^2 / 2; and B above 25, where 1e-11 of the data is left,
    is skipped.

    Source: Lewis & Shedler 1979 (thinning); Zheng et al. 2024, section 4 (first hitting, for masks); Chen et
    al. 2024 (uniformisation). The grid says only at which times the path is kept.

    Args:
        last: B where the last step begins, above 0 and at most 0.1.

    Raises:
        ValueError: for a value out of range.
    """

    def __init__(self, last: float = 1e-5) -> None:
        if not 0.0 < last <= 0.1:
            raise ValueError(f"the last step begins at a B above 0 and at most 0.1, got {last}")
        self.last = last

    def law(self, process: Jump, p_0: Tensor, x: Tensor, t: float, s: float) -> Tensor:
        return process.reverse_step(p_0, x, s, t)

    def run(
        self, problem: JumpProblem, x: Tensor, grid: Tensor, step_done: StepDone
    ) -> tuple[Tensor, Tensor]:
        """As in the base class; every sample goes through time on its own."""
        process = problem.denoiser.process
        if not isinstance(process, Reset):
            raise ValueError(
                "the exact way back is known for processes that reset (uniform, absorbing); take "
                "'ancestral' or 'tau-leaping' for other rates"
            )
        shape, x = x.shape, x.reshape(len(x), -1).clone()
        levels = process.clock.integral(grid).clamp(max=LATEST).to(x.device)
        end = max(float(levels[-1]), self.last)
        b = levels[0].expand(len(x)).clone()
        nfe = torch.zeros_like(problem.index)
        path = x.expand(len(levels), *x.shape).clone()
        turn, live = 0, torch.arange(len(x), device=x.device)
        while len(live):
            u = noise.uniform(
                (5,), seed=problem.seed, index=problem.index[live], stream=noise.Stream.STEP, step=turn
            )
            now, before = _next_candidate(process.law.to(x.device)[x[live]], b[live], u), b[live]
            passed = (levels[:, None] <= before) & (levels[:, None] > now)
            if bool(passed.any()):
                path[:, live] = torch.where(passed[..., None], x[live], path[:, live])
            event = now > end
            live, now, u = live[event], now[event], u[event]
            if len(live):
                t = process.clock.time(now)
                p_0 = problem.posterior(x[live].reshape(-1, *shape[1:]), t, live)
                p_0 = p_0.reshape(len(live), -1, process.states)
                x[live] = _thinned(process, p_0, x[live], t, now, u)
                b[live] = now
                nfe[live] += 1
            turn += 1
        x = x.reshape(shape)
        if float(levels[-1]) < end:
            nfe += self._finish(problem, process, x, float(process.clock.time(end)), float(grid[-1]))
        path = path.reshape(len(levels), *shape)
        path[levels <= end] = x
        for step in range(1, len(grid)):
            step_done(step, path[step])
        return x, nfe

    def _finish(self, problem: JumpProblem, process: Reset, x: Tensor, t: float, s: float) -> Tensor:
        """Take the last step of ``x``, in place, where anything can still happen; evaluations, (batch,)."""
        open_ = (process.law.to(x.device)[x] > 0.0).reshape(len(x), -1).any(1)
        rows = open_.nonzero()[:, 0]
        if len(rows):
            law = process.reverse_step(problem.posterior(x[rows], t, rows), x[rows], s, t)
            index, stream = problem.index[rows], noise.Stream.STEP
            x[rows] = categorical(law, seed=problem.seed, index=index, stream=stream, step=_LAST_DRAW)
        return open_.long()


def _next_candidate(resets: Tensor, b: Tensor, u: Tensor) -> Tensor:
    """The B of the next candidate going back from b, (batch,); 0 where nothing is left to happen."""
    active = resets > 0.0
    count = active.sum(1).double()
    steady = (active * (1.0 - resets)).sum(1)
    # Two independent streams of candidates: m e^-B / (1 - e^-B), whose integral is m log(1 - e^-B), and a
    # constant; the later of their next events comes first on the way back.
    first = -torch.log1p(torch.expm1(-b) * u[:, 0] ** (1.0 / count.clamp(min=1.0)))
    second = b + u[:, 1].log() / steady.clamp(min=1e-300)
    return torch.where(count > 0.0, torch.maximum(first, second), 0.0)


def _thinned(process: Reset, p_0: Tensor, x: Tensor, t: Tensor, b: Tensor, u: Tensor) -> Tensor:
    """The state (batch, entries) after the candidate at b: one entry moved, or none."""
    resets = process.law.to(x.device)[x]
    bound = torch.where(resets > 0.0, torch.exp(-b)[:, None] / -torch.expm1(-b)[:, None] + 1.0 - resets, 0.0)
    total = bound.cumsum(1)
    threshold = u[:, 2:3] * total[:, -1:]
    entry = torch.searchsorted(total, threshold, right=True).clamp(max=x.shape[1] - 1)
    row = torch.arange(len(x), device=x.device)[:, None]
    here, p = x[row, entry], p_0[row, entry]
    rates = process.rates_into(here) * process.score(p, here, t)
    cumulative = rates[:, 0].cumsum(-1)
    y = torch.searchsorted(cumulative, u[:, 3:4] * bound[row, entry], right=True)
    return x.scatter(1, entry, torch.where(y < process.states, y.clamp(max=process.states - 1), here))


JUMP_SOLVERS: dict[str, Callable[[], JumpSolver]] = {
    "ancestral": JumpAncestral,
    "euler": JumpEuler,
    "exact": Exact,
    "tau-leaping": TauLeaping,
}
"""Solvers of reversed jump processes by name."""


@torch.no_grad()
def sample_jumps(
    denoiser: DiscreteDenoiser,
    batch: int | None = None,
    *,
    x_T: Tensor | None = None,
    solver: str | JumpSolver = "ancestral",
    steps: int = 64,
    grid: Tensor | None = None,
    seed: int = 0,
    first_index: int = 0,
    condition: Mapping[str, Tensor] | None = None,
    on_step: Callable[[int, int], None] | None = None,
    path: bool = False,
) -> JumpSolution:
    """Run a jump process backwards, from noise to data.

    Args:
        denoiser: of discrete data, exact or learned; its ``process`` is the one that is reversed.
        batch: number of samples; not needed with ``x_T``.
        x_T: (batch, *event) int64 states to start from at the first time of the grid; by default draws of the
            process' prior. With a mask process, tokens that are not masked stay: that is how to fill in.
        solver: a solver or its name (see `JUMP_SOLVERS`).
        steps: of the default grid, whose times lose equal shares of exp(-B).
        grid: (steps + 1,) strictly decreasing times in [0, 1] instead.
        seed: sample i of a seed is the same whatever the batch size.
        first_index: number of the first sample within the seed.
        condition: (batch, ...) tensors that the denoiser takes by name.
        on_step: told (done, steps) after every step.
        path: keep the states at all times of the grid.

    Raises:
        ValueError: for neither a batch nor a start, an unknown solver, a bad grid, or fewer than 1 step.
    """
    process = denoiser.process
    method = _find(solver) if isinstance(solver, str) else solver
    times = jump_grid(process, steps) if grid is None else grids.check_grid(grid)
    if x_T is None:
        if batch is None:
            raise ValueError("sample_jumps needs the number of samples or the states x_T to start from")
        index = torch.arange(first_index, first_index + batch, device=_device(denoiser))
        law = process.prior().to(index.device).expand(batch, *denoiser.event, process.states)
        x_T = categorical(law, seed=seed, index=index, stream=noise.Stream.START)
    index = torch.arange(first_index, first_index + len(x_T), device=x_T.device)
    states = [x_T]

    def step_done(step: int, x: Tensor) -> None:
        if path:
            states.append(x)
        if on_step is not None:
            on_step(step, len(times) - 1)

    problem = JumpProblem(denoiser, index, seed, condition or {})
    x, nfe = method.run(problem, x_T, times, step_done)
    return JumpSolution(x, nfe, times, torch.stack(states) if path else None)


def jump_grid(process: Jump, steps: int) -> Tensor:
    """Times from 1 to 0 between which the share exp(-B) that is left of the data grows by equal parts.

    Raises:
        ValueError: for fewer than 1 step.
    """
    if steps < 1:
        raise ValueError(f"a sampler takes at least 1 step, got {steps}")
    left = float(process.clock.survival(1.0))
    share = torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)
    grid = process.clock.time(-torch.log1p(-(1.0 - left) * (1.0 - share)))
    grid[0], grid[-1] = 1.0, 0.0
    return grid


def _rates(process: Jump, p_0: Tensor, x: Tensor, t: float, s: float) -> tuple[Tensor, float]:
    """Rates of leaving per unit of time, (batch, *event, K), and the length of the step."""
    now = float(process.clock.time(process.clock.integral(t).clamp(max=LATEST)))
    return process.reverse_rates(p_0, x, now), t - s


def _moved(x: Tensor, moves: Tensor) -> Tensor:
    """A law out of the probabilities of moving: what is left stays."""
    stay = (1.0 - moves.sum(-1, keepdim=True)).clamp(min=0.0)
    return moves.scatter_add(-1, x[..., None], stay)


def _find(name: str) -> JumpSolver:
    if name not in JUMP_SOLVERS:
        raise ValueError(f"unknown solver {name!r}; {nearest(name, sorted(JUMP_SOLVERS))}")
    return JUMP_SOLVERS[name]()


def _device(denoiser: DiscreteDenoiser) -> torch.device:
    for tensor in (*denoiser.parameters(), *denoiser.buffers()):
        return tensor.device
    return torch.device("cpu")
