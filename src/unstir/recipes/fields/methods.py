"""What draws pairs of fields: an exact denoiser used like a trained model, and methods that guide either."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor

from unstir.denoisers import Denoiser
from unstir.guidance import MMPS, PiGDM
from unstir.guidance.operators import Operator
from unstir.model import Model
from unstir.recipes.fields.exact import PairDenoiser
from unstir.recipes.restore import METHODS, Method
from unstir.samplers import Solution, Solver, sample
from unstir.settings import nearest

LEARNED = "learned"
"""The method that asks a model which was trained on the condition ``known``."""
FIELD_METHODS: dict[str, Method] = {
    **METHODS,
    # Sensors of a smooth field say nearly the same, and Krylov steps have to tell them apart; with enough of
    # them the posterior of a Gaussian field is exact, and a deterministic solver keeps it so.
    "mmps": Method(partial(MMPS, iterations=8), sampler="multistep", steps=12),
    "pigdm": Method(partial(PiGDM, damped=True), sampler="stochastic-heun", steps=10),
}
"""The methods by name, with what suits fields."""


class ExactModel:
    """An exact denoiser of a pair, used like a trained model.

    Args:
        denoiser: of the pair, in its own units.
    """

    def __init__(self, denoiser: PairDenoiser) -> None:
        self.denoiser = denoiser
        self.scaling = denoiser.scaling

    def solve(
        self,
        n: int,
        *,
        guide: Callable[[Denoiser], Denoiser] | None = None,
        seed: int = 0,
        first_index: int = 0,
        steps: int | None = None,
        batch: int = 256,
        **options: Any,
    ) -> Solution:
        """As `Model.solve`: what is not named here is for `samplers.sample`."""
        denoiser = self.denoiser if guide is None else guide(self.denoiser)
        parts = [
            sample(
                denoiser,
                (min(batch, n - start), *self.denoiser.event),
                seed=seed,
                first_index=first_index + start,
                steps=20 if steps is None else steps,
                **options,
            )
            for start in range(0, n, batch)
        ]
        x = self.scaling.to_data(torch.cat([part.x for part in parts]))
        return Solution(x, parts[0].nfe, parts[0].grid, None)


def find_method(name: str, model: Model | ExactModel) -> Method:
    """A method of `FIELD_METHODS` by name, as it suits a model.

    MMPS takes what is known at a noise level for Gaussian. Where the fields are not, a sample now and then
    goes astray, and a deterministic solver never brings it back; one that adds noise does. So a model of
    Darcy flow or of a reaction gets the MMPS of `unstir restore`.

    Raises:
        ValueError: for an unknown one.
    """
    if name not in FIELD_METHODS:
        raise ValueError(f"unknown method {name!r}; {nearest(name, [*FIELD_METHODS, LEARNED])}")
    if name == "mmps" and isinstance(model, Model):
        stored = model.about.get("settings", {}).get("data", {})
        made = stored.get("path") is None
        if made and stored.get("options", {}).get("problem") in ("darcy", "reaction"):
            return METHODS["mmps"]
    return FIELD_METHODS[name]


def check_options(name: str, method: Method, options: dict[str, Any]) -> None:
    """Refuse what a method does not know, in words, instead of passing it by."""
    known = ["solver"] if method.guide is not None else []
    if method.guide is not None:
        parameters = signature(method.guide).parameters.values()
        known += [each.name for each in parameters if each.kind is Parameter.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            there = nearest(option, known) if known else "it has none"
            raise ValueError(f"the method {name} has no option {option!r}; {there}")


def guided(
    model: Model | ExactModel,
    method: Method,
    measured: tuple[Tensor, Operator, float | Tensor],
    n: int,
    *,
    steps: int | None = None,
    seed: int = 0,
    first_index: int = 0,
    solver: Any = None,
    **options: Any,
) -> Solution:
    """Samples of a model guided by a measurement in its own units.

    Args:
        model: trained or exact.
        method: see `FIELD_METHODS`.
        measured: y, operator and noise.
        n: number of samples.
        steps: of the solver; the method's own by default.
        seed: of the samples.
        first_index: number of the first sample within the seed.
        solver: that a guided denoiser is sampled with; the method's own by default.
        **options: of the method.
    """
    y, operator, noise = measured
    rows = y.float()
    if method.guide is not None:
        guide: Callable[..., Denoiser] = method.guide
        return model.solve(
            n,
            guide=lambda denoiser: guide(denoiser, rows, operator, noise, **options),
            solver=solver or method.sampler,
            steps=steps or method.steps,
            seed=seed,
            first_index=first_index,
        )
    make: Callable[..., Solver] | None = method.solver
    assert make is not None
    # A solver that weighs samples against each other sees all of them at once.
    own = make(rows, operator, noise, n)
    return model.solve(
        n, solver=own, steps=steps or method.steps, seed=seed, first_index=first_index, batch=n
    )


def event_of(model: Model | ExactModel) -> tuple[int, ...]:
    """(channels, *space) of a model's samples."""
    return model.config.event if isinstance(model, Model) else model.denoiser.event


def first_channels(model: Model | ExactModel) -> int:
    """Channels of the first field: those of the condition ``source``, else one."""
    conditions = model.config.conditions if isinstance(model, Model) else {}
    return conditions["source"].shape[0] if "source" in conditions else 1
