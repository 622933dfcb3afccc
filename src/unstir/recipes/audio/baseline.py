"""What needs no training: each class's Gaussian of spectrograms or waves, and least squares as a vocoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unstir.recipes.audio.extra import needs
from unstir.recipes.audio.mel import Mel, Waves
from unstir.recipes.splits import Splits


def gaussian_events(splits: Splits, labels: Sequence[int], *, seed: int = 0) -> NDArray[np.float32]:
    r"""Samples of each class's Gaussian, with the mean and covariance of its training events.

    With n centred events :math:`d_i` and independent standard normal :math:`z_i`,
    :math:`\mu + \sum_i z_i d_i / \sqrt{n}` has the sample covariance exactly, and none is ever built.

    Args:
        splits: labelled.
        labels: a class for each sample.
        seed: of the normal numbers.

    Returns:
        (n, *event), within the bounds of the data.
    """
    x, known = np.asarray(splits.train.x, dtype=np.float32), np.asarray(splits.train.labels)
    rng = np.random.default_rng(seed)
    result = np.empty((len(labels), *x.shape[1:]), np.float32)
    for label in sorted(set(labels)):
        own = x[known == label]
        wanted = np.flatnonzero(np.asarray(labels) == label)
        mean = own.mean(axis=0)
        z = rng.standard_normal((len(wanted), len(own)), dtype=np.float32) / np.sqrt(np.float32(len(own)))
        result[wanted] = mean + np.tensordot(z, own - mean, axes=1)
    return result if splits.bounds is None else result.clip(*splits.bounds)


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
