"""Randomness that is a pure function of (seed, sample, stream): no state, no global generator.

Sample 17 of seed 0 gets the same numbers in a batch of 1 or 1,000, on one device or eight, in the first
run or a resumed one, because each number is computed from its own counter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_STEPS = 2**24


class Stream(IntEnum):
    """What a draw is for; two streams of one seed are independent."""

    START = 0
    STEP = 1
    SIMULATE = 2
    TRAIN_NOISE = 3
    TRAIN_TIME = 4
    TRAIN_DROP = 5
    PROJECTION = 6
    SPLIT = 7
    JUDGE = 8
    DATA = 9
    CHURN = 10
    VARIANCE = 11
    LANGEVIN = 12
    PROBE = 20
    DEQUANTISE = 21
    BOUND = 22
    DISTILL_NOISE = 30
    DISTILL_CONDITION = 31
    DISTILL_ORDER = 32
    TREE = 40
    TREE_WALK = 41
    TREE_REGIONS = 42
    TREE_ANCESTORS = 43
    PASSAGE = 45
    WALK = 46
    REPRODUCTION = 47
    SEARCH = 48
    JUMP = 55
    JUMP_PATH = 56
    JUMP_COUNT = 57
    HOP = 58
    HOP_COUNT = 59
    FRAP = 65
    CONNECTOME = 66
    CONNECTOME_SHUFFLE = 67
    CONNECTOME_REWIRE = 68
    SOW = 80
    PERTURB = 81
    CONNECTOME_BOOTSTRAP = 69
    BLUR = 75
    OPERATOR = 90
    RESAMPLE = 91
    KNOWN = 92
    RENOISE = 93
    CLASSIFIER_NOISE = 110
    CLASSIFIER_ORDER = 111
    SCENARIO_EVENT = 125
    SCENARIO_BASELINE = 126
    CLASSIFIER_FLIP = 112
    CLASSIFIER_TEST = 113
    FIELD_SOURCE = 130
    FIELD_SENSOR = 131
    FIELD_POSTERIOR = 132
    FIELD_KNOWN = 133
    AUDIO_COPY = 135
    GAUSSIAN_BASELINE = 140
    BROWNIAN = 240


_WIDE = {Stream.BROWNIAN: 16}
"""A Brownian path has more nodes than a stream has steps: it takes this many streams, to the last, 255."""


def philox(counter: Tensor, seed: int) -> Tensor:
    """Philox 4x32-10: four 32-bit words for each counter.

    Source: Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3.

    Args:
        counter: (4, n) int64 of values 0 ... 2^32 - 1.
        seed: the 64-bit key.

    Returns:
        (4, n) int64 of values 0 ... 2^32 - 1.
    """
    multipliers = torch.tensor(_MULTIPLIERS, device=counter.device)[:, None]
    keys = [[((seed >> (32 * lane)) + turn * _WEYL[lane]) & _MASK for lane in (0, 1)] for turn in range(10)]
    schedule = torch.tensor(keys, device=counter.device)[:, :, None]
    even, odd = counter[[0, 2]], counter[[1, 3]]
    for key in schedule:
        product = even * multipliers
        even = (product >> 32).bitwise_and_(_MASK).flip(0).bitwise_xor_(odd).bitwise_xor_(key)
        odd = product.bitwise_and_(_MASK).flip(0)
    return torch.stack([even[0], odd[0], even[1], odd[1]])


def _words(count: int, seed: int, index: Tensor, stream: Stream, step: int | Tensor) -> Tensor:
    """(batch, at least count) random 32-bit words, in fours."""
    steps = _STEPS * _WIDE.get(stream, 1)
    if not isinstance(step, Tensor) and not 0 <= step < steps:
        raise ValueError(f"a random stream has steps 0 to {steps - 1}, got {step}")
    if not -(2**63) <= seed < 2**64:
        raise ValueError(f"a seed is an integer of at most 64 bits, got {seed}")
    blocks = -(-count // 4)
    index = index.to(torch.int64)
    counter = torch.empty((4, len(index), blocks), dtype=torch.int64, device=index.device)
    counter[0] = torch.arange(blocks, device=index.device)
    counter[1] = (index & _MASK)[:, None]
    counter[2] = ((index >> 32) & _MASK)[:, None]
    counter[3] = int(stream) * _STEPS + (step[:, None] if isinstance(step, Tensor) else step)
    words = philox(counter.reshape(4, -1), seed & (2**64 - 1))
    return words.reshape(4, len(index), blocks).permute(1, 2, 0).reshape(len(index), 4 * blocks)


def words(count: int, *, seed: int, index: Tensor, stream: Stream, step: int | Tensor = 0) -> Tensor:
    """Raw random words of 32 independent bits, (batch, count) int64 of values 0 ... 2^32 - 1.

    `uniform` makes its numbers of these; more of them begin with the same. Arguments as there.

    Raises:
        ValueError: for a seed or a step out of range.
    """
    return _words(count, seed, index, stream, step)[:, :count]


def uniform(
    event: Sequence[int], *, seed: int, index: Tensor, stream: Stream, step: int | Tensor = 0
) -> Tensor:
    """Uniform numbers in the open interval (0, 1), float64.

    Args:
        event: shape of one sample.
        seed: any integer of at most 64 bits.
        index: (batch,) the samples' numbers within the seed; decides the device, too.
        stream: what the draw is for.
        step: which draw of that stream, 0 to 2^24 - 1 (2^28 - 1 for a Brownian path); or a draw for each
            sample, (batch,) int64 on the device of ``index``, whose range is the caller's business.

    Returns:
        (batch, *event).

    Raises:
        ValueError: for a seed or a step out of range.
    """
    count = math.prod(event)
    words = _words(count, seed, index, stream, step)[:, :count]
    return ((words.double() + 0.5) / 2.0**32).reshape(len(index), *event)


def normal(
    event: Sequence[int],
    *,
    seed: int,
    index: Tensor,
    stream: Stream,
    step: int | Tensor = 0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard normal numbers by Box & Muller 1958; magnitudes reach 6.7, arguments as in `uniform`.

    Returns:
        (batch, *event) of type ``dtype``.
    """
    count = math.prod(event)
    pairs = uniform((-(-count // 2), 2), seed=seed, index=index, stream=stream, step=step)
    radius = pairs[..., 0].log().mul_(-2.0).sqrt_()
    angle = pairs[..., 1] * (2.0 * math.pi)
    both = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
    return both.flatten(1)[:, :count].to(dtype).reshape(len(index), *event)


def permutation(count: int, *, seed: int, stream: Stream, step: int = 0) -> Tensor:
    """A random order of 0 ... count - 1, (count,) int64; one for each (seed, stream, step)."""
    keys = uniform((count,), seed=seed, index=torch.zeros(1, dtype=torch.int64), stream=stream, step=step)
    return keys[0].argsort(stable=True)
