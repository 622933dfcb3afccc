"""The data of the recipe "audio": synthesised notes whose pitch is the class, or any folder of sounds."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unstir.notice import Notice
from unstir.recipes.audio.mel import Waves
from unstir.recipes.audio.notes import key_name, make_notes
from unstir.recipes.audio.options import AudioOptions, options_of
from unstir.recipes.audio.recordings import read_halves
from unstir.recipes.settings import DataSettings, RunSettings
from unstir.recipes.splits import Splits, split
from unstir.training import ArrayData, Scaling


def settings() -> RunSettings:
    """Notes of 24 pitches and four instruments as mel spectrograms, class-conditional."""
    return RunSettings.model_validate(
        {
            "recipe": "audio",
            "data": {
                "source": "audio",
                "options": AudioOptions(form="image").model_dump(mode="json"),
            },
            "schedule": {"name": "vp"},
            "network": {"kind": "unet", "width": 8, "multipliers": (1, 2, 6, 12), "rows": True},
            "training": {
                "samples": 24_000,
                "batch": 16,
                "learning_rate": 3e-3,
                "warm_up": 0.05,
                "decay": "cosine",
                "clip": None,
                "noise_levels": {"mean": -0.9},
                "ema": (0.1,),
                "ema_width": 0.1,
            },
            "sampling": {"steps": 20, "guidance": 0.5},
            "evaluation": {"samples": 240},
        }
    )


def load(data: DataSettings) -> Splits:
    """Notes made on the spot, or with a path the sounds of a folder or tar file, in the form of the options.

    What was done to recordings (other rates, channels, lengths) is said as a `Notice`.

    Raises:
        FileNotFoundError: if there is no such folder.
        ModuleNotFoundError: if the extra ``audio`` is missing.
        ValueError: for a file that cannot be used, or options that are wrong.
    """
    options = options_of(data)
    if data.path:
        return _recorded(data, options)
    if options.label or options.heldout:
        raise ValueError(
            "these settings are for recordings whose names tell their classes; give their folder or tar file "
            "with --data"
        )
    waves, labels, classes = _make(data, options)
    events = options.events(waves)
    train, heldout = split(ArrayData(events, labels), data.heldout, seed=data.seed)
    scaling = _scaling(options, np.asarray(train.x))
    train, heldout = replace(train, scaling=scaling), replace(heldout, scaling=scaling)
    return Splits(train, heldout, classes, bounds=_bounds(options))


def _make(data: DataSettings, options: AudioOptions) -> tuple[Waves, NDArray[np.int64], tuple[str, ...]]:
    mel, n = options.mel, min(data.limit or options.notes, options.notes)
    waves, labels, _ = make_notes(n, options.keys, mel.samples, mel.rate, seed=data.seed)
    return waves, labels, tuple(key_name(key) for key in options.keys)


def _recorded(data: DataSettings, options: AudioOptions) -> Splits:
    halves = read_halves(data, options)
    for sentence in halves.said:
        warnings.warn(sentence, Notice, stacklevel=3)
    events = options.events(halves.train)
    train = ArrayData(events, halves.train_labels, scaling=_scaling(options, events))
    heldout = replace(train, x=options.events(halves.heldout), labels=halves.heldout_labels)
    return Splits(train, heldout, halves.classes, bounds=_bounds(options))


TOP = 12.0
"""Upper end of spectrograms in dB: four sines of full scale in one band."""


def _bounds(options: AudioOptions) -> tuple[float, float] | None:
    return None if options.form == "wave" else (options.mel.floor, TOP)


def _scaling(options: AudioOptions, events: NDArray[np.float32]) -> Scaling:
    """To mean 0 (each mel band its own, where bands are channels) and deviation 0.5 over all."""
    if options.form == "wave":
        return Scaling((0.0,), (2.0 * float(events.std()),))
    axes = (0, 2) if options.form == "bands" else None
    mean = np.atleast_1d(events.mean(axis=axes, dtype=np.float64))
    rest = events - (mean[:, None] if options.form == "bands" else mean[0])
    scale = 2.0 * float(np.sqrt(np.square(rest, dtype=np.float64).mean()))
    return Scaling(tuple(mean.tolist()), (scale,) * len(mean))
