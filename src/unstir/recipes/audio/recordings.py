"""Recordings of a folder or a tar file as training data: named hold-out, one loudness, changed copies."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray

from unstir import noise
from unstir.recipes.audio.mel import Waves
from unstir.recipes.audio.options import AudioOptions
from unstir.recipes.audio.sounds import (
    SUFFIXES,
    Sound,
    changes,
    class_names,
    fit_length,
    read_sound,
    trim_silence,
)
from unstir.recipes.settings import DataSettings
from unstir.recipes.splits import split
from unstir.training import ArrayData

SPEED = 0.05
"""Changed copies are played up to this share faster or slower."""
LATE = 0.03
"""And start up to so many seconds later."""


@dataclass(frozen=True)
class Recordings:
    """Recordings of one rate, each of its own length.

    Attributes:
        waves: each (samples,) float32.
        labels: (n,) int64, or None for recordings without classes.
        classes: names of the classes, in order.
        names: of the files.
        heldout: (n,) bool, those that training never sees; None where no expression names them.
        said: sentences on what was changed.
    """

    waves: tuple[Waves, ...]
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...]
    names: tuple[str, ...]
    heldout: NDArray[np.bool_] | None
    said: tuple[str, ...]


def read_recordings(path: Path, options: AudioOptions, *, limit: int | None = None) -> Recordings:
    """Read a folder, or a tar file without unpacking it.

    Args:
        path: the folder or the tar file; classes by name as in `sounds.class_names`.
        options: rate, label, trim, loudness and held-out names.
        limit: read so many files only, in the order of their names.

    Raises:
        FileNotFoundError: if there is neither.
        ModuleNotFoundError: if the extra ``audio`` is missing.
        ValueError: for no sound, one that cannot be used, or an expression that holds out nothing or all.
    """
    rate, samples = options.mel.rate, options.mel.samples
    names, read = [], []
    for name, file in _members(path, limit):
        names.append(name)
        read.append(read_sound(file, rate, name=f"{name} in {path}"))
    if not names:
        raise ValueError(f"there is no sound in {path}; sounds end in {', '.join(SUFFIXES)}")
    files = [Path(name) for name in names]
    home = files[0].parent if len({file.parent for file in files}) == 1 else Path()
    labels = class_names(files, home, options.label)
    classes = tuple(sorted(set(labels)))
    waves = tuple(
        _prepared(sound, options, f"{name} in {path}") for sound, name in zip(read, names, strict=True)
    )
    said = changes(read, [len(wave) for wave in waves], rate, samples)
    if options.loudness is not None:
        said += (f"{len(read)} sounds were brought to {options.loudness:g} dB",)
    return Recordings(
        waves,
        np.array([classes.index(label) for label in labels], dtype=np.int64) if labels else None,
        classes,
        tuple(names),
        _held_out(names, options.heldout),
        said,
    )


def _members(path: Path, limit: int | None) -> Iterator[tuple[str, Path | IO[bytes]]]:
    """Names and files of all sounds of a folder or tar file, in the order of their names."""
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
        yield from ((f.relative_to(path).as_posix(), f) for f in files[:limit])
        return
    if not path.is_file():
        raise FileNotFoundError(f"there is no folder or tar file {path}")
    if not tarfile.is_tarfile(path):
        raise ValueError(f"{path} is neither a folder of sounds nor a tar file of them")
    with tarfile.open(path) as archive:
        members = [m for m in archive if m.isfile() and m.name.lower().endswith(SUFFIXES)]
        for member in sorted(members, key=lambda m: m.name)[:limit]:
            content = archive.extractfile(member)
            assert content is not None  # only links and folders have none
            yield member.name, io.BytesIO(content.read())


def _prepared(sound: Sound, options: AudioOptions, name: str) -> Waves:
    wave = np.asarray(trim_silence(sound.wave) if options.trim else sound.wave, dtype=np.float32)
    if not wave.any():
        raise ValueError(f"{name} holds nothing but silence; remove it")
    return wave if options.loudness is None else at_loudness(wave, options.loudness)


def at_loudness(wave: Waves, level: float) -> Waves:
    """A wave whose louder half has this root mean square, in dB of full scale.

    Pauses within a recording so do not make it louder.

    Args:
        wave: (samples,), not all zero.
        level: in dB, below 0; -20 leaves room for peaks.
    """
    squares = np.sort(np.square(wave.astype(np.float64)))[len(wave) // 2 :]
    return np.asarray(wave * (10.0 ** (level / 20.0) / np.sqrt(squares.mean())), dtype=np.float32)


def _held_out(names: Sequence[str], expression: str | None) -> NDArray[np.bool_] | None:
    if expression is None:
        return None
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise ValueError(f"data.options.heldout is no regular expression: {error}") from None
    found = np.array([pattern.search(name) is not None for name in names])
    if found.all() or not found.any():
        which = "every" if found.all() else "no"
        raise ValueError(
            f"data.options.heldout, {expression!r}, finds {which} one of {len(names)} sounds; it names "
            "those that training does not see, a part of all"
        )
    return found


def changed(wave: Waves, samples: int, rate: int, copies: int, *, seed: int, index: int) -> Waves:
    """A recording and changed copies of it, all of one length.

    A copy is played up to `SPEED` faster or slower (pitch goes with it, as between speakers) and starts up to
    `LATE` seconds later. Source: Ko et al. 2015, "Audio augmentation for speech recognition", section 2.

    Args:
        wave: (length,).
        samples: of the results; longer ones are cut, shorter ones end in silence.
        rate: samples a second.
        copies: their number, 0 or more.
        seed: with ``index``, the recording's number, decides them.
        index: see there.

    Returns:
        (1 + copies, samples) float32, the recording itself first.
    """
    from scipy.signal import resample_poly

    result = np.empty((1 + copies, samples), np.float32)
    result[0] = fit_length(wave, samples)
    which = np.arange(copies)
    if copies:
        rows = torch.as_tensor(index * 4096 + which)
        u = noise.uniform((2,), seed=seed, index=rows, stream=noise.Stream.AUDIO_COPY).numpy()
        for row, (speed, late) in zip(result[1:], u, strict=True):
            slower = 100 + round((2.0 * float(speed) - 1.0) * 100 * SPEED)
            again = resample_poly(wave, slower, 100)
            start = int(float(late) * LATE * rate)
            row[:] = fit_length(np.concatenate([np.zeros(start, np.float32), again]), samples)
    return result


@dataclass(frozen=True)
class Halves:
    """Recordings of one length, those to train on and those to hold out.

    Attributes:
        train: (n, samples), with changed copies.
        train_labels: (n,), or None.
        heldout: (m, samples), as they are.
        heldout_labels: (m,), or None.
        classes: names of the classes.
        said: sentences on what was changed.
    """

    train: Waves
    train_labels: NDArray[np.int64] | None
    heldout: Waves
    heldout_labels: NDArray[np.int64] | None
    classes: tuple[str, ...]
    said: tuple[str, ...]


def read_halves(data: DataSettings, options: AudioOptions) -> Halves:
    """Read recordings, hold out what the options name or a random share, and copy the rest with changes.

    Args:
        data: with a path to a folder or tar file.
        options: of the data.

    Raises:
        FileNotFoundError: if there is no such path.
        ModuleNotFoundError: if the extra ``audio`` is missing.
        ValueError: as `read_recordings`, or if nothing would be left to train on.
    """
    found = read_recordings(Path(str(data.path)), options, limit=data.limit)
    held = found.heldout if found.heldout is not None else _random_share(found, data)
    mel, labels = options.mel, found.labels
    kept, rest = np.flatnonzero(held), np.flatnonzero(~held)
    copies = [
        changed(found.waves[i], mel.samples, mel.rate, options.copies, seed=data.seed, index=int(i))
        for i in rest
    ]
    return Halves(
        np.concatenate(copies),
        None if labels is None else np.repeat(labels[rest], 1 + options.copies),
        np.stack([fit_length(found.waves[i], mel.samples) for i in kept]),
        None if labels is None else labels[kept],
        found.classes,
        found.said,
    )


def _random_share(found: Recordings, data: DataSettings) -> NDArray[np.bool_]:
    """Held-out recordings by chance, the same share of each class."""
    n = len(found.names)
    held = np.ones(n, dtype=bool)
    train, _ = split(ArrayData(np.arange(n)[:, None], found.labels), data.heldout, seed=data.seed)
    held[np.asarray(train.x)[:, 0].astype(np.int64)] = False
    return held
