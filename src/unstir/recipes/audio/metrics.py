"""The numbers of sound: distance of log spectra, pitch kept, and how far samples are from real sounds."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unstir.evaluation.distances import frechet_distance
from unstir.evaluation.features import PCAFeatures
from unstir.model import Model
from unstir.notice import Notice
from unstir.recipes.audio.baseline import gaussian_events, least_squares_waves
from unstir.recipes.audio.instruments import CLEAR, InstrumentJudge, spread
from unstir.recipes.audio.mel import Mel, Waves
from unstir.recipes.audio.options import AudioOptions
from unstir.recipes.audio.pitch import within_quarter_tone
from unstir.recipes.audio.task import classes_in_turn, generate
from unstir.recipes.domain import Options
from unstir.recipes.numbers import Number, bootstrap_mean, proportion
from unstir.recipes.splits import Splits

COMPONENTS = 32
"""Of the spectrogram, in which sets of sounds are compared."""
NOTES = 240
"""Notes that are drawn and judged, unless another number is asked for."""
JUDGED = 60
"""Sounds that the vocoder's error is taken over."""


def log_spectral_distance(
    a: NDArray[np.float32], b: NDArray[np.float32], floor: float
) -> NDArray[np.float64]:
    r"""The root mean square difference of log spectra in dB, a mean over frames in which a is heard.

    .. math:: d = \left\langle \sqrt{\langle (a - b)^2 \rangle_{bands}} \right\rangle_{frames}

    Source: Gray & Markel 1976, "Distance measures for speech processing", eq. 3 with p = 2; here
    over mel bands.

    Args:
        a: (n, bands, frames) in dB.
        b: of the same shape.
        floor: a frame without a band above it is silent and does not count.

    Returns:
        (n,); NaN where a is silent throughout.
    """
    frames = np.sqrt(np.square(a.astype(np.float64) - b).mean(axis=1))
    heard = np.any(a > floor, axis=1)
    return np.asarray((frames * heard).sum(axis=1) / np.where(heard.any(axis=1), heard.sum(axis=1), np.nan))


def vocoder_error(mel: Mel, waves: Waves) -> Number:
    """What is lost when sounds become spectrograms, waves again, and spectrograms once more.

    The baseline is the same with least squares in place of `Mel.spectrum`.

    Args:
        mel: the spectrogram.
        waves: (n, samples) real sounds.
    """
    before = mel.analyse(waves)
    ours = log_spectral_distance(before, mel.analyse(mel.invert(before)), mel.floor)
    theirs = log_spectral_distance(before, mel.analyse(least_squares_waves(mel, before)), mel.floor)
    value, interval = bootstrap_mean(ours[np.isfinite(ours)].tolist())
    return Number(
        value,
        "<= 4",
        float(np.nanmean(theirs)),
        0.0,
        interval,
        f"log-spectral distance in dB of {len(waves)} real sounds from themselves after the vocoder",
    )


@dataclass(frozen=True)
class Ear:
    """Components of real training sounds, by which sets of sounds are compared, and two such sets.

    Attributes:
        mel: the spectrogram.
        features: of spectrograms (n, bands, frames).
        heldout: rows of the held-out sounds, (n, d).
        train: of as many training sounds.
    """

    mel: Mel
    features: PCAFeatures
    heldout: Tensor
    train: Tensor

    @classmethod
    def of(cls, mel: Mel, train: Waves, heldout: Waves) -> Ear | None:
        """From training and held-out sounds (n, samples); as many of each are compared as are held out.

        None, and a `Notice`, for too few of them.
        """
        n = min(len(train), len(heldout))
        if n <= COMPONENTS:
            said = f"{n} sounds are too few for a Fréchet distance, which takes more than {COMPONENTS}"
            warnings.warn(said, Notice, stacklevel=2)
            return None
        known = torch.from_numpy(mel.analyse(train))
        features = PCAFeatures.fit(known, COMPONENTS)
        other = torch.from_numpy(mel.analyse(heldout))
        return cls(mel, features, features.features(other), features.features(known[: len(heldout)]))

    def distance(self, waves: Waves) -> float:
        """Fréchet distance of sounds to the held-out ones, over the one of training sounds to them."""
        rows = self.features.features(torch.from_numpy(self.mel.analyse(waves)))
        return frechet_distance(rows, self.heldout) / frechet_distance(self.train, self.heldout)

    def number(self, waves: Waves, baseline: Waves | None = None) -> Number:
        """That distance of samples, and of a baseline."""
        return Number(
            self.distance(waves),
            baseline=None if baseline is None else self.distance(baseline),
            reference=1.0,
            meaning=f"Fréchet distance of {len(waves)} sounds to held-out ones in {self.heldout.shape[1]} "
            "components of the spectrogram, over the one of training sounds to them",
        )


def note_numbers(
    model: Model, splits: Splits, options: AudioOptions, judge: InstrumentJudge, asked: Options
) -> dict[str, Number]:
    """The numbers of a model of notes as spectrograms; every sound is one after the vocoder, real ones too.

    A Gaussian of each pitch is a strong baseline in pitch and in the Fréchet distance, which compares means
    and covariances only; the instruments tell what it lacks. Guidance that raises the share in tune can spoil
    the distribution: both are shown, with it and without.

    Args:
        model: whose classes are the pitches of the options.
        splits: its data.
        options: of the data.
        judge: of instruments.
        asked: how the model is sampled; at most as many notes as there are held-out sounds, 240 by default.
    """
    n = min(asked.n or NOTES, len(splits.heldout))
    classes = np.array(classes_in_turn(model, n))
    weight = model.default_guidance if asked.guidance is None else asked.guidance
    baseline = options.waves(gaussian_events(splits, classes.tolist(), seed=asked.seed))
    real = options.waves(np.asarray(splits.heldout.x)[:n])
    other = options.waves(np.asarray(splits.train.x)[:n])
    tuned = in_tune(options, baseline, classes), in_tune(options, real, np.asarray(splits.heldout.labels)[:n])
    ear = Ear.of(options.mel, other, real)
    numbers: dict[str, Number] = {}
    for w, suffix in ((weight, ""), (0.0, "_unguided")) if weight else ((0.0, ""),):
        waves = generate(
            model, classes.tolist(), seed=asked.seed, guidance=w, steps=asked.steps, solver=asked.solver
        )
        pitch = pitch_number(in_tune(options, waves, classes), *tuned, limit="" if suffix else ">= 0.95")
        found = {
            "pitch_within_quarter_tone": pitch,
            **({} if ear is None else {"frechet_ratio": ear.number(waves, baseline)}),
            **instrument_numbers(judge, waves, baseline, other, real),
        }
        numbers |= {
            name + suffix: replace(number, meaning=f"{number.meaning}, at w = {w:g}")
            for name, number in found.items()
        }
    return numbers


def pitch_number(
    samples: NDArray[np.bool_], baseline: NDArray[np.bool_], real: NDArray[np.bool_], *, limit: str
) -> Number:
    """Share of sounds in tune, with Wilson's interval.

    Args:
        samples: (n,) whether each is.
        baseline: the same of the baseline's.
        real: the same of held-out ones.
        limit: of the share.
    """
    value, interval = proportion(int(samples.sum()), len(samples))
    what = f"share of {len(samples)} sounds whose pitch is within 50 cents of the one asked for"
    return Number(value, limit, float(baseline.mean()), float(real.mean()), interval, what)


def instrument_numbers(
    judge: InstrumentJudge, waves: Waves, baseline: Waves, train: Waves, heldout: Waves
) -> dict[str, Number]:
    """Whether notes are of one instrument each, whether all instruments are played, and a kernel distance.

    Args:
        judge: of instruments.
        waves: samples (n, samples).
        baseline: those of the baseline.
        train: as many training notes.
        heldout: as many held-out notes.
    """
    clear = judge.clear(waves)
    value, interval = proportion(int(clear.sum()), len(clear))
    return {
        "instrument_clear": Number(
            value,
            "",
            float(judge.clear(baseline).mean()),
            float(judge.clear(heldout).mean()),
            interval,
            f"share of {len(clear)} notes that a judge of instruments (right for "
            f"{judge.judge.accuracy:.1%} of real ones) gives one of them {CLEAR:g} or more of probability",
        ),
        "instruments_played": Number(
            spread(judge.shares(waves)),
            "",
            spread(judge.shares(baseline)),
            spread(judge.shares(heldout)),
            None,
            f"instruments among {len(clear)} notes, exp of the entropy of their shares",
        ),
        "instrument_mmd": Number(
            judge.mmd(waves, heldout),
            "",
            judge.mmd(baseline, heldout),
            judge.mmd(train, heldout),
            None,
            "squared maximum mean discrepancy to held-out notes in the features of that judge",
        ),
    }


def in_tune(options: AudioOptions, waves: Waves, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each sound's pitch is within a quarter tone of its class's; silence is not.

    Args:
        options: whose pitches are the classes.
        waves: (n, samples).
        labels: (n,) positions among them.
    """
    return within_quarter_tone(waves, options.mel.rate, options.pitches[labels], among=options.pitches)
