"""Sounds to look at and to listen to: spectrogram pictures, wav files, panels of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from unstir.evaluation.pictures import figure_to_image, save_image
from unstir.evaluation.report import Panel
from unstir.model import Model
from unstir.recipes.audio.data import load
from unstir.recipes.audio.mel import Mel, Waves
from unstir.recipes.audio.options import options_of, options_of_model
from unstir.recipes.audio.sounds import write_wav
from unstir.recipes.audio.task import classes_in_turn, generate
from unstir.recipes.domain import Options
from unstir.recipes.settings import RunSettings
from unstir.recipes.splits import evenly, take

GAP = 0.1
"""Seconds of silence between the sounds of one file."""
SHOWN = 12
"""Most spectrograms of one picture."""


def spectrograms(mel: Mel, waves: Waves, titles: Sequence[str], *, columns: int = 6) -> Image.Image:
    """Mel spectrograms side by side, time to the right, low bands at the bottom, one scale of colours.

    Args:
        mel: the spectrogram.
        waves: (n, samples), n >= 1; the first `SHOWN` are drawn.
        titles: one for each.
        columns: pictures a row.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    pictures = mel.analyse(waves[:SHOWN])
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    figure = Figure(figsize=(1.45 * columns + 0.9, 1.75 * rows + 0.45), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    seconds, bands = mel.samples / mel.rate, np.arange(mel.bands)
    ticks = list(bands[:: max(1, mel.bands // 4)])
    for axis in axes.flat:
        axis.set_visible(False)
    for axis, picture, title in zip(axes.flat, pictures, titles, strict=False):
        axis.set_visible(True)
        shown = axis.imshow(
            picture,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=mel.floor,
            vmax=0.0,
            extent=(0.0, seconds, -0.5, mel.bands - 0.5),
        )
        axis.set_title(title, fontsize=9)
        axis.set_yticks(ticks, [f"{mel.centres[band]:.0f}" for band in ticks], fontsize=7)
        axis.tick_params(axis="x", labelsize=7)
    figure.supxlabel("time in s", fontsize=9)
    figure.supylabel("mel band in Hz", fontsize=9)
    figure.colorbar(shown, ax=axes, label="dB", pad=0.01, aspect=30)
    return figure_to_image(figure)


def one_after_the_other(waves: Waves, rate: int) -> Waves:
    """Sounds (n, samples) as one wave, with `GAP` seconds of silence between them."""
    silence = np.zeros(round(GAP * rate), np.float32)
    parts = [part for wave in waves for part in (wave, silence)]
    return np.concatenate(parts[:-1])


def _drawn(model: Model, options: Options) -> tuple[Waves, list[str]]:
    """Sounds as the options ask for, and their titles."""
    names = model.config.classes
    if options.label is not None:
        n = options.n or 4
        none = options.label == "none" and "none" not in names
        labels: list[int] | None = [-1 if none else model.class_number(options.label)] * n
    else:
        n = options.n or len(names) or 8
        labels = classes_in_turn(model, n)
    waves = generate(
        model,
        labels,
        n=n,
        seed=options.seed,
        guidance=options.guidance,
        steps=options.steps,
        solver=options.solver,
    )
    return waves, [names[i] if i >= 0 else "" for i in labels] if labels else [""] * n


def write_sound(model: Model, settings: RunSettings, file: Path, options: Options) -> str:
    """Write samples one after the other as one wav or flac file, and their spectrograms beside it as png.

    Returns:
        What was written, a sentence.

    Raises:
        ModuleNotFoundError: if the extra ``audio`` is missing.
        ValueError: for a class that does not exist, or options out of range.
        OSError: if a file cannot be written.
    """
    mel = options_of_model(model).mel
    waves, titles = _drawn(model, options)
    whole = one_after_the_other(waves, mel.rate)
    write_wav(file, whole, mel.rate)
    picture = file.with_suffix(".png")
    save_image(spectrograms(mel, waves, titles), picture)
    shown = f"the first {SHOWN} spectrograms" if len(waves) > SHOWN else "the spectrograms"
    return (
        f"{len(waves)} sounds, {len(whole) / mel.rate:.1f} s at {mel.rate:,} Hz, with {shown} in "
        f"{picture.name}"
    )


def write_picture(model: Model, settings: RunSettings, file: Path, options: Options) -> str:
    """Write the spectrograms of samples; as `write_sound` without the sound."""
    waves, titles = _drawn(model, options)
    save_image(spectrograms(options_of_model(model).mel, waves, titles), file)
    return f"spectrograms of {min(len(waves), SHOWN)} sounds"


def panels(model: Model, settings: RunSettings, options: Options) -> list[Panel]:
    """Spectrograms of samples and of held-out sounds, both after the vocoder."""
    options_of_data, splits = options_of(settings.data), load(settings.data)
    waves, titles = _drawn(model, Options(n=SHOWN, seed=options.seed, guidance=options.guidance))
    shown = take(splits.heldout, evenly(SHOWN, len(splits.heldout)))
    real, labels = options_of_data.waves(np.asarray(shown.x)), shown.labels
    names = [""] * len(real) if labels is None else [splits.classes[int(i)] for i in labels]
    mel = options_of_data.mel
    return [
        Panel(
            "Samples",
            "Mel spectrograms of samples after the vocoder, each with the class that was asked for.",
            image=spectrograms(mel, waves, titles),
            pixelated=False,
        ),
        Panel(
            "Held-out sounds",
            "The same of sounds that training never saw.",
            image=spectrograms(mel, real, names),
            pixelated=False,
        ),
    ]
