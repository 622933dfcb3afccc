"""A U-Net for signals, images and volumes: the event is (channels, *space) with one to three axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unstir.networks.conditions import Conditions, extra_channels, join_channels
from unstir.networks.embeddings import ConditionEmbedding, NoiseEmbedding
from unstir.networks.zeros import zero

_CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def _convolution(dims: int, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    return _CONVOLUTION[dims](inputs, outputs, kernel, stride=stride, padding=kernel // 2)


def _groups(channels: int) -> int:
    """At most 8 groups, of at least two channels: one number alone cannot be normalised."""
    return max(g for g in (8, 4, 2, 1) if channels % g == 0 and (channels > g or g == 1))


class ResidualBlock(nn.Module):
    """Two convolutions with group norm; the embedding scales and shifts the second norm (AdaGN).

    Source: Dhariwal & Nichol 2021, section 3.1.
    """

    def __init__(self, dims: int, inputs: int, outputs: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(_groups(inputs), inputs)
        self.convolve_in = _convolution(dims, inputs, outputs)
        self.modulate = nn.Linear(embedding, 2 * outputs)
        self.norm_out = nn.GroupNorm(_groups(outputs), outputs)
        self.dropout = nn.Dropout(dropout)
        self.convolve_out = zero(_convolution(dims, outputs, outputs))
        self.skip = _convolution(dims, inputs, outputs, kernel=1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.convolve_in(F.silu(self.norm_in(x)))
        modulation = self.modulate(embedding)
        scale, shift = modulation.reshape(*modulation.shape, *[1] * (x.ndim - 2)).chunk(2, dim=1)
        h = F.silu(torch.addcmul(shift, self.norm_out(h), 1 + scale))
        return self.skip(x) + self.convolve_out(self.dropout(h))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Multi-head self-attention over all positions of the event (Vaswani et al. 2017), residual."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(
                f"{channels} channels cannot be split into {heads} attention heads; "
                "choose a number of heads that divides it"
            )
        self.heads = heads
        self.norm = nn.GroupNorm(_groups(channels), channels)
        self.project_in = nn.Linear(channels, 3 * channels)
        self.project_out = zero(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.project_in(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.project_out(mixed).transpose(1, 2).reshape(x.shape)  # type: ignore[no-any-return]


class Level(nn.Module):
    """The residual blocks of one resolution, on the way down or up, each followed by attention if asked."""

    def __init__(
        self, dims: int, channels: Sequence[tuple[int, int]], embedding: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(dims, a, b, embedding, dropout) for a, b in channels)
        self.attention = nn.ModuleList(Attention(b, heads) if heads else nn.Identity() for _, b in channels)

    def forward(self, x: Tensor, embedding: Tensor, index: int) -> Tensor:
        """Run block ``index`` of the level and its attention."""
        return self.attention[index](self.blocks[index](x, embedding))  # type: ignore[no-any-return]


class UNet(nn.Module):
    """Encoder, middle and decoder with skip connections, told the noise level and the conditions.

    Any size of event works, odd and non-square ones too: each level halves (rounding up) by a strided
    convolution, and the decoder returns to exactly the size that the encoder saw.

    Source: Ronneberger et al. 2015; residual blocks and attention as in Dhariwal & Nichol 2021.

    Args:
        channels: channels of the event.
        dims: number of spatial axes, 1 to 3.
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
        beside: channels of the input, after those of the event, that are seen only.
        rows: length of the first axis of space, to give each place along it a bias of its own, which noise
            level and conditions decide; 0 for none. Convolutions see the same everywhere, but one octave is
            not like another: a class that is a pitch, or a height, is a statement about absolute places.

    Raises:
        ValueError: for a number of axes outside 1 to 3, a level that does not exist or heads that do
            not divide the channels.
    """

    def __init__(
        self,
        channels: int,
        dims: int = 2,
        *,
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
        beside: int = 0,
        rows: int = 0,
    ) -> None:
        super().__init__()
        if dims not in _CONVOLUTION:
            raise ValueError(f"a U-Net takes events with 1, 2 or 3 spatial axes, got {dims}")
        missing = sorted(set(attention) - set(range(len(multipliers))))
        if missing:
            raise ValueError(
                f"attention is asked for at level {missing[0]}, but there are levels 0 to "
                f"{len(multipliers) - 1} only"
            )
        self.dims = dims
        self.blocks = blocks
        self.variance = variance
        embedding = 4 * width
        self.noise = NoiseEmbedding(embedding)
        self.conditions = dict(conditions or {})
        self.condition = ConditionEmbedding(embedding, classes, vector, self.conditions)
        widths = [width * m for m in multipliers]
        at = [heads if level in attention else 0 for level in range(len(widths))]
        self.enter = _convolution(dims, channels + beside + extra_channels(self.conditions), widths[0])
        self.down = nn.ModuleList(
            Level(dims, [(w, w)] * blocks, embedding, h, dropout) for w, h in zip(widths, at, strict=True)
        )
        pairs = list(pairwise(widths))
        self.shrink = nn.ModuleList(_convolution(dims, fine, coarse, stride=2) for fine, coarse in pairs)
        self.middle = Level(dims, [(widths[-1], widths[-1])] * middle, embedding, at[-1], dropout)
        self.up = nn.ModuleList(
            Level(dims, [(2 * w, w)] * blocks, embedding, h, dropout) for w, h in zip(widths, at, strict=True)
        )
        self.grow = nn.ModuleList(_convolution(dims, coarse, fine) for fine, coarse in pairs)
        self.rows = rows
        self.places = zero(nn.Linear(embedding, widths[0] * rows)) if rows else None
        self.norm = nn.GroupNorm(_groups(widths[0]), widths[0])
        self.leave = zero(_convolution(dims, widths[0], channels * (2 if variance else 1)))
        if dims == 2:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def embedding(
        self,
        batch: int,
        log_snr: Tensor,
        label: Tensor | None,
        vector: Tensor | None,
        more: Mapping[str, Tensor | None],
    ) -> Tensor:
        """What every block is told of the noise level and the conditions, (batch, 4 width)."""
        return F.silu(self.noise(log_snr) + self.condition(batch, label, vector, more))

    def forward(
        self,
        x: Tensor,
        log_snr: Tensor,
        label: Tensor | None = None,
        vector: Tensor | None = None,
        **more: Tensor | None,
    ) -> Tensor:
        """Run the network.

        Args:
            x: (batch, channels + beside, *space), scaled to unit variance.
            log_snr: (batch,), finite.
            label: (batch,) integers, -1 for "no class"; None for none.
            vector: (batch, length), a NaN for "no vector"; None for none.
            more: the further conditions, (batch, *shape) by name, NaN for what is not given.

        Returns:
            (batch, channels, *space), or with twice the channels if there is a variance head.

        Raises:
            ValueError: for another number of rows than the network has biases for.
        """
        if self.rows not in (0, x.shape[2]):
            raise ValueError(f"this network knows {self.rows} rows, each by its place, got {x.shape[2]}")
        x = join_channels(x, self.conditions, more)
        if self.dims == 2:
            x = x.contiguous(memory_format=torch.channels_last)
        embedding = self.embedding(len(x), log_snr, label, vector, more)
        x = self.enter(x)
        if self.places is not None:
            x = x + self.places(embedding).reshape(*x.shape[:3], *[1] * (x.ndim - 3))
        skips: list[list[Tensor]] = []
        for level, stage in enumerate(self.down):
            skips.append([])
            for index in range(self.blocks):
                x = stage(x, embedding, index)
                skips[level].append(x)
            if level < len(self.shrink):
                x = self.shrink[level](x)
        for index in range(len(self.middle.blocks)):
            x = self.middle(x, embedding, index)
        for level in reversed(range(len(self.up))):
            if level < len(self.grow):
                # The convolution runs before the enlargement, where it costs a quarter in two dimensions.
                x = F.interpolate(self.grow[level](x), size=skips[level][-1].shape[2:])
            for index in range(self.blocks):
                x = self.up[level](torch.cat([x, skips[level].pop()], dim=1), embedding, index)
        return self.leave(F.silu(self.norm(x)))  # type: ignore[no-any-return]
