"""One layer of a network of agents: where the others are going, and attention by how they are seen."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unstir.networks.poses import MEETING_FEATURES, meeting_features
from unstir.networks.scene_encoder import Seen
from unstir.networks.zeros import zero


class Meetings(nn.Module):
    """How agents see each other's futures as they are in the state, not only each other's pasts.

    Each agent's place at some times is read from its entries and from what is known of it: its course at
    constant velocity, and a displacement in its own frame, linear in both. Two agents then see the way
    between their places, and how near they come.

    Source: places read from features and compared in the agents' own frames, as in invariant point attention,
    Jumper et al. 2021, supplement 1.8.2.

    Args:
        channels: entries of an agent.
        width: features of an agent.
        pairs: features of a pair.
        points: times in the future.
    """

    def __init__(self, channels: int, width: int, pairs: int, points: int) -> None:
        super().__init__()
        self.state = nn.Linear(channels, 2 * points)
        self.features = zero(nn.Linear(width, 2 * points))
        # Frames ahead, to begin with: they are learned, as how the state is scaled is not known here.
        self.when = nn.Parameter(3.0 * torch.arange(1.0, points + 1.0))
        self.see = nn.Linear(MEETING_FEATURES * points, pairs)

    def forward(self, x: Tensor, seen: Seen) -> Tensor:
        """Features (batch, agents, agents, pairs) of the state x (batch, agents, channels)."""
        own = (self.state(x) + self.features(seen.agents)).unflatten(2, (-1, 2))
        course = seen.origin[:, :, None] + self.when[:, None] * seen.velocity[:, :, None]
        places = torch.cat([seen.origin[:, :, None], course + own @ seen.rotation.transpose(-1, -2)], dim=2)
        features = self.see(meeting_features(places, seen.rotation).flatten(3))
        return torch.where(seen.both, F.silu(features), 0.0)


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
        self.modulate = zero(nn.Linear(width, 6 * width))
        self.norm_in = nn.LayerNorm(width, elementwise_affine=False)
        self.project_in = nn.Linear(width, 3 * width)
        self.bias = nn.Linear(pairs, heads)
        self.gate = zero(nn.Linear(pairs, heads))
        self.shift = nn.Linear(heads * pairs, width)
        self.project_out = nn.Linear(width, width)
        self.norm_out = nn.LayerNorm(width, elementwise_affine=False)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 2 * width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )

    def forward(self, h: Tensor, embedding: Tensor, pairs: Tensor, present: Tensor) -> Tensor:
        """Run on h (batch, agents, width); the other arguments as in `Seen`."""
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
