"""Distil a trained run into one that needs a few evaluations: `unstir distill`."""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
import time
from pathlib import Path

import torch
import yaml

from unstir.denoisers import Denoiser
from unstir.files import write_text
from unstir.guidance import ClassifierFree
from unstir.memory import keep_freed_memory
from unstir.model import Model, SamplingSettings, load
from unstir.recipes import RunSettings, load_data
from unstir.recipes.run import Outcome, Report, check_folder, interruptible, prepare_folder, stored_settings
from unstir.settings import parse_settings
from unstir.training import DistillationSettings, Distiller

STEPS = 4
"""Evaluations that a distilled model is sampled with unless told otherwise."""

RATE = 0.5
"""The learning rate of a distillation in units of that of the run: the student starts trained."""


def default_folder(folder: Path) -> Path:
    """Where the distilled run goes unless told otherwise: beside the run."""
    return folder.parent / f"{folder.name}-distilled"


def distill_run(
    folder: Path,
    out: Path | None = None,
    *,
    seconds: float | None = None,
    samples: int | None = None,
    guidance: float | None = None,
    overwrite: bool = False,
    report: Report | None = None,
    device: str = "cpu",
) -> Outcome:
    """Distil a run into a new run's folder, which is written when all is done.

    SIGINT and SIGTERM end it after the current step, and what the student has learned so far is written.
    The batch and the optimizer are those of the run's training, the learning rate is half of its.

    Args:
        folder: a trained run.
        out: the new run's folder; ``folder`` with "-distilled" by default.
        seconds: budget in wall-clock seconds.
        samples: budget in samples seen; with this alone the result is the same bit for bit.
        guidance: weight of classifier-free guidance that the student learns; the run's setting by default.
        overwrite: replace a run in ``out``.
        report: who is told.
        device: where the networks run.

    Raises:
        FileNotFoundError: if there is no such folder, or its data are gone.
        ValueError: for a folder that is no trained run, no budget, a run in ``out`` already, or guidance of
            a model without conditions or trained without condition dropout.
        FloatingPointError: if the loss is not finite.
        OSError: if the new folder cannot be written.
    """
    out, report = out or default_folder(folder), report or Report()
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; distillation needs a run's folder")
    if seconds is None and samples is None:
        raise ValueError("a distillation needs a budget: --seconds, --samples or both")
    settings = stored_settings(folder)
    teacher, student = load(folder, device=device), load(folder, device=device)
    _check_out(folder, out, overwrite=overwrite)
    weight = teacher.default_guidance if guidance is None else guidance
    denoiser = _guided(teacher, weight)
    distillation = _settings(settings, seconds, samples)
    data = load_data(settings.data).train if teacher.config.conditional else None
    keep_freed_memory()
    distiller = Distiller(student.denoiser, denoiser, teacher.config.event, distillation, data)
    lines, finished = _loop(distiller, report)
    distiller.finish()
    sampling = SamplingSettings(solver="consistency", steps=STEPS)
    settings = settings.model_copy(update={"sampling": sampling})
    student.config = student.config.model_copy(update={"sampling": sampling})
    student.about |= {
        "settings": settings.model_dump(mode="json"),
        "distillation": {
            "teacher": str(folder),
            "teacher_samples": teacher.about.get("samples"),
            "guidance": weight,
            "settings": distillation.model_dump(mode="json"),
        },
        "samples": distiller.samples,
        "seconds": round(distiller.seconds, 2),
        "finished": finished,
        "machine": {"cores": torch.get_num_threads(), "device": str(student.device), "os": platform.system()},
    }
    if distiller.samples:
        _write(student, settings, lines, folder, out)
    return Outcome(student, finished, distiller.samples, distiller.seconds)


def _guided(teacher: Model, weight: float) -> Denoiser:
    """What the student learns: the teacher, with the guidance that is asked for.

    Raises:
        ValueError: for a negative weight, or guidance of a model without conditions.
    """
    if weight == 0:
        return teacher.denoiser
    if not teacher.config.conditional:
        raise ValueError("guidance needs a model with conditions; leave --guidance out for this one")
    return ClassifierFree(teacher.denoiser, weight, teacher.config.sampling.window)


def _settings(run: RunSettings, seconds: float | None, samples: int | None) -> DistillationSettings:
    """The settings of a distillation that fit the network of a run: its batch and optimizer."""
    training = run.training
    same = ("batch", "betas", "weight_decay", "clip", "drop_condition", "seed")
    values = {name: getattr(training, name) for name in same}
    values |= {"samples": samples, "seconds": seconds, "chains": 4 * training.batch}
    return parse_settings(DistillationSettings, values | {"learning_rate": RATE * training.learning_rate})


def _check_out(folder: Path, out: Path, *, overwrite: bool) -> None:
    """Check that the distilled run can be written, before minutes are spent on it.

    Raises:
        ValueError: if it is the run itself, another run that is not to be replaced, or a file.
        OSError: if nothing can be written there.
    """
    if out.resolve() == folder.resolve():
        raise ValueError(f"{out} is the run to distil itself; choose another folder with --out")
    if (out / "config.json").exists() and not overwrite:
        raise ValueError(
            f"{out} already holds a run; replace it with --overwrite, or choose another folder with --out"
        )
    check_folder(out, resume=False, overwrite=overwrite)
    place = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    with tempfile.TemporaryFile(dir=place):
        pass


def _loop(distiller: Distiller, report: Report) -> tuple[list[dict[str, float]], bool]:
    """Run to the end or to an interruption: the lines of ``metrics.jsonl``, and whether it is the end."""
    lines: list[dict[str, float]] = []
    total, steps, since, last_samples = 0.0, 0, time.monotonic(), 0
    with interruptible() as interrupted:
        for progress in distiller.run():
            total, steps = total + float(progress.loss), steps + 1
            now, stop = time.monotonic(), interrupted()
            if now - since >= 0.5 or progress.fraction >= 1.0 or stop:
                rate = (progress.samples - last_samples) / max(now - since, 1e-9)
                report.step(progress, total / steps, rate)
                lines.append(
                    {
                        "samples": progress.samples,
                        "loss": round(total / steps, 6),
                        "learning_rate": progress.learning_rate,
                        "seconds": round(progress.seconds, 3),
                        "samples_per_second": round(rate, 1),
                    }
                )
                total, steps, since, last_samples = 0.0, 0, now, progress.samples
            if stop:
                return lines, False
    return lines, True


def _write(
    student: Model, settings: RunSettings, lines: list[dict[str, float]], folder: Path, out: Path
) -> None:
    """The distilled run: written aside, so that a full disk harms no older one, then moved into its place.

    The judges of the teacher's folder come along, so that both are measured alike. ``config.json`` is moved
    last, and without it a folder is no run.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        write_text(aside / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_text(aside / "settings.yaml", text)
        for judge in folder.glob("judge-*.safetensors"):
            shutil.copyfile(judge, aside / judge.name)
        student.save(aside)
        prepare_folder(out, resume=False, overwrite=True)
        for file in sorted(aside.iterdir(), key=lambda file: file.name == "config.json"):
            file.replace(out / file.name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
