"""What `unstir evaluate`, `report` and `sample` do with the trained run of a domain."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from unstir import __version__
from unstir.evaluation.figures import loss_curve
from unstir.evaluation.report import Content, Panel, Row, write_report
from unstir.files import write_json
from unstir.model import Model, load
from unstir.recipes.domain import Domain, Options
from unstir.recipes.domains import DOMAINS
from unstir.recipes.numbers import Number
from unstir.recipes.run import read_metrics
from unstir.recipes.settings import RunSettings
from unstir.settings import parse_settings


@dataclass(frozen=True, eq=False)
class Home:
    """A trained model of a domain.

    Attributes:
        domain: its domain.
        settings: that it was trained with.
        model: itself.
    """

    domain: Domain
    settings: RunSettings
    model: Model

    @property
    def default_suffix(self) -> str:
        """Of the file that samples go to unless told otherwise."""
        return next(iter(self.domain.files))


def home_of(model: Model) -> Home | None:
    """The domain that a model was trained in; None if its recipe is of no domain."""
    stored = model.about.get("settings")
    data = stored.get("data") if isinstance(stored, Mapping) else None
    source = data.get("source") if isinstance(data, Mapping) else None
    if not isinstance(stored, Mapping) or not isinstance(source, str) or source not in DOMAINS:
        return None
    return Home(DOMAINS[source], parse_settings(RunSettings, stored), model)


def check_options(home: Home, options: Options) -> None:
    """Check that a domain can follow the options.

    Raises:
        ValueError: for one that it cannot.
    """
    flags = {"solver": "--solver", "guidance": "--guidance", "label": "--class"}
    for name, flag in flags.items():
        if getattr(options, name) is not None and name not in home.domain.follows:
            raise ValueError(f"{flag} has no meaning for {home.settings.recipe}; leave it out")


@dataclass(frozen=True)
class Measured:
    """A run's numbers.

    Attributes:
        recipe: its name.
        numbers: by name.
        seconds: that measuring took.
    """

    recipe: str
    numbers: dict[str, Number]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        numbers = {name: number.to_dict() for name, number in self.numbers.items()}
        return {"recipe": self.recipe, "seconds": round(self.seconds, 2), "numbers": numbers}


def measure_run(folder: Path, home: Home, options: Options) -> Measured:
    """The numbers of a run; writes ``evaluation.json`` into its folder.

    Raises:
        FileNotFoundError: if its data are gone.
        ValueError: for options that the domain cannot follow.
    """
    check_options(home, options)
    started = time.monotonic()
    numbers = home.domain.measure(home.model, home.settings, options)
    result = Measured(home.settings.recipe, numbers, time.monotonic() - started)
    write_json(folder / "evaluation.json", result.to_dict())
    return result


def draw_run(home: Home, file: Path, options: Options) -> str:
    """Write samples in the domain's own form; returns a sentence that says what was written.

    Raises:
        ValueError: for a suffix that the domain does not write, or options that it cannot follow.
        OSError: if the file cannot be written.
    """
    if file.suffix not in home.domain.files:
        arrays = (".npy", ".npz") if home.model.denoiser.unconditional else ()
        known = ", ".join((*home.domain.files, *arrays))
        raise ValueError(f"samples of {home.settings.recipe} are written as {known}, got {file.name!r}")
    check_options(home, options)
    return home.domain.files[file.suffix](home.model, home.settings, file, options)


def report_domain(folder: Path, out: Path | None, home: Home, options: Options) -> Path:
    """Measure a run and write its page; returns the page's path.

    Raises:
        FileNotFoundError: if its data are gone.
        OSError: if the page cannot be written.
    """
    measured = measure_run(folder, home, options)
    started = time.monotonic()
    panels = home.domain.panels(home.model, home.settings, options)
    about, described = home.model.about, home.model.describe()
    content = Content(
        title=f"{home.settings.recipe}: a diffusion model, trained from scratch",
        summary=f"Learned from {about.get('samples', 0):,} samples in {about.get('seconds', 0):.0f} seconds.",
        headline=[(f"{n.value:.3g}", _words(name)) for name, n in list(measured.numbers.items())[:4]],
        film=[],
        panels=[*panels, *_training(folder)],
        rows=[_row(name, number) for name, number in measured.numbers.items()],
        facts=[
            ("network", f"{described['network']}, {described['parameters']:,} parameters"),
            ("schedule and target", f"{described['schedule']}, {described['target']}"),
            ("samples seen", f"{about.get('samples', 0):,}"),
            ("training", f"{about.get('seconds', 0):.1f} s"),
            ("measuring", f"{measured.seconds:.1f} s"),
            ("pictures of this page", f"{time.monotonic() - started:.1f} s"),
            ("torch", torch.__version__),
            ("python", platform.python_version()),
        ],
        settings=yaml.safe_dump(home.settings.model_dump(mode="json"), sort_keys=False),
        version=__version__,
        beside="real data or the exact method",
    )
    return write_report(content, out or folder / "report.html")


def load_home(folder: Path, device: str) -> Home | None:
    """The domain's run in a folder; None if the folder is no run or its recipe is of no domain."""
    if not (folder / "config.json").is_file():
        return None
    return home_of(load(folder, device=device))


def _training(folder: Path) -> list[Panel]:
    metrics = read_metrics(folder)
    if len(metrics) <= 2:
        return []
    chart = loss_curve([line["samples"] for line in metrics], [line["loss"] for line in metrics])
    return [Panel("Training", "Loss over samples seen, and its running mean.", svg=chart)]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _row(name: str, number: Number) -> Row:
    parts = [number.meaning]
    if number.interval is not None:
        parts.append(f"95 % interval {number.interval[0]:.3g} to {number.interval[1]:.3g}")
    if number.baseline is not None:
        parts.append(f"baseline {number.baseline:.3g}")
    if number.limit:
        parts.append(f"limit {number.limit}")
    reference = "" if number.reference is None else f"{number.reference:.4g}"
    text = "; ".join(part.rstrip(".") for part in parts if part)
    return Row(_words(name).capitalize(), f"{number.value:.4g}", reference, text)
