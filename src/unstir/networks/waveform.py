"""A U-Net for long one-dimensional signals: it sees short pieces of the wave as channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from unstir.networks.conditions import Conditions, ConditionSettings, check_conditions
from unstir.networks.filters import Filter
from unstir.networks.unet import UNet
from unstir.settings import Settings


def fold(x: Tensor, patch: int) -> Tensor:
    """Consecutive pieces of samples as channels: (batch, c, length) to (batch, c patch, length / patch).

    Exact and orthogonal, the inverse of `unfold`; white noise stays white.
    """
    batch, channels, length = x.shape
    pieces = x.reshape(batch, channels, length // patch, patch)
    return pieces.transpose(2, 3).reshape(batch, channels * patch, length // patch)


def unfold(x: Tensor, patch: int) -> Tensor:
    """(batch, c patch, pieces) back to (batch, c, pieces patch)."""
    batch, channels, pieces = x.shape
    split = x.reshape(batch, channels // patch, patch, pieces)
    return split.transpose(2, 3).reshape(batch, channels // patch, pieces * patch)


class WaveformUNet(nn.Module):
    """A one-dimensional U-Net over pieces of a wave.

    At audio rates a convolution of three samples sees almost nothing, and a U-Net spends most of its work on
    its finest level. Here a piece of ``patch`` samples is one position with that many channels, so the first
    convolution spans three pieces, and 4,096 samples cost as much as 4,096 / patch positions. Phase is kept:
    the pieces hold the samples themselves.

    With a filter (`networks.filters`) the U-Net also sees the wave through it, and its answer is what it adds
    to the filter's own: what is certain of a tone is linear, and spans the whole wave.

    Sources: Kong et al. 2021, "DiffWave", for diffusion of raw waves; the pieces are those of Shi et al.
    2016 ("sub-pixel convolution", section 3.2), in one dimension.

    Args:
        channels: of the wave.
        patch: samples of a piece.
        width: channels of the first level.
        multipliers: channels of each level in units of ``width``.
        blocks: residual blocks a level, on the way down and again on the way up.
        middle: residual blocks between the two ways.
        attention: levels (0 is the finest) with self-attention.
        heads: attention heads.
        classes: number of classes of the condition ``label``; 0 for none.
        vector: length of the condition ``vector``; 0 for none.
        dropout: probability, in the residual blocks.
        variance: give a second head of the same shape as the event (see ``denoisers.Network``).
        conditions: further conditions by name.
        deviation: of the data, for a filter, if the denoiser's target is v; None for no filter.
        length: of the wave, which a filter has to know.

    Raises:
        ValueError: as `UNet`, for a filter without a length, or for a condition beside the wave that is no
            whole number of pieces long.
    """

    def __init__(
        self,
        channels: int,
        *,
        patch: int = 16,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 2),
        blocks: int = 1,
        middle: int = 1,
        attention: Sequence[int] = (),
        heads: int = 4,
        classes: int = 0,
        vector: int = 0,
        dropout: float = 0.0,
        variance: bool = False,
        conditions: Conditions | None = None,
        deviation: float | None = None,
        length: int | None = None,
    ) -> None:
        super().__init__()
        if deviation is not None and length is None:
            raise ValueError("a filter spans the whole wave; give its length")
        self.patch = patch
        self.variance = variance
        self.conditions = dict(conditions or {})
        self.beside = tuple(name for name, c in self.conditions.items() if c.how == "channels")
        self.net = UNet(
            channels * patch,
            1,
            width=width,
            multipliers=multipliers,
            blocks=blocks,
            middle=middle,
            attention=attention,
            heads=heads,
            classes=classes,
            vector=vector,
            dropout=dropout,
            variance=variance,
            conditions={name: _folded(c, patch) for name, c in self.conditions.items()},
            beside=0 if deviation is None else channels * patch,
        )
        self.filter = Filter(length, 4 * width, deviation) if length and deviation is not None else None

    def forward(
        self,
        x: Tensor,
        log_snr: Tensor,
        label: Tensor | None = None,
        vector: Tensor | None = None,
        **more: Tensor | None,
    ) -> Tensor:
        """Run the network on ``x`` of shape (batch, channels, length); arguments as in ``UNet.forward``.

        Returns:
            (batch, channels, length), or with twice the channels if there is a variance head.

        Raises:
            ValueError: for a length that is no whole number of pieces.
        """
        _check_length(x.shape[-1], self.patch)
        for name in self.beside:
            given = more.get(name)
            if given is not None:
                more[name] = fold(given, self.patch)
        if self.filter is None:
            return self._pieces(x, log_snr, label, vector, more)
        embedding = self.net.embedding(len(x), log_snr, label, vector, more)
        enter, base, leave = self.filter.factors(log_snr, embedding)
        spectrum = self.filter.spectrum(x)
        seen = torch.cat([x, self.filter.signal(enter * spectrum, x)], dim=1)
        answer, *variance = torch.split(self._pieces(seen, log_snr, label, vector, more), x.shape[1], dim=1)
        mean = self.filter.signal(base * spectrum + leave * self.filter.spectrum(answer), x)
        return torch.cat([mean, *variance], dim=1)

    def _pieces(
        self,
        seen: Tensor,
        log_snr: Tensor,
        label: Tensor | None,
        vector: Tensor | None,
        more: Mapping[str, Tensor | None],
    ) -> Tensor:
        return unfold(self.net(fold(seen, self.patch), log_snr, label, vector, **more), self.patch)


def _folded(condition: ConditionSettings, patch: int) -> ConditionSettings:
    """A condition as the network over pieces is told it."""
    if condition.how != "channels":
        return condition
    channels, length = condition.shape
    _check_length(length, patch)
    return condition.model_copy(update={"shape": (channels * patch, length // patch)})


def _check_length(length: int, patch: int) -> None:
    if length % patch:
        raise ValueError(
            f"pieces of {patch} samples do not fill a wave of {length}; take a divisor of {length} as patch, "
            "or waves of another length"
        )


class WaveformSettings(Settings):
    """A `networks.WaveformUNet`; the event's channels come from the data."""

    kind: Literal["waveform"] = "waveform"
    patch: Annotated[int, Field(gt=0)] = 16
    width: Annotated[int, Field(gt=0)] = 32
    multipliers: tuple[Annotated[int, Field(gt=0)], ...] = Field(default=(1, 2, 2), min_length=1)
    blocks: Annotated[int, Field(gt=0)] = Field(default=1, description="residual blocks a level, each way")
    middle: Annotated[int, Field(gt=0)] = Field(
        default=1, description="residual blocks at the coarsest level"
    )
    attention: tuple[Annotated[int, Field(ge=0)], ...] = ()
    heads: Annotated[int, Field(gt=0)] = 4
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    variance: bool = Field(default=False, description="a second head that learns the variance")
    filter: bool = Field(
        default=True, description="a learned filter over the whole wave, where the target is v"
    )
    deviation: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = Field(
        default=None, description="of the data, for the filter; null to measure it, for the target v"
    )

    def fitted(self, target: str, data: object, deviation: float) -> WaveformSettings:
        """The settings with the data's deviation, if they have none, want a filter and the target is v."""
        if self.deviation is not None or not self.filter or target != "v":
            return self
        return self.model_copy(update={"deviation": deviation})

    def build(self, event: tuple[int, ...], classes: int, vector: int, conditions: Conditions) -> nn.Module:
        """The network for events (channels, length).

        Raises:
            ValueError: for events of other shapes, or a length that is no whole number of pieces.
        """
        if len(event) != 2:
            raise ValueError(f"a waveform network takes events (channels, length), got {tuple(event)}")
        _check_length(event[1], self.patch)
        check_conditions(conditions, event)
        return WaveformUNet(
            event[0],
            classes=classes,
            vector=vector,
            conditions=conditions,
            deviation=self.deviation if self.filter else None,
            length=event[1],
            **self.model_dump(exclude={"kind", "filter", "deviation"}),
        )
