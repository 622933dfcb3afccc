"""A residual perceptron for events that are plain vectors: points, tables, embeddings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unstir.networks.conditions import Conditions, extra_channels, join_channels
from unstir.networks.embeddings import ConditionEmbedding, NoiseEmbedding
from unstir.networks.zeros import zero


class ResidualLayer(nn.Module):
    """Layer norm scaled and shifted by the embedding, then a two-layer perceptron, residual."""

    def __init__(self, width: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(embedding, 2 * width)
        self.expand = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.contract = zero(nn.Linear(2 * width, width))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulate(embedding).chunk(2, dim=1)
        h = torch.addcmul(shift, self.norm(x), 1 + scale)
        return x + self.contract(self.dropout(F.silu(self.expand(h))))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """Residual MLP for events of shape (features,), told the noise level and the conditions.

    Args:
        features: length of the event.
        width: hidden features.
        layers: residual layers.
        classes: number of classes of the condition ``label``; 0 for none.
        vector: length of the condition ``vector``; 0 for none.
        dropout: probability, in the residual layers.
        variance: give a second head of the same shape as the event (see ``denoisers.Network``).
        conditions: further conditions by name.
    """

    def __init__(
        self,
        features: int,
        *,
        width: int = 128,
        layers: int = 4,
        classes: int = 0,
        vector: int = 0,
        dropout: float = 0.0,
        variance: bool = False,
        conditions: Conditions | None = None,
    ) -> None:
        super().__init__()
        self.variance = variance
        self.noise = NoiseEmbedding(width)
        self.conditions = dict(conditions or {})
        self.condition = ConditionEmbedding(width, classes, vector, self.conditions)
        self.enter = nn.Linear(features + extra_channels(self.conditions), width)
        self.layers = nn.ModuleList(ResidualLayer(width, width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.leave = zero(nn.Linear(width, features * (2 if variance else 1)))

    def forward(
        self,
        x: Tensor,
        log_snr: Tensor,
        label: Tensor | None = None,
        vector: Tensor | None = None,
        **more: Tensor | None,
    ) -> Tensor:
        """Run the network on ``x`` of shape (batch, features); arguments as in ``UNet.forward``.

        Returns:
            (batch, features), or (batch, 2 * features) if there is a variance head.
        """
        embedding = F.silu(self.noise(log_snr) + self.condition(len(x), label, vector, more))
        x = self.enter(join_channels(x, self.conditions, more))
        for layer in self.layers:
            x = layer(x, embedding)
        return self.leave(self.norm(x))  # type: ignore[no-any-return]
