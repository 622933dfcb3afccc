"""A classifier of noisy events, told the noise level; smooth all through, so that its gradient guides."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unstir.networks.embeddings import NoiseEmbedding
from unstir.networks.mlp import ResidualLayer
from unstir.networks.unet import ResidualBlock

_CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class NoisyClassifier(nn.Module):
    """Logits of a noisy event, for events (features,) or (channels, *space) of one to three axes.

    A residual perceptron, or residual blocks with strided convolutions down to at most 4 cells along each
    axis; the embedding of the log-SNR scales and shifts every layer. Activations are SiLU and norms those of
    single samples, so the gradient by the event is smooth and does not depend on the batch.

    Source: Dhariwal & Nichol 2021, section 4 (the downsampling half of their U-Net).

    Args:
        event: shape of one sample.
        classes: number of classes, at least 2.
        width: channels at the finest level, or a quarter of a perceptron's features; a multiple of 2.
        layers: residual blocks of a level, or residual layers of a perceptron.

    Raises:
        ValueError: for an event of another rank, or fewer than 2 classes.
    """

    def __init__(self, event: Sequence[int], classes: int, *, width: int = 32, layers: int = 1) -> None:
        super().__init__()
        if not 1 <= len(event) <= 4:
            raise ValueError(
                "a classifier takes events (features,) or (channels, *space) with 1 to 3 axes, "
                f"got {tuple(event)}"
            )
        if classes < 2:
            raise ValueError(f"a classifier tells at least 2 classes apart, got {classes}")
        embedding = 4 * width
        self.noise = NoiseEmbedding(embedding)
        self.body = (
            _Dense(event[0], embedding, layers + 2)
            if len(event) == 1
            else _Convolutional(event, width, embedding, layers)
        )
        self.head = nn.Linear(self.body.features, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        """Run the network.

        Args:
            x: (batch, *event), scaled to unit variance at every noise level.
            log_snr: (batch,), finite.

        Returns:
            (batch, classes) logits.
        """
        return self.head(self.body(x, F.silu(self.noise(log_snr))))  # type: ignore[no-any-return]


class _Dense(nn.Module):
    """(batch, size) to (batch, embedding)."""

    def __init__(self, size: int, embedding: int, layers: int) -> None:
        super().__init__()
        self.enter = nn.Linear(size, embedding)
        self.layers = nn.ModuleList(ResidualLayer(embedding, embedding, 0.0) for _ in range(layers))
        self.norm = nn.LayerNorm(embedding)
        self.features = embedding

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.enter(x)
        for layer in self.layers:
            x = layer(x, embedding)
        return F.silu(self.norm(x))


class _Convolutional(nn.Module):
    """(batch, channels, *space) to (batch, cells times channels of the coarsest level)."""

    def __init__(self, event: Sequence[int], width: int, embedding: int, layers: int) -> None:
        super().__init__()
        channels, *sizes = event
        dims = len(sizes)
        convolution = _CONVOLUTION[dims]
        # Large arrays are quartered at once: full resolution costs most and tells least.
        stride = 1 if max(sizes) <= 32 else 2 if max(sizes) <= 64 else 4
        self.enter = convolution(channels, width, 2 * stride + 1, stride=stride, padding=stride)
        sizes = [-(-size // stride) for size in sizes]
        self.levels, self.shrink = nn.ModuleList(), nn.ModuleList()
        wide = width
        while True:
            self.levels.append(
                nn.ModuleList(ResidualBlock(dims, wide, wide, embedding, 0.0) for _ in range(layers))
            )
            if max(sizes) <= 4:
                break
            wider = min(2 * wide, 4 * width)
            self.shrink.append(convolution(wide, wider, 3, stride=2, padding=1))
            wide, sizes = wider, [-(-size // 2) for size in sizes]
        self.norm = nn.GroupNorm(8 if wide % 8 == 0 and wide > 8 else 1, wide)
        self.features = wide * math.prod(sizes)
        if dims == 2:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.enter(x)
        for index, level in enumerate(self.levels):
            for block in level:  # type: ignore[attr-defined]
                x = block(x, embedding)
            if index < len(self.shrink):
                x = self.shrink[index](x)
        return F.silu(self.norm(x)).flatten(1)
