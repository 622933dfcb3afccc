"""The pitch that a wave has, measured, and how far two pitches are apart in cents."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unstir.recipes.audio.extra import needs

LOUD = 30.0
"""A frame counts if it is at most so many dB below the loudest of its sound."""


_FINE = 24
"""Samples of a period of the highest pitch: the waves are resampled to about so many before."""


def cents(pitch: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how many hundredths of a semitone a pitch lies above the wanted one."""
    return np.asarray(1200.0 * np.log2(pitch / wanted))


def measured_pitch(
    waves: NDArray[np.float32], rate: int, *, low: float = 100.0, high: float = 1500.0
) -> NDArray[np.float64]:
    """The pitch of each sound: the median over its loud frames of YIN's, by ``librosa``.

    Source: de Cheveigné & Kawahara 2002, steps 1 to 5 (cumulative mean normalised difference, threshold 0.1,
    parabolic interpolation). A period of a few samples is too coarse for the interpolation, so the waves are
    resampled to a higher rate first.

    Args:
        waves: (n, samples), at least five periods of ``low`` long.
        rate: samples a second.
        low: lowest pitch that is looked for, in Hz.
        high: the highest.

    Returns:
        (n,) in Hz; NaN for a silent sound.
    """
    librosa, soxr = needs("librosa"), needs("soxr")
    finer = max(1, round(_FINE * high / rate))
    rate = finer * rate
    frame = 2 ** int(np.ceil(np.log2(4.0 * rate / low)))
    hop = frame // 4
    result = np.full(len(waves), np.nan)
    for start in range(0, len(waves), 64):
        some = waves[start : start + 64].astype(np.float64)
        if finer > 1:
            some = soxr.resample(some.T, 1.0, finer).T
        found = librosa.yin(
            some, fmin=low, fmax=high, sr=rate, frame_length=frame, hop_length=hop, center=False
        )
        framed = np.lib.stride_tricks.sliding_window_view(some, frame, axis=1)[:, ::hop]
        power = np.square(framed).mean(axis=2)[:, : found.shape[1]]
        loudest = power.max(axis=1, keepdims=True)
        loud = (power > 0) & (power >= loudest * 10.0 ** (-LOUD / 10.0))
        for i, (row, heard) in enumerate(zip(found, loud, strict=True)):
            if heard.any():
                result[start + i] = np.median(row[heard])
    return result


def within_quarter_tone(
    waves: NDArray[np.float32],
    rate: int,
    wanted: NDArray[np.float64],
    *,
    among: NDArray[np.float64] | None = None,
) -> NDArray[np.bool_]:
    """Whether each sound's measured pitch is at most 50 cents from the wanted one; silence is not.

    Args:
        waves: (n, samples).
        rate: samples a second.
        wanted: (n,) in Hz.
        among: all pitches that may be heard, in Hz: the search covers them with half an octave to spare,
            and 100 to 1,500 Hz anyway; by default those that are wanted.

    Returns:
        (n,) bool.
    """
    heard = wanted if among is None else among
    low, high = min(100.0, float(heard.min()) / 2**0.5), max(1500.0, float(heard.max()) * 2**0.5)
    off = cents(measured_pitch(waves, rate, low=low, high=high), wanted)
    return np.asarray(np.abs(off) <= 50.0)
