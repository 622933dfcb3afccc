"""Spoken words by class: a small diffusion of mel spectrograms, heard by a judge after the vocoder.

The settings are those of the Free Spoken Digit Dataset (Jackson et al. 2016), whose files are
DIGIT_SPEAKER_TAKE.wav, takes 0 to 4 held out; other recordings of short words need their own ``label`` and
``heldout``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unstir.evaluation.distances import frechet_distance
from unstir.evaluation.judge import Judge, train_judge
from unstir.model import Model
from unstir.recipes.audio.baseline import gaussian_events
from unstir.recipes.audio.data import load
from unstir.recipes.audio.mel import Mel
from unstir.recipes.audio.options import AudioOptions, options_of
from unstir.recipes.audio.repair import repair_numbers
from unstir.recipes.audio.task import classes_in_turn, draw_events
from unstir.recipes.domain import Options, Plan
from unstir.recipes.numbers import Number, mean_of, proportion
from unstir.recipes.settings import RunSettings
from unstir.recipes.splits import Splits, evenly

WEIGHTS = (0.0, 1.0, 2.0)
"""Weights of guidance that are measured: epsilon = (1 + w) conditional - w unconditional."""
LIMITS = {
    "word_judge": ">= 0.95",
    "word_accuracy_w1": ">= 0.92",
    "word_frechet_w1": "<= 3",
    "word_accuracy_w2": ">= 0.98",
}
"""What the check holds spoken digits to."""
SETS = 3
"""Sets of samples a weight, each as large as the held-out data."""


def settings() -> RunSettings:
    """Spoken digits of six speakers at 8 kHz, 32 mel bands and 32 frames of 20 ms; needs a path."""
    options = AudioOptions(
        form="image",
        mel=Mel(bands=32, window=400, hop=160, frames=32, low=60.0, floor=-60.0, iterations=32),
        label=r"^(\d)_",
        heldout=r"_[0-4]\.wav$",
        loudness=-20.0,
        copies=7,
    )
    return RunSettings.model_validate(
        {
            "recipe": "spoken-digits",
            "data": {"source": "audio", "options": options.model_dump(mode="json")},
            "schedule": {"name": "vp"},
            "network": {"kind": "unet", "width": 8, "multipliers": (1, 2, 6, 12)},
            "training": {
                "samples": 40_000,
                # Small batches: what counts here is the number of steps, 2,500 of them.
                "batch": 16,
                "learning_rate": 3e-3,
                "warm_up": 0.05,
                "decay": "cosine",
                "clip": None,
                "noise_levels": {"mean": -0.9},
                "ema": (0.1,),
                "ema_width": 0.1,
            },
            "sampling": {"steps": 20, "guidance": 1.0, "window": (0.45, 0.6)},
            "evaluation": {"samples": 300},
        }
    )


@dataclass(frozen=True)
class Listener:
    """A judge of spoken words, and real recordings that it has not heard, as they sound after the vocoder.

    Attributes:
        judge: a classifier of spectrograms (1, bands, frames).
        options: of the data.
        heldout: features (m, 64) of the held-out recordings.
        reference: features of as many recordings of the training half that the judge did not see, (m, 64).
    """

    judge: Judge
    options: AudioOptions
    heldout: Tensor
    reference: Tensor

    @property
    def real_distance(self) -> float:
        """Fréchet distance between the two sets of real recordings: what chance and size alone make."""
        return frechet_distance(self.heldout, self.reference)

    def hear(self, events: NDArray[np.float32]) -> Tensor:
        """Events to waves and back to the spectrograms that the judge sees, (n, 1, bands, frames)."""
        return after_vocoder(self.options, events)


def after_vocoder(options: AudioOptions, events: NDArray[np.float32]) -> Tensor:
    """What can be heard of events: spectrograms (n, 1, bands, frames) of their waves."""
    return torch.from_numpy(options.mel.analyse(options.waves(events)))[:, None]


def listener(splits: Splits, options: AudioOptions, *, seed: int = 0) -> Listener:
    """Train a judge on three quarters of the training recordings, and test it on the held-out ones.

    The fourth quarter is the other set of real recordings: both sets are new to the judge, so the distance
    between them is not one between what it learned by heart and what it did not. Held-out recordings go
    through the vocoder first, so the judge's accuracy is what a perfect model could reach.

    Args:
        splits: labelled recordings, copies of one recording in a row.
        options: of the data.
        seed: of the judge.

    Raises:
        ValueError: for recordings without classes.
    """
    if splits.train.labels is None or splits.heldout.labels is None:
        raise ValueError("a judge of words needs recordings with classes; name them with data.options.label")
    copies = 1 + options.copies
    recording = np.arange(len(splits.train)) // copies
    unseen = recording % 4 == 3
    events = np.asarray(splits.train.x, dtype=np.float32)
    labels = torch.from_numpy(np.asarray(splits.train.labels))
    plain = torch.from_numpy(events if options.form == "image" else events[:, None])
    heard = after_vocoder(options, np.asarray(splits.heldout.x, dtype=np.float32))
    judge = train_judge(
        plain[~unseen],
        labels[~unseen],
        heard,
        torch.from_numpy(np.asarray(splits.heldout.labels)),
        classes=len(splits.classes),
        seed=seed,
        shift=0.05,
    )
    originals = np.flatnonzero(unseen & (np.arange(len(events)) % copies == 0))
    originals = originals[evenly(len(heard), len(originals))]
    features = judge.features(after_vocoder(options, events[originals]))
    return Listener(judge, options, judge.features(heard), features)


@dataclass(frozen=True)
class Heard:
    """What a judge says of samples of one weight of guidance.

    Attributes:
        right: (n,) bool, whether each sample is heard as the class that was asked for.
        distances: Fréchet distances to the held-out recordings, one a set of as many samples as those.
    """

    right: Tensor
    distances: tuple[float, ...]


def judged(model: Model, who: Listener, asked: Options, *, sets: int = SETS) -> Heard:
    """Draw samples of all classes in turn, turn them to sound, and ask the judge.

    Args:
        model: of these data.
        who: asks.
        asked: how the model is sampled.
        sets: of samples, each of as many as there are held-out recordings.
    """
    size = len(who.heldout)
    classes = classes_in_turn(model, size)
    right, distances = [], []
    for i in range(sets):
        events = draw_events(
            model,
            classes,
            seed=asked.seed,
            guidance=asked.guidance,
            steps=asked.steps,
            solver=asked.solver,
            first_index=i * size,
        )
        heard = who.hear(events.numpy())
        right.append(who.judge.predict(heard) == torch.tensor(classes))
        distances.append(frechet_distance(who.heldout, who.judge.features(heard)))
    return Heard(torch.cat(right), tuple(distances))


def digits_numbers(plan: Plan) -> dict[str, Number]:
    """Train the recipe "spoken-digits" on ``plan.data``, and hear its samples at three weights of guidance.

    One training: the intervals are over samples (accuracy: Wilson's) and over sets of samples (distances:
    Student's), not over trainings.

    Raises:
        ValueError: without a path to the recordings, or as `data.load`.
    """
    if plan.data is None:
        raise ValueError("spoken digits are read from recordings; give their folder or tar file with --data")
    run = settings()
    run = run.model_copy(update={"data": run.data.model_copy(update={"path": plan.data})})
    splits, options = load(run.data), options_of(run.data)
    plan.say("training spoken digits")
    model = plan.train(run, "spoken-digits")
    plan.say("training the judge, and hearing samples after the vocoder")
    numbers = heard_numbers(model, splits, listener(splits, options), Options())
    repaired = repair_numbers(model, splits, options)
    held = {name: replace(number, limit=LIMITS.get(name, "")) for name, number in numbers.items()}
    return held | {f"word_{name}": number for name, number in repaired.items()}


def heard_numbers(
    model: Model, splits: Splits, who: Listener, asked: Options, *, sets: int = SETS
) -> dict[str, Number]:
    """What a judge hears in samples of all classes, and their distance from held-out recordings.

    Args:
        model: of words.
        splits: its data.
        who: listens.
        asked: how the model is sampled, with its guidance alone if there is one; as many sounds as there are
            held-out recordings.
        sets: of samples a weight of guidance.
    """
    size = len(who.heldout)
    labels = [i % len(splits.classes) for i in range(size)]
    baseline = who.hear(gaussian_events(splits, labels, seed=asked.seed))
    share = float((who.judge.predict(baseline) == torch.tensor(labels)).double().mean())
    away = frechet_distance(who.heldout, who.judge.features(baseline))
    real, ceiling = who.real_distance, who.judge.accuracy
    about = f"of {sets * size} samples of all classes, after the vocoder"
    apart = f"mean of {sets} sets of {size} samples of all classes, after the vocoder"
    numbers = {
        "word_judge": Number(
            ceiling,
            interval=proportion(round(ceiling * size), size)[1],
            meaning="share of held-out recordings, after the vocoder, that the judge hears as their class",
        )
    }
    for weight in WEIGHTS if asked.guidance is None else (asked.guidance,):
        found = judged(model, who, replace(asked, guidance=weight), sets=sets)
        value, interval = proportion(int(found.right.sum()), len(found.right))
        mean, ends = mean_of([distance / real for distance in found.distances])
        numbers[f"word_accuracy_w{weight:g}"] = Number(
            value, "", share, ceiling, interval, f"share heard as the class asked for, {about}"
        )
        numbers[f"word_frechet_w{weight:g}"] = Number(
            mean,
            "",
            away / real,
            1.0,
            ends,
            "Fréchet distance to the held-out recordings in the judge's features, over the one between two "
            f"sets of real recordings ({real:.3g}), {apart}",
        )
    return numbers
