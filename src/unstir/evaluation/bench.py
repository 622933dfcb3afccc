"""Accuracy per evaluation: every deterministic solver against the exact end of the probability flow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unstir.denoisers import Denoiser, Gaussian
from unstir.evaluation.problems import ExactProblem
from unstir.processes import VP
from unstir.samplers import PRESETS, find_grid, find_solver, sample
from unstir.samplers.tune import fine_reference, rms

if TYPE_CHECKING:
    from PIL import Image
    from rich.table import Table

BUDGETS = (5, 8, 10, 15, 20)
DETERMINISTIC = (
    *(name for name in PRESETS if PRESETS[name].deterministic),
    *("heun", "rk4", "dpm-solver-2s", "dpm-solver-3s"),
)
"""The solvers whose final state is that of the probability flow."""


@dataclass(frozen=True)
class Task:
    """A denoiser with starting noise and the exact ends of its flow.

    Attributes:
        name: of the task.
        denoiser: exact or learned.
        x_T: (batch, *event) at t = 1.
        reference: (batch, *event), where the flow ends.
        condition: (batch, ...) tensors by name.
    """

    name: str
    denoiser: Denoiser
    x_T: Tensor
    reference: Tensor
    condition: Mapping[str, Tensor] | None = None


def exact_task(problem: ExactProblem) -> Task:
    """The task of an exact problem."""
    name = f"{problem.name} {problem.schedule_name}"
    return Task(name, problem.denoiser, problem.x_T, problem.reference)


def model_task(name: str, denoiser: Denoiser, x_T: Tensor, condition: Mapping[str, Tensor]) -> Task:
    """The task of a learned denoiser: its reference is the third-order solver with 150 steps."""
    return Task(name, denoiser, x_T, fine_reference(denoiser, x_T, condition), condition)


@dataclass(frozen=True)
class Row:
    """One solver on one grid.

    Attributes:
        solver: its name.
        grid: the grid's name, or "own".
        errors: geometric mean over the tasks of the root mean square error, for each budget; nan where the
            solver cannot keep to it.
        cells: the errors themselves, (tasks, budgets).
    """

    solver: str
    grid: str
    errors: tuple[float, ...]
    cells: tuple[tuple[float, ...], ...]

    @property
    def mean(self) -> float:
        """Geometric mean over the budgets."""
        return math.exp(sum(math.log(max(e, 1e-300)) for e in self.errors) / len(self.errors))


@dataclass(frozen=True)
class Bench:
    """What `bench_samplers` measured.

    Attributes:
        budgets: numbers of evaluations.
        tasks: their names.
        rows: best first.
    """

    budgets: tuple[int, ...]
    tasks: tuple[str, ...]
    rows: tuple[Row, ...]

    def to_dict(self) -> dict[str, Any]:
        """All numbers, JSON-ready (nan as null)."""
        return {
            "budgets": list(self.budgets),
            "tasks": list(self.tasks),
            "rows": [
                {
                    "solver": row.solver,
                    "grid": row.grid,
                    "mean": _plain(row.mean),
                    "errors": [_plain(e) for e in row.errors],
                    "cells": [[_plain(e) for e in cell] for cell in row.cells],
                }
                for row in self.rows
            ],
        }

    def table(self) -> Table:
        """The errors for a terminal."""
        from rich.table import Table

        table = Table("solver", "grid", box=None, header_style="bold")
        for budget in self.budgets:
            table.add_column(f"{budget}", justify="right")
        table.add_column("mean", justify="right", style="bold")
        for row in self.rows:
            table.add_row(row.solver, row.grid, *(_short(e) for e in row.errors), _short(row.mean))
        return table

    def plot(self, *, most: int = 8) -> Image.Image:
        """Error over evaluations for the ``most`` best rows, both axes logarithmic."""
        from unstir.evaluation.pictures import figure_to_image, new_figure

        figure, axes = new_figure(7.2, 5.0)
        for place, row in enumerate(self.rows[:most]):
            label = row.solver if row.grid == "own" else f"{row.solver}, {row.grid}"
            axes.plot(
                self.budgets,
                row.errors,
                "o-",
                label=label,
                linewidth=2.5 if place == 0 else 1.2,
                markersize=4,
            )
        axes.set(xscale="log", yscale="log", xlabel="evaluations", ylabel="error of the final state (rms)")
        axes.set_xticks(self.budgets, [str(b) for b in self.budgets])
        axes.minorticks_off()
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.legend(fontsize=8, frameon=False)
        return figure_to_image(figure)


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _short(value: float) -> str:
    return f"{value:.2e}" if math.isfinite(value) else "-"


def bench_samplers(
    tasks: Sequence[Task],
    *,
    solvers: Sequence[str] = DETERMINISTIC,
    budgets: Sequence[int] = BUDGETS,
    grids: Sequence[str] = (),
    on_row: Callable[[int, int], None] | None = None,
) -> Bench:
    """Measure solvers, each on its own grid and on those named.

    Args:
        tasks: at least one.
        solvers: names, see `samplers.SOLVERS`.
        budgets: numbers of evaluations, each at least 1; a solver takes the most steps that keep to it.
        grids: further grids by name, for every solver.
        on_row: told (rows done, rows in all).

    Raises:
        ValueError: for an unknown name, no task, or a budget below 1.
    """
    check_bench(solvers, budgets, grids)
    if not tasks:
        raise ValueError("a benchmark needs at least one task")
    pairs = [(solver, grid) for solver in solvers for grid in ("own", *grids)]
    rows = []
    for done, (solver, grid) in enumerate(pairs):
        cells = tuple(tuple(_error(task, solver, grid, budget) for budget in budgets) for task in tasks)
        errors = tuple(
            math.exp(sum(math.log(max(cell[i], 1e-300)) for cell in cells) / len(cells))
            for i in range(len(budgets))
        )
        rows.append(Row(solver, grid, errors, cells))
        if on_row is not None:
            on_row(done + 1, len(pairs))
    rows.sort(key=lambda row: (math.isnan(row.mean), row.mean))
    return Bench(tuple(budgets), tuple(task.name for task in tasks), tuple(rows))


def check_bench(solvers: Sequence[str], budgets: Sequence[int], grids: Sequence[str]) -> None:
    """Check the settings of a benchmark.

    Raises:
        ValueError: for an unknown name, or budgets that are none or below 1.
    """
    if not budgets or min(budgets) < 1:
        raise ValueError("a benchmark needs budgets of at least 1 evaluation")
    for name in solvers:
        find_solver(name)
    for name in grids:
        find_grid(name)


def _error(task: Task, solver: str, grid: str, budget: int) -> float:
    steps = steps_within(solver, budget)
    if steps == 0:
        return math.nan
    try:
        x = sample(
            task.denoiser,
            x_T=task.x_T,
            solver=solver,
            steps=steps,
            grid=None if grid == "own" else grid,
            condition=task.condition,
        ).x
    except FloatingPointError:
        return math.inf
    return rms(x, task.reference)


@cache
def steps_within(solver: str, budget: int) -> int:
    """The most steps of a solver that take at most ``budget`` evaluations; 0 if there are none."""
    probe = Gaussian(VP(), torch.zeros(1), 1.0)
    for steps in range(budget, 0, -1):
        if sample(probe, (1, 1), solver=solver, steps=steps).nfe <= budget:
            return steps
    return 0
