"""Measure and tune how a trained model is sampled: `unstir tune` and `unstir bench samplers DIR`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from unstir import noise
from unstir.denoisers import Denoiser
from unstir.evaluation.bench import Task, model_task
from unstir.guidance import ClassifierFree
from unstir.model import Model, TunedSettings, load
from unstir.recipes import RunSettings, load_data
from unstir.samplers import sample
from unstir.samplers.tune import TunedGrid, rms, tune
from unstir.settings import parse_settings

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
        ValueError: if it is no model, or the model is sampled by another kind of solver, or as in
            `noise_task`.
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
    """A model with noise and the fine reference for it, conditioned and guided as its settings say.

    Args:
        model: a run's, if it takes conditions other than a class (`conditions_for`).
        n: number of noises.
        first_index: number of the first of them.

    Raises:
        ValueError: for fewer than 1 noise, or as in `conditions_for`.
        FileNotFoundError: if the run's data are gone.
    """
    if n < 1:
        raise ValueError(f"the number of noises is at least 1, got {n}")
    denoiser: Denoiser = model.denoiser
    settings = model.config.sampling
    condition = model.condition(n, conditions_for(model, n, turn=int(first_index == JUDGING)))
    if condition and model.default_guidance > 0:
        denoiser = ClassifierFree(denoiser, settings.guidance, settings.window)
    index = torch.arange(first_index, first_index + n, device=model.device)
    z = noise.normal(model.config.event, seed=0, index=index, stream=noise.Stream.START)
    x_T = z * float(model.schedule.sigma(1.0))
    return model_task("model", denoiser, x_T, condition)


def conditions_for(model: Model, n: int, *, turn: int = 0) -> dict[str, Tensor]:
    """Conditions of n samples in data units: every class in turn, or those of held-out data of the run.

    Args:
        model: whose ``about`` holds the settings of its run, for conditions other than a class.
        n: number of samples.
        turn: which n of the held-out rows in random order; from their end on they come again.

    Returns:
        ``label``, ``vector`` and named conditions as `Model.solve` takes them; nothing for a model without.

    Raises:
        ValueError: if the model knows data with their condition only, and nothing says where to find one.
        FileNotFoundError: if the run's data are gone.
    """
    config = model.config
    if not (config.vector or config.conditions):
        return {"label": torch.arange(n) % len(config.classes)} if config.classes else {}
    stored = model.about.get("settings")
    if not isinstance(stored, Mapping):
        if model.denoiser.unconditional:
            return {}
        raise ValueError(
            f"this model takes {' and '.join(config.takes)}, and no settings of a run say where to find them"
        )
    heldout = load_data(parse_settings(RunSettings, stored).data).heldout.unscaled()
    order = noise.permutation(len(heldout), seed=0, stream=noise.Stream.SPLIT)
    return heldout.batch(order[(turn * n + torch.arange(n)) % len(order)])[1]
