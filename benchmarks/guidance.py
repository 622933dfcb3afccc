"""Every method for inverse problems beside the exact posterior, and beside azula's and diffusers' own.

Run: python benchmarks/guidance.py [--quick] [--out FILE.json]  the tables, about 10 minutes on one core
     python benchmarks/guidance.py tune                         choose the settings, half an hour
     python benchmarks/guidance.py costs [--rounds 15]          what guidance costs beyond evaluations

Needs diffusers and azula (`pip install 'unstir[diffusers]' azula`). Both sides see the same exact denoiser,
the same measurements and the same noise to start from, and may use the same number of network evaluations: a
forward pass counts as one, and so does a backward pass through the denoiser.

Settings are chosen on both sides by `tune`, by the same rule: for each method, library and budget those with
the least geometric mean of the distance over the tuning problems, which are none of the table's. At each
budget only the better half (4 at least) of those at the budget before take part. Our defaults are shown too.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from inverse_problems import ours, with_azula, with_diffusers
from inverse_problems.contract import Method, Task, to_json
from inverse_problems.costs import costs
from inverse_problems.metrics import Judge, Scores
from inverse_problems.problems import Problem, problems, tuning_problems
from inverse_problems.tables import Row, print_tables, rows_to_json

BUDGETS = (20, 100, 1000)
SETTINGS = Path(__file__).parent / "guidance_settings.json"
Chosen = dict[str, dict[str, str]]
"""The settings of each method, "library name", by budget."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("table", "tune", "costs"), default="table")
    parser.add_argument("--quick", action="store_true", help="budgets of 20 and 100, fewer samples")
    parser.add_argument("--only", help="methods whose library, name and settings contain this")
    parser.add_argument("--problem", default="", help="problems whose name contains this")
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if options.what == "costs":
        result = to_json(costs(options.rounds))
    elif options.what == "tune":
        chosen = tune(methods(options.only), options.budgets)
        known = json.loads(SETTINGS.read_text()) if SETTINGS.is_file() else {}
        merged = {name: known.get(name, {}) | chosen.get(name, {}) for name in known | chosen}
        SETTINGS.write_text(to_json(merged))
        result = to_json(chosen)
    else:
        budgets = options.budgets[:2] if options.quick else options.budgets
        rows = table(methods(options.only), budgets, options.problem, quick=options.quick)
        print_tables(rows)
        result = rows_to_json(rows)
    if options.out:
        options.out.write_text(result)


def methods(only: str | None = None) -> list[Method]:
    """Every method of the three libraries with all its settings."""
    found = [*ours.methods(), *with_azula.methods(), *with_diffusers.methods()]
    return [m for m in found if only is None or only.lower() in m.key.lower()]


def table(found: list[Method], budgets: Sequence[int], on: str, *, quick: bool) -> list[Row]:
    """All scores of the chosen settings and of the defaults, and those of exact samples."""
    if not SETTINGS.is_file():
        raise SystemExit("there are no settings yet; run: python benchmarks/guidance.py tune")
    chosen: Chosen = json.loads(SETTINGS.read_text())
    measured, count = (4, 144) if quick else (4, 192)
    rows = []
    for problem in (p for p in problems() if on in p.name):
        started = time.process_time()
        y = problem.measurements(measured, seed=5)
        judges = judge(problem, measured, count, seed=5)
        rows.append(Row(problem, 0, "exact", "exact", "", [j(j.exact) for j in judges], True))
        for budget in budgets:
            for m in found:
                best = setting(chosen, m, budget) == m.settings
                if best or m.every:
                    scores = measure(m, Task(problem, y, count, budget, seed=7), judges)
                    if scores:
                        rows.append(Row(problem, budget, m.library, m.name, m.settings, scores, best))
        print(f"{problem.name}: {time.process_time() - started:.0f} CPU seconds", flush=True)
    return rows


def setting(chosen: Chosen, method: Method, budget: int) -> str | None:
    """The settings chosen for a method at the largest tuned budget up to this one."""
    known = {int(b): s for b, s in chosen.get(f"{method.library} {method.name}", {}).items()}
    below = [b for b in known if b <= budget]
    return known[max(below)] if below else None


def tune(found: list[Method], budgets: Sequence[int] = BUDGETS) -> Chosen:
    """The best settings of each method by budget, on the tuning problems."""
    measured, count = 2, 192
    cases = []
    for p in tuning_problems():
        judges = judge(p, measured, count, seed=25)
        cases.append((p, p.measurements(measured, seed=25), judges))
    chosen: Chosen = {}
    for name in dict.fromkeys(f"{m.library} {m.name}" for m in found):
        left = [m for m in found if f"{m.library} {m.name}" == name]
        for budget in budgets:
            errors = {}
            for m in left:
                logs = []
                for problem, y, judges in cases:
                    scores = measure(m, Task(problem, y, count, budget, seed=27), judges)
                    logs += [math.log(s.ratio) for s in scores]
                errors[m.settings] = sum(logs) / len(logs) if logs else math.inf
            order = sorted(errors, key=lambda s: errors[s])
            if not math.isfinite(errors[order[0]]):
                continue
            chosen.setdefault(name, {})[str(budget)] = order[0]
            print(f"{name} {budget}: {order[0]} ({math.exp(errors[order[0]]):.2f})", flush=True)
            left = [m for m in left if m.settings in order[: max(4, len(order) // 2)]]
    return chosen


def judge(problem: Problem, measured: int, count: int, *, seed: int) -> list[Judge]:
    """One judge for each measurement."""
    y = problem.measurements(measured, seed=seed)
    return [Judge(problem, v, count, seed=100 + 2 * k) for k, v in enumerate(y)]


def measure(method: Method, task: Task, judges: list[Judge]) -> list[Scores]:
    """The scores of a method for each measurement; none where it has no run."""
    x = method(task)
    if x is None:
        return []
    return [j(part) for j, part in zip(judges, x.split(task.count), strict=True)]


if __name__ == "__main__":
    main()
