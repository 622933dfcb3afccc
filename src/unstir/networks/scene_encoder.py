"""What is known of a scene as features of its agents, and of how each sees the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unstir.networks.conditions import Conditions
from unstir.networks.poses import (
    PAIR_FEATURES,
    SEGMENT_FEATURES,
    own_frame,
    own_past,
    pair_features,
    segment_features,
)

OWN = ("past", "kind", "map", "tokens")
"""Conditions that networks of agents know what to do with."""
KINDS = 2
"""Kinds of agents: pedestrians and vehicles."""


def _perceptron(inputs: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width))


@dataclass(frozen=True)
class Seen:
    """What is known of the scenes of a batch.

    Attributes:
        present: (batch, agents) bool.
        agents: (batch, agents, width) what is known of each.
        pairs: (batch, agents, agents, features) how each sees each other one.
        both: (batch, agents, agents, 1) bool, whether the pasts of both are known.
        origin: (batch, agents, 2) where each is at the end of its past.
        velocity: (batch, agents, 2) a frame.
        rotation: (batch, agents, 2, 2) from each agent's own frame to that of the scene.
    """

    present: Tensor
    agents: Tensor
    pairs: Tensor
    both: Tensor
    origin: Tensor
    velocity: Tensor
    rotation: Tensor


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
            self.tokens = _perceptron(3 * length, width)
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
        return Seen(present, features, pairs, both, origin, v, rotation)

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
        encoded = self.tokens(torch.cat([values, small, asked.to(like.dtype)], dim=2))
        return torch.where(asked.any(dim=2, keepdim=True), encoded, self.no_tokens)


def _present(known: Tensor, kind: Tensor | None) -> Tensor:
    """Which agents are there: those with a kind; without kinds those with a past; without both, all."""
    some = known.any(dim=1, keepdim=True)
    present = torch.where(some, known, True)
    if kind is None:
        return present
    told = ~kind.isnan()
    return torch.where(told.any(dim=1, keepdim=True), told & (kind >= 0), present)
