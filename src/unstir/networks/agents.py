"""Attention over the agents of a scene: each agent's future is an entry, told how it sees the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from unstir.networks.conditions import Conditions, check_conditions
from unstir.networks.embeddings import ConditionEmbedding, NoiseEmbedding
from unstir.networks.poses import (
    PAIR_FEATURES,
    SEGMENT_FEATURES,
    own_frame,
    own_past,
    pair_features,
    segment_features,
)
from unstir.settings import Settings

Count = Annotated[int, Field(gt=0)]
OWN = ("past", "kind", "map", "tokens")
"""Conditions that this network knows what to do with."""
KINDS = 2
"""Kinds of agents: pedestrians and vehicles."""


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _perceptron(inputs: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width))


@dataclass(frozen=True)
class Seen:
    """What is known of the scenes of a batch.

    Attributes:
        present: (batch, agents) bool.
        agents: (batch, agents, width) what is known of each.
        pairs: (batch, agents, agents, features) how each sees each other one.
    """

    present: Tensor
    agents: Tensor
    pairs: Tensor


class SceneEncoder(nn.Module):
    """Past, kinds, map and tokens as features of agents and pairs that no turn or shift of the scene changes.

    Each of the four may be missing, whole or in part; a learned vector stands in for it.

    Args:
        conditions: the named conditions, of which those of `OWN` are read.
        width: features of an agent.
        pairs: features of a pair.
    """

    def __init__(self, conditions: Conditions, width: int, pairs: int) -> None:
        super().__init__()
        self.takes = {name: conditions[name].shape for name in OWN if name in conditions}
        frames = self.takes["past"][1]
        self.past = _perceptron(2 * frames, width)
        self.no_past = nn.Parameter(torch.zeros(width))
        self.kind = nn.Embedding(KINDS + 1, width) if "kind" in self.takes else None
        self.pair = _perceptron(PAIR_FEATURES + 1, pairs)
        self.segment, self.no_map = None, None
        if "map" in self.takes:
            self.segment = nn.Sequential(
                nn.Linear(SEGMENT_FEATURES, width), nn.SiLU(), nn.Linear(width, width)
            )
            self.no_map = nn.Parameter(torch.zeros(width))
        self.tokens, self.no_tokens = None, None
        if "tokens" in self.takes:
            length = self.takes["tokens"][1]
            self.tokens = _perceptron(2 * length, width)
            self.no_tokens = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, given: Mapping[str, Tensor | None]) -> Seen:
        """Encode what is given of the scenes of the state ``x`` (batch, channels, agents)."""
        batch, agents = len(x), x.shape[2]
        past = given.get("past")
        if past is None:
            past = x.new_full((batch, *self.takes["past"]), math.nan)
        past = past.to(x.dtype)
        known = ~past.isnan().flatten(2).any(dim=2)
        kind = given.get("kind")
        present = _present(known, kind)
        past = torch.where(known[..., None, None], past, 0.0)
        origin, v, rotation = own_frame(past)
        features = torch.where(known[..., None], self.past(own_past(past, v, rotation)), self.no_past)
        if self.kind is not None:
            number = x.new_full((batch, agents), math.nan) if kind is None else kind
            features = features + self.kind((number.nan_to_num(nan=-1.0).long() + 1).clamp(0, KINDS))
        if self.segment is not None:
            features = features + self._map(given.get("map"), origin, rotation, known)
        if self.tokens is not None and self.no_tokens is not None:
            features = features + self._tokens(given.get("tokens"), features)
        both = (known[:, :, None] & known[:, None])[..., None]
        seen = torch.where(both, pair_features(origin, v, rotation), 0.0)
        pairs = F.silu(self.pair(torch.cat([seen, both.to(x.dtype)], dim=-1)))
        return Seen(present, features, pairs)

    def _map(self, segments: Tensor | None, origin: Tensor, rotation: Tensor, known: Tensor) -> Tensor:
        """The largest of each feature over the segments (Qi et al. 2017); a stand-in for none."""
        assert self.segment is not None
        assert self.no_map is not None
        if segments is None:
            return self.no_map
        drawn = ~segments.isnan().any(dim=2)
        lines = torch.where(drawn[..., None], segments, 0.0).to(origin.dtype)
        encoded = self.segment(segment_features(lines, origin, rotation))
        counts = drawn[:, None] & known[..., None]
        largest = encoded.masked_fill(~counts[..., None], -torch.inf).amax(dim=2)
        return torch.where(counts.any(dim=2, keepdim=True), largest, self.no_map)

    def _tokens(self, tokens: Tensor | None, like: Tensor) -> Tensor:
        assert self.tokens is not None
        assert self.no_tokens is not None
        if tokens is None:
            return self.no_tokens
        asked = ~tokens.isnan()
        values = torch.where(asked, tokens, 0.0).to(like.dtype)
        small = values.sign() * values.abs().log1p()
        encoded = self.tokens(torch.cat([small, asked.to(like.dtype)], dim=2))
        return torch.where(asked.any(dim=2, keepdim=True), encoded, self.no_tokens)


def _present(known: Tensor, kind: Tensor | None) -> Tensor:
    """Which agents are there: those with a kind; without kinds those with a past; without both, all."""
    some = known.any(dim=1, keepdim=True)
    present = torch.where(some, known, True)
    if kind is None:
        return present
    told = ~kind.isnan()
    return torch.where(told.any(dim=1, keepdim=True), told & (kind >= 0), present)


class SceneLayer(nn.Module):
    """Attention over agents, then a perceptron, both residual, scaled and shifted by the noise level.

    What one agent takes from another is weighed by how it sees it, multiplied in each head by a factor of
    either sign, so it can be turned into its own frame, and joined by what it sees.

    Source: relative positions in attention, Shaw et al. 2018, eq. 3 and 4; frames of the agents' own as in
    Zhou et al. 2023 (query-centric), section 3.1; adaptive layer norm as in Peebles & Xie 2023, section 3.2.
    """

    def __init__(self, width: int, pairs: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.modulate = _zero(nn.Linear(width, 6 * width))
        self.norm_in = nn.LayerNorm(width, elementwise_affine=False)
        self.project_in = nn.Linear(width, 3 * width)
        self.bias = nn.Linear(pairs, heads)
        self.gate = _zero(nn.Linear(pairs, heads))
        self.shift = nn.Linear(heads * pairs, width)
        self.project_out = nn.Linear(width, width)
        self.norm_out = nn.LayerNorm(width, elementwise_affine=False)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 2 * width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )

    def forward(self, h: Tensor, embedding: Tensor, pairs: Tensor, present: Tensor) -> Tensor:
        """Run on h (batch, agents, width); arguments as in `Seen`."""
        scale, shift, gate, scale_out, shift_out, gate_out = self.modulate(embedding)[:, None].chunk(
            6, dim=-1
        )
        mixed = self._attend(torch.addcmul(shift, self.norm_in(h), 1 + scale), pairs, present)
        h = h + (1 + gate) * mixed
        inner = torch.addcmul(shift_out, self.norm_out(h), 1 + scale_out)
        return h + (1 + gate_out) * self.perceptron(inner)  # type: ignore[no-any-return]

    def _attend(self, h: Tensor, pairs: Tensor, present: Tensor) -> Tensor:
        q, k, v = self.project_in(h).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weight = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + self.bias(pairs).permute(0, 3, 1, 2)
        # A scene without anyone attends to its empty rows: finite, and nobody reads it.
        allowed = present | ~present.any(dim=1, keepdim=True)
        share = weight.masked_fill(~allowed[:, None, None], -torch.inf).softmax(dim=-1)
        weighed = share * (1 + self.gate(pairs).permute(0, 3, 1, 2))
        values = (weighed @ v).transpose(1, 2).flatten(2)
        views = torch.einsum("bhij,bijp->bihp", share, pairs).flatten(2)
        return self.project_out(values + self.shift(views))  # type: ignore[no-any-return]


class Agents(nn.Module):
    """A network for events (channels, agents): the futures of all agents of a scene together.

    Permuting the agents permutes the result. Absent agents influence nobody and their entries are 0. The
    event is in the agents' own frames, and so is all that the network sees: turning or moving past and map
    together changes nothing.

    Args:
        channels: entries of an agent.
        conditions: with ``past`` (agents, frames, 2) of kind ``own``, NaN for an absent agent or one whose
            past is not given; optionally ``kind`` (agents,): -1 absent, 0 pedestrian, 1 vehicle; ``map``
            (segments, 4), in the same frame and unit as the past; ``tokens`` (agents, length), NaN for what
            is not asked. NaN in all of a scene's ``past``, ``kind``, ``map`` or ``tokens`` means that it is
            not given; who is present is then read from what is.
        width: hidden features of an agent.
        layers: of attention.
        heads: of attention.
        pairs: features of a pair of agents.
        classes: number of classes of the condition ``label``; 0 for none.
        vector: length of the condition ``vector``; 0 for none.
        dropout: probability, in the perceptrons.
        variance: give a second head of the same shape as the event (see ``denoisers.Network``).

    Raises:
        ValueError: if heads do not divide the width.
    """

    def __init__(
        self,
        channels: int,
        *,
        conditions: Conditions,
        width: int = 96,
        layers: int = 3,
        heads: int = 8,
        pairs: int = 32,
        classes: int = 0,
        vector: int = 0,
        dropout: float = 0.0,
        variance: bool = False,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(
                f"{width} features cannot be split into {heads} attention heads; "
                "choose a number of heads that divides it"
            )
        self.variance = variance
        self.conditions = dict(conditions)
        self.noise = NoiseEmbedding(width)
        self.condition = ConditionEmbedding(width, classes, vector, self.conditions)
        self.scene = SceneEncoder(self.conditions, width, pairs)
        self.enter = nn.Linear(channels, width)
        self.layers = nn.ModuleList(SceneLayer(width, pairs, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.leave = _zero(nn.Linear(width, channels * (2 if variance else 1)))

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
            x: (batch, channels, agents).
            log_snr: (batch,).
            label: (batch,) class numbers, -1 for none.
            vector: (batch, length).
            more: the named conditions, (batch, *shape), NaN for "not given".

        Returns:
            (batch, channels, agents), or (batch, 2 * channels, agents) if there is a variance head.
        """
        embedding = F.silu(self.noise(log_snr) + self.condition(len(x), label, vector, more))
        seen = self.scene(x, more)
        h = self.enter(x.transpose(1, 2)) + seen.agents
        for layer in self.layers:
            h = layer(h, embedding, seen.pairs, seen.present)
        out = self.leave(F.silu(self.norm(h))) * seen.present[..., None].to(h.dtype)
        return out.transpose(1, 2)  # type: ignore[no-any-return]


class AgentsSettings(Settings):
    """A `networks.Agents`; agents and conditions come from the data."""

    kind: Literal["agents"] = "agents"
    width: Count = 96
    layers: Count = 3
    heads: Count = 8
    pairs: Count = Field(default=32, description="features of a pair of agents")
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    variance: bool = Field(default=False, description="a second head that learns the variance")

    def build(self, event: tuple[int, ...], classes: int, vector: int, conditions: Conditions) -> nn.Module:
        """The network for events (channels, agents) with the condition ``past``.

        Raises:
            ValueError: for events of other shapes, or conditions that do not fit.
        """
        if len(event) != 2:
            raise ValueError(f"a network of agents takes events (channels, agents), got {tuple(event)}")
        check_conditions(conditions, event, own=OWN)
        agents = event[1]
        past = conditions.get("past")
        if past is None or past.how != "own":
            raise ValueError(
                "a network of agents needs the condition 'past' (agents, frames, 2) of kind 'own'"
            )
        shapes = {"past": (agents, -1, 2), "kind": (agents,), "map": (-1, 4), "tokens": (agents, -1)}
        for name, wanted in shapes.items():
            if name in conditions and not _fits(conditions[name].shape, wanted):
                shown = str(wanted).replace("-1", "any")
                raise ValueError(
                    f"the condition {name!r} of {agents} agents has shape {shown}, "
                    f"got {conditions[name].shape}"
                )
        options = self.model_dump(exclude={"kind"})
        return Agents(event[0], classes=classes, vector=vector, conditions=conditions, **options)


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(w in (-1, s) for s, w in zip(shape, wanted, strict=True))
