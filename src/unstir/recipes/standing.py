"""The numbers that the recipes of one file are held to: digits, images and densities in the plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from unstir import evaluation as ev
from unstir.recipes import densities, digits, images
from unstir.recipes.assess import Assessment, assess_run, data_units, features_for, labels_of
from unstir.recipes.domain import Plan
from unstir.recipes.gaussian import gaussian_samples
from unstir.recipes.numbers import Number, pooled
from unstir.recipes.settings import RunSettings


@dataclass(frozen=True)
class Limits:
    """What a recipe is held to.

    Attributes:
        limits: by number, see `numbers_of`; others are shown without a limit.
        trainings: how many, of different seeds.
    """

    limits: Mapping[str, str]
    trainings: int = 3


def check(build: Callable[[], RunSettings], limits: Limits, plan: Plan) -> dict[str, Number]:
    """Train, sample and measure a recipe against held-out data and a Gaussian baseline.

    Args:
        build: the recipe's settings.
        limits: what it is held to.
        plan: of the check.
    """
    settings = build()
    if plan.data is not None:
        settings = settings.model_copy(update={"data": settings.data.model_copy(update={"path": plan.data})})
    runs: list[dict[str, Number]] = []
    for seed in plan.seeds[: limits.trainings]:
        training = settings.training.model_copy(update={"seed": seed})
        name = f"seed{seed}"
        plan.say(f"{settings.recipe}: training {len(runs) + 1} of {limits.trainings}")
        plan.train(settings.model_copy(update={"training": training}), name)
        result = assess_run(plan.folder / name, seed=seed)
        runs.append(numbers_of(result, baseline_of(result, seed), limits.limits))
    return pooled(runs)


def numbers_of(result: Assessment, baseline: ev.Evaluation, limits: Mapping[str, str]) -> dict[str, Number]:
    """The figures of samples as named numbers: ratios to held-out data, so that 1 is perfect, and accuracy.

    Args:
        result: a run measured.
        baseline: the same figures of the baseline's samples.
        limits: by name.

    Raises:
        ValueError: for a limit of a number that was not measured.
    """
    found: dict[str, Number] = {}
    for name in ("frechet_matched", "sliced_wasserstein", "nearest_distance"):
        figure, other = result.evaluation[name], baseline[name]
        key = f"{name.removesuffix('_matched')}_ratio"
        value = figure.samples / max(figure.heldout, 1e-12)
        reference = other.samples / max(other.heldout, 1e-12)
        text = f"{figure.explanation}, over the same of held-out data"
        found[key] = Number(value, limits.get(key, ""), reference, 1.0, meaning=text)
    for name in ("precision", "recall", "label_accuracy"):
        if name in result.evaluation.figures:
            figure, other = result.evaluation[name], baseline[name]
            limit = limits.get(name, "")
            found[name] = Number(
                figure.samples, limit, other.samples, figure.heldout, meaning=figure.explanation
            )
    missing = sorted(set(limits) - set(found))
    if missing:
        raise ValueError(f"there is a limit for {missing[0]!r}, which was not measured")
    return found


def baseline_of(result: Assessment, seed: int) -> ev.Evaluation:
    """The figures of a Gaussian fitted to the training data, one for each class, in the data's range."""
    train, heldout = data_units(result.splits.train), data_units(result.splits.heldout)
    owners = None if result.labels is None else labels_of(result.splits.train)
    x = gaussian_samples(train, owners, result.labels, len(result.samples), seed)
    if result.splits.bounds is not None:
        x = x.clamp(*result.splits.bounds)
    features = features_for(result.judge, train)
    return ev.evaluate(x, train, heldout, features=features, labels=result.labels, judge=result.judge)


STANDING: dict[str, Callable[[Plan], dict[str, Number]]] = {
    "digits": partial(
        check,
        digits.settings,
        Limits(
            {"label_accuracy": ">= 0.97", "frechet_ratio": "<= 2", "nearest_distance_ratio": "0.9 to 1.15"}
        ),
    ),
    "mnist": partial(
        check, images.mnist_settings, Limits({"label_accuracy": ">= 0.97", "frechet_ratio": "<= 3"}, 1)
    ),
    "cifar10": partial(check, images.cifar10_settings, Limits({"label_accuracy": ">= 0.8"}, 1)),
    **{
        name: partial(
            check,
            partial(densities.settings, name),
            Limits({"sliced_wasserstein_ratio": "<= 2.5", "precision": ">= 0.9", "recall": ">= 0.9"}),
        )
        for name in densities.DENSITIES
    },
}
"""By recipe."""
