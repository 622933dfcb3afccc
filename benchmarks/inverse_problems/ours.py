"""The library's methods for inverse problems, with the settings that tuning may choose from.

Methods that are denoisers are run by a solver that adds noise (`ddpm`) and by the deterministic default;
solvers by themselves. All on their own grids, as many steps as the budget allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from inverse_problems.contract import Counted, Method, Task, Unsupported
from unstir.denoisers import Denoiser
from unstir.guidance import DDRM, DPS, MMPS, DiffPIR, LinearOperator, PiGDM, RePaint, Twisted
from unstir.guidance.constrained import Constrained, onto
from unstir.guidance.operators import Singular
from unstir.samplers import DDIM, Ancestral, Multistep, Solution, Solver, sample

SOLVERS: dict[str, Solver] = {"multistep": Multistep(), "ddpm": Ancestral()}
Build = Callable[[Denoiser, Task], Denoiser]


def methods() -> list[Method]:
    """Every method with all its settings."""
    return [*_gradients(), *_proximal(), *_solvers()]


def _gradients() -> Iterator[Method]:
    """Guidance by gradients through the denoiser."""
    for solver in SOLVERS:
        for weight in (0.5, 1.0, 1.5, 2.0, 3.0):
            for name, kind in (("PiGDM", PiGDM), ("DPS", DPS)):
                settings, build = f"w={weight:g} {solver}", _inverse(kind, weight=weight)
                yield _guided(name, settings, build, SOLVERS[solver], every=weight == 1.0)
        for k in (1, 2, 3, 5, 8, 12):
            for method in ("gmres", "cg"):
                # Twelve iterations solve the systems of these problems, so for Gaussians nothing is left out.
                shown = method == "gmres" and (k == 2 or (k == 12 and solver == "multistep"))
                name, build = f"k={k} {method} {solver}", _inverse(MMPS, iterations=k, method=method)
                yield _guided("MMPS", name, build, SOLVERS[solver], every=shown)


def _proximal() -> Iterator[Method]:
    """Guidance without gradients."""
    for strength in (0.3, 1.0, 3.0, 8.0):
        for eta in (0.0, 0.55, 1.0):
            default = strength == 8.0 and eta == 0.55
            settings, build = f"strength={strength:g} eta={eta:g}", _inverse(DiffPIR, strength=strength)
            yield _guided("DiffPIR", settings, build, DDIM(eta), every=default)
    exact = {"multistep": Multistep(last=1), "ddpm": Ancestral()}
    for name, solver in exact.items():
        yield _guided("Constrained", name, _constrained, solver)


def _solvers() -> Iterator[Method]:
    """Methods that know the step."""
    for eta in (0.5, 0.85, 1.0):
        for eta_b in (0.7, 1.0):

            def ddrm(task: Task, eta: float = eta, eta_b: float = eta_b) -> Solver:
                return DDRM(task.rows, operator(task), task.problem.noise, eta=eta, eta_b=eta_b)

            default = eta == 0.85 and eta_b == 1.0
            yield _stepped("DDRM", f"eta={eta:g} eta_b={eta_b:g}", ddrm, 1, every=default)
    for resample, jump in ((1, 1), (3, 1), (5, 1), (10, 1), (3, 3), (10, 10)):

        def repaint(task: Task, resample: int = resample, jump: int = jump) -> Solver:
            event, mask = task.problem.prior.event, task.problem.mask
            if mask is None:
                raise Unsupported("RePaint fills masks")
            y = (task.rows @ task.problem.matrix).reshape(-1, *event)
            return RePaint(y, mask.reshape(event), resample=resample, jump=jump)

        cost = resample * jump
        for grid in ("arctan", "log-snr"):
            name = f"x{resample} jump={jump} {grid}"
            yield _stepped("RePaint", name, repaint, cost, grid, every=cost == 100 and grid == "arctan")

    def twisted(task: Task) -> Solver:
        return Twisted(task.y, operator(task), task.problem.noise, particles=task.count)

    yield _stepped("Twisted", "", twisted, 2, every=True)


def operator(task: Task) -> LinearOperator:
    """The measurement of a task as an operator on events, its singular values at hand."""
    matrix, event = task.problem.matrix, task.problem.prior.event
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    singular = Singular(
        values,
        right=lambda x: x.flatten(1) @ v.T.to(x),
        from_right=lambda c: (c @ v.to(c)).reshape(-1, *event),
        left=lambda y: y @ u.to(y),
        from_left=lambda c: c @ u.T.to(c),
    )
    return LinearOperator(
        lambda x: x.flatten(1) @ matrix.T.to(x),
        lambda y: (y @ matrix.to(y)).reshape(-1, *event),
        event=event,
        singular=singular,
        name="matrix",
    )


def _inverse(kind: Callable[..., Denoiser], **options: Any) -> Build:
    return lambda denoiser, task: kind(denoiser, task.rows, operator(task), task.problem.noise, **options)


def _constrained(denoiser: Denoiser, task: Task) -> Denoiser:
    return Constrained(denoiser, onto(operator(task), task.rows))


def _guided(name: str, settings: str, build: Build, solver: Solver, *, every: bool = False) -> Method:
    """A method that is a denoiser round a denoiser, run by a solver of one evaluation a step."""

    def run(task: Task) -> Tensor:
        guided = build(Counted(task), task)
        return _sample(task, guided, solver, guided.cost(0.5))

    return Method("unstir", name, settings, run, every)


def _stepped(
    name: str,
    settings: str,
    build: Callable[[Task], Solver],
    cost: int,
    grid: str | None = None,
    *,
    every: bool = False,
) -> Method:
    """A method that is a solver, of so many evaluations a step."""

    def run(task: Task) -> Tensor:
        return _sample(task, Counted(task), build(task), cost, grid)

    return Method("unstir", name, settings, run, every)


def _sample(task: Task, denoiser: Denoiser, solver: Solver, cost: int, grid: str | None = None) -> Tensor:
    steps = task.evaluations // cost
    if steps < 2:
        raise Unsupported(f"needs at least {2 * cost} evaluations")
    x_T = task.z() * float(denoiser.schedule.sigma(1.0))
    solution: Solution = sample(denoiser, x_T=x_T, solver=solver, steps=steps, grid=grid, seed=task.seed)
    if solution.nfe < task.used:
        raise AssertionError(f"a solution counts {solution.nfe} evaluations where {task.used} were taken")
    return solution.x
