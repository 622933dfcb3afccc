"""What a user asks of a model of two fields: the second of the first, or both from what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unstir.guidance.summary import Summary, summarise
from unstir.model import Model
from unstir.recipes.fields.known import KINDS
from unstir.recipes.fields.methods import (
    LEARNED,
    ExactModel,
    check_options,
    event_of,
    find_method,
    first_channels,
    guided,
)
from unstir.recipes.fields.residual import Equation, measurement_of
from unstir.recipes.fields.sensors import Seen, Sensors

_BATCH = 256
"""Samples at once, each with a measurement of its own."""
_EQUATION_ITERATIONS = 30
"""Krylov steps of MMPS with an equation, whose derivatives make the system ill-conditioned."""
_CLOSE = 1.25
"""A model trained on sensors of one noise level is asked about levels within this factor of it."""


@dataclass(frozen=True, eq=False)
class Inference:
    """What the measurements say of both fields, in their units.

    Attributes:
        samples: (n, channels, *space) of the posterior.
        method: that drew them.
        nfe: network evaluations for each.
    """

    samples: Tensor
    method: str
    nfe: int

    @property
    def mean(self) -> Tensor:
        """(channels, *space)."""
        return self.samples.mean(0)

    @property
    def deviation(self) -> Tensor:
        """(channels, *space), divisor n - 1; NaN for a single sample."""
        return self.samples.std(0)

    def summary(self, level: float = 0.9) -> Summary:
        """Mean, deviation and intervals of every cell."""
        return summarise(self.samples, level)


def infer(
    model: Model | ExactModel,
    sensors: Sensors | None = None,
    *,
    equation: Equation | None = None,
    n: int = 64,
    method: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    **options: Any,
) -> Inference:
    """Draw both fields from their posterior given sensors, an equation, or both.

    Args:
        model: of the pair: trained in the mode "joint", or exact.
        sensors: what was measured, or None.
        equation: that the pair has to follow, or None.
        n: number of samples, at least 1.
        method: "learned", the network's own condition (sensors only), or one of `methods.FIELD_METHODS`
            (mmps, pigdm, dps, ddrm, diffpir, particles; the last three take linear measurements only). By
            default what the model was trained for, where that is all that is asked, else mmps.
        steps: of the solver; by default the method's own.
        seed: of the samples.
        **options: of the method, such as ``iterations`` of mmps; or of the solver: ``solver``.

    Raises:
        ValueError: for neither sensors nor an equation, sensors outside the grid, a residual of the wrong
            shape, an unknown method or option of it, or what the model was not trained for.
    """
    _check_joint(model)
    event = event_of(model)
    seen = None if sensors is None else sensors.on(event)
    learned = model if isinstance(model, Model) and "known" in model.config.conditions else None
    if method is None:
        plain = learned is not None and seen is not None and equation is None
        method = LEARNED if plain and _trained_for(learned, seen) is None else "mmps"
    if method == LEARNED:
        if seen is None or equation is not None:
            raise ValueError(
                "the method 'learned' knows sensors only; with an equation use mmps, pigdm or dps"
            )
        if learned is None:
            raise ValueError("this model was not trained to know sensors; use the method mmps, pigdm or dps")
        wrong = _trained_for(learned, seen)
        if wrong:
            raise ValueError(wrong)
        other = sorted(set(options) - {"solver"})
        if other:
            raise ValueError(f"the method learned has no option {other[0]!r}; it has solver")
        solution = learned.solve(n, condition={"known": seen.event[0]}, seed=seed, steps=steps, **options)
        return Inference(solution.x, method, solution.nfe)
    _check_taught(model, "nothing", "be guided")
    if equation is not None and method == "mmps":
        options.setdefault("iterations", _EQUATION_ITERATIONS)
    way = find_method(method, model)
    check_options(method, way, options)
    measured = measurement_of(model.scaling, event, seen, equation, first_channels(model))
    solution = guided(model, way, measured, n, steps=steps, seed=seed, **options)
    return Inference(solution.x, method, solution.nfe)


def solve(
    model: Model | ExactModel,
    first: Tensor | NDArray[np.floating],
    *,
    n: int = 1,
    noise: float = 1e-2,
    method: str | None = None,
    steps: int | None = None,
    seed: int = 0,
) -> Tensor:
    """The second field of the first, which is known everywhere: the mean of n samples for each.

    Args:
        model: trained in either mode, or exact.
        first: (batch, channels, *space) in data units; (batch, *space) for a single channel.
        n: samples for each.
        noise: for guidance, the standard deviation to which the first field is held, in its own deviations.
        method: "learned" by default where the model was trained for it, else a guidance as in `infer`.
        steps: of the solver.
        seed: of the samples.

    Returns:
        (batch, channels, *space) in data units.

    Raises:
        ValueError: for a field of another shape or that is not finite, an unknown method, or one that the
            model was not trained for.
    """
    c, space = first_channels(model), event_of(model)[1:]
    first = torch.as_tensor(first)
    field = first[:, None] if tuple(first.shape[1:]) == space and c == 1 else first
    if tuple(field.shape[1:]) != (c, *space):
        raise ValueError(
            f"the first field of this model has shape (batch, {c}, {', '.join(map(str, space))}), got "
            f"{tuple(first.shape)}"
        )
    if not bool(torch.isfinite(field).all()):
        raise ValueError(
            "the first field holds a value that is not finite; of a field that is not known everywhere, give "
            "what is known as sensors to infer"
        )
    rows = field.repeat_interleave(n, dim=0)
    conditions = model.config.conditions if isinstance(model, Model) else {}
    if conditions and method in ((None, LEARNED) if _taught(model, "first") else (LEARNED,)):
        assert isinstance(model, Model)
        _check_taught(model, "first", "solve by itself")
        name = "source" if "source" in conditions else "known"
        if name == "known":
            rest = torch.full((len(rows), event_of(model)[0] - c, *space), torch.nan)
            rows = torch.cat([rows.float(), rest], dim=1)
        x = model.solve(len(rows), condition={name: rows}, steps=steps, seed=seed).x
        second = x if name == "source" else x[:, c:]
    else:
        if method == LEARNED:
            raise ValueError("an exact model has learned nothing; use the method mmps, pigdm or dps")
        _check_joint(model)
        _check_taught(model, "nothing", "be guided")
        second = _held(model, rows, noise, method or "mmps", steps, seed)[:, c:]
    return second.reshape(len(field), n, *second.shape[1:]).mean(1)


def _held(
    model: Model | ExactModel, rows: Tensor, noise: float, method: str, steps: int | None, seed: int
) -> Tensor:
    """Samples of the pair, each with its own first field held by guidance."""
    event = event_of(model)
    known = torch.zeros(event, dtype=torch.bool)
    known[: rows.shape[1]] = True
    inside = (rows.double() - _row(model.scaling.shift, rows)) / _row(model.scaling.scale, rows)
    y = inside.flatten(1)
    seen = Seen(known, y, torch.full((y.shape[1],), noise, dtype=torch.float64))
    parts = []
    for start in range(0, len(y), _BATCH):
        measured = (y[start : start + _BATCH], seen.operator, noise)
        n = len(measured[0])
        found = guided(
            model, find_method(method, model), measured, n, steps=steps, seed=seed, first_index=start
        )
        parts.append(found.x)
    return torch.cat(parts)


def _check_joint(model: Model | ExactModel) -> None:
    if isinstance(model, Model) and "source" in model.config.conditions:
        raise ValueError(
            "this model knows the second field only (data.options.mode=conditional): it solves by its own "
            "condition and infers nothing; train one of both fields for that"
        )


def _taught(model: Model | ExactModel, kind: str) -> bool:
    """Whether a model was trained with that known (`known.KINDS`); what does not say so was."""
    if not isinstance(model, Model) or "known" not in model.config.conditions:
        return True
    options = model.about.get("settings", {}).get("data", {}).get("options", {})
    return "shares" not in options or bool(options["shares"][KINDS.index(kind)] > 0)


def _check_taught(model: Model | ExactModel, kind: str, verb: str) -> None:
    if not _taught(model, kind):
        told = "nothing known" if kind == "nothing" else f"the {kind} field known"
        raise ValueError(
            f"this model was never trained with {told} (data.options.shares), so it cannot {verb}"
        )


def _trained_for(model: Model | None, seen: Seen | None) -> str | None:
    """Why a model with the condition ``known`` cannot be asked about sensors, or None."""
    assert model is not None
    assert seen is not None
    stored = model.about.get("settings", {}).get("data", {}).get("options", {})
    if not _taught(model, "sensors"):
        return "this model was not trained on sensors; use the method mmps, pigdm or dps"
    trained = float(stored.get("noise", 0.1))
    levels = seen.internal(model.scaling).noise
    if bool(((levels > trained * _CLOSE) | (levels < trained / _CLOSE)).any()):
        return (
            f"this model was trained for sensors whose noise is {trained:g} of their field's deviation, and "
            f"these have {float(levels.min()):.3g} to {float(levels.max()):.3g}; use the method mmps, which "
            "takes any"
        )
    return None


def _row(values: tuple[float, ...], rows: Tensor) -> Tensor:
    """The first channels' numbers, to broadcast against (batch, channels, *space)."""
    c = rows.shape[1]
    one = torch.tensor(values if len(values) > 1 else values * c, dtype=torch.float64)[:c]
    return one.reshape(1, c, *[1] * (rows.ndim - 2))
