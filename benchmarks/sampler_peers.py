"""The samplers of diffusers and azula on exact problems, whose answers are known.

Run: python benchmarks/sampler_peers.py --quick

It needs diffusers and azula besides unstir. `peer_configurations` gives every deterministic sampler of both
with each of its settings and time grids; what is left out, and what is done in the peers' favour, stands at
the top of the files in `peer_solvers`. The quick run checks each of them and prints the best ones.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter, defaultdict
from functools import cache

import torch

from peer_solvers import with_azula, with_diffusers
from peer_solvers.contract import BudgetExceeded, Configuration, Unsupported
from peer_solvers.diffusers_settings import settings
from unstir.evaluation.problems import ExactProblem, benchmark_problems

__all__ = ["BudgetExceeded", "Configuration", "Unsupported", "peer_configurations"]

QUICK = (5, 10, 20)
FULL = (5, 8, 10, 20, 40)


@cache
def _peers(schedule_name: str) -> tuple[Configuration, ...]:
    found = [with_diffusers.configuration(setting) for setting in settings(schedule_name)]
    return (*found, *with_azula.configurations(schedule_name))


def peer_configurations(schedule_name: str) -> list[Configuration]:
    """Every sampler of both libraries that can run under a schedule, with each of its settings.

    Args:
        schedule_name: "vp", "cosine", "ve" or "flow" (see `unstir.evaluation.problems`).

    Returns:
        Configurations with unique names; the same one has the same name under all schedules.
    """
    return list(_peers(schedule_name))


def measure(configuration: Configuration, problem: ExactProblem, evaluations: int) -> float:
    """The error of a run, infinite where there is none."""
    x = configuration.run(problem, evaluations)
    return math.inf if x is None else problem.error(x)


def check(schedule_name: str, problem: ExactProblem) -> list[str]:
    """One line for each configuration whose error at 160 evaluations is not below that at 20."""
    lines = []
    for configuration in peer_configurations(schedule_name):
        few, many = (measure(configuration, problem, evaluations) for evaluations in (20, 160))
        if not many < few:
            reason = "; ".join(f"{key[1]}: {why}" for key, why in configuration.reasons.items())
            lines.append(f"{schedule_name:7} {configuration.name:60} {few:9.2e} {many:9.2e}  {reason}")
    return lines


def best(errors: dict[str, list[float]], count: int, runs: int) -> list[tuple[float, str]]:
    """The configurations of the least geometric mean among those that have all runs."""
    means = [
        (math.exp(sum(math.log(value) for value in values) / len(values)), name)
        for name, values in errors.items()
        if len(values) == runs and all(math.isfinite(value) for value in values)
    ]
    return sorted(means)[:count]


def quick(distributions: list[str] | None, checks: bool) -> None:
    """Print the best configurations on the problems below 64 dimensions, and those that do not converge."""
    problems = [p for p in benchmark_problems(32) if p.x_T.shape[1] < 64]
    problems = [p for p in problems if distributions is None or p.name in distributions]
    for problem in problems:
        _ = problem.reference
    errors: dict[int, dict[str, dict[str, list[float]]]] = {
        evaluations: defaultdict(lambda: defaultdict(list)) for evaluations in QUICK
    }
    began = time.perf_counter()
    calls = 0
    for problem in problems:
        for configuration in peer_configurations(problem.schedule_name):
            for evaluations in QUICK:
                error = measure(configuration, problem, evaluations)
                errors[evaluations][problem.schedule_name][configuration.name].append(error)
                errors[evaluations]["all"][configuration.name].append(error)
                calls += evaluations
    seconds = time.perf_counter() - began
    names = sorted({problem.schedule_name for problem in problems})
    counts = {name: len(peer_configurations(name)) for name in names}
    for evaluations, found in errors.items():
        for schedule_name in (*names, "all"):
            runs = len(problems) if schedule_name == "all" else len(problems) // len(names)
            print(f"\n{evaluations} evaluations, {schedule_name}: geometric mean of {runs} problems")
            for mean, name in best(found[schedule_name], 5, runs):
                print(f"  {mean:9.3e}  {name}")
    print(f"\nconfigurations {counts}; {seconds:.0f} s, {1e3 * seconds / calls:.2f} ms an evaluation")
    whole = sum(counts.values()) * len(FULL) * 6
    print(
        f"the whole, 6 distributions x {FULL} evaluations, is {whole} runs: about "
        f"{seconds / calls * sum(counts.values()) * sum(FULL) * 6 / 60:.0f} min at this cost of a call"
    )
    if checks:
        report_checks([problem for problem in problems if problem.name == problems[0].name])


def report_checks(problems: list[ExactProblem]) -> None:
    lines = [line for problem in problems for line in check(problem.schedule_name, problem)]
    print(f"\n{len(lines)} configurations whose error at 160 evaluations is not below that at 20:")
    print("\n".join(lines))
    reasons = Counter(
        reason
        for problem in problems
        for configuration in peer_configurations(problem.schedule_name)
        for reason in configuration.reasons.values()
    )
    for reason, count in reasons.most_common():
        print(f"  {count:5} runs gave nothing: {reason[:110]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="batch 32, problems below 64 dimensions")
    parser.add_argument(
        "--no-checks", action="store_true", help="leave out the convergence of each configuration"
    )
    parser.add_argument("--distributions", nargs="+", help="their names; by default all of them")
    options = parser.parse_args()
    if not options.quick:
        parser.error("only --quick runs by itself; `peer_configurations` serves the comparison")
    torch.set_num_threads(1)
    quick(options.distributions, not options.no_checks)


if __name__ == "__main__":
    main()
