"""Sound from a model: a class is asked for, and a wave comes back."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unstir.model import Model
from unstir.recipes.audio.mel import Waves
from unstir.recipes.audio.options import options_of_model


def generate(
    model: Model,
    labels: Sequence[int | str] | None,
    *,
    n: int | None = None,
    seed: int = 0,
    guidance: float | None = None,
    steps: int | None = None,
    solver: str | None = None,
    first_index: int = 0,
) -> Waves:
    """Sounds of classes.

    Args:
        model: trained on sound.
        labels: a class for each sound, by number or name; None for sounds of no class.
        n: number of sounds; that of the labels by default, 1 without any.
        seed: sound i of a seed is the same whatever the others are.
        guidance: weight of classifier-free guidance, 0 for none; the model's own by default, as the next two.
        steps: of the solver.
        solver: its name.
        first_index: number of the first sound within the seed.

    Returns:
        (n, samples) float32 at the rate of ``options_of_model(model).mel``.

    Raises:
        ModuleNotFoundError: if the extra ``audio`` is missing.
        ValueError: for a model of something else, a class that does not exist, or options out of range.
    """
    return options_of_model(model).waves(
        draw_events(
            model,
            labels,
            n=n,
            seed=seed,
            guidance=guidance,
            steps=steps,
            solver=solver,
            first_index=first_index,
        ).numpy()
    )


def draw_events(
    model: Model,
    labels: Sequence[int | str] | None,
    *,
    n: int | None = None,
    seed: int = 0,
    guidance: float | None = None,
    steps: int | None = None,
    solver: str | None = None,
    first_index: int = 0,
) -> torch.Tensor:
    """As `generate`, before the vocoder: (n, *event) in data units."""
    count = n if n is not None else 1 if labels is None else len(labels)
    if labels is None and guidance:
        raise ValueError("guidance is towards a class, and none is asked for")
    return model.sample(
        count,
        condition={} if labels is None else {"label": list(labels)},
        guidance=None if labels is None else guidance,
        seed=seed,
        steps=steps,
        solver=solver,
        first_index=first_index,
    )


def classes_in_turn(model: Model, n: int) -> list[int] | None:
    """``n`` classes of a model, each as often as the others; None for a model without classes."""
    classes = len(model.config.classes)
    return [i % classes for i in range(n)] if classes else None
