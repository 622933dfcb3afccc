"""Notes of synthesised instruments, each of a pitch that is known exactly, made on the spot in seconds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rng = np.random.Generator

CONCERT_PITCH = 440.0
"""Frequency of A4, MIDI key 69, in Hz (ISO 16)."""
_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def frequency(key: NDArray[np.int64] | int) -> Array:
    """Frequencies in Hz of MIDI keys, twelve equal semitones an octave."""
    return CONCERT_PITCH * np.exp2((np.asarray(key, dtype=np.float64) - 69.0) / 12.0)


def key_name(key: int) -> str:
    """The name of a MIDI key: 69 is A4."""
    return f"{_NAMES[key % 12]}{key // 12 - 1}"


def key_number(name: str) -> int:
    """The MIDI key of a name: A4 is 69.

    Raises:
        ValueError: if it is none.
    """
    letter, octave = name.rstrip("-0123456789"), name.lstrip("ABCDEFG#")
    if letter not in _NAMES or not octave.removeprefix("-").isdecimal():
        raise ValueError(f"a note has a name such as A4 or C#5, got {name!r}")
    return _NAMES.index(letter) + 12 * (int(octave) + 1)


def _envelope(n: int, time: Array, rng: Rng, attack: tuple[float, float]) -> Array:
    """(n, samples) from silence to 1 within ``attack`` seconds and back near the end, by half cosines."""
    rise = rng.uniform(*attack, (n, 1))
    fall = rng.uniform(0.03, 0.12, (n, 1))
    up = np.clip(time / rise, 0.0, 1.0)
    down = np.clip((time[-1] - time) / fall, 0.0, 1.0)
    return np.asarray(0.25 * (1.0 - np.cos(np.pi * up)) * (1.0 - np.cos(np.pi * down)))


def _harmonics(pitch: Array, amplitudes: Array, time: Array, rate: int, rng: Rng) -> Array:
    """(n, samples) sum over harmonics k = 1, 2, ... of random phases, those below half the rate."""
    result = np.zeros((len(pitch), len(time)))
    for k, amplitude in enumerate(amplitudes.T, start=1):
        audible = np.where(k * pitch < 0.48 * rate, amplitude, 0.0)
        phase = rng.uniform(0.0, 2.0 * np.pi, (len(pitch), 1))
        result += audible[:, None] * np.sin(2.0 * np.pi * k * pitch[:, None] * time + phase)
    return result


def pluck(pitch: Array, time: Array, rate: int, rng: Rng) -> Array:
    r"""Plucked strings: a burst of noise runs round a delay line and loses its high frequencies.

    A round trip of 1 / pitch is made of N whole samples, of the weighted mean of two neighbours
    :math:`(1 - S) + S z^{-1}`, whose share S sets how fast the fundamental decays, and of an all-pass
    :math:`(C + z^{-1}) / (1 + C z^{-1})` that is tuned to the rest exactly at the fundamental.

    Sources: Karplus & Strong 1983; Jaffe & Smith 1983, equations 12 (mean), 15 and 16 (all-pass).
    """
    from scipy.signal import lfilter

    result = np.empty((len(pitch), len(time)))
    omegas = 2.0 * np.pi * pitch / rate
    gains = 10.0 ** (-3.0 / (pitch * rng.uniform(0.5, 1.5, len(pitch))))  # by 60 dB in so many seconds
    product = np.minimum((1.0 - gains**2) / (2.0 * (1.0 - np.cos(omegas))), 0.25)  # S (1 - S)
    shares = 0.5 * (1.0 - np.sqrt(1.0 - 4.0 * product))
    for row, f, omega, share in zip(result, pitch, omegas, shares, strict=True):
        mean = np.arctan2(share * np.sin(omega), 1.0 - share + share * np.cos(omega)) / omega
        whole = int(rate / f - mean - 0.3)
        rest = rate / f - mean - whole  # from 0.3 to 1.3, where the all-pass decays fast
        c = np.sin(0.5 * (1.0 - rest) * omega) / np.sin(0.5 * (1.0 + rest) * omega)
        loop = np.convolve([1.0 - share, share], [c, 1.0])
        denominator = np.zeros(whole + 3)
        denominator[:2] = 1.0, c
        denominator[whole:] -= loop
        burst = np.zeros(len(time))
        burst[: whole + 1] = rng.standard_normal(whole + 1)
        burst[: whole + 1] -= burst[: whole + 1].mean()  # a constant would stay for ever
        row[:] = lfilter([1.0, c], denominator, burst)
    return result * _envelope(len(pitch), time, rng, (0.002, 0.004))


def organ(pitch: Array, time: Array, rate: int, rng: Rng) -> Array:
    """Pipes: six harmonics of random strength, the first the strongest, steady."""
    strengths = rng.uniform(0.0, 1.0, (len(pitch), 6)) * np.array([0.0, 0.7, 0.5, 0.4, 0.2, 0.2])
    strengths[:, 0] = 1.0
    return _harmonics(pitch, strengths, time, rate, rng) * _envelope(len(pitch), time, rng, (0.02, 0.06))


def reed(pitch: Array, time: Array, rate: int, rng: Rng) -> Array:
    """A reed in a closed pipe: odd harmonics that fall like those of a square wave, or faster."""
    orders = np.arange(1, 10)
    falls = rng.uniform(1.0, 1.8, (len(pitch), 1))
    strengths = np.where(orders % 2 == 1, orders**-falls, 0.0)
    return _harmonics(pitch, strengths, time, rate, rng) * _envelope(len(pitch), time, rng, (0.01, 0.03))


def chime(pitch: Array, time: Array, rate: int, rng: Rng) -> Array:
    r"""Struck metal by frequency modulation, :math:`\sin(2 \pi f t + I e^{-t/\tau} \sin(4 \pi f t))`.

    The modulator has twice the carrier's frequency, so the partials are the odd harmonics; index and loudness
    decay together, so it starts bright and ends pure. High notes get a smaller index I, or their partials
    would be folded at half the rate.

    Source: Chowning 1973, equation 1 and the section on bell-like sounds.
    """
    n = len(pitch)
    decay = np.exp(-time / rng.uniform(0.15, 0.5, (n, 1)))
    room = np.minimum(1.0, 0.075 * rate / pitch)[:, None]
    index = rng.uniform(0.3, 1.2, (n, 1)) * room * decay
    turn = 2.0 * np.pi * pitch[:, None] * time
    first, second = rng.uniform(0.0, 2.0 * np.pi, (2, n, 1))
    wave = np.sin(turn + first + index * np.sin(2.0 * turn + second))
    return np.asarray(wave * decay) * _envelope(n, time, rng, (0.002, 0.005))


INSTRUMENTS: dict[str, Callable[[Array, Array, int, Rng], Array]] = {
    "pluck": pluck,
    "organ": organ,
    "reed": reed,
    "chime": chime,
}
"""By name: each maps pitches (n,) in Hz, times (samples,) in s, a rate and random numbers to (n, samples)."""


def make_notes(
    n: int, keys: tuple[int, ...], samples: int, rate: int, *, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Notes of random keys and instruments, loudness over 12 dB, starting within the first 40 ms.

    Args:
        n: number of notes, at least one for each key.
        keys: MIDI keys to choose from; every fundamental has to lie below a quarter of the rate.
        samples: of each note.
        rate: samples a second.
        seed: decides everything.

    Returns:
        waves (n, samples) float32 with a largest amplitude of 0.2 to 0.8; positions in ``keys`` (n,);
        positions in `INSTRUMENTS` (n,).

    Raises:
        ValueError: for fewer notes than keys, no key, or a key too high for the rate.
    """
    if not keys or n < len(keys):
        raise ValueError(f"there is at least one note for each of at least one key, got {n} for {len(keys)}")
    top = max(keys)
    if frequency(top) > rate / 4:
        raise ValueError(
            f"{key_name(top)} has {float(frequency(top)):.0f} Hz, too high for {rate} samples a second: a "
            "fundamental lies below a quarter of the rate"
        )
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(np.arange(n) % len(keys))
    played = rng.integers(len(INSTRUMENTS), size=n)
    time = np.arange(samples) / rate
    waves = np.empty((n, samples))
    for i, instrument in enumerate(INSTRUMENTS.values()):
        pitch = frequency(np.asarray(keys)[chosen[played == i]])
        waves[played == i] = instrument(pitch, time, rate, rng)
    peak = np.abs(waves).max(axis=1, keepdims=True)
    waves *= 0.8 * 10.0 ** (-rng.uniform(0.0, 12.0, (n, 1)) / 20.0) / peak
    starts = rng.integers(round(0.04 * rate), size=n)
    late = np.zeros((n, samples), np.float32)
    for row, wave, start in zip(late, waves, starts, strict=True):
        row[start:] = wave[: samples - start]
    return late, chosen, played
