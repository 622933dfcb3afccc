"""The network inside a judge: a small residual classifier for arrays of 0 to 3 spatial axes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 16
FEATURES = 64

_CONVOLUTION: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_NORM: dict[int, type[nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d]] = {
    1: nn.BatchNorm1d,
    2: nn.BatchNorm2d,
    3: nn.BatchNorm3d,
}


class Residual(nn.Module):
    """Two convolutions round a shortcut, (n, before, *axes) to (n, after, *axes / stride)."""

    def __init__(self, before: int, after: int, axes: int, stride: int) -> None:
        super().__init__()
        convolution, norm = _CONVOLUTION[axes], _NORM[axes]
        self.first = convolution(before, after, 3, stride, 1, bias=False)
        self.first_norm = norm(after)
        self.second = convolution(after, after, 3, 1, 1, bias=False)
        self.second_norm = norm(after)
        same = before == after and stride == 1
        self.shortcut: nn.Module = (
            nn.Identity() if same else convolution(before, after, 1, stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.silu(self.first_norm(self.first(x)))
        return F.silu(self.second_norm(self.second(hidden)) + self.shortcut(x))


class Classifier(nn.Module):
    """Standardise, look, and reduce to at most 64 features; the logits are linear in these.

    Args:
        event: (D,), or (C, L), (C, H, W), (C, D, H, W).
        classes: number of classes.

    Raises:
        ValueError: for an event of another rank.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, event: tuple[int, ...], classes: int) -> None:
        super().__init__()
        if not 1 <= len(event) <= 4:
            raise ValueError(
                f"a judge takes events of shape (D,), (C, L), (C, H, W) or (C, D, H, W), got {event}"
            )
        self.register_buffer("mean", torch.zeros(event[0]))
        self.register_buffer("std", torch.ones(event[0]))
        body, width = _dense(event[0]) if len(event) == 1 else _convolutional(event)
        self.body = nn.Sequential(*body)
        self.reduce = nn.Sequential(nn.Linear(width, FEATURES), nn.BatchNorm1d(FEATURES), nn.SiLU())
        self.head = nn.Linear(FEATURES, classes)

    def standardise(self, x: Tensor) -> None:
        """Take mean and deviation of each channel from x (n, *event)."""
        channels = x.transpose(0, 1).flatten(1).double()
        deviation = channels.std(dim=1, correction=0)
        self.mean.copy_(channels.mean(dim=1))
        # A channel that never changes tells nothing and must not be blown up.
        self.std.copy_(torch.where(deviation > 0, deviation, 1.0))

    def features(self, x: Tensor) -> Tensor:
        """(n, *event) to (n, 64)."""
        shape = (-1, *[1] * (x.ndim - 2))
        scaled = (x - self.mean.reshape(shape)) / self.std.reshape(shape)
        reduced: Tensor = self.reduce(self.body(scaled))
        return reduced

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


def _dense(size: int) -> tuple[list[nn.Module], int]:
    layers: list[nn.Module] = []
    for before, after in ((size, 128), (128, 128)):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.SiLU()]
    return layers, 128


def _convolutional(event: tuple[int, ...]) -> tuple[list[nn.Module], int]:
    """Layers down to at most 4 cells along each axis, and the number of their outputs."""
    channels, *sizes = event
    axes = len(sizes)
    # Large arrays are halved or quartered at once: full resolution costs most and tells a judge least.
    stride = 1 if max(sizes) <= 16 else 2 if max(sizes) <= 64 else 4
    layers: list[nn.Module] = [
        _CONVOLUTION[axes](channels, WIDTH, 2 * stride + 1, stride, stride, bias=False),
        _NORM[axes](WIDTH),
        nn.SiLU(),
        Residual(WIDTH, WIDTH, axes, 1),
    ]
    sizes = [-(-size // stride) for size in sizes]
    width = WIDTH
    while max(sizes) > 4:
        wider = min(2 * width, 4 * WIDTH)
        layers.append(Residual(width, wider, axes, 2))
        width, sizes = wider, [-(-size // 2) for size in sizes]
    layers.append(nn.Flatten())
    return layers, width * math.prod(sizes)
