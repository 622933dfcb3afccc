"""What the policy is held to, and its numbers, pictures and films for the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unstir.evaluation.pictures import save_image
from unstir.evaluation.report import Panel
from unstir.recipes.domain import Options, Plan
from unstir.recipes.numbers import Number, mean_of, pooled
from unstir.recipes.policy import metrics, pusht
from unstir.recipes.policy.baseline import MeanPlanner, clone
from unstir.recipes.policy.data import load, options_of, settings
from unstir.recipes.policy.demonstrations import demonstrate
from unstir.recipes.policy.steering_picture import steering_picture
from unstir.recipes.policy.task import DiffusionPlanner, Planner, Rollout
from unstir.recipes.policy.video import Named, routes_picture, write_gif, write_mp4
from unstir.recipes.settings import RunSettings
from unstir.recipes.splits import evenly
from unstir.training.data import ArrayData

if TYPE_CHECKING:
    from unstir.model import Model

_SHOWN = 20
"""Episodes in a film unless told otherwise."""


def check(plan: Plan) -> dict[str, Number]:
    """Train the default several times, and behaviour cloning as often, and let both into the maze.

    Raises:
        ModuleNotFoundError: if the simulator is not installed.
    """
    base = settings()
    splits = load(base.data)
    ours: list[Rollout] = []
    theirs: list[Rollout] = []
    steered, rates = [], []
    model: Model | None = None
    for seed in plan.seeds:
        training = base.training.model_copy(update={"seed": seed})
        chosen = base.model_copy(update={"training": training})
        model = plan.train(chosen, f"policy-{seed}")
        samples = int(model.about.get("samples") or base.training.samples or 1)
        plan.say(f"cloning from {samples:,} samples, for comparison")
        cloner = clone(chosen, splits.train, samples)
        runs, others = metrics.episodes(model, seed=seed), metrics.episodes(cloner, seed=seed)
        ours, theirs = ours + runs, theirs + others
        rates.append(float(np.mean([r.success for r in runs])))
        steered.append(metrics.steering(model, seed=seed))
        plan.say(
            f"training {seed}: {sum(r.success for r in runs)} of {len(runs)} episodes reach the goal, "
            f"cloning {sum(r.success for r in others)}"
        )
    assert model is not None
    groups = [("Diffusion policy", ours[-_SHOWN:]), ("Cloning", theirs[-_SHOWN:])]
    write_gif(plan.folder / "policy.gif", groups)
    plan.say(f"a film of both is {plan.folder / 'policy.gif'}")
    numbers = metrics.outcome(ours, theirs, _demonstrator())
    numbers["worst_training"] = Number(
        min(rates),
        meaning=f"success of the worst of {len(rates)} trainings; their mean {mean_of(rates)[0]:.3f}",
    )
    return numbers | metrics.cost(model) | pooled(steered)


def measure(model: Model, chosen: RunSettings, options: Options) -> dict[str, Number]:
    """The numbers of one model: in the maze, or on the held-out part of a user's own demonstrations."""
    planner = DiffusionPlanner(model, steps=options.steps)
    if chosen.data.path is not None:
        numbers = heldout(planner, load(chosen.data).heldout, options)
        return numbers | (pusht.measure(model, chosen, options) if chosen.recipe == "pusht" else {})
    own = options_of(chosen.data)
    n = options.n or metrics.EPISODES
    runs = metrics.episodes(planner, n=n, seed=options.seed, executed=own.executed)
    mean = metrics.episodes(MeanPlanner(planner), n=n, seed=options.seed, executed=own.executed)
    numbers = metrics.outcome(runs, mean, _demonstrator())
    return (
        numbers
        | metrics.cost(model, steps=options.steps, executed=own.executed)
        | metrics.steering(model, n=n, steps=options.steps, seed=options.seed, executed=own.executed)
    )


def heldout(planner: DiffusionPlanner, data: ArrayData, options: Options) -> dict[str, Number]:
    """How near plans come to what was done in demonstrations that training never saw.

    Where demonstrations differ no plan can match each of them, so this is a distance and not a success.
    """
    import torch

    rows = torch.from_numpy(evenly(options.n or 500, len(data)))
    x, scaled = data.batch(rows)
    conditions = {name: data.conditions[name].scaling.to_data(value) for name, value in scaled.items()}
    plans = data.scaling.to_internal(planner.plan(conditions, options.seed, 0))
    ahead = slice(planner.observed - 1, None)
    error = float((plans - x)[:, :, ahead].square().mean().sqrt())
    still = float((x[:, :, planner.observed - 1, None] - x)[:, :, ahead].square().mean().sqrt())
    return {
        "plan_error": Number(
            error,
            baseline=still,
            meaning="rms of plan minus demonstration, half the range of an action = 1; "
            "baseline: repeating the first action",
        ),
        "evaluations": Number(float(planner.evaluations), meaning="of the network for a plan"),
    }


def _demonstrator() -> float:
    """Share of the demonstrator's attempts that reach the goal."""
    done = demonstrate(metrics.EPISODES, seed=1)
    return len(done.episodes) / done.attempts


def groups_of(model: Model, chosen: RunSettings, options: Options) -> Named:
    """Episodes of the policy, and of the mean of its plans, which is what cloning would learn.

    Raises:
        ValueError: for a model of other demonstrations than the maze's, which has no environment here.
    """
    if chosen.data.path is not None:
        raise ValueError(
            "films and pictures are of the maze, and this policy was trained on other demonstrations; let it "
            "act in its own environment with unstir.recipes.policy.Policy"
        )
    own, n = options_of(chosen.data), options.n or _SHOWN
    planner = DiffusionPlanner(model, steps=options.steps)
    planners: dict[str, Planner] = {"Diffusion policy": planner, "Mean of 32 plans": MeanPlanner(planner)}
    return [
        (title, metrics.episodes(planner, n=n, seed=options.seed, executed=own.executed))
        for title, planner in planners.items()
    ]


def panels(model: Model, chosen: RunSettings, options: Options) -> list[Panel]:
    """All ways through the maze, beside those of the mean plan; and steering."""
    if chosen.data.path is not None:
        return []
    image = routes_picture(groups_of(model, chosen, options))
    text = (
        "Each line is an episode from left to right: upper route blue, lower route green, failures red. The "
        "mean of 32 plans estimates E[plan | observations], which cloning would learn."
    )
    executed = options_of(chosen.data).executed
    steered = steering_picture(
        model, n=options.n or _SHOWN, steps=options.steps, seed=options.seed, executed=executed
    )
    steering = (
        "Above, two obstacles that training never saw: where unguided and guided episodes end. Below, the "
        "ball's way under plans from the start, asked to end at the dots; the colour says in which half the "
        "goal lies."
    )
    return [
        Panel("Ways through the maze", text, image=image, pixelated=False),
        Panel("Steering", steering, image=steered, pixelated=False),
    ]


def _film(write: Callable[[Path, Named], None]) -> Callable[[Model, RunSettings, Path, Options], str]:
    def file(model: Model, chosen: RunSettings, path: Path, options: Options) -> str:
        groups = groups_of(model, chosen, options)
        write(path, groups)
        won = " and ".join(
            f"{sum(r.success for r in runs)} of {len(runs)} ({title})" for title, runs in groups
        )
        return f"episodes that reach the goal, {won}"

    return file


def _write_png(path: Path, groups: Named) -> None:
    save_image(routes_picture(groups), path)


FILES = {".gif": _film(write_gif), ".mp4": _film(write_mp4), ".png": _film(_write_png)}
"""What `unstir sample` writes."""
