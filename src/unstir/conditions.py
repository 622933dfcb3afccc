"""What a user says of the samples wanted (a class, a vector, named tensors), as tensors for the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unstir.model_settings import ModelConfig
from unstir.networks import ConditionSettings
from unstir.training import Scaling

Condition = Mapping[str, int | float | str | Sequence[Any] | NDArray[Any] | Tensor]
"""``label``, ``vector`` and named conditions, each one for all samples or one for each."""


def tensors_of(
    config: ModelConfig, n: int, condition: Condition, device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """Conditions as tensors of ``n`` rows, in the units of the network.

    Args:
        config: of the model.
        n: number of samples.
        condition: as in `Model.solve`.
        device: where the tensors go.

    Returns:
        By name: ``label`` (n,) int64, ``vector`` (n, length) and each named condition (n, *shape), float32
        with NaN for what is not given.

    Raises:
        ValueError: for a condition that the model does not take, a class that does not exist, values that are
            no numbers or infinite, or a number of conditions that is neither 1 nor ``n``.
    """
    result = {}
    for name, value in condition.items():
        if name == "label" and config.classes:
            result[name] = _labels(config.classes, n, value).to(device)
        elif name == "vector" and config.vector:
            result[name] = _named(ConditionSettings(shape=(config.vector,)), n, name, value).to(device)
        elif name in config.conditions:
            result[name] = _named(config.conditions[name], n, name, value).to(device)
        else:
            takes = " and ".join(config.takes) or "none"
            raise ValueError(f"this model takes no condition {name!r}; it takes {takes}")
    return result


def needs_condition(config: ModelConfig, instead: str) -> str:
    """The sentence for who asks a model for data without any condition that it knows with one only.

    Args:
        config: of the model, which names the conditions that it takes.
        instead: what to do, the end of the sentence.
    """
    names = ["class" if name == "label" else name for name in config.takes]
    verb = "is" if len(names) == 1 else "are"
    return (
        f"this model was trained without condition dropout, so it does not know data whose "
        f"{' and '.join(names)} {verb} not given; {instead}"
    )


def class_number(names: Sequence[str], value: int | str | Tensor) -> int:
    """The number of a class given by number or name; -1 is "no class".

    Args:
        names: of the classes.
        value: a name, a number, or a number as text.

    Raises:
        ValueError: for a class that does not exist.
    """
    if isinstance(value, str):
        if value in names:
            return list(names).index(value)
        if not value.removeprefix("-").isdecimal():
            raise ValueError(f"there is no class {value!r}; the classes are {', '.join(names)}")
    number = _whole(value)
    if not -1 <= number < len(names):
        raise ValueError(f"there is no class {number}; the classes are 0 to {len(names) - 1}")
    return number


def _whole(value: Any) -> int:
    """A number without a fraction, of any type."""
    try:
        if int(value) == float(value):
            return int(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"a class is given by its name or number, got {_shown(value)}")


def _labels(names: Sequence[str], n: int, value: Any) -> Tensor:
    single = isinstance(value, str) or np.ndim(value) == 0
    values = [value] * n if single else list(value)
    if len(values) != n:
        raise ValueError(f"there are {len(values)} labels for {n} samples")
    return torch.tensor([class_number(names, v) for v in values])


def _named(about: ConditionSettings, n: int, name: str, value: Any) -> Tensor:
    shape = about.shape
    try:
        values = torch.as_tensor(value, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"the condition {name!r} is numbers of shape {(n, *shape)} or {shape}, got {_shown(value)}"
        ) from None
    if values.shape == shape or (values.ndim == 0 and shape == (1,)):
        values = values.expand(n, *shape)
    elif values.shape == (n,) and shape == (1,):
        values = values[:, None]
    if values.shape != (n, *shape):
        raise ValueError(
            f"the condition {name!r} has shape {(n, *shape)} or {shape}, got {tuple(values.shape)}"
        )
    if bool(values.isinf().any()):
        raise ValueError(f"the condition {name!r} is finite, or NaN where it is not given; got an infinity")
    return Scaling(about.shift, about.scale).to_internal(values)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
