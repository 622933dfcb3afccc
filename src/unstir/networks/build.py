"""Networks from settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from unstir.networks.mlp import MLP
from unstir.networks.unet import UNet
from unstir.settings import Settings

Count = Annotated[int, Field(gt=0)]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]


class UNetSettings(Settings):
    """A `networks.UNet`; the event's channels and axes come from the data."""

    kind: Literal["unet"] = "unet"
    width: Count = 32
    multipliers: tuple[Count, ...] = Field(default=(1, 2, 2), min_length=1)
    blocks: Count = Field(default=1, description="residual blocks a level, each way")
    middle: Count = Field(default=1, description="residual blocks at the coarsest level")
    attention: tuple[Annotated[int, Field(ge=0)], ...] = ()
    heads: Count = 4
    dropout: Probability = 0.0
    variance: bool = Field(default=False, description="a second head that learns the variance")


class MLPSettings(Settings):
    """A `networks.MLP`, for events that are vectors."""

    kind: Literal["mlp"] = "mlp"
    width: Count = 128
    layers: Count = 4
    dropout: Probability = 0.0
    variance: bool = Field(default=False, description="a second head that learns the variance")


NetworkSettings = Annotated[UNetSettings | MLPSettings, Field(discriminator="kind")]


def build_network(
    settings: UNetSettings | MLPSettings,
    event: Sequence[int],
    *,
    classes: int = 0,
    vector: int = 0,
    seed: int = 0,
) -> nn.Module:
    """A freshly initialised network for events of a shape; the global random state is left alone.

    Args:
        settings: which network.
        event: shape of one sample: (features,) for an MLP, (channels, *space) for a U-Net.
        classes: number of classes; 0 for none.
        vector: length of the condition vector; 0 for none.
        seed: of the initial weights.

    Raises:
        ValueError: if the network does not fit the event.
    """
    options = settings.model_dump(exclude={"kind"})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(settings, MLPSettings):
            if len(event) != 1:
                raise ValueError(
                    f"an MLP takes vectors (features,), but the data's events have shape {tuple(event)}; "
                    "use the network kind 'unet'"
                )
            return MLP(event[0], classes=classes, vector=vector, **options)
        if not 2 <= len(event) <= 4:
            raise ValueError(
                f"a U-Net takes events (channels, *space) with 1 to 3 axes of space, got {tuple(event)}"
            )
        return UNet(event[0], len(event) - 1, classes=classes, vector=vector, **options)
