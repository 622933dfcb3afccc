"""A diffusion transformer for sequences, images and volumes: the event is cut into tokens."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from unstir.networks.conditions import Conditions, check_conditions, extra_channels, join_channels
from unstir.networks.embeddings import ConditionEmbedding, NoiseEmbedding
from unstir.networks.zeros import zero
from unstir.settings import Count, Settings


class TransformerSettings(Settings):
    """A `networks.Transformer`; the event's channels and axes come from the data."""

    kind: Literal["transformer"] = "transformer"
    width: Count = 128
    layers: Count = 4
    heads: Count = 4
    patch: Count = Field(default=1, description="edge of a token, in cells of each axis of space")
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    positions: bool = Field(default=True, description="false for events whose order means nothing")
    variance: bool = Field(default=False, description="a second head that learns the variance")

    def build(self, event: tuple[int, ...], classes: int, vector: int, conditions: Conditions) -> nn.Module:
        """The network for events (channels, *space).

        Raises:
            ValueError: for events without space, axes that the patch does not divide, or heads that do not
                divide the width.
        """
        if len(event) < 2:
            raise ValueError(
                f"a transformer takes events (channels, *space), but the data's events have shape "
                f"{tuple(event)}; use the network kind 'mlp'"
            )
        check_conditions(conditions, event)
        _check_patch(event[1:], self.patch)
        options = self.model_dump(exclude={"kind"})
        dims = len(event) - 1
        return Transformer(event[0], dims, classes=classes, vector=vector, conditions=conditions, **options)


class Block(nn.Module):
    """Self-attention and a perceptron, residual; the embedding shifts, scales and gates both (adaLN-Zero).

    Source: Peebles & Xie 2023, section 3.2 and figure 3; the gates begin at zero, so a block begins as the
    identity.
    """

    def __init__(self, width: int, heads: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width, elementwise_affine=False)
        self.project_in = nn.Linear(width, 3 * width)
        self.project_out = nn.Linear(width, width)
        self.norm_perceptron = nn.LayerNorm(width, elementwise_affine=False)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)
        self.modulate = zero(nn.Linear(embedding, 6 * width))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(batch, tokens, width) and (batch, embedding)."""
        shift_a, scale_a, gate_a, shift_p, scale_p, gate_p = (
            part[:, None] for part in self.modulate(embedding).chunk(6, dim=1)
        )
        h = torch.addcmul(shift_a, self.norm_attention(x), 1 + scale_a)
        q, k, v = self.project_in(h).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = torch.addcmul(x, gate_a, self.dropout(self.project_out(mixed)))
        h = torch.addcmul(shift_p, self.norm_perceptron(x), 1 + scale_p)
        return torch.addcmul(
            x, gate_p, self.dropout(self.contract(F.gelu(self.expand(h), approximate="tanh")))
        )


class Transformer(nn.Module):
    r"""Tokens of an event that attend to one another, told the noise level and the conditions.

    The event is cut into patches; each is projected to ``width`` features, and where it lies is added as
    sinusoids of its place along each axis,

    .. math:: (\sin \omega_k i, \cos \omega_k i),\quad \omega_k = 10^{-4k/K},\ k = 0 \dots K - 1,

    so nothing is learned for a place, and a trained network takes events of other sizes. The conditions that
    are one vector a sample enter every block with the noise level; those of kind ``channels`` lie beside the
    event's channels in each patch.

    Source: Peebles & Xie 2023 ("DiT"); positions of Vaswani et al. 2017, section 3.5, an axis at a time.

    Args:
        channels: channels of the event.
        dims: number of axes of space, at least 1.
        width: features of a token.
        layers: blocks.
        heads: of the attention; they divide the width.
        patch: edge of a token in cells; it divides every axis of space.
        dropout: probability, after attention and perceptron.
        positions: whether tokens know where they are; without, the network treats an event as a set: what it
            gives for an event in another order is what it gives for the event, in that order.
        classes: number of classes of the condition ``label``; 0 for none.
        vector: length of the condition ``vector``; 0 for none.
        variance: give a second head of the same shape as the event (see ``denoisers.Network``).
        conditions: further conditions by name.

    Raises:
        ValueError: for heads that do not divide the width, or a width too small for the positions.
    """

    def __init__(
        self,
        channels: int,
        dims: int = 1,
        *,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        patch: int = 1,
        dropout: float = 0.0,
        positions: bool = True,
        classes: int = 0,
        vector: int = 0,
        variance: bool = False,
        conditions: Conditions | None = None,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(
                f"a width of {width} cannot be split into {heads} attention heads; "
                "choose a number of heads that divides it"
            )
        if positions and width < 2 * dims:
            raise ValueError(f"tokens with a place on {dims} axes have a width of at least {2 * dims}")
        self.dims, self.patch, self.positions, self.variance = dims, patch, positions, variance
        self.conditions = dict(conditions or {})
        self.noise = NoiseEmbedding(width)
        self.condition = ConditionEmbedding(width, classes, vector, self.conditions)
        self.enter = nn.Linear((channels + extra_channels(self.conditions)) * patch**dims, width)
        self.blocks = nn.ModuleList(Block(width, heads, width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = zero(nn.Linear(width, 2 * width))
        self.leave = zero(nn.Linear(width, channels * (2 if variance else 1) * patch**dims))

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
            x: (batch, channels, *space), scaled to unit variance; ``patch`` divides each axis of space.
            log_snr: (batch,), finite.
            label: (batch,) integers, -1 for "no class"; None for none.
            vector: (batch, length), a NaN for "no vector"; None for none.
            more: the further conditions, (batch, *shape) by name, NaN for what is not given.

        Returns:
            (batch, channels, *space), or with twice the channels if there is a variance head.

        Raises:
            ValueError: for an event with another number of axes, or that cannot be cut into patches.
        """
        space = x.shape[2:]
        if len(space) != self.dims:
            raise ValueError(
                f"this transformer takes events with {self.dims} axes of space, got {tuple(x.shape[1:])}"
            )
        _check_patch(space, self.patch)
        embedding = F.silu(self.noise(log_snr) + self.condition(len(x), label, vector, more))
        tokens = self.enter(to_patches(join_channels(x, self.conditions, more), self.patch))
        if self.positions:
            cells = [size // self.patch for size in space]
            tokens = tokens + sinusoids(cells, tokens.shape[2]).to(tokens)
        for block in self.blocks:
            tokens = block(tokens, embedding)
        shift, scale = (part[:, None] for part in self.modulate(embedding).chunk(2, dim=1))
        out = self.leave(torch.addcmul(shift, self.norm(tokens), 1 + scale))
        return from_patches(out, space, self.patch)


def to_patches(x: Tensor, patch: int) -> Tensor:
    """(batch, channels, *space) as (batch, tokens, channels * patch**dims), tokens in row-major order."""
    if patch == 1:
        return x.flatten(2).transpose(1, 2)
    dims = x.ndim - 2
    parts = x.reshape(*x.shape[:2], *(n for size in x.shape[2:] for n in (size // patch, patch)))
    outer, inner = range(2, 2 + 2 * dims, 2), range(3, 3 + 2 * dims, 2)
    return parts.permute(0, *outer, 1, *inner).flatten(1 + dims).flatten(1, dims)


def from_patches(tokens: Tensor, space: Sequence[int], patch: int) -> Tensor:
    """The inverse of `to_patches` for events of that space."""
    dims = len(space)
    cells = [size // patch for size in space]
    parts = tokens.reshape(len(tokens), *cells, tokens.shape[2] // patch**dims, *[patch] * dims)
    order = [axis for d in range(dims) for axis in (1 + d, 2 + dims + d)]
    return parts.permute(0, 1 + dims, *order).reshape(len(tokens), -1, *space)


def sinusoids(cells: Sequence[int], width: int) -> Tensor:
    """Where each token lies, as sinusoids along each axis.

    Args:
        cells: tokens along each axis.
        width: features of a token, at least 2 for each axis; what cannot be shared equally stays 0.

    Returns:
        (tokens, width) float32, tokens in row-major order.
    """
    count = width // (2 * len(cells))
    frequencies = 1e4 ** (-torch.arange(count, dtype=torch.float64) / count)
    places = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in cells), indexing="ij")
    angles = torch.cat([place.reshape(-1, 1) * frequencies for place in places], dim=1)
    found = torch.cat([angles.sin(), angles.cos()], dim=1)
    return F.pad(found, (0, width - found.shape[1])).float()


def _check_patch(space: Sequence[int], patch: int) -> None:
    wrong = next((size for size in space if size % patch), None)
    if wrong is not None:
        raise ValueError(
            f"an axis of {wrong} cells cannot be cut into patches of {patch}; choose a patch that divides "
            f"every axis of {tuple(space)}"
        )
    if prod(space) == 0:
        raise ValueError(f"an event of shape {tuple(space)} has no cells")
