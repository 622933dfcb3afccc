"""`unstir check audio`, and the numbers of one trained model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unstir.model import Model
from unstir.recipes.audio.data import load, settings
from unstir.recipes.audio.instruments import InstrumentJudge
from unstir.recipes.audio.mel import Waves
from unstir.recipes.audio.metrics import JUDGED, Ear, note_numbers, vocoder_error
from unstir.recipes.audio.notes import make_notes
from unstir.recipes.audio.options import AudioOptions, options_of
from unstir.recipes.audio.recordings import read_halves
from unstir.recipes.audio.repair import repair_numbers
from unstir.recipes.audio.speech import digits_numbers, heard_numbers, listener
from unstir.recipes.audio.speech import settings as speech_settings
from unstir.recipes.audio.task import classes_in_turn, generate
from unstir.recipes.audio.waveforms import wave_numbers, waveform_numbers
from unstir.recipes.domain import Options, Plan
from unstir.recipes.numbers import Number, pooled
from unstir.recipes.settings import RunSettings
from unstir.recipes.splits import Splits, evenly, take


def check(plan: Plan) -> dict[str, Number]:
    """Notes as spectrograms (a training for each seed) and as raw waves; with a path spoken digits, too.

    Raises:
        FileNotFoundError: if there is nothing at the path.
        ModuleNotFoundError: if the extra ``audio`` is missing.
        ValueError: for recordings that cannot be used.
    """
    run = settings()
    splits, options = load(run.data), options_of(run.data)
    judge = InstrumentJudge.taught(options)
    runs, models = [], []
    for seed in plan.seeds:
        plan.say(f"training notes, seed {seed}")
        training = run.training.model_copy(update={"seed": seed})
        model = plan.train(run.model_copy(update={"training": training}), f"notes-{seed}")
        runs.append(note_numbers(model, splits, options, judge, Options(seed=seed)))
        models.append(model)
    numbers = pooled(runs)
    plan.say("filling gaps and refining time")
    numbers |= repair_numbers(models[0], splits, options)
    numbers["vocoder_error_db"] = vocoder_error(options.mel, _notes(options))
    numbers |= waveform_numbers(plan)
    if plan.data is not None:
        numbers |= digits_numbers(plan)
        numbers["vocoder_error_speech_db"] = _speech_error(plan.data)
    return numbers


def _notes(options: AudioOptions) -> Waves:
    """Notes as they were made, of another seed than the training data, before any spectrogram."""
    mel, n = options.mel, max(JUDGED, len(options.keys))
    return make_notes(n, options.keys, mel.samples, mel.rate, seed=1)[0][:JUDGED]


def _speech_error(path: str) -> Number:
    run = speech_settings()
    options = options_of(run.data)
    halves = read_halves(run.data.model_copy(update={"path": str(Path(path))}), options)
    return vocoder_error(options.mel, halves.heldout[evenly(JUDGED, len(halves.heldout))])


def measure(model: Model, settings: RunSettings, options: Options) -> dict[str, Number]:
    """The numbers of a trained model: pitch for notes, a judge's for labelled recordings, else a distance.

    Raises:
        FileNotFoundError: if its recordings are gone.
        ModuleNotFoundError: if the extra ``audio`` is missing.
        ValueError: for recordings that cannot be used.
    """
    splits, sound = load(settings.data), options_of(settings.data)
    if settings.data.path is None:
        if sound.form == "wave":
            return wave_numbers(model, splits, sound, options)
        return note_numbers(model, splits, sound, InstrumentJudge.taught(sound), options)
    numbers = _distance(model, splits, sound, options.n or settings.evaluation.samples, options)
    if splits.classes and sound.form != "wave":
        numbers |= heard_numbers(model, splits, listener(splits, sound), options)
    return numbers


def _distance(
    model: Model, splits: Splits, sound: AudioOptions, n: int, options: Options
) -> dict[str, Number]:
    """How far samples are from held-out recordings, whatever they are recordings of."""
    n = min(n, len(splits.heldout), len(splits.train))
    train, heldout = (
        sound.waves(np.asarray(take(half, evenly(n, len(half))).x)) for half in (splits.train, splits.heldout)
    )
    ear = Ear.of(sound.mel, train, heldout)
    if ear is None:
        return {}
    waves = generate(
        model,
        classes_in_turn(model, n),
        n=n,
        seed=options.seed,
        guidance=options.guidance,
        steps=options.steps,
        solver=options.solver,
    )
    return {"frechet_ratio": ear.number(waves)}
