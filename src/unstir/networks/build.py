"""Networks from settings: each settings class of a network builds it for an event and its conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from unstir.networks.agents import AgentsSettings
from unstir.networks.conditions import Conditions, check_conditions
from unstir.networks.mlp import MLP
from unstir.networks.spectral import Data, SpectralSettings
from unstir.networks.transformer import TransformerSettings
from unstir.networks.unet import UNet
from unstir.networks.waveform import WaveformSettings
from unstir.settings import Count, Settings

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
    rows: bool = Field(
        default=False, description="each row has a bias of its own, where rows are not alike: frequencies"
    )

    def build(self, event: tuple[int, ...], classes: int, vector: int, conditions: Conditions) -> nn.Module:
        """The network for events (channels, *space) of one to three axes of space.

        Raises:
            ValueError: for events of other shapes.
        """
        if not 2 <= len(event) <= 4:
            raise ValueError(
                f"a U-Net takes events (channels, *space) with 1 to 3 axes of space, got {tuple(event)}"
            )
        check_conditions(conditions, event)
        return UNet(
            event[0],
            len(event) - 1,
            classes=classes,
            vector=vector,
            conditions=conditions,
            rows=event[1] if self.rows else 0,
            **self.model_dump(exclude={"kind", "rows"}),
        )


class MLPSettings(Settings):
    """A `networks.MLP`, for events that are vectors."""

    kind: Literal["mlp"] = "mlp"
    width: Count = 128
    layers: Count = 4
    dropout: Probability = 0.0
    variance: bool = Field(default=False, description="a second head that learns the variance")

    def build(self, event: tuple[int, ...], classes: int, vector: int, conditions: Conditions) -> nn.Module:
        """The network for events (features,).

        Raises:
            ValueError: for events of other shapes.
        """
        if len(event) != 1:
            raise ValueError(
                f"an MLP takes vectors (features,), but the data's events have shape {tuple(event)}; "
                "use the network kind 'unet'"
            )
        check_conditions(conditions, event)
        options = self.model_dump(exclude={"kind"})
        return MLP(event[0], classes=classes, vector=vector, conditions=conditions, **options)


NetworkSettings = Annotated[
    UNetSettings | MLPSettings | SpectralSettings | TransformerSettings | AgentsSettings | WaveformSettings,
    Field(discriminator="kind"),
]
"""Settings of any network; a new kind has ``kind``, ``width``, ``variance``, ``build`` and a line here, and
``fitted`` where it wants to know something of the data (see `fitted` below)."""


def build_network(
    settings: NetworkSettings,
    event: Sequence[int],
    *,
    classes: int = 0,
    vector: int = 0,
    conditions: Conditions | None = None,
    seed: int = 0,
) -> nn.Module:
    """A freshly initialised network for events of a shape; the global random state is left alone.

    Args:
        settings: which network.
        event: shape of one sample: (features,) for an MLP, (channels, *space) for a U-Net.
        classes: number of classes; 0 for none.
        vector: length of the condition vector; 0 for none.
        conditions: further conditions by name.
        seed: of the initial weights.

    Raises:
        ValueError: if the network does not fit the event or a condition.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return settings.build(tuple(event), classes, vector, conditions or {})


def fitted(settings: NetworkSettings, target: str, data: Data, deviation: float) -> NetworkSettings:
    """The settings with what the network wants to know of the data, for kinds that want to know anything.

    Args:
        settings: which network; a kind that wants to know has a method ``fitted(target, data, deviation)``.
        target: what it predicts.
        data: the training data.
        deviation: standard deviation of all its entries, in the network's units.
    """
    find: Callable[[str, Data, float], NetworkSettings] | None = getattr(settings, "fitted", None)
    return settings if find is None else find(target, data, deviation)
