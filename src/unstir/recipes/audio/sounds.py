"""Sounds in files: wav, flac and others read as mono of one rate, named by class, and written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from unstir.files import write_aside
from unstir.recipes.audio.extra import needs
from unstir.recipes.audio.mel import Waves

SUFFIXES = (".wav", ".flac", ".ogg", ".aiff", ".aif")
"""What counts as a sound in a folder."""


@dataclass(frozen=True)
class Sound:
    """One sound as it was read, at the rate that was asked for.

    Attributes:
        wave: (samples,) float32, mono.
        rate: of the file, before it was resampled.
        channels: of the file, before they were averaged.
    """

    wave: Waves
    rate: int
    channels: int


def read_sound(file: Path | IO[bytes], rate: int, *, name: str = "") -> Sound:
    """Read a sound of any rate and number of channels as mono of one rate.

    Channels are averaged; another rate is resampled by the band-limited ``soxr``.

    Args:
        file: a path, or an open binary file (a member of an archive).
        rate: samples a second to resample to.
        name: for messages, where ``file`` is no path.

    Raises:
        ModuleNotFoundError: if the extra ``audio`` is missing.
        ValueError: if it is no sound that can be read, holds no samples, or samples that are not finite.
    """
    soundfile = needs("soundfile")
    shown = name or str(file)
    try:
        wave, found = soundfile.read(file, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
        reason = str(error).rsplit(": ", 1)[-1].rstrip(".")
        raise ValueError(
            f"{shown} is not a sound that can be read ({reason}); remove or replace it"
        ) from None
    if len(wave) == 0:
        raise ValueError(f"{shown} holds no samples")
    if not np.isfinite(wave).all():
        raise ValueError(f"{shown} holds samples that are not finite")
    mono = wave.mean(axis=1)
    if found != rate:
        mono = needs("soxr").resample(mono, found, rate)
    return Sound(np.asarray(mono, dtype=np.float32), int(found), wave.shape[1])


def fit_length(wave: NDArray[Any], samples: int) -> Waves:
    """The first ``samples`` of a wave, silence appended where it is shorter: (samples,) float32."""
    result = np.zeros(samples, np.float32)
    result[: min(samples, len(wave))] = wave[:samples]
    return result


def trim_silence(wave: NDArray[Any], below: float = 30.0, window: int = 128) -> NDArray[Any]:
    """A wave without the silence before and after it.

    Args:
        wave: (samples,).
        below: silence is so many dB below the loudest window, or more.
        window: samples over which loudness is taken.

    Returns:
        The rest, at least one window if there is that much; a wave of zeros as it is.
    """
    whole = len(wave) // window
    power = np.square(wave[: whole * window].reshape(whole, window).astype(np.float64)).mean(axis=1)
    if whole == 0 or not power.any():
        return wave
    loud = np.flatnonzero(power >= power.max() * 10.0 ** (-below / 10.0))
    end = len(wave) if loud[-1] == whole - 1 else (loud[-1] + 1) * window
    return wave[loud[0] * window : end]


def changes(read: Sequence[Sound], lengths: Sequence[int], rate: int, samples: int) -> tuple[str, ...]:
    """What was done to sounds as they were read, a sentence each.

    Args:
        read: the sounds.
        lengths: their samples before they were cut or padded.
        rate: that they were resampled to.
        samples: that they were cut or padded to.
    """
    n, seconds = len(read), samples / rate
    others = sorted({sound.rate for sound in read} - {rate})
    resampled = sum(sound.rate != rate for sound in read)
    mixed = sum(sound.channels > 1 for sound in read)
    cut = sum(length > samples for length in lengths)
    padded = sum(length < samples for length in lengths)
    shown = " and ".join(f"{other:,} Hz" for other in others[:3]) + (" and others" if others[3:] else "")
    said = [
        (resampled, f"{resampled} of {n} sounds were resampled from {shown} to {rate:,} Hz"),
        (mixed, f"the channels of {mixed} of {n} sounds were averaged to one"),
        (cut, f"{cut} of {n} sounds were cut to {seconds:.3g} s"),
        (padded, f"{padded} of {n} sounds are shorter than {seconds:.3g} s and end in silence"),
    ]
    return tuple(sentence for count, sentence in said if count)


def class_names(files: Sequence[Path], folder: Path, label: str | None) -> list[str]:
    """The class of each file by name; nothing where there are none.

    It is what ``label`` finds in the file's name. Without it, the sub-folder that holds the file if there are
    sub-folders, else the name up to the first "_" or "-" if that makes at least two classes, each of more
    than one sound.

    Args:
        files: their paths.
        folder: the folder that was asked for, which is no class itself.
        label: regular expression with one group, such as ``^([0-9])_`` for ``7_george_3.wav``.

    Raises:
        ValueError: for an expression without exactly one group, or a name that it does not match.
    """
    if label is not None:
        return _matched(files, label)
    if any(file.parent != folder for file in files):
        return [file.parent.relative_to(folder).as_posix() for file in files]
    first = [re.split(r"[_-]", file.stem, maxsplit=1)[0] for file in files]
    counts = [first.count(name) for name in sorted(set(first))]
    return first if len(counts) > 1 and min(counts) > 1 else []


def _matched(files: Sequence[Path], label: str) -> list[str]:
    try:
        pattern = re.compile(label)
    except re.error as error:
        raise ValueError(f"data.options.label is no regular expression: {error}") from None
    if pattern.groups != 1:
        raise ValueError(
            rf"data.options.label has one group, the class, such as ^(\d)_ ; {label!r} has {pattern.groups}"
        )
    found = []
    for file in files:
        match = pattern.search(file.name)
        if match is None or not match[1]:
            raise ValueError(f"data.options.label, {label!r}, finds no class in the name {file.name}")
        found.append(match[1])
    return found


def write_wav(path: Path, wave: NDArray[Any], rate: int) -> None:
    """Write a wave as 16-bit wav or flac, whole; one that is louder than full scale is scaled down to it.

    Args:
        path: ends in .wav, .flac or .ogg, which decides the format.
        wave: (samples,), full scale is 1.
        rate: samples a second.

    Raises:
        ModuleNotFoundError: if the extra ``audio`` is missing.
        ValueError: for a wave of another shape, without samples or not finite.
        OSError: if the file cannot be written.
    """
    soundfile = needs("soundfile")
    wave = np.asarray(wave)
    if wave.ndim != 1 or len(wave) == 0 or not np.isfinite(wave).all():
        raise ValueError(f"a wave is finite numbers of shape (samples,), got shape {tuple(wave.shape)}")
    scaled = wave / max(1.0, float(np.abs(wave).max()))
    write_aside(Path(path), lambda aside: soundfile.write(aside, scaled, rate))
