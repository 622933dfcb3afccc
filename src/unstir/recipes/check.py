"""`unstir check`: train a recipe's embedded default, and hold each named number against its limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unstir.files import write_json
from unstir.model import Model
from unstir.recipes import RECIPES
from unstir.recipes.domain import Plan
from unstir.recipes.domains import DOMAINS
from unstir.recipes.numbers import Number
from unstir.recipes.run import Report, prepare_folder, train_run
from unstir.recipes.settings import RunSettings
from unstir.recipes.standing import STANDING
from unstir.settings import nearest

CHECKS: dict[str, Callable[[Plan], dict[str, Number]]] = {
    **STANDING,
    **{name: domain.check for name, domain in DOMAINS.items()},
}
"""What each recipe is held to."""


class Interrupted(Exception):  # noqa: N818
    """A training of the check was stopped by the user."""


@dataclass(frozen=True)
class Checked:
    """A recipe held against its limits.

    Attributes:
        name: of the recipe.
        numbers: by name.
        seconds: wall-clock time of it all.
    """

    name: str
    numbers: dict[str, Number]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every number keeps its limit."""
        return all(number.ok for number in self.numbers.values())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "recipe": self.name,
            "ok": self.ok,
            "seconds": round(self.seconds, 1),
            "numbers": {name: number.to_dict() for name, number in self.numbers.items()},
        }


def run_check(
    name: str,
    out: Path,
    *,
    seconds: float | None = None,
    data: str | None = None,
    report: Report | None = None,
) -> Checked:
    """Check a recipe; the trained models and ``check.json`` stay in the folder.

    Args:
        name: of a recipe or domain.
        out: the folder; earlier runs of a check in it are replaced.
        seconds: budget of each training; the recipe's own by default.
        data: real data, for recipes that have numbers on them.
        report: who is told.

    Raises:
        ValueError: for an unknown name, with the nearest one, data that would be ignored, or a budget that is
            not positive.
        Interrupted: if a training was stopped.
    """
    if name not in CHECKS and name in RECIPES:
        source = RECIPES[name]().data.source
        real = " (with --data PATH for numbers on real data)" if DOMAINS[source].on_data else ""
        raise ValueError(f"{name} is checked with its domain: unstir check {source}{real}")
    if name not in CHECKS:
        raise ValueError(f"unknown recipe {name!r}; {nearest(name, list(CHECKS))}")
    if data is not None and name in DOMAINS and not DOMAINS[name].on_data:
        raise ValueError(f"{name} is checked on data that it makes itself; leave --data out")
    if seconds is not None and not seconds > 0:
        raise ValueError(f"--seconds is the budget of each training, above 0; got {seconds:g}")
    teller = report or Report()
    started = time.monotonic()

    def train(settings: RunSettings, run: str) -> Model:
        if seconds is not None:
            training = settings.training.model_copy(update={"seconds": seconds, "samples": None})
            settings = settings.model_copy(update={"training": training})
        prepare_folder(out / run, resume=False, overwrite=True)
        outcome = train_run(settings, out / run, report=teller)
        if not outcome.finished:
            raise Interrupted(f"stopped while training {run}; nothing was measured")
        return outcome.model

    plan = Plan(train, out, None if data is None else str(Path(data).expanduser().resolve()), say=teller.say)
    result = Checked(name, CHECKS[name](plan), time.monotonic() - started)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "check.json", result.to_dict())
    return result
