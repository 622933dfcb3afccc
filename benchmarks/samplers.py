"""Accuracy per evaluation on exact problems: unstir's solvers beside every sampler of diffusers and azula.

Run: python benchmarks/samplers.py [--batch 64] [--no-tuned] [--out FILE.json]

Needs diffusers and azula (`pip install 'unstir[diffusers]' azula`). All start from the same noise under the
same schedule; the error is the root mean square distance of the final state from the end of the probability
flow. The peers' thousand or so configurations a schedule are first screened: three distributions, 5, 10 and
20 evaluations, a batch of 8. Those within twice the best one in any of these cells, and the 40 best in the
geometric mean, then run everywhere. Tuned grids are made on other noise than that they are judged by.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from sampler_peers import measure, peer_configurations
from unstir import noise
from unstir.evaluation.bench import BUDGETS, DETERMINISTIC, bench_samplers, exact_task
from unstir.evaluation.problems import ExactProblem, benchmark_problems, benchmark_schedules, exact_flow
from unstir.samplers import sample
from unstir.samplers.tune import tune

SCREENED = ("ring-2", "mixture-8", "gaussian-64")
Errors = dict[str, dict[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--no-tuned", action="store_true")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--peers", type=Path, help="take the peers' errors from this earlier --out")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    problems = benchmark_problems(options.batch)
    result = {"ours": ours(problems)}
    if options.peers:
        result["peers"] = json.loads(options.peers.read_text())["peers"]
    elif not options.no_peers:
        result["peers"] = peers(problems)
    if not options.no_tuned:
        result["tuned"] = {"unstir tuned": tuned(problems)}
    report(result)
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


def cell(problem: ExactProblem, evaluations: int) -> str:
    """The name of a cell of the table."""
    return f"{problem.name} {problem.schedule_name} {evaluations}"


def ours(problems: list[ExactProblem]) -> Errors:
    """The errors of the library's deterministic solvers on their own grids."""
    bench = bench_samplers([exact_task(p) for p in problems], solvers=DETERMINISTIC)
    return {
        f"unstir {row.solver}": {
            cell(p, n): e
            for p, errors in zip(problems, row.cells, strict=True)
            for n, e in zip(BUDGETS, errors, strict=True)
        }
        for row in bench.rows
    }


def peers(problems: list[ExactProblem]) -> Errors:
    """The errors of the peers' configurations that passed the screening."""
    errors: Errors = {}
    small = [p for p in benchmark_problems(8, seed=1) if p.name in SCREENED]
    for schedule in benchmark_schedules():
        started = time.perf_counter()
        configurations = {c.name: c for c in peer_configurations(schedule)}
        on = [p for p in small if p.schedule_name == schedule]
        screened = {
            name: {cell(p, n): measure(c, p, n) for p in on for n in (5, 10, 20)}
            for name, c in configurations.items()
        }
        passed = screen(screened)
        for name in passed:
            row = errors.setdefault(name, {})
            for p in problems:
                if p.schedule_name == schedule:
                    row |= {cell(p, n): measure(configurations[name], p, n) for n in BUDGETS}
        seconds = time.perf_counter() - started
        print(
            f"{schedule}: {len(configurations)} configurations, {len(passed)} passed, {seconds:.0f} s",
            flush=True,
        )
    return errors


def screen(errors: Errors) -> list[str]:
    """The names within twice the best of any cell, and the 40 best in the geometric mean."""
    cells = next(iter(errors.values()))
    least = {c: min(row[c] for row in errors.values()) for c in cells}
    close = {name for name, row in errors.items() if any(row[c] <= 2 * least[c] for c in cells)}
    return sorted(close | set(sorted(errors, key=lambda name: geometric_mean(errors[name].values()))[:40]))


def tuned(problems: list[ExactProblem]) -> dict[str, float]:
    """The errors of grids tuned for each cell on other noise."""
    errors = {}
    for p in problems:
        index = torch.arange(64 if p.x_T.shape[1] < 256 else 24)
        z = noise.normal(
            p.denoiser.event, seed=77, index=index, stream=noise.Stream.START, dtype=torch.float64
        )
        x_T = z * p.denoiser.schedule.sigma(1.0)
        reference = exact_flow(p.denoiser, x_T, tolerance=1e-8)
        for n in BUDGETS:
            found = tune(p.denoiser, x_T, n, reference=reference)
            grid = found.grid(p.denoiser.schedule)
            errors[cell(p, n)] = p.error(sample(p.denoiser, x_T=p.x_T, grid=grid, solver=found.solver()).x)
    return errors


def geometric_mean(values: Iterable[float]) -> float:
    logs = [math.log(max(value, 1e-300)) if math.isfinite(value) else math.inf for value in values]
    return math.exp(min(sum(logs) / len(logs), 700.0))


def report(result: dict[str, Any]) -> None:
    """The best rows, the oracle, and the ratios."""
    rows: Errors = {**result["ours"], **result.get("peers", {}), **result.get("tuned", {})}
    default = rows["unstir multistep"]
    complete = [name for name in rows if set(rows[name]) == set(default)]
    print(f"{'configuration':70s}" + "".join(f"{n:>10d}" for n in BUDGETS) + "      mean")
    kinds = {"unstir": 8, "diffusers": 8, "azula": 8}
    for name in sorted(complete, key=lambda name: geometric_mean(rows[name].values())):
        library = name.split()[0]
        if kinds[library] > 0:
            kinds[library] -= 1
            by_budget = [
                geometric_mean(e for c, e in rows[name].items() if c.endswith(f" {n}")) for n in BUDGETS
            ]
            mean = geometric_mean(rows[name].values())
            print(f"{name:70s}" + "".join(f"{e:10.2e}" for e in by_budget) + f"{mean:10.2e}")
    if "peers" not in result:
        return
    best = min((n for n in result["peers"] if n in complete), key=lambda n: geometric_mean(rows[n].values()))
    oracle = {c: min(row.get(c, math.inf) for row in result["peers"].values()) for c in default}
    ratios: dict[str, dict[str, float]] = {}
    for name in ("unstir multistep", "unstir tuned"):
        if name in rows:
            mine = geometric_mean(rows[name].values())
            ratios[name] = {
                "over the best single peer": mine / geometric_mean(rows[best].values()),
                "over the oracle": mine / geometric_mean(oracle.values()),
            }
    result["ratios"] = {"best single peer": best, **ratios}
    print(f"best single peer: {best}; the oracle's mean: {geometric_mean(oracle.values()):.2e}")
    for name, values in ratios.items():
        print(name, {what: round(value, 3) for what, value in values.items()})


if __name__ == "__main__":
    main()
