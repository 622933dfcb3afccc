"""The results as Markdown: a table a problem, verdicts on methods of the same name, the best of ours."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby

from inverse_problems.contract import to_json
from inverse_problems.metrics import Scores, average
from inverse_problems.problems import Problem

TARGET = 1.2
"""What the best method's distance should be at most on Gaussian problems, over that of exact sets."""


@dataclass(frozen=True)
class Row:
    """The scores of one method on one problem with one budget.

    Attributes:
        problem: what was measured.
        evaluations: the budget; 0 for exact samples.
        library: of the method.
        name: of the method.
        settings: chosen ones or defaults.
        scores: one for each measurement.
        best: whether these are the settings that tuning chose.
    """

    problem: Problem
    evaluations: int
    library: str
    name: str
    settings: str
    scores: list[Scores]
    best: bool

    @property
    def ratio(self) -> float:
        """Mean distance over that of exact sets."""
        return statistics.fmean(s.ratio for s in self.scores)


def print_tables(rows: list[Row]) -> None:
    """All of it."""
    for name, group in groupby(rows, key=lambda r: r.problem.name):
        print(f"\n### {name}\n")
        print_problem(list(group))
    print_verdicts(rows)
    print_best(rows)


def print_problem(rows: list[Row]) -> None:
    """One problem: methods by budget and distance."""
    print(
        "| evaluations | method | settings | distance / exact | deviation | in 50 % | in 90 % | weights off |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for r in sorted(rows, key=lambda r: (r.evaluations, r.ratio)):
        mean, error = average(r.scores)
        mark = "" if r.best else " (not tuned)"
        cells = [
            str(r.evaluations) if r.evaluations else "",
            f"{r.library} {r.name}" if r.evaluations else "exact samples",
            r.settings + mark,
            f"{mean.ratio:.2f} ± {error.ratio:.2f}",
            f"{mean.deviation:.2f}",
            f"{mean.half:.2f}",
            f"{mean.most:.2f}",
            "" if r.problem.gaussian else f"{mean.weights:.3f}",
        ]
        print("| " + " | ".join(cells) + " |")


def print_verdicts(rows: list[Row]) -> None:
    """For each method that two libraries have: is ours worse by more than the noise?"""
    print("\n### Methods of the same name, settings tuned alike\n")
    print("| problem | evaluations | method | unstir | other | ratio of the two | verdict |")
    print("|---|---|---|---|---|---|---|")
    counts = {"better": 0, "equal": 0, "WORSE": 0}
    for mine, other in pairs([r for r in rows if r.best and r.evaluations]):
        change, error = difference(mine, other)
        noise = error * quantile(len(mine.scores))
        verdict = "equal" if abs(change) <= noise else "better" if change < 0 else "WORSE"
        counts[verdict] += 1
        ratio, low, high = (math.exp(change + k * noise) for k in (0, -1, 1))
        print(
            f"| {mine.problem.name} | {mine.evaluations} | {mine.name} | {mine.ratio:.2f} {mine.settings} "
            f"| {other.ratio:.2f} {other.library} {other.settings} "
            f"| {ratio:.2f} ({low:.2f} to {high:.2f}) | {verdict} |"
        )
    better, equal, worse = counts.values()
    print(f"\n{better} better, {equal} equal within the noise (95 % intervals), {worse} worse")


def quantile(count: int) -> float:
    """Standard errors that a 95 % interval of a mean of ``count`` numbers reaches on each side (Student)."""
    from scipy.stats import t

    return float(t.ppf(0.975, count - 1))


def pairs(rows: list[Row]) -> Iterator[tuple[Row, Row]]:
    """Ours and another library's row of the same method, problem and budget."""
    for mine in rows:
        for other in rows:
            same = mine.problem is other.problem and mine.evaluations == other.evaluations
            if same and mine.name == other.name and mine.library == "unstir" != other.library:
                yield mine, other


def difference(a: Row, b: Row) -> tuple[float, float]:
    """Mean difference of the logarithms of two methods' distances to the same posteriors, and its error."""
    logs = [math.log(x.ratio / y.ratio) for x, y in zip(a.scores, b.scores, strict=True)]
    return statistics.fmean(logs), statistics.stdev(logs) / len(logs) ** 0.5


def print_best(rows: list[Row]) -> None:
    """The best of ours and of theirs for every problem and budget."""
    print("\n### The best method over exact samples\n")
    print("| problem | evaluations | unstir | others | target |")
    print("|---|---|---|---|---|")
    for problem in dict.fromkeys(r.problem for r in rows):
        for budget in sorted({r.evaluations for r in rows if r.evaluations}):
            here = [r for r in rows if r.problem is problem and r.evaluations == budget]
            mine = min((r for r in here if r.library == "unstir"), key=lambda r: r.ratio, default=None)
            other = min((r for r in here if r.library != "unstir"), key=lambda r: r.ratio, default=None)
            reached = ""
            if problem.gaussian and mine:
                reached = f"{TARGET} {'reached' if mine.ratio <= TARGET else 'missed'}"
            print(f"| {problem.name} | {budget} | {_named(mine)} | {_named(other)} | {reached} |")


def _named(row: Row | None) -> str:
    if row is None:
        return ""
    who = row.name if row.library == "unstir" else f"{row.library} {row.name}"
    return f"{row.ratio:.2f} {who} {row.settings}"


def rows_to_json(rows: list[Row]) -> str:
    """Every score."""
    return to_json(
        [
            {
                "problem": r.problem.name,
                "evaluations": r.evaluations,
                "library": r.library,
                "method": r.name,
                "settings": r.settings,
                "tuned": r.best,
                "scores": [asdict(s) for s in r.scores],
            }
            for r in rows
        ]
    )
