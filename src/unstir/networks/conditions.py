"""Conditions beyond a class and a vector: named tensors, and how each of them enters a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from keyword import iskeyword
from math import prod
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from unstir.settings import Count, Settings

Finite = Annotated[float, Field(allow_inf_nan=False)]

How = Literal["embed", "channels", "image", "own"]
"""``embed``: flattened, through a perceptron, into the vector that conditions every block (FiLM, Perez et
al. 2018); a NaN anywhere means "not given". ``channels``: of the event's space, beside its channels, with a
mask of the entries that are given; a NaN means that this entry is not. ``image``: (channels, height, width)
through a convolutional encoder into the same vector. ``own``: the network itself knows what to do."""


RESERVED = ("x", "x_t", "t", "log_snr", "label", "vector", "self")
"""Names that a network's other arguments have."""


class ConditionSettings(Settings):
    """A named condition of a network.

    Attributes:
        shape: of one sample's condition, at least one axis.
        how: how it enters.
        shift: subtracted before the network sees it, one finite number or one an entry of the first axis.
        scale: and divided by; as many, above 0.
    """

    shape: Annotated[tuple[Count, ...], Field(min_length=1)]
    how: How = "embed"
    shift: tuple[Finite, ...] = (0.0,)
    scale: tuple[Annotated[Finite, Field(gt=0.0)], ...] = (1.0,)

    @model_validator(mode="after")
    def _fits(self) -> ConditionSettings:
        check_factors(self.shape, len(self.shift), len(self.scale))
        return self


Conditions = Mapping[str, ConditionSettings]


def check_name(name: str) -> None:
    """Check that a condition may have a name: it is an argument of the network, by keyword.

    Raises:
        ValueError: for one that is no identifier, or the name of another argument.
    """
    if not isinstance(name, str) or not name.isidentifier() or iskeyword(name) or name in RESERVED:
        raise ValueError(
            f"the name of a condition is a word such as 'observation', of letters, digits and _, and none of "
            f"{', '.join(RESERVED)}; got {name!r}"
        )


def check_factors(shape: tuple[int, ...], shifts: int, scales: int) -> None:
    """Check that the scaling of a condition fits its shape.

    Args:
        shape: of one sample.
        shifts: how many there are.
        scales: likewise.

    Raises:
        ValueError: unless there is one of each, or one for every entry of the first axis.
    """
    if shifts != scales or shifts not in (1, shape[0]):
        raise ValueError(
            f"a condition of shape {tuple(shape)} is scaled by one shift and scale, or by {shape[0]} of "
            f"each; got {shifts} and {scales}"
        )


class Perceptron(nn.Module):
    """A flattened condition as one vector a sample, with a learned stand-in for "not given".

    Args:
        shape: of one sample's condition.
        width: number of output features.
    """

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(prod(shape), width), nn.SiLU(), nn.Linear(width, width))
        self.none = nn.Parameter(torch.zeros(width))

    def forward(self, condition: Tensor | None, batch: int) -> Tensor:
        """(batch, *shape), NaN or None for "not given", as (batch, width)."""
        flat = None if condition is None else condition.flatten(1)
        return or_none(self.layers, flat, self.none, batch)


class ImageEncoder(nn.Module):
    """A picture as one vector a sample: strided convolutions, then where each feature is (spatial softmax).

    Source: Levine et al. 2016, "End-to-end training of deep visuomotor policies", section 5.1; group norm in
    place of batch norm as in Chi et al. 2023, section 3.2.

    Args:
        shape: (channels, height, width) of one sample.
        width: number of output features.
        features: channels of the last convolution.
    """

    def __init__(self, shape: tuple[int, ...], width: int, features: int = 32) -> None:
        super().__init__()
        if len(shape) != 3:
            raise ValueError(f"a picture has shape (channels, height, width), got {shape}")
        channels = (shape[0], features // 2, features, features)
        self.layers = nn.Sequential(
            *(
                layer
                for a, b in pairwise(channels)
                for layer in (nn.Conv2d(a, b, 5, stride=2, padding=2), nn.GroupNorm(4, b), nn.SiLU())
            )
        )
        self.project = nn.Sequential(nn.Linear(3 * features, width), nn.SiLU(), nn.Linear(width, width))
        self.none = nn.Parameter(torch.zeros(width))

    def forward(self, condition: Tensor | None, batch: int) -> Tensor:
        """(batch, channels, height, width), NaN or None for "not given", as (batch, width)."""
        return or_none(self._encode, condition, self.none, batch)

    def _encode(self, x: Tensor) -> Tensor:
        h = self.layers(x)
        share = h.flatten(2).softmax(dim=2).reshape(h.shape)
        rows = torch.linspace(-1.0, 1.0, h.shape[2], dtype=h.dtype, device=h.device)
        columns = torch.linspace(-1.0, 1.0, h.shape[3], dtype=h.dtype, device=h.device)
        places = [share.sum(dim=3) @ rows, share.sum(dim=2) @ columns, h.mean(dim=(2, 3))]
        return self.project(torch.cat(places, dim=1))  # type: ignore[no-any-return]


def encoder(condition: ConditionSettings, width: int) -> nn.Module | None:
    """What turns a condition into a vector of ``width``; None for one that enters otherwise."""
    if condition.how == "embed":
        return Perceptron(condition.shape, width)
    if condition.how == "image":
        return ImageEncoder(condition.shape, width)
    return None


def extra_channels(conditions: Conditions) -> int:
    """Input channels that the conditions of kind ``channels`` take: values, and a mask of those given."""
    return sum(2 * c.shape[0] for c in conditions.values() if c.how == "channels")


def check_conditions(
    conditions: Conditions, event: tuple[int, ...], *, own: tuple[str, ...] = (), beside: bool = True
) -> None:
    """Check that conditions fit an event and a network.

    Args:
        conditions: by name.
        event: shape of one sample.
        own: names that the network knows what to do with.
        beside: whether the network takes conditions of kind ``channels``.

    Raises:
        ValueError: for a name that cannot be one, channels of another space than the event's or of a network
            that takes none, a condition that the network does not know, or one that it knows of another kind
            than ``own``.
    """
    for name, condition in conditions.items():
        check_name(name)
        if condition.how == "channels" and not beside:
            raise ValueError(
                f"this kind of network takes no condition beside the event's channels; let {name!r} enter by "
                "'embed' or 'image'"
            )
        if name in own and condition.how != "own":
            raise ValueError(
                f"this kind of network itself knows what to do with the condition {name!r}: its kind is "
                f"'own', not {condition.how!r}"
            )
        if condition.how == "channels" and condition.shape[1:] != tuple(event[1:]):
            raise ValueError(
                f"the condition {name!r} enters beside the event's channels, so its space is that of the "
                f"event, {tuple(event[1:])}, but its shape is {condition.shape}"
            )
        if condition.how == "own" and name not in own:
            raise ValueError(f"this kind of network does not know what to do with the condition {name!r}")


def join_channels(x: Tensor, conditions: Conditions, given: Mapping[str, Tensor | None]) -> Tensor:
    """The state with the conditions of kind ``channels`` beside it, values where given and a mask."""
    parts = [x]
    for name, condition in conditions.items():
        if condition.how != "channels":
            continue
        values = given.get(name)
        if values is None:
            zeros = x.new_zeros(len(x), 2 * condition.shape[0], *x.shape[2:])
            parts.append(zeros)
        else:
            known = ~values.isnan()
            parts += [values.nan_to_num().to(x.dtype), known.to(x.dtype)]
    return torch.cat(parts, dim=1) if len(parts) > 1 else x


def or_none(layers: Callable[[Tensor], Tensor], condition: Tensor | None, none: Tensor, batch: int) -> Tensor:
    """What layers make of a condition, with a stand-in where it is not given: None, or a row with a NaN.

    Args:
        layers: from (batch, *shape) to (batch, width).
        condition: (batch, *shape), or None.
        none: (width,) the stand-in.
        batch: number of samples.

    Returns:
        (batch, width).
    """
    if condition is None:
        return none.expand(batch, -1)
    missing = condition.flatten(1).isnan().any(dim=1, keepdim=True)
    return torch.where(missing, none, layers(condition.nan_to_num().to(none.dtype)))
