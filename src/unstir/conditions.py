"""What a user says of the samples wanted (a class, a vector, named tensors), as tensors for the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from unstir.model_settings import ModelConfig
from unstir.networks import ConditionSettings
from unstir.training import Scaling

Condition = Mapping[str, int | str | Sequence[int | str] | Tensor]
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

    Raises:
        ValueError: for a condition that the model does not take, a class that does not exist, or a
            number of conditions that is neither 1 nor ``n``.
    """
    result = {}
    for name, value in condition.items():
        if name == "label" and config.classes:
            result[name] = _labels(config.classes, n, value).to(device)
        elif name == "vector" and config.vector:
            result[name] = _vectors(config.vector, n, value).to(device)
        elif name in config.conditions:
            result[name] = _named(config.conditions[name], n, name, value).to(device)
        else:
            takes = [k for k, has in (("label", config.classes), ("vector", config.vector)) if has]
            takes += config.conditions
            raise ValueError(
                f"this model takes no condition {name!r}; it takes {' and '.join(takes) or 'none'}"
            )
    return result


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
    number = int(value)
    if not -1 <= number < len(names):
        raise ValueError(f"there is no class {number}; the classes are 0 to {len(names) - 1}")
    return number


def _labels(names: Sequence[str], n: int, value: Any) -> Tensor:
    single = isinstance(value, Integral | str) or (isinstance(value, Tensor) and value.ndim == 0)
    values = [value] * n if single else list(value)
    if len(values) != n:
        raise ValueError(f"there are {len(values)} labels for {n} samples")
    return torch.tensor([class_number(names, v) for v in values])


def _vectors(length: int, n: int, value: Any) -> Tensor:
    vectors = torch.as_tensor(value, dtype=torch.float32)
    if vectors.ndim == 1:
        vectors = vectors.expand(n, -1)
    if vectors.shape != (n, length):
        raise ValueError(
            f"the condition 'vector' has shape ({n}, {length}) or ({length},), got {tuple(vectors.shape)}"
        )
    return vectors


def _named(about: ConditionSettings, n: int, name: str, value: Any) -> Tensor:
    values = torch.as_tensor(value, dtype=torch.float32)
    if values.shape == about.shape:
        values = values.expand(n, *about.shape)
    if values.shape != (n, *about.shape):
        raise ValueError(
            f"the condition {name!r} has shape {(n, *about.shape)} or {about.shape}, "
            f"got {tuple(values.shape)}"
        )
    return Scaling(about.shift, about.scale).to_internal(values)
