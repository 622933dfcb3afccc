"""Notes as raw waves: no spectrogram and no vocoder, a one-dimensional network on the samples themselves."""

from __future__ import annotations

import numpy as np

from unstir.model import Model
from unstir.recipes.audio.baseline import gaussian_events
from unstir.recipes.audio.data import load
from unstir.recipes.audio.metrics import Ear, in_tune
from unstir.recipes.audio.options import AudioOptions, options_of
from unstir.recipes.audio.task import classes_in_turn, generate
from unstir.recipes.domain import Plan
from unstir.recipes.numbers import Number, proportion
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
                "samples": 30_000,
                "batch": 8,
                "learning_rate": 1.5e-3,
                "warm_up": 0.05,
                "decay": "cosine",
                "clip": None,
                # A tone of thousands of samples is heard through noise far louder than any one of them.
                "noise_levels": {"mean": 0.0, "std": 1.5},
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
    model = plan.train(run, "waveforms")
    return wave_numbers(model, splits, options_of(run.data), n=run.evaluation.samples)


def wave_numbers(
    model: Model, splits: Splits, options: AudioOptions, *, n: int = 240, seed: int = 0
) -> dict[str, Number]:
    """The numbers of a trained model of raw notes; see `waveform_numbers`.

    Args:
        model: of waves whose classes are the pitches of the options.
        splits: its data.
        options: of the data.
        n: samples, at most as many as there are held-out sounds.
        seed: of the samples.
    """
    n = min(n, len(splits.heldout))
    classes = np.array(classes_in_turn(model, n))
    waves = generate(model, classes.tolist(), seed=seed)
    baseline = options.waves(gaussian_events(splits, classes.tolist(), seed=seed))
    real, labels = options.waves(np.asarray(splits.heldout.x)[:n]), np.asarray(splits.heldout.labels)[:n]
    other = options.waves(np.asarray(splits.train.x)[:n])
    value, interval = proportion(int(in_tune(options, waves, classes).sum()), n)
    ear = Ear.of(options.mel, other, real)
    return {
        "waveform_pitch": Number(
            value,
            ">= 0.95",
            float(in_tune(options, baseline, classes).mean()),
            float(in_tune(options, real, labels).mean()),
            interval,
            f"share of {n} raw waves whose pitch is within 50 cents of the one asked for",
        ),
        "waveform_frechet_ratio": Number(
            ear.distance(waves),
            "",
            ear.distance(baseline),
            1.0,
            None,
            "Fréchet distance of raw waves to held-out notes in 32 components of the spectrogram, over that "
            "of training notes to them",
        ),
    }
