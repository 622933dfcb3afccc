"""What scenes are held to: rare but valid ones of the default, and forecasts of recorded tracks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unstir.recipes.numbers import Number
from unstir.recipes.scenarios.default_check import (
    collision_number,
    default_numbers,
    forecast_number,
    measured,
    rare_numbers,
)
from unstir.recipes.scenarios.forecasting import track_check, track_numbers
from unstir.recipes.scenarios.load import scenes_for

if TYPE_CHECKING:
    from unstir.model import Model
    from unstir.recipes.domain import Options, Plan
    from unstir.recipes.settings import RunSettings


def check(plan: Plan) -> dict[str, Number]:
    """The numbers of the default, and with ``plan.data`` those of the tracks there, which are named so."""
    numbers = default_numbers(plan)
    if plan.data is not None:
        plan.say(f"training on the tracks in {plan.data}")
        numbers |= {f"tracks_{name}": number for name, number in track_check(plan).items()}
    return numbers


def measure(model: Model, settings: RunSettings, options: Options) -> dict[str, Number]:
    """The numbers of one model, on the held-out scenes of its data; ``options.n`` of them at most.

    Raises:
        ValueError: for guidance or a label, which scenes do not have.
    """
    if options.guidance or options.label is not None:
        raise ValueError("scenes are not guided by a class: leave guidance and label out")
    if settings.data.path is not None:
        return track_numbers(model, settings.data, seed=options.seed, n=options.n, steps=options.steps)
    sampled: dict[str, Any] = {"seed": options.seed, "steps": options.steps}
    train, heldout = scenes_for(settings.data)
    scenes = heldout.take(slice(0, options.n))
    return (
        rare_numbers([measured(model, scenes, train, **sampled)])
        | collision_number([model], scenes, train, **sampled)
        | forecast_number([model], scenes, train, **sampled)
    )
