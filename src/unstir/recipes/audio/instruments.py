"""Which instrument a note is heard as: what pitch and a Fréchet distance do not tell of a set of notes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from unstir.evaluation.distances import mmd
from unstir.evaluation.judge import Judge, train_judge
from unstir.recipes.audio.mel import Mel, Waves
from unstir.recipes.audio.notes import INSTRUMENTS, make_notes
from unstir.recipes.audio.options import AudioOptions

CLEAR = 0.9
"""A note is one of an instrument if the judge gives it at least this probability."""
_SEED = 17
"""Of the judge's own notes, which are none of the data's."""


@dataclass(frozen=True)
class InstrumentJudge:
    """A classifier of notes by instrument, taught notes that no model was trained on.

    Attributes:
        mel: the spectrogram that it sees.
        judge: of `notes.INSTRUMENTS`, in their order; its ``accuracy`` is that on notes after the vocoder.
    """

    mel: Mel
    judge: Judge

    @classmethod
    def taught(
        cls, options: AudioOptions, *, notes: int = 1800, tested: int = 100, steps: int = 150
    ) -> InstrumentJudge:
        """Teach it notes of the options' pitches.

        Args:
            options: of the data.
            notes: that it learns from.
            tested: further notes, on which its accuracy is measured.
            steps: of its training.
        """
        mel, n = options.mel, max(notes + tested, len(options.keys))
        waves, _, played = make_notes(n, options.keys, mel.samples, mel.rate, seed=_SEED)
        bands = mel.analyse(waves)
        heard = mel.analyse(mel.invert(bands[:tested]))
        kinds = torch.from_numpy(played)
        judge = train_judge(
            torch.from_numpy(bands[tested:])[:, None],
            kinds[tested:],
            torch.from_numpy(heard)[:, None],
            kinds[:tested],
            classes=len(INSTRUMENTS),
            seed=0,
            steps=steps,
        )
        return cls(mel, judge)

    def probabilities(self, waves: Waves) -> NDArray[np.float64]:
        """Of each instrument, (n, instruments), for sounds (n, samples)."""
        with torch.no_grad():
            logits = self.judge.network(torch.from_numpy(self.mel.analyse(waves))[:, None])
        return np.asarray(logits.double().softmax(dim=1).numpy())

    def clear(self, waves: Waves) -> NDArray[np.bool_]:
        """Whether each sound is clearly one of an instrument."""
        return np.asarray(self.probabilities(waves).max(axis=1) >= CLEAR)

    def shares(self, waves: Waves) -> NDArray[np.float64]:
        """Mean probability of each instrument over sounds, (instruments,); they sum to 1."""
        return np.asarray(self.probabilities(waves).mean(axis=0))

    def mmd(self, waves: Waves, real: Waves) -> float:
        """Squared maximum mean discrepancy of two sets of sounds, in the judge's features.

        Unlike a Fréchet distance it sees whole distributions, not only their means and covariances. For equal
        ones it scatters round 0 (`evaluation.distances.mmd`, Gaussian kernels).
        """
        a, b = (self.judge.features(torch.from_numpy(self.mel.analyse(w))[:, None]) for w in (waves, real))
        return mmd(a, b)


def spread(shares: NDArray[np.float64]) -> float:
    """How evenly instruments are played: exp of the entropy of their shares, 1 to their number.

    Source: Hill 1973, "Diversity and evenness", eq. for order 1 ("effective number of species").
    """
    positive = shares[shares > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))
