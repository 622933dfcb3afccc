"""Measure a trained run against held-out data, and show it: `unstir evaluate` and `unstir report`."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from unstir import evaluation as ev
from unstir.files import write_json
from unstir.model import Model, load
from unstir.recipes import RunSettings, Splits, load_data
from unstir.recipes.run import stored_settings
from unstir.training import ArrayData

MOST_ROWS = 100_000


@dataclass(frozen=True, eq=False)
class Assessment:
    """A run measured.

    Attributes:
        model: the model.
        settings: of the run.
        splits: its data.
        samples: (n, *event) generated, in data units.
        labels: (n,) the classes asked for, or None.
        evaluation: the figures.
        judge: the classifier of labels, or None.
        options: how the samples were drawn.
        seconds: of sampling.
        inception: Inception FID of samples and held-out data, if asked for.
    """

    model: Model
    settings: RunSettings
    splits: Splits
    samples: Tensor
    labels: Tensor | None
    evaluation: ev.Evaluation
    judge: ev.Judge | None
    options: dict[str, Any]
    seconds: float
    inception: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """All figures and how they came about, JSON-ready."""
        content = {
            "recipe": self.settings.recipe,
            **self.evaluation.to_dict(),
            "sampling": {**self.options, "seconds": round(self.seconds, 3)},
        }
        if self.judge is not None:
            content["judge"] = {"heldout_accuracy": self.judge.accuracy}
        if self.inception is not None:
            content["inception_fid"] = {"samples": self.inception[0], "heldout": self.inception[1]}
        return content

    def table(self) -> Table:
        """The figures for a terminal."""
        return self.evaluation.table()

    def summary(self) -> str:
        """How the samples were drawn, in a sentence."""
        o = self.options
        guided = f", guidance {o['guidance']:g}" if o["guidance"] else ""
        drawn = f"{o['samples']} samples in {self.seconds:.1f} s"
        text = f"{drawn}: {o['solver']}, {o['nfe']} evaluations each{guided}"
        if self.judge is not None:
            text += f"; the judge is right on {self.judge.accuracy:.1%} of held-out data"
        if self.inception is not None:
            text += f"; Inception FID {self.inception[0]:.2f}, of held-out data {self.inception[1]:.2f}"
        return text


def assess_run(
    folder: Path,
    *,
    n: int | None = None,
    steps: int | None = None,
    solver: str | None = None,
    guidance: float | None = None,
    seed: int | None = None,
    inception: bool = False,
    device: str = "cpu",
) -> Assessment:
    """Sample from a run and measure the samples; writes ``evaluation.json`` into its folder.

    Args:
        folder: a finished run with its settings.
        n: samples; the run's setting by default, like the others.
        steps: of the solver.
        solver: its name.
        guidance: weight of classifier-free guidance.
        seed: of the samples.
        inception: also the Inception FID of images.
        device: where the networks run.

    Raises:
        FileNotFoundError: if there is no such folder, or its data are gone.
        ValueError: if the folder is not a run.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; evaluation needs a run's folder")
    model = load(folder, device=device)
    settings = stored_settings(folder)
    splits = load_data(settings.data)
    defaults = model.config.sampling
    count = settings.evaluation.samples if n is None else n
    options: dict[str, Any] = {
        "steps": defaults.steps if steps is None else steps,
        "solver": solver or defaults.solver,
        "guidance": (model.default_guidance if guidance is None else guidance) if splits.classes else 0.0,
        "seed": settings.evaluation.seed if seed is None else seed,
    }
    labels = torch.arange(count) % len(splits.classes) if splits.classes else None
    started = time.monotonic()
    solution = model.solve(count, condition=_condition(labels), **options)
    seconds = time.monotonic() - started
    train, heldout = data_units(splits.train), data_units(splits.heldout)
    about_data = settings.data.model_dump(mode="json")
    judge = _judge(folder, about_data, splits, train, heldout) if splits.classes else None
    evaluation = ev.evaluate(
        solution.x, train, heldout, features=features_for(judge, train), labels=labels, judge=judge
    )
    fid = _inception(solution.x, train, heldout, splits, device) if inception else None
    about = {"samples": count, **options, "nfe": solution.nfe}
    result = Assessment(model, settings, splits, solution.x, labels, evaluation, judge, about, seconds, fid)
    write_json(folder / "evaluation.json", result.to_dict())
    return result


def _inception(x: Tensor, train: Tensor, heldout: Tensor, splits: Splits, device: str) -> tuple[float, float]:
    """The Inception FID of samples and of held-out data; images only."""
    if splits.bounds is None or len(splits.train.event) != 3:
        raise ValueError("the Inception FID is for images; leave --inception out for other data")
    low, high = splits.bounds
    network = ev.InceptionFeatures(device=device)
    first, second, reference = (
        network.features((part - low) / (high - low) * 2.0 - 1.0) for part in (x, heldout, train)
    )
    return ev.frechet_distance(first, reference), ev.frechet_distance(second, reference)


def data_units(data: ArrayData) -> Tensor:
    """A split's samples in data units, (n, *event) float32; a random 100,000 of more."""
    rows = torch.arange(len(data))
    if len(data) > MOST_ROWS:
        chosen = np.random.default_rng(0).permutation(len(data))[:MOST_ROWS]
        rows = torch.from_numpy(np.sort(chosen))
    return data.unscaled().batch(rows)[0]


def labels_of(data: ArrayData) -> Tensor:
    """The labels of the rows that `data_units` gives, (n,) int64."""
    labels = np.asarray(data.labels, dtype=np.int64)
    if len(labels) > MOST_ROWS:
        labels = labels[np.sort(np.random.default_rng(0).permutation(len(labels))[:MOST_ROWS])]
    return torch.from_numpy(labels)


def _condition(labels: Tensor | None) -> dict[str, Any]:
    return {} if labels is None else {"label": labels}


def features_for(judge: ev.Judge | None, train: Tensor) -> ev.Features:
    """What the distances of a run look at: its judge's features, or the data's own."""
    if judge is not None:
        return judge
    if train[0].numel() <= 8:
        return ev.RawFeatures()
    return ev.PCAFeatures.fit(train)


def _judge(
    folder: Path, data: dict[str, Any], splits: Splits, train: Tensor, heldout: Tensor
) -> ev.Judge | None:
    """The run's judge, trained once and kept; None if the labels cannot be judged."""
    # The name says which data it was trained on: another split would hold out what it has seen.
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]
    file = folder / f"judge-{digest}.safetensors"
    if file.is_file():
        with contextlib.suppress(ValueError):
            return ev.Judge.load(file)
    y_train, y_heldout = labels_of(splits.train), labels_of(splits.heldout)
    if len(splits.classes) < 2 or int((y_train.bincount(minlength=len(splits.classes)) == 0).sum()):
        return None
    steps = 300 if len(train) < 5000 else 1000
    judge = ev.train_judge(train, y_train, heldout, y_heldout, classes=len(splits.classes), steps=steps)
    judge.save(file)
    return judge
