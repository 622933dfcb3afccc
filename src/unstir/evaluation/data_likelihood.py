"""The likelihood of data in their own units: scaling, dequantisation and batches round `log_density`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.denoisers import Denoiser
from unstir.evaluation.bits import bits_per_dimension, standard_error
from unstir.evaluation.divergence import Divergence, find_divergence
from unstir.evaluation.likelihood import LogDensity, log_density
from unstir.training import Scaling

EXACT_SIZE = 32
"""Events of at most this many entries have the exact divergence by default."""


@dataclass(frozen=True, eq=False)
class Likelihood:
    """The log-likelihood of samples in data units.

    Attributes:
        nats: (n,) float64. For real numbers log p(x), a density; for integers the lower bound on log P(x) by
            uniform dequantisation.
        error: (n,) standard error from the random probes or, for integers with two draws or more, over the
            draws, each of which has its own probes.
        importance: (n,) the tighter, importance-weighted bound on log P(x); None for real numbers, and for a
            random divergence, which would make it too high.
        dimensions: d, entries of an event.
        integer: whether the data are integers.
        nfe: network evaluations that a sample took in its batch, the largest of all.
    """

    nats: Tensor
    error: Tensor
    importance: Tensor | None
    dimensions: int
    integer: bool
    nfe: int

    @property
    def bits(self) -> Tensor | None:
        """Bits per dimension of integers, -nats / (d log 2), (n,); None for real numbers."""
        return -self.nats / (self.dimensions * math.log(2.0)) if self.integer else None

    @property
    def importance_bits(self) -> Tensor | None:
        """As `bits`, of ``importance``; None where that is."""
        return None if self.importance is None else -self.importance / (self.dimensions * math.log(2.0))

    @property
    def value(self) -> float:
        """The mean over the samples: bits per dimension of integers, else the log-density in nats."""
        return float((self.nats if self.bits is None else self.bits).mean())

    @property
    def standard_error(self) -> float:
        """Standard error of `value` as an estimate of the mean over all data; NaN for one sample."""
        return standard_error(self.nats if self.bits is None else self.bits)


def likelihood_of_data(
    denoiser: Denoiser,
    x: Tensor,
    scaling: Scaling,
    *,
    bins: int | None = None,
    low: int = 0,
    divergence: str | Divergence | None = None,
    probes: int = 8,
    draws: int = 4,
    seed: int = 0,
    first_index: int = 0,
    tolerance: float | None = None,
    level: float | None = None,
    batch: int = 64,
    dtype: torch.dtype = torch.float32,
    condition: Mapping[str, Tensor] | None = None,
) -> Likelihood:
    """The log-likelihood of samples in data units under a denoiser of scaled data.

    Args:
        denoiser: of (x - shift) / scale.
        x: (n, *event) in data units, on the denoiser's device.
        scaling: from data units to the denoiser's.
        bins: number of values of integer data, dequantised about the integers; None for real numbers.
        low: smallest value of integer data.
        divergence: as in `log_density`; by default exact for events of at most 32 entries, else "hutchinson".
        probes: random vectors for each sample, at least 1.
        draws: dequantisations of each sample of integers, at least 1.
        seed: sample i of a seed has the same probes and dequantisation whatever ``n`` and ``batch``.
        first_index: number of the first sample within the seed.
        tolerance: as in `log_density`.
        level: as in `log_density`.
        batch: samples at once, at least 1.
        dtype: in which the denoiser is evaluated.
        condition: (n, ...) tensors that the denoiser takes by name.

    Raises:
        ValueError: as in `log_density` and `bits_per_dimension`, or for fewer than 1 sample at once.
        FloatingPointError: as in `log_density`.
        RuntimeError: as in `log_density`.
    """
    if batch < 1:
        raise ValueError(f"a batch holds at least 1 sample, got {batch}")
    if len(x) == 0:
        raise ValueError("a likelihood is of at least 1 sample, got none")
    size = math.prod(x.shape[1:])
    if divergence is None:
        divergence = "exact" if size <= EXACT_SIZE else "hutchinson"
    way = find_divergence(divergence, probes) if isinstance(divergence, str) else divergence
    volume = scaling.log_volume(tuple(x.shape[1:]))

    def likelihood(rows: slice) -> tuple[Tensor, Tensor, Tensor, int]:
        """Nats, error, importance-weighted nats and evaluations of some rows."""
        first = first_index + rows.start
        found: list[LogDensity] = []

        def density(internal: Tensor, draw: int) -> Tensor:
            result = log_density(
                denoiser,
                internal.to(dtype),
                divergence=way,
                seed=seed ^ (draw << 32),  # probes of its own for every draw
                first_index=first,
                tolerance=tolerance,
                level=level,
                condition={name: value[rows] for name, value in (condition or {}).items()},
            )
            found.append(result)
            return result.nats

        if bins is None:
            nats = density(scaling.to_internal(x[rows].double()), 0) + volume
            return nats, found[0].error, nats, found[0].nfe
        bits = bits_per_dimension(
            density,
            x[rows],
            bins=bins,
            low=low,
            offset=-0.5,
            scaling=scaling,
            draws=draws,
            seed=seed,
            first_index=first,
        )
        error = bits.error if draws > 1 else found[0].error
        return bits.nats, error, bits.importance, max(each.nfe for each in found)

    parts = [likelihood(slice(start, min(start + batch, len(x)))) for start in range(0, len(x), batch)]
    columns = zip(*parts, strict=True)
    nats, error, importance = (torch.cat(next(columns)).cpu() for _ in range(3))
    tighter = None if bins is None or way.random else importance
    return Likelihood(nats, error, tighter, size, bins is not None, max(next(columns)))
