"""Brownian paths indexed by time: a query is answered at any time, in any order, with nothing stored.

A sampler that takes its noise from a path, not from a count of its steps, follows the same path with twice
the steps, and after a rejected step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from unstir import noise

_TOP = 40
_DEPTH = 20
_NODES = 2 ** (_DEPTH + 1)
_LOWEST = -_TOP - 1  # stands for the interval from 0 to 2^-40, which is no octave
_TOGETHER = 2**16

N = TypeVar("N", int, Tensor)


class BrownianPath:
    r"""One Brownian motion B for each sample: B(0) = 0, B(b) - B(a) ~ N(0, b - a) for a < b.

    A virtual Brownian tree that has no scale of its own. Its values at powers of two come from the top,

    .. math:: B(2^k) = \tfrac12 B(2^{k+1}) + \sqrt{2^{k-1}}\, z ,

    down to 2^-40, and each octave from 2^k to 2^(k+1) is halved 20 times in the same way, B at the middle
    of an interval of width w being the mean of both ends plus sqrt(w / 4) z, where z is decided by seed,
    sample and node. In a cell of the finest level B is a bridge with one z for all its times. So the law
    is exact for times of which no two lie in one cell, whose width is 2^-20 of the octave (below 1e-6 of
    the time itself, or 2^-60 below 2^-40); within a cell the path is smooth.

    Source: Li, Wong, Chen & Duvenaud 2020, "Scalable gradients for stochastic differential equations",
    section 4 and algorithm 3; the exact bridge at the end: Jelinčič, Foster & Kidger 2024, "Single-seed
    generation of Brownian paths and integrals for adaptive and high order SDE solvers".

    The last query's way down the tree is kept (some 40 to 80 tensors of the size of the state), so a query
    close to the last one draws few nodes: about 12 for a thousand steps an octave.

    Args:
        event: shape of one sample.
        seed: any integer of at most 64 bits.
        index: (batch,) the samples' numbers within the seed; decides the device, too.
        dtype: of the values.
    """

    def __init__(
        self, event: Sequence[int], *, seed: int, index: Tensor, dtype: torch.dtype = torch.float32
    ) -> None:
        self.event = tuple(event)
        self.seed = seed
        self.index = index
        self.dtype = dtype
        self._powers: list[Tensor] = []  # B(2^40), B(2^39), ...
        self._latest = 0.0, torch.zeros((len(index), *self.event), dtype=dtype, device=index.device)
        self._octave, self._place = _TOP, 0
        self._descent: list[tuple[Tensor, Tensor]] = []  # the ends of the intervals round the last query

    def at(self, c: float | Tensor) -> Tensor:
        """B(c), (batch, *event): the same for the same seed, sample and c, whatever was asked before.

        Args:
            c: a time, or one for each sample, (batch,); at least 0 and below 2^40.

        Raises:
            ValueError: for a time out of that range.
        """
        if isinstance(c, Tensor) and c.ndim > 0:
            return self._at_each(c.to(self.index.device, torch.float64))
        c = float(c)
        if c == self._latest[0]:
            return self._latest[1]
        _check(c, c)
        mantissa, exponent = math.frexp(max(c, 2.0**-_TOP))
        octave, share = exponent - 1, (2.0 * mantissa - 1.0) * 2**_DEPTH
        if c < 2.0**-_TOP:
            octave, share = _LOWEST, c * 2.0 ** (_TOP + _DEPTH)
        place = int(share)
        self._ascend(octave, place)
        levels = range(len(self._descent) - 1, _DEPTH)
        nodes = [_address(octave, 2**level + (place >> (_DEPTH - level))) for level in (*levels, _DEPTH)]
        *middles, last = self._normal(nodes)
        width = 2.0 ** max(octave, -_TOP)
        for level, z in zip(levels, middles, strict=True):
            left, right = self._descent[-1]
            middle = 0.5 * (left + right) + z * (0.5 * math.sqrt(width / 2**level))
            upper = place >> (_DEPTH - level - 1) & 1
            self._descent.append((middle, right) if upper else (left, middle))
        left, right = self._descent[-1]
        rest = share - place
        value: Tensor = torch.lerp(left, right, rest)
        value = value + last * math.sqrt(width / 2**_DEPTH * rest * (1.0 - rest))
        self._latest = c, value
        return value

    def increment(self, a: float | Tensor, b: float | Tensor) -> Tensor:
        """B(b) - B(a), (batch, *event); the times as in `at`, in either order."""
        start = self.at(a)
        return self.at(b) - start

    def _ascend(self, octave: int, place: int) -> None:
        """Keep of the last descent the intervals that hold the new place as well, and their next halves."""
        if octave != self._octave:
            self._descent = [(self._power(octave), self._power(octave + 1))]
        elif place != self._place:
            common = _DEPTH - (place ^ self._place).bit_length()
            (left, right), half = self._descent[common : common + 2]
            other = (half[1], right) if place > self._place else (left, half[0])
            self._descent[common + 1 :] = [other]
        self._octave, self._place = octave, place

    def _at_each(self, c: Tensor) -> Tensor:
        """B at a time for each sample, without what is kept of earlier queries."""
        _check(float(c.min()), float(c.max()))
        low = c < 2.0**-_TOP
        mantissa, exponent = torch.frexp(c.clamp(min=2.0**-_TOP))
        octave = torch.where(low, _LOWEST, exponent.long() - 1)
        share = torch.where(low, c * 2.0**_TOP, 2.0 * mantissa - 1.0) * 2**_DEPTH
        place = share.long()
        levels = torch.arange(_DEPTH + 1, device=c.device)[:, None]
        z = self._normal(_address(octave, 2**levels + (place >> (_DEPTH - levels))))
        width = torch.exp2(octave.clamp(min=-_TOP) - levels.double())
        rest = torch.where(levels < _DEPTH, 0.5, share - place)
        *middles, last = z * _expand(_sqrt(width * rest * (1.0 - rest)).to(z.dtype), z)
        upper = _expand((place >> (_DEPTH - 1 - levels[:-1]) & 1).bool(), z)
        least, most = int(octave.min()), int(octave.max())
        powers = torch.stack([self._power(k) for k in range(least, most + 2)])
        sample = torch.arange(len(c), device=c.device)
        left, right = powers[octave - least, sample], powers[octave + 1 - least, sample]
        for noise_of_level, side in zip(middles, upper, strict=True):
            middle = 0.5 * (left + right) + noise_of_level
            left, right = torch.where(side, middle, left), torch.where(side, right, middle)
        value: Tensor = torch.lerp(left, right, _expand(rest[-1].to(z.dtype), left)) + last
        return value

    def _power(self, k: int) -> Tensor:
        """B(2^k), and 0 for the end of the lowest interval."""
        missing = range(_TOP - len(self._powers), max(k, -_TOP) - 1, -1)
        if missing:
            for power, z in zip(missing, self._normal([_address(k, 0) for k in missing]), strict=True):
                if power == _TOP:
                    self._powers.append(2.0 ** (0.5 * _TOP) * z)
                else:
                    self._powers.append(0.5 * self._powers[-1] + 2.0 ** (0.5 * (power - 1)) * z)
        return self._powers[_TOP - k] if k >= -_TOP else torch.zeros_like(self._powers[0])

    def _normal(self, nodes: Sequence[int] | Tensor) -> Tensor:
        """The z of n nodes, or of n for each sample, (n, batch, *event); drawn together while small."""
        batch = len(self.index)
        numbers = torch.as_tensor(nodes, dtype=torch.int64, device=self.index.device)
        numbers = numbers if numbers.ndim == 2 else numbers[:, None].expand(-1, batch)
        group = max(1, _TOGETHER // max(1, batch * math.prod(self.event)))
        draws = [
            noise.normal(
                self.event,
                seed=self.seed,
                index=self.index.repeat(len(part)),
                stream=noise.Stream.BROWNIAN,
                step=part.reshape(-1),
                dtype=self.dtype,
            )
            for part in (numbers[start : start + group] for start in range(0, len(numbers), group))
        ]
        return torch.cat(draws).reshape(len(numbers), batch, *self.event)


def _address(octave: N, node: N) -> N:
    """The number of a node: 0 is the octave's lower end, then its middles level by level, then its cells."""
    address: N = (octave - _LOWEST) * _NODES + node
    return address


def _sqrt(values: Tensor) -> Tensor:
    """The square root of float64, rounded correctly: vector units of some CPUs miss the last bit."""
    return torch.from_numpy(np.sqrt(values.cpu().numpy())).to(values.device)


def _expand(values: Tensor, like: Tensor) -> Tensor:
    """Trailing axes of length 1 until the number of axes is that of ``like``."""
    return values.reshape(*values.shape, *[1] * (like.ndim - values.ndim))


def _check(low: float, high: float) -> None:
    if not 0.0 <= low <= high < 2.0**_TOP:
        asked = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        raise ValueError(f"a Brownian path is known at times from 0 to below 2^{_TOP}, got {asked}")
