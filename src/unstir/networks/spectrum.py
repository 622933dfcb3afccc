"""How strong each mode of the data is, and what a denoiser of a Gaussian field would make of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from unstir.networks.modes import (
    Boundary,
    hat_functions,
    hats_for,
    modes_of,
    transform,
    wave_grid,
)
from unstir.settings import Settings

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]

FLOOR = 1e-4
"""Smallest level of a mode, as a share of the data's standard deviation."""


class Spectrum(Settings):
    """How strong the modes of data are, for a `Preconditioner`; `measure_spectrum` makes it.

    Attributes:
        deviation: standard deviation of all entries, the ``sigma_data`` of the denoiser.
        levels: root mean square of the modes' coefficients over the root of the number of cells, for each
            channel at the knots of `hat_functions`; between them it is interpolated in the logarithm.
    """

    deviation: Positive
    levels: tuple[tuple[Positive, ...], ...]

    @field_validator("levels")
    @classmethod
    def _same_length(cls, value: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
        lengths = {len(row) for row in value}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(
                "a spectrum has at least one level for each channel, and as many for every one; got "
                f"{', '.join(str(len(row)) for row in value) or 'no channel'}"
            )
        return value


def measure_spectrum(x: Tensor, boundary: Sequence[Boundary], *, deviation: float) -> Spectrum:
    """The spectrum of samples, taken to be the same in all directions.

    Args:
        x: samples (n, channels, *space) in the units that the network sees.
        boundary: of each axis.
        deviation: standard deviation of all entries.
    """
    space = tuple(x.shape[2:])
    matrices = [modes_of(n, b) for n, b in zip(space, boundary, strict=True)]
    power = torch.stack(
        [transform(part.double(), matrices).square().sum(0) for part in torch.split(x, 256)]
    ).sum(0)
    level = (power / (len(x) * math.prod(space))).sqrt().flatten(1)
    level = level.clamp(min=FLOOR * deviation / math.sqrt(math.prod(space)))
    hats = hat_functions(wave_grid(space, boundary), hats_for(space))
    # Least squares; a knot between the few slowest waves has none of its own and goes on in a straight line.
    bend = torch.diff(torch.eye(len(hats), dtype=torch.float64), n=2, dim=0)
    normal = hats @ hats.T + 1e-3 * bend.T @ bend
    fit = torch.linalg.solve(normal, hats @ level.log().T).T.exp()
    return Spectrum(deviation=deviation, levels=tuple(tuple(row) for row in fit.tolist()))


class Preconditioner(nn.Module):
    r"""The answer for a Gaussian field of the data's spectrum, to which a network adds what it has learned.

    With v the standard deviation of a mode, s that of the data and q = alpha / sigma, every mode has

    .. math:: E[x_0 | x_t] = \frac{\alpha v^2\,x_t}{\alpha^2 v^2 + \sigma^2}
              - \frac{\sigma v}{\sqrt{\alpha^2 v^2 + \sigma^2}}\,G,

    the preconditioning of EDM mode by mode; the first term is the Wiener filter. For a network that sees
    x = x_t / sqrt(alpha^2 s^2 + sigma^2) and predicts v scaled to unit variance (see `denoisers.Network`)
    this is

    .. math:: F = q\,\frac{s^2 - v^2}{s\,(v^2 q^2 + 1)}\,x
              + \frac{v}{s} \sqrt{\frac{s^2 q^2 + 1}{v^2 q^2 + 1}}\,G

    G is the inner network's answer, and what it sees is the share of the state that is signal,

    .. math:: \frac{v q \sqrt{s^2 q^2 + 1}}{v^2 q^2 + 1}\,x

    So modes that the data hardly have are given no answer, however strong the noise. That matters where the
    Jacobian is used: times sigma^2 / alpha it is the posterior covariance, and an error of one per cent in
    modes without signal would be a variance that the data never had.

    Source: Karras et al. 2022, appendix B.6, with a standard deviation for each mode; Wiener 1949.

    Args:
        spectrum: of the data.
    """

    def __init__(self, spectrum: Spectrum) -> None:
        super().__init__()
        self.deviation = spectrum.deviation
        self.levels = spectrum.levels  # no buffer: they stay exact when the network changes its type
        self._cache: dict[tuple[tuple[int, ...], tuple[Boundary, ...]], Tensor] = {}

    def factors(
        self, log_snr: Tensor, space: Sequence[int], boundary: Sequence[Boundary], plain: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What multiplies the modes of x on the way in, of x on the way out, and of G.

        Args:
            log_snr: (batch,).
            space: sizes of the axes.
            boundary: of each of them.
            plain: (batch,) bool, samples that go without: 1, 0 and 1.

        Returns:
            Three of (batch, channels, *space), float32.
        """
        v = self._deviations(tuple(space), tuple(boundary)).to(log_snr.device)
        s = self.deviation
        q = (0.5 * log_snr.float()).exp().reshape(-1, *[1] * v.ndim)
        mode = (v * q).square() + 1.0
        whole = ((s * q) ** 2 + 1.0).sqrt()
        one = plain.reshape(q.shape)
        enter = torch.where(one, 1.0, v * q * whole / mode)
        base = torch.where(one, 0.0, q * (s**2 - v**2) / (s * mode))
        return enter, base, torch.where(one, 1.0, v * whole / (s * mode.sqrt()))

    def _deviations(self, space: tuple[int, ...], boundary: tuple[Boundary, ...]) -> Tensor:
        """The standard deviation of every mode, (channels, *space) float32."""
        if (space, boundary) not in self._cache:
            with torch.inference_mode(False):  # kept for later calls, which may need gradients
                logarithms = torch.tensor(self.levels, dtype=torch.float64).log()
                hats = hat_functions(wave_grid(space, boundary), logarithms.shape[1])
                v = (logarithms @ hats).exp().reshape(-1, *space) * math.sqrt(math.prod(space))
                self._cache[space, boundary] = v.float()
        return self._cache[space, boundary]
