"""A noise-aware classifier beside a run: `unstir train DIR --classifier`, and guidance by it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from unstir.denoisers import Denoiser
from unstir.guidance import Classifier, CriticConfig, LabelCritic, check_weight, check_window
from unstir.memory import keep_freed_memory
from unstir.model import Model, load
from unstir.recipes import Splits, load_data
from unstir.recipes.run import Report, interruptible, stored_settings
from unstir.settings import parse_settings
from unstir.training import ArrayData, ClassifierSettings, LevelScore, score_by_level, train_classifier

FILE = "classifier.safetensors"
"""Where a run keeps its classifier."""

SECONDS = 60.0
"""Budget of a training unless told otherwise."""


@dataclass(frozen=True)
class ClassifierOutcome:
    """How the training of a classifier ended.

    Attributes:
        critic: what was learned.
        path: its file.
        kept: whether it was written there; an interruption does not replace an older one.
        finished: false if it was interrupted.
        samples: samples seen.
        seconds: wall-clock seconds of training.
        scores: on held-out data, by noise level; empty if it was not written.
    """

    critic: LabelCritic
    path: Path
    kept: bool
    finished: bool
    samples: int
    seconds: float
    scores: list[LevelScore] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The scores for a terminal."""
        guess = 1.0 / len(self.critic.config.classes)
        return [
            f"labels of held-out data through noise (a guess is right for {guess:.0%}):",
            *(
                f"  sigma/alpha {s.level:<7.3g}{s.accuracy:6.1%} right, {s.cross_entropy:.3f} nats"
                for s in self.scores
            ),
        ]


def train_classifier_run(
    folder: Path,
    *,
    seconds: float | None = None,
    samples: int | None = None,
    overwrite: bool = False,
    report: Report | None = None,
    device: str = "cpu",
) -> ClassifierOutcome:
    """Train a classifier on the data, scaling and schedule of a run, and write it into its folder.

    SIGINT and SIGTERM end it after the current step, and what was learned is written unless there is an older
    classifier. A second SIGINT ends it at once, with nothing written.

    Args:
        folder: a trained run whose data have labels.
        seconds: budget in wall-clock seconds; 60 if there is none.
        samples: budget in samples seen; with this alone the result is the same bit for bit.
        overwrite: replace the classifier that is there.
        report: who is told.
        device: where it is trained.

    Raises:
        FileNotFoundError: if there is no such folder, or its data are gone.
        ValueError: if there is a classifier already; for a folder that is no trained run, one without labels,
            or data that are not those of the run any more.
        FloatingPointError: if the loss is not finite.
        OSError: if it cannot be written.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; a classifier is trained beside a run")
    if (folder / FILE).exists() and not overwrite:
        raise ValueError(f"{folder} already holds a classifier; replace it with --overwrite")
    run = stored_settings(folder)
    model, report = load(folder), report or Report()
    if len(model.config.classes) == 1:
        raise ValueError(f"the data of {folder} have one class only, so there is nothing to tell apart")
    if not model.config.classes:
        raise ValueError(
            f"the data of {folder} have no labels, so there is nothing that a classifier could learn; train "
            "a run on labelled data, such as an .npz with x and labels"
        )
    values = {"samples": samples, "seconds": SECONDS if seconds is None and samples is None else seconds}
    settings = parse_settings(ClassifierSettings, values | {"seed": run.training.seed})
    splits = load_data(run.data)
    _check_splits(model, splits, folder)
    critic = LabelCritic(_config(model), seed=run.training.seed)
    keep_freed_memory()
    seen, spent, finished = _loop(critic.to(device), splits.train, settings, report)
    path = folder / FILE
    kept = seen > 0 and (finished or not path.exists())
    if kept:
        critic.save(path)
    scores = score_by_level(critic, splits.heldout) if kept else []
    return ClassifierOutcome(critic, path, kept, finished, seen, spent, scores)


def load_critic(folder: Path, model: Model) -> LabelCritic:
    """The classifier of a run, checked to be one for its model, on the model's device.

    Raises:
        FileNotFoundError: if none was trained.
        ValueError: if it is damaged, or tells other classes apart, or knows other events or another scaling.
    """
    path = folder / FILE
    again = f"train one with: unstir train {folder} --classifier"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no classifier yet; {again}")
    critic = LabelCritic.load(path)
    found, wanted = critic.config, model.config
    for what, its, own in (
        ("classes", ", ".join(found.classes), ", ".join(wanted.classes) or "none"),
        ("events", found.event, wanted.event),
        ("scaling", (found.shift, found.scale), (wanted.shift, wanted.scale)),
    ):
        if its != own:
            raise ValueError(
                f"{path} is of another model: its {what} are {its}, the model's are {own}; {again}"
            )
    return critic.to(model.device)


def classifier_guide(
    folder: Path, model: Model, weight: float, window: tuple[float, float] = (0.0, 1.0)
) -> Callable[[Denoiser], Denoiser]:
    """Guidance by a run's classifier, for `Model.solve(guide=...)`.

    The model is asked with the label as well, unless it was trained without one (``drop_condition=1``).

    Args:
        folder: the run's.
        model: the run's.
        weight: s, at least 0.
        window: share of the log-SNR range in which to guide.

    Raises:
        FileNotFoundError: if no classifier was trained.
        ValueError: for a negative weight, a window that is none, or a classifier of another model.
    """
    check_weight(weight, "0 means no guidance")
    check_window(window)
    critic, conditional = load_critic(folder, model), knows_labels(model)

    def guide(denoiser: Denoiser) -> Denoiser:
        return Classifier(denoiser, critic.under(denoiser.schedule), weight, window, conditional=conditional)

    return guide


def knows_labels(model: Model) -> bool:
    """Whether a model's network ever saw a label: not with ``training.drop_condition=1``."""
    training = model.about.get("settings", {}).get("training", {})
    return bool(model.config.classes) and training.get("drop_condition", 0.0) < 1.0


def _config(model: Model) -> CriticConfig:
    """A critic of a model's states."""
    same = {"event", "classes", "schedule", "sigma_data", "shift", "scale"}
    return parse_settings(CriticConfig, model.config.model_dump(include=same))


def _check_splits(model: Model, splits: Splits, folder: Path) -> None:
    """Check that the data are still those that the model was trained on, as far as its config tells."""
    config, scaling = model.config, splits.train.scaling
    now = (splits.train.event, splits.classes, scaling.shift, scaling.scale)
    if now != (config.event, config.classes, config.shift, config.scale):
        raise ValueError(
            f"the data of {folder} are not those that it was trained on: their shape, classes or range have "
            "changed; put the old ones back, or train a new run"
        )


def _loop(
    critic: LabelCritic, data: ArrayData, settings: ClassifierSettings, report: Report
) -> tuple[int, float, bool]:
    """Run to the end or to an interruption: samples seen, seconds, and whether it is the end."""
    total, steps, since, last, samples, seconds = 0.0, 0, time.monotonic(), 0, 0, 0.0
    training = train_classifier(critic, data, settings)
    with interruptible() as interrupted, contextlib.closing(training):
        for progress in training:
            samples, seconds = progress.samples, progress.seconds
            total, steps = total + float(progress.loss), steps + 1
            now, stop = time.monotonic(), interrupted()
            if now - since >= 0.5 or progress.fraction >= 1.0 or stop:
                report.step(progress, total / steps, (samples - last) / max(now - since, 1e-9))
                total, steps, since, last = 0.0, 0, now, samples
            if stop:
                return samples, seconds, False
    return samples, seconds, True
