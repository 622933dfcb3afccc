"""A training run from settings to a saved model: files, progress, interruption, resumption."""

from __future__ import annotations

import json
import platform
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from unstir import __version__
from unstir.evaluation.pictures import picture_of, save_image
from unstir.extras import needed
from unstir.files import read_json, write_json, write_text
from unstir.interruption import raise_if_lost
from unstir.memory import keep_freed_memory
from unstir.model import SCHEMA, Model, ModelConfig
from unstir.networks import ConditionSettings
from unstir.networks.build import fitted
from unstir.recipes import DOMAINS, RunSettings, Splits, load_data
from unstir.settings import parse_settings
from unstir.training import ArrayData, Progress, Trainer
from unstir.training.data import knows_nothing


@dataclass
class Report:
    """What a run tells while it goes: called with sentences and with progress.

    Attributes:
        say: a sentence for the user.
        step: after every step: progress, mean loss since the last call, samples a second.
    """

    say: Callable[[str], None] = lambda sentence: None
    step: Callable[[Progress, float, float], None] = lambda progress, loss, rate: None


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        model: with the averaged weights.
        finished: false if it was interrupted.
        samples: samples seen.
        seconds: wall-clock seconds of training, earlier parts included.
    """

    model: Model
    finished: bool
    samples: int
    seconds: float


def check_folder(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Check that a run may be written to a folder, before anything is touched.

    Raises:
        ValueError: if there is a run already, or none to resume.
    """
    exists = (out / "config.json").exists()
    if resume and not exists:
        raise ValueError(f"there is no run to resume in {out}")
    if resume and "distillation" in read_json(out / "config.json"):
        raise ValueError(f"{out} was distilled, not trained: it cannot be resumed; use `unstir distill`")
    if exists and not resume and not overwrite:
        raise ValueError(
            f"{out} already holds a run; continue it with --resume, replace it with --overwrite, or choose "
            "another folder with --out"
        )
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; choose a folder with --out")


def prepare_folder(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Make a folder ready for a run; an old run in it is removed if ``overwrite`` says so.

    Raises:
        ValueError: as in `check_folder`.
        OSError: if it cannot be made.
    """
    check_folder(out, resume=resume, overwrite=overwrite)
    if overwrite and (out / "config.json").exists() and not resume:
        _clear(out)
    out.mkdir(parents=True, exist_ok=True)


def _clear(out: Path) -> None:
    """Remove what a run writes, and nothing else."""
    import shutil

    for name in ("checkpoints", "ema", "samples", "tensorboard"):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in ("config.json", "model.safetensors", "metrics.jsonl", "report.html", "evaluation.json"):
        (out / name).unlink(missing_ok=True)
    for beside in (*out.glob("judge-*.safetensors"), *out.glob("classifier.safetensors")):
        beside.unlink()


def stored_settings(out: Path) -> RunSettings:
    """The settings that a run was started with.

    Raises:
        ValueError: if the folder is not a run.
    """
    file = out / "config.json"
    content = read_json(file) if file.is_file() else None
    if not isinstance(content, dict) or "settings" not in content:
        raise ValueError(f"{out} is not a run: it has no config.json with settings")
    return parse_settings(RunSettings, content["settings"])


def conditions_of(data: ArrayData) -> dict[str, ConditionSettings]:
    """The named conditions of data, as a model describes them."""
    return {
        name: ConditionSettings(shape=c.shape, how=c.how, shift=c.scaling.shift, scale=c.scaling.scale)
        for name, c in data.conditions.items()
    }


def build_model(settings: RunSettings, splits: Splits) -> Model:
    """A fresh model for the data."""
    train = splits.train
    deviation = train.internal_std()
    config = ModelConfig(
        event=train.event,
        network=fitted(settings.network, settings.target, train, deviation),
        schedule=settings.schedule,
        target=settings.target,
        sigma_data=deviation,
        shift=train.scaling.shift,
        scale=train.scaling.scale,
        bounds=splits.bounds,
        integer=splits.integer,
        classes=splits.classes,
        vector=0 if train.vectors is None else int(train.vectors.shape[1]),
        conditions=conditions_of(train),
        sampling=settings.sampling,
    )
    about: dict[str, Any] = {"recipe": settings.recipe, "settings": settings.model_dump(mode="json")}
    if config.conditional and settings.training.drop_condition == 0 and knows_nothing(train):
        about["unconditional"] = True
    return Model(config, seed=settings.training.seed, about=about)


def train_run(
    settings: RunSettings,
    out: Path,
    *,
    resume: bool = False,
    splits: Splits | None = None,
    report: Report | None = None,
    tensorboard: bool = False,
) -> Outcome:
    """Train a model into a folder; SIGINT and SIGTERM end it after the current step, everything saved.

    Args:
        settings: every setting.
        out: the run's folder, made ready by `prepare_folder`.
        resume: go on from its newest whole checkpoint.
        splits: the data, if they are loaded already.
        report: who is told.
        tensorboard: also write TensorBoard logs (extra ``tensorboard``).

    Raises:
        FileNotFoundError: if the data are not there.
        ValueError: if they cannot be used, or the checkpoint is of other settings.
        FloatingPointError: if the loss is not finite.
        OSError: if the folder cannot be written.
    """
    report = report or Report()
    keep_freed_memory()
    splits = splits or load_data(settings.data)
    model = build_model(settings, splits)
    trainer = Trainer(model.denoiser, splits.train, settings.training, out)
    main = trainer.accelerator.is_main_process
    if resume:
        for problem in trainer.restore():
            report.say(f"{problem}; the checkpoint before it is used")
        report.say(f"resuming after {trainer.samples:,} samples")
    if main:
        write_json(out / "config.json", _config(model))
    log = Log(out, trainer.samples, tensorboard=tensorboard) if main else None
    # A domain's samples are no pictures by themselves.
    previews = 4 if main and settings.data.source not in DOMAINS else 0
    finished = _loop(trainer, model, log, report, out, previews=previews)
    trainer.finish()
    model.about |= {
        "samples": trainer.samples,
        "seconds": round(trainer.seconds, 2),
        "finished": finished,
        "machine": {"cores": torch.get_num_threads(), "device": str(model.device), "os": platform.system()},
    }
    if main:
        model.save(out)
    return Outcome(model, finished, trainer.samples, trainer.seconds)


def _config(model: Model) -> dict[str, Any]:
    versions = {"unstir": __version__, "torch": torch.__version__, "python": platform.python_version()}
    return {
        "schema": SCHEMA,
        "versions": versions,
        **model.about,
        "model": model.config.model_dump(mode="json"),
    }


def _loop(
    trainer: Trainer, model: Model, log: Log | None, report: Report, out: Path, *, previews: int
) -> bool:
    """Run the trainer to its end or to an interruption; whether it came to its end."""
    shown = int(trainer.fraction() * previews)
    total, steps, since, last_samples = torch.zeros(()), 0, time.monotonic(), trainer.samples
    with interruptible() as interrupted:
        for progress in trainer.run():
            # Added up on the device: a number asked for at every step would stall a GPU.
            total, steps = total.to(progress.loss.device) + progress.loss, steps + 1
            now, stop = time.monotonic(), trainer.agree(interrupted())
            if now - since >= 0.5 or progress.fraction >= 1.0 or stop:
                rate = (progress.samples - last_samples) / max(now - since, 1e-9)
                loss = float(total) / steps
                report.step(progress, loss, rate)
                if log is not None:
                    log.write(progress, loss, rate)
                total, steps, since, last_samples = torch.zeros(()), 0, now, progress.samples
            if previews and int(progress.fraction * previews) > shown and progress.fraction < 1.0:
                shown = int(progress.fraction * previews)
                _preview(trainer, model, out)
            if stop:
                return False
    return True


def _preview(trainer: Trainer, model: Model, out: Path) -> None:
    """A picture of a few samples on the way."""
    classes = len(model.config.classes)
    condition = {"label": [i % classes for i in range(20)]} if classes else {}
    try:
        with trainer.averaged():
            x = model.sample(20, steps=10, condition=condition)
    except (FloatingPointError, ValueError):
        return  # a young network may have no picture yet; the loss is checked at every step
    image = picture_of(x, model.config.bounds, columns=10)
    save_image(image, out / "samples" / f"{trainer.samples:012d}.png")


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a flag; a second SIGINT interrupts at once."""
    raise_if_lost()
    caught: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        if caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        caught.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        before = [signal.signal(number, handler) for number in numbers]
    except ValueError:  # not in the main thread, where signals arrive
        yield lambda: False
        return
    try:
        yield lambda: bool(caught)
    finally:
        for number, old in zip(numbers, before, strict=True):
            signal.signal(number, old)


class Log:
    """The run's ``metrics.jsonl`` and, if asked for, its TensorBoard log.

    Args:
        out: the run's folder.
        samples: lines beyond this many samples are dropped (a resumed run writes them again).
        tensorboard: whether to write TensorBoard logs, too.

    Raises:
        ModuleNotFoundError: if TensorBoard is asked for and missing.
    """

    def __init__(self, out: Path, samples: int, *, tensorboard: bool) -> None:
        self.path = out / "metrics.jsonl"
        kept = [line for line in read_metrics(out) if line["samples"] <= samples]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self.board: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ModuleNotFoundError:
                raise needed("tensorboard", "tensorboard") from None
            self.board = SummaryWriter(str(out / "tensorboard"))

    def write(self, progress: Progress, loss: float, rate: float) -> None:
        """Append one line."""
        line = {
            "samples": progress.samples,
            "loss": round(loss, 6),
            "learning_rate": progress.learning_rate,
            "seconds": round(progress.seconds, 3),
            "samples_per_second": round(rate, 1),
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self.board is not None:
            for name in ("loss", "learning_rate", "samples_per_second"):
                self.board.add_scalar(name, line[name], progress.samples)
            self.board.flush()


def read_metrics(out: Path) -> list[dict[str, float]]:
    """The lines of ``metrics.jsonl``; a last line cut off by a crash is left out."""
    path = out / "metrics.jsonl"
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines
