"""Measure and tune how a trained model is sampled: `unstir tune` and `unstir bench samplers DIR`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from unstir import noise
from unstir.denoisers import Denoiser
from unstir.evaluation.bench import Task, model_task
from unstir.guidance import ClassifierFree
from unstir.model import Model, TunedSettings, load
from unstir.samplers import sample
from unstir.samplers.tune import TunedGrid, rms, tune

TUNING, JUDGING = 2**40, 2**41
"""Numbers of the first samples of the noise to tune on and of that to judge by; both are far from others."""


@dataclass(frozen=True)
class Tuning:
    """What tuning came to.

    Attributes:
        tuned: the grid found.
        error: its error on noise that tuning did not see, against a fine reference, in the network's units.
        default_error: that of the default solver and grid with as many evaluations.
        kept: whether it is better, and so stored.
    """

    tuned: TunedGrid
    error: float
    default_error: float

    @property
    def kept(self) -> bool:
        return self.error < self.default_error


def tune_run(
    folder: Path,
    evaluations: int,
    *,
    n: int = 64,
    device: str = "cpu",
    on_round: Callable[[float], None] | None = None,
) -> Tuning:
    """Tune a model's grid for a number of evaluations; store it in its ``config.json`` if it is better.

    From then on it is used whenever the model is sampled with that many steps and no solver or grid is asked
    for, and that many steps are the model's default. Guidance is that of the model's settings.

    Args:
        folder: a model's folder.
        evaluations: steps, at least 2.
        n: noises to tune on, and as many others to judge by.
        device: where the network runs.
        on_round: told the error of every run that is an improvement.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it is no model, or the model is sampled by another kind of solver.
        OSError: if it cannot be written.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; tuning stores its result in a model's folder")
    model = load(folder, device=device)
    if model.config.sampling.solver == "consistency":
        raise ValueError(f"{folder} is a distilled model, which has its own levels; tune its teacher instead")
    task = noise_task(model, n, first_index=TUNING)
    options = {"reference": task.reference, "condition": task.condition, "on_round": on_round}
    tuned = tune(task.denoiser, task.x_T, evaluations, **options)  # type: ignore[arg-type]
    judge = noise_task(model, n, first_index=JUDGING)

    def error(**how: object) -> float:
        x = sample(judge.denoiser, x_T=judge.x_T, condition=judge.condition, **how).x  # type: ignore[arg-type]
        return rms(x, judge.reference)

    result = Tuning(
        tuned,
        error(grid=tuned.grid(model.schedule), solver=tuned.solver()),
        error(steps=evaluations),
    )
    if result.kept:
        settings = model.config.sampling
        others = [t for t in settings.tuned if len(t.levels) + 1 != evaluations]
        mine = TunedSettings(**asdict(tuned))
        changed = settings.model_copy(
            update={"steps": evaluations, "solver": "multistep", "grid": None, "tuned": (*others, mine)}
        )
        model.config = model.config.model_copy(update={"sampling": changed})
        model.save(folder)
    return result


def noise_task(model: Model, n: int, *, first_index: int = JUDGING) -> Task:
    """A model with noise and the fine reference for it, every class in turn, guided as its settings say."""
    if n < 1:
        raise ValueError(f"the number of noises is at least 1, got {n}")
    denoiser: Denoiser = model.denoiser
    settings = model.config.sampling
    condition: dict[str, Tensor] = {}
    if model.config.classes:
        condition = model.condition(n, {"label": [i % len(model.config.classes) for i in range(n)]})
        if model.default_guidance > 0:
            denoiser = ClassifierFree(denoiser, settings.guidance, settings.window)
    index = torch.arange(first_index, first_index + n, device=model.device)
    z = noise.normal(model.config.event, seed=0, index=index, stream=noise.Stream.START)
    x_T = z * float(model.schedule.sigma(1.0))
    return model_task("model", denoiser, x_T, condition)
