"""A neural operator for fields: filters in the axes' own sine, cosine or Fourier modes, told the noise level.

The posterior mean of a Gaussian field given a noisy one is a filter whose gain of each mode depends on the
noise level (Wiener 1949). Here every layer holds such a filter, so what takes a convolutional network many
layers is one product for this one; pointwise gates between the filters make it nonlinear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from unstir.networks.conditions import Conditions, check_conditions, extra_channels, join_channels
from unstir.networks.embeddings import ConditionEmbedding, NoiseEmbedding
from unstir.networks.modes import (
    PER_OCTAVE,
    Boundary,
    hat_functions,
    hats_for,
    kept_modes,
    transform,
    wave_grid,
)
from unstir.networks.spectrum import Preconditioner, Spectrum, measure_spectrum
from unstir.networks.zeros import zero
from unstir.settings import Count, Settings


class Data(Protocol):
    """What is asked of training data (`training.ArrayData`)."""

    def __len__(self) -> int: ...

    def batch(self, rows: slice) -> tuple[Tensor, dict[str, Tensor]]: ...


class SpectralSettings(Settings):
    """A `networks.Spectral`; the event's channels and axes come from the data."""

    kind: Literal["spectral"] = "spectral"
    width: Count = 16
    layers: Count = 3
    modes: Count | None = Field(
        default=None, description="half-waves of an axis above this number are left out; null for none"
    )
    boundary: Boundary | tuple[Boundary, ...] = Field(
        default="periodic", description="of all axes, or one for each: periodic, cosine or sine"
    )
    variance: bool = Field(default=False, description="a second head that learns the variance")
    spectrum: Spectrum | None = Field(
        default=None, description="strength of the data's modes; null to measure it, for the target v"
    )

    def fitted(self, target: str, data: Data, deviation: float, *, rows: int = 4096) -> SpectralSettings:
        """The settings with the spectrum of the first rows of data, if they have none and the target is v."""
        if self.spectrum is not None or target != "v":
            return self
        x = data.batch(slice(0, min(rows, len(data))))[0]
        every = boundaries(self.boundary, x.ndim - 2)
        spectrum = measure_spectrum(x, every, deviation=deviation)
        return self.model_copy(update={"spectrum": spectrum})

    def build(self, event: tuple[int, ...], classes: int, vector: int, conditions: Conditions) -> nn.Module:
        """The network for events (channels, *space) of one to three axes of space.

        Raises:
            ValueError: for events of other shapes, or another number of boundaries than axes.
        """
        if not 2 <= len(event) <= 4:
            raise ValueError(
                "a spectral network takes events (channels, *space) with 1 to 3 axes of space, "
                f"got {tuple(event)}"
            )
        check_conditions(conditions, event)
        return Spectral(
            event[0],
            event[1:],
            width=self.width,
            layers=self.layers,
            modes=self.modes,
            boundary=self.boundary,
            classes=classes,
            vector=vector,
            variance=self.variance,
            conditions=conditions,
            spectrum=self.spectrum,
        )


def boundaries(boundary: Boundary | Sequence[Boundary], dims: int) -> tuple[Boundary, ...]:
    """The boundary of each of ``dims`` axes.

    Raises:
        ValueError: for another number of them.
    """
    if isinstance(boundary, str):
        return (boundary,) * dims
    if len(boundary) != dims:
        raise ValueError(
            f"the boundary is one of periodic, cosine and sine, or one for each of the {dims} axes; "
            f"got {len(boundary)}"
        )
    return tuple(boundary)


class Gains(nn.Module):
    r"""The gain of every mode and channel, a function of its wave numbers and of the embedding.

    .. math:: g_c(k) = \sum_j a_{cj}(e)\,\phi_j(k)

    with :math:`\phi_j` hat functions of log |k|, and a few functions of the wave numbers of all axes by a
    perceptron, so that filters may depend on the direction. They are functions of k, not numbers of a mode:
    the same network takes other sizes.

    Args:
        dims: axes of space.
        channels: filters.
        embedding: length of e.
        hats: number of hat functions.
        free: learned functions.
    """

    def __init__(self, dims: int, channels: int, embedding: int, hats: int, free: int = 6) -> None:
        super().__init__()
        self.hats = hats
        self.free = nn.Sequential(nn.Linear(dims, 16), nn.Tanh(), nn.Linear(16, free))
        self.amplitudes = nn.Linear(embedding, channels * (self.hats + free))
        nn.init.normal_(self.amplitudes.weight, std=0.1 / math.sqrt(embedding))
        nn.init.normal_(self.amplitudes.bias, std=0.1)

    def forward(self, embedding: Tensor, waves: Tensor) -> Tensor:
        """(batch, embedding) and wave numbers (dims, *modes) as gains (batch, channels, *modes)."""
        hats = hat_functions(waves, self.hats)
        free = self.free(((waves + 1.0).log2() * (PER_OCTAVE / (self.hats - 1))).flatten(1).T).T
        functions = torch.cat([hats, free])
        amplitudes = self.amplitudes(embedding).unflatten(1, (-1, len(functions)))
        return (amplitudes @ functions).unflatten(2, waves.shape[1:])  # type: ignore[no-any-return]


class Pointwise(nn.Module):
    """A linear map of the channels, the same at every place."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, *space) to (batch, outputs, *space)."""
        y = torch.baddbmm(self.linear.bias[:, None], self.linear.weight.expand(len(x), -1, -1), x.flatten(2))
        return y.reshape(len(x), -1, *x.shape[2:])


class SpectralBlock(nn.Module):
    r"""A pointwise gate, then a filter in the modes; both are added to the state.

    .. math:: h' = h + W_o\,(\mathrm{silu}(s \cdot W_a [\bar h, c] + b) \cdot W_b [h, c]),\qquad
              h'' = h' + T^{-1} g(k) T\, V h'

    with T the transform to the modes, c the conditions of kind ``channels`` with their masks, s and b from
    the embedding, and :math:`\bar h` = h over its root mean square in the sample. A product with c can so be
    learned exactly (a mask; a coefficient times a gradient), and the answer grows with h no faster than h.

    Source: spectral and pointwise path in turn as in Li et al. 2021, "Fourier neural operator", eq. 4;
    the gate is that of Shazeer 2020, "GLU variants improve transformer", eq. 6.
    """

    def __init__(self, dims: int, width: int, extra: int, embedding: int, hats: int) -> None:
        super().__init__()
        self.gate = Pointwise(width + extra, width)
        self.value = Pointwise(width + extra, width)
        self.modulate = nn.Linear(embedding, 2 * width)
        self.join = Pointwise(width, width)
        self.enter = Pointwise(width, width)
        self.gains = Gains(dims, width, embedding, hats)
        nn.init.zeros_(self.join.linear.weight)
        nn.init.zeros_(self.join.linear.bias)
        nn.init.zeros_(self.enter.linear.bias)

    def forward(
        self, h: Tensor, extra: Tensor, embedding: Tensor, modes: Sequence[Tensor], waves: Tensor
    ) -> Tensor:
        """One layer; ``extra`` is (batch, C, *space), ``modes`` of each axis, ``waves`` (dims, *modes)."""
        size = h.flatten(1).square().mean(1).add(1e-6).rsqrt().reshape(-1, *[1] * (h.ndim - 1))
        modulation = self.modulate(embedding)
        scale, shift = modulation.reshape(*modulation.shape, *[1] * (h.ndim - 2)).chunk(2, dim=1)
        gate = torch.addcmul(shift, self.gate(torch.cat([h * size, extra], dim=1)), 1 + scale)
        h = h + self.join(F.silu(gate) * self.value(torch.cat([h, extra], dim=1)))
        filtered = transform(self.enter(h), modes) * self.gains(embedding, waves)
        return h + transform(filtered, [matrix.T for matrix in modes])


class Spectral(nn.Module):
    """Filters in the modes of the axes and pointwise gates in turn, told the noise level and conditions.

    Any size of event works, another one than that of training too: the filters are functions of the wave
    number. With periodic axes the network commutes with translations that keep the cells.

    Source: Li et al. 2021, "Fourier neural operator for parametric partial differential equations"; that the
    modes are those of the boundary as in Liu et al. 2023, "Render unto numerics: orthogonal polynomial neural
    operator"; gains that depend on the noise level are those of the Wiener filter.

    Args:
        channels: channels of the event.
        space: sizes of its axes, one to three; they decide how many functions of the wave number there are.
        width: channels inside.
        layers: pairs of gate and filter.
        modes: half-waves of an axis that the filters keep; None for all.
        boundary: of all axes or one for each: "periodic", "cosine" or "sine".
        classes: number of classes of the condition ``label``; 0 for none.
        vector: length of the condition ``vector``; 0 for none.
        variance: give a second head of the same shape as the event (see ``denoisers.Network``).
        conditions: further conditions by name.
        spectrum: of the data, for a network that predicts v; see `Preconditioner`.

    Raises:
        ValueError: for a number of axes outside 1 to 3, or of boundaries that is not theirs, or a spectrum of
            other channels.
    """

    def __init__(
        self,
        channels: int,
        space: Sequence[int],
        *,
        width: int = 16,
        layers: int = 3,
        modes: int | None = None,
        boundary: Boundary | Sequence[Boundary] = "periodic",
        classes: int = 0,
        vector: int = 0,
        variance: bool = False,
        conditions: Conditions | None = None,
        spectrum: Spectrum | None = None,
    ) -> None:
        super().__init__()
        dims = len(space)
        if not 1 <= dims <= 3:
            raise ValueError(f"a spectral network takes events with 1, 2 or 3 spatial axes, got {dims}")
        self.boundary = boundaries(boundary, dims)
        self.modes = modes
        self.variance = variance
        self.conditions = dict(conditions or {})
        embedding = 4 * width
        extra = extra_channels(self.conditions)
        largest = [size if modes is None else min(size, modes) for size in space]
        hats = hats_for(largest)
        if spectrum is not None and len(spectrum.levels) != channels:
            raise ValueError(f"the spectrum is one of {len(spectrum.levels)} channels, not of {channels}")
        self.precondition = None if spectrum is None else Preconditioner(spectrum)
        self.noise = NoiseEmbedding(embedding)
        self.condition = ConditionEmbedding(embedding, classes, vector, self.conditions)
        self.known = nn.Linear(extra // 2, embedding, bias=False) if extra else None
        self.enter = Pointwise(channels + extra, width)
        self.blocks = nn.ModuleList(SpectralBlock(dims, width, extra, embedding, hats) for _ in range(layers))
        self.leave = zero(Pointwise(width, channels * (2 if variance else 1)))

    def forward(
        self,
        x: Tensor,
        log_snr: Tensor,
        label: Tensor | None = None,
        vector: Tensor | None = None,
        **more: Tensor | None,
    ) -> Tensor:
        """Run the network on ``x`` of shape (batch, channels, *space); arguments as in ``UNet.forward``.

        Returns:
            (batch, channels, *space), or with twice the channels if there is a variance head.
        """
        if self.precondition is None:
            return self._inner(x, log_snr, label, vector, more)
        channels, space = x.shape[1], x.shape[2:]
        every = self._modes(space, x, None)
        back = [matrix.T for matrix in every]
        plain = self._whole(x, more)
        enter, base, leave = self.precondition.factors(log_snr, space, self.boundary, plain)
        modes = transform(x, every)
        seen = transform(enter.to(x) * modes, back)
        y = self._inner(seen, log_snr, label, vector, more)
        learned = transform(y[:, :channels], every)
        result = transform(torch.addcmul(base.to(x) * modes, leave.to(x), learned), back)
        return torch.cat([result, y[:, channels:]], dim=1) if self.variance else result

    def _whole(self, x: Tensor, more: dict[str, Tensor | None]) -> Tensor:
        """Whether a condition of kind ``channels`` gives some channel everywhere, (batch,) bool."""
        whole = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for name, condition in self.conditions.items():
            values = more.get(name)
            if condition.how == "channels" and values is not None:
                whole = whole | (~values.isnan().flatten(2).any(dim=2)).any(dim=1)
        return whole

    def _inner(
        self,
        x: Tensor,
        log_snr: Tensor,
        label: Tensor | None,
        vector: Tensor | None,
        more: dict[str, Tensor | None],
    ) -> Tensor:
        channels, space = x.shape[1], x.shape[2:]
        x = join_channels(x, self.conditions, more)
        extra = x[:, channels:]
        told = self.noise(log_snr) + self.condition(len(x), label, vector, more)
        if self.known is not None:
            told = told + self.known(self._shares(extra))
        embedding = F.silu(told)
        modes = self._modes(space, x, self.modes)
        waves = wave_grid(space, self.boundary, self.modes).to(x)
        h = self.enter(x)
        for block in self.blocks:
            h = block(h, extra, embedding, modes, waves)
        return self.leave(h)  # type: ignore[no-any-return]

    def _modes(self, space: Sequence[int], x: Tensor, most: int | None) -> list[Tensor]:
        return [
            kept_modes(size, boundary, most, x.dtype, x.device)
            for size, boundary in zip(space, self.boundary, strict=True)
        ]

    def _shares(self, extra: Tensor) -> Tensor:
        """Which share of each condition's channel is given, (batch, channels): the filters depend on it."""
        parts, start = [], 0
        for condition in self.conditions.values():
            if condition.how == "channels":
                count = condition.shape[0]
                parts.append(extra[:, start + count : start + 2 * count].flatten(2).mean(2))
                start += 2 * count
        return torch.cat(parts, dim=1)
