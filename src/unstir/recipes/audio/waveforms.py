"""Notes as raw waves: no spectrogram and no vocoder, a one-dimensional network on the samples themselves."""

from __future__ import annotations

import numpy as np

from unstir.model import Model
from unstir.recipes.audio.baseline import gaussian_events
from unstir.recipes.audio.data import load
from unstir.recipes.audio.metrics import NOTES, Ear, in_tune, pitch_number
from unstir.recipes.audio.options import AudioOptions, options_of
from unstir.recipes.audio.task import classes_in_turn, generate
from unstir.recipes.domain import Options, Plan
from unstir.recipes.numbers import Number
from unstir.recipes.settings import RunSettings
from unstir.recipes.splits import Splits


def settings() -> RunSettings:
    """The notes of the recipe "audio" as (1, 4096) samples at 8 kHz, class-conditional."""
    return RunSettings.model_validate(
        {
            "recipe": "waveforms",
            "data": {
                "source": "audio",
                "options": AudioOptions(form="wave").model_dump(mode="json"),
            },
            "schedule": {"name": "vp"},
            "network": {"kind": "waveform", "patch": 32, "width": 64, "multipliers": (1, 2)},
            "training": {
                "samples": 32_000,
                "batch": 16,
                "learning_rate": 1.5e-3,
                "warm_up": 0.05,
                "decay": "cosine",
                "clip": None,
                # A tone of thousands of samples is heard through noise far louder than any one of them.
                "noise_levels": {"mean": 0.0, "std": 2.0},
                "ema": (0.1,),
                "ema_width": 0.1,
            },
            "sampling": {"steps": 20},
            "evaluation": {"samples": 240},
        }
    )


def waveform_numbers(plan: Plan) -> dict[str, Number]:
    """Train the recipe "waveforms" on notes, and measure pitch and colour of its samples.

    One training: the interval of the pitch is over samples (Wilson's).
    """
    run = settings()
    splits = load(run.data)
    plan.say("training raw waves")
    return wave_numbers(plan.train(run, "waveforms"), splits, options_of(run.data), Options())


def wave_numbers(model: Model, splits: Splits, options: AudioOptions, asked: Options) -> dict[str, Number]:
    """The numbers of a trained model of raw notes; see `waveform_numbers`.

    Args:
        model: of waves whose classes are the pitches of the options.
        splits: its data.
        options: of the data.
        asked: how the model is sampled; at most as many notes as there are held-out sounds, 240 by default.
    """
    n = min(asked.n or NOTES, len(splits.heldout))
    classes = np.array(classes_in_turn(model, n))
    waves = generate(
        model,
        classes.tolist(),
        seed=asked.seed,
        guidance=asked.guidance,
        steps=asked.steps,
        solver=asked.solver,
    )
    baseline = options.waves(gaussian_events(splits, classes.tolist(), seed=asked.seed))
    real, labels = options.waves(np.asarray(splits.heldout.x)[:n]), np.asarray(splits.heldout.labels)[:n]
    other = options.waves(np.asarray(splits.train.x)[:n])
    tuned = [
        in_tune(options, sounds, keys)
        for sounds, keys in ((waves, classes), (baseline, classes), (real, labels))
    ]
    numbers = {"waveform_pitch": pitch_number(*tuned, limit=">= 0.95")}
    ear = Ear.of(options.mel, other, real)
    if ear is not None:
        numbers["waveform_frechet_ratio"] = ear.number(waves, baseline)
    return numbers
