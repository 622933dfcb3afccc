"""Every method for inverse problems on fields, held against the closed-form posterior of Poisson's equation.

Run: python benchmarks/fields.py [--sizes 16 32] [--cases 2] [--samples 256]    about 4 minutes on one core
     python benchmarks/fields.py --model runs/fields                            a trained model, too

A source of a Gaussian random field, its potential, and 32 sensors in the potential with noise of 0.1 of its
deviation; the denoiser is exact, so what is wrong is the method's. All methods have their default settings
for fields where none are named. From 32 cells on a side there is one case only. For each of the two fields:
error of the posterior mean over the exact deviation (n exact samples have 1 / sqrt(n)), deviation of the
samples over the exact one, and the exact probability of their central 90 % intervals. A deviation ratio far
from 1 with a coverage near 0.9 does happen: show both.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import unstir
from unstir.model import Model
from unstir.processes import VP
from unstir.recipes.fields.check import Case, cases
from unstir.recipes.fields.exact import PairDenoiser
from unstir.recipes.fields.methods import ExactModel
from unstir.recipes.fields.metrics import apart
from unstir.recipes.fields.poisson import PoissonProblem
from unstir.recipes.fields.task import infer

Setting = dict[str, int | str | bool]
GUIDED: tuple[tuple[str, Setting], ...] = (
    ("mmps", {"iterations": 2}),
    ("mmps", {"iterations": 8}),
    ("dps", {}),
    ("pigdm", {}),
    ("pigdm", {"damped": False}),
    ("pigdm", {"damped": False, "solver": "ddim", "steps": 100}),
    ("diffpir", {"steps": 100}),
    ("ddrm", {"steps": 20}),
    ("particles", {"steps": 20}),
)
LARGE = 32


@dataclass(frozen=True)
class Line:
    """A method on one size: what it was, its evaluations and seconds, and three numbers for each field."""

    size: int
    name: str
    nfe: int
    seconds: float
    numbers: tuple[tuple[float, float, float], tuple[float, float, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=(16, 32))
    parser.add_argument("--cases", type=int, default=2)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--model", help="folder of a run of the recipe 'fields'")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| cells | method | evaluations | s a case | source: mean, deviation, coverage | potential |")
    print("|---|---|---|---|---|---|")
    for size in options.sizes:
        problem = PoissonProblem(size)
        tests = cases(problem, range(options.cases if size < LARGE else 1))
        show(line(size, "exact samples", tests, lambda c, i: (c.exact.sample(options.samples, seed=i), 0)))
        model = ExactModel(PairDenoiser(VP(), problem))
        for name, settings in GUIDED:
            words = " ".join(f"{key}={value}" for key, value in settings.items())
            show(line(size, f"{name} {words}".strip(), tests, guided(model, name, settings, options.samples)))
        if options.model:
            trained = unstir.load(options.model)
            if trained.config.event == (2, size, size):
                for name in ("learned", "mmps", "dps"):
                    show(line(size, f"trained, {name}", tests, guided(trained, name, {}, options.samples)))


def guided(
    model: Model | ExactModel, name: str, settings: Setting, n: int
) -> Callable[[Case, int], tuple[Tensor, int]]:
    """A method as a function of a case and its number."""

    def draw(case: Case, number: int) -> tuple[Tensor, int]:
        found = infer(model, case.sensors, n=n, method=name, seed=number, **settings)
        return found.samples, found.nfe

    return draw


def line(
    size: int, name: str, tests: Sequence[Case], draw: Callable[[Case, int], tuple[Tensor, int]]
) -> Line:
    """Draw for every case; the numbers are means over the cases."""
    found, started, nfe = [], time.perf_counter(), 0
    for number, case in enumerate(tests):
        try:
            samples, nfe = draw(case, number)
        except FloatingPointError:  # the state grew beyond all numbers
            samples = torch.full((2, 2, size, size), torch.inf, dtype=torch.float64)
        found.append([scores(samples, case, channel) for channel in (0, 1)])
    seconds = (time.perf_counter() - started) / len(tests)
    first, second = torch.tensor(found, dtype=torch.float64).mean(0).tolist()
    return Line(size, name, nfe, seconds, (tuple(first), tuple(second)))


def scores(samples: Tensor, case: Case, channel: int) -> tuple[float, float, float]:
    """Error of the mean in exact deviations, deviation ratio, coverage."""
    if not bool(torch.isfinite(samples).all()):
        return float("inf"), float("inf"), float("nan")
    one = apart(samples, case.exact, channel)
    return one.mean_in_deviations, one.deviation_ratio, one.coverage


def show(row: Line) -> None:
    """A row of the table."""
    cells = " | ".join(f"{error:.3g}, {ratio:.3g}, {coverage:.2f}" for error, ratio, coverage in row.numbers)
    print(f"| {row.size} | {row.name} | {row.nfe} | {row.seconds:.1f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
