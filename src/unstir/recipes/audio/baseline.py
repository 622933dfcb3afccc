"""What needs no training: each class's Gaussian of spectrograms or waves, and least squares as a vocoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unstir.recipes.audio.extra import needs
from unstir.recipes.audio.mel import Mel, Waves
from unstir.recipes.gaussian import gaussian_samples
from unstir.recipes.splits import Splits


def gaussian_events(splits: Splits, labels: Sequence[int], *, seed: int = 0) -> NDArray[np.float32]:
    """Samples of each class's Gaussian, with the mean and covariance of its training events.

    Args:
        splits: labelled.
        labels: a class for each sample.
        seed: of the samples; sample i of a seed and a class is the same whatever the others are.

    Returns:
        (n, *event), within the bounds of the data.
    """
    x = torch.from_numpy(np.asarray(splits.train.x, dtype=np.float32))
    owners = torch.from_numpy(np.asarray(splits.train.labels))
    drawn = gaussian_samples(x, owners, torch.tensor(list(labels)), len(labels), seed).numpy()
    return drawn if splits.bounds is None else drawn.clip(*splits.bounds)


def least_squares_waves(mel: Mel, logmel: NDArray[Any]) -> Waves:
    """Spectrograms to waves as ``librosa`` does it: non-negative least squares, then Griffin-Lim.

    Args:
        mel: of the spectrograms.
        logmel: (n, bands, frames) in dB, each with something above the floor.

    Returns:
        (n, samples) float32.
    """
    librosa = needs("librosa")
    result = np.empty((len(logmel), mel.samples), np.float32)
    for row, picture in zip(result, logmel, strict=True):
        power = np.where(picture > mel.floor, 10.0 ** (picture.astype(np.float64) / 10.0), 0.0)
        magnitudes = librosa.feature.inverse.mel_to_stft(
            power, sr=mel.rate, n_fft=mel.window, fmin=mel.low, fmax=mel.high, norm=None
        )
        row[:] = mel.phases(magnitudes)
    return result
