"""Scenes as training data: the event, its conditions, and futures in metres from what a model gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unstir.recipes.scenarios.coordinates import decode, encode
from unstir.recipes.scenarios.scenes import Scenes
from unstir.recipes.splits import Splits
from unstir.training import ArrayData, ConditionArray, Scaling

if TYPE_CHECKING:
    from unstir.model import Model

FUTURE = 12
"""Frames of the future, unless ``data.options.future`` says otherwise."""


def to_data(
    scenes: Scenes,
    *,
    modes: int | None = None,
    scaling: Scaling | None = None,
    stride: float | None = None,
    drop_tokens: float = 0.3,
) -> ArrayData:
    """Scenes as rows of training data.

    The event (2 * modes, agents) holds the coefficients of `coordinates.encode`, each scaled to deviation 1
    over the agents that are there; an absent agent's are 0. The conditions are all of kind ``own``: ``past``
    (agents, past, 2) in metres, NaN for an absent agent; ``kind`` (agents,); and where the scenes have them
    ``map`` (segments, 4) and ``tokens`` (agents, length).

    Args:
        scenes: with a future.
        modes: how many modes in time are kept; None for all.
        scaling: of the event, that of the training part for the held-out one; None to measure it.
        stride: metres in one unit of the network's past, map and tokens, likewise; None for the root mean
            square way from frame to frame.
        drop_tokens: share of the samples that are trained without any token.

    Raises:
        ValueError: for scenes without a future, or more modes than it has frames.
    """
    if scenes.future < 1:
        raise ValueError("training scenes have a future: more frames than those of the past")
    modes = scenes.future if modes is None else modes
    if not 1 <= modes <= scenes.future:
        raise ValueError(
            f"the number of modes is 1 to {scenes.future}, the frames of the future; got {modes}"
        )
    past, future = torch.from_numpy(scenes.given), torch.from_numpy(scenes.followed)
    x = encode(past.double(), future.double(), modes).float().numpy()
    if scaling is None:
        there = np.moveaxis(x, 1, 2)[scenes.present]
        deviation = np.maximum(np.sqrt(np.mean(np.square(there, dtype=np.float64), axis=0)), 1e-6)
        scaling = Scaling((0.0,) * len(deviation), tuple(deviation.tolist()))
    stride = step_length(scenes) if stride is None else stride
    conditions = {}
    for name, values in _named(scenes).items():
        drop = drop_tokens if name == "tokens" else 0.0
        units = Scaling() if name == "kind" else Scaling(scale=(stride,))
        conditions[name] = ConditionArray(values, "own", units, drop)
    return ArrayData(x, scaling=scaling, conditions=conditions)


def halves(train: Scenes, heldout: Scenes, *, modes: int | None = None) -> Splits:
    """Both halves as `to_data` makes them, in the units of the training half."""
    stride = step_length(train)
    first = to_data(train, modes=modes, stride=stride)
    return Splits(first, to_data(heldout, modes=modes, scaling=first.scaling, stride=stride))


def step_length(scenes: Scenes) -> float:
    """Root mean square way of an agent from frame to frame in the past, metres; 1 if nobody moves."""
    steps = np.diff(scenes.given[scenes.present].astype(np.float64), axis=1)
    length = float(np.sqrt(np.square(steps).sum(axis=-1).mean()))
    return length if length > 0 else 1.0


def _named(scenes: Scenes) -> dict[str, NDArray[np.float32]]:
    values = {"past": scenes.given, "kind": scenes.kinds.astype(np.float32)}
    for name in ("map", "tokens"):
        value = getattr(scenes, name)
        if value is not None:
            values[name] = value
    return values


def conditions_of(scenes: Scenes, repeat: int = 1) -> dict[str, Tensor]:
    """The conditions of `Model.solve`, each scene's ``repeat`` times in a row: (n * repeat, ...) by name."""
    return {
        name: torch.from_numpy(np.ascontiguousarray(values)).repeat_interleave(repeat, dim=0)
        for name, values in _named(scenes).items()
    }


def futures(x: Tensor, scenes: Scenes, future: int) -> Tensor:
    """What a model gave as tracks; differentiable, for guidance costs.

    Args:
        x: (m, 2 * modes, agents) in the units of the data (`Model.solve(...).x`, or `Scaling.to_data` of a
            state), m a multiple of the number of scenes: each scene's samples in a row, as in
            `conditions_of(scenes, repeat)`.
        scenes: their pasts.
        future: frames of the future, `future_frames(model)`.

    Returns:
        (m, agents, future, 2) metres in the frame of the scenes, NaN for absent agents.

    Raises:
        ValueError: if the samples are not the same number for each scene.
    """
    if len(x) % len(scenes):
        raise ValueError(f"{len(x)} samples are not the same number for each of {len(scenes)} scenes")
    past = torch.from_numpy(np.ascontiguousarray(scenes.given)).repeat_interleave(
        len(x) // len(scenes), dim=0
    )
    return decode(x, past.to(x.device), future)


def future_frames(model: Model) -> int:
    """Frames that a model forecasts.

    Raises:
        ValueError: for a model that was not trained on scenes, or that was trained on scenes of one's own
            without saying how long their futures are.
    """
    if "past" not in model.config.conditions:
        raise ValueError("this model was not trained on scenes: it takes no past tracks")
    data = model.about.get("settings", {}).get("data", {})
    future = data.get("options", {}).get("future", FUTURE if data.get("source") == "scenarios" else None)
    if future is None:
        raise ValueError(
            "this model does not say how many frames its futures have: give it "
            'about={"settings": {"data": {"options": {"future": 12}}}} when it is made'
        )
    return int(future)
