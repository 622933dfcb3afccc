"""Between waves and mel spectrograms: bands of hearing forward, Griffin-Lim backward."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from unstir.recipes.audio.extra import needs
from unstir.settings import Settings

Waves = NDArray[np.float32]
Bands = NDArray[np.float32]

_STEPS = 30
"""Of the spectrum's iteration: 1 % of a band's power is reached after about 20."""
_SEED = 0
"""Of the phases that Griffin-Lim starts from: the same for every sound, whatever is inverted beside it."""


class Mel(Settings):
    """A mel spectrogram in decibels and the vocoder that turns it back into sound.

    Frame k is centred on sample k hop; beyond its ends a sound is silent. A band is a triangle of height 1 on
    the mel scale (Slaney's, linear below 1 kHz), so a sine of amplitude 1 reads at most 0 dB.

    Attributes:
        rate: samples a second.
        window: samples of the Hann window.
        hop: samples from frame to frame, at most half a window.
        bands: number of mel bands.
        frames: number of frames; a sound has ``frames * hop`` samples.
        low: lower end of the bands in Hz.
        high: their upper end, at most half the rate.
        floor: level in dB below which nothing is told apart.
        iterations: of Griffin-Lim.
        momentum: of its accelerated form, in [0, 1); 0 is the plain one.
    """

    rate: Annotated[int, Field(ge=1000)] = 8000
    window: Annotated[int, Field(ge=16)] = 512
    hop: Annotated[int, Field(ge=1)] = 128
    bands: Annotated[int, Field(ge=2)] = 64
    frames: Annotated[int, Field(ge=1)] = 32
    low: Annotated[float, Field(ge=0.0)] = 0.0
    high: Annotated[float, Field(gt=0.0)] = 4000.0
    floor: Annotated[float, Field(lt=0.0)] = -80.0
    iterations: Annotated[int, Field(ge=1)] = 32
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99

    @model_validator(mode="after")
    def _possible(self) -> Mel:
        if not self.low < self.high <= self.rate / 2:
            raise ValueError(
                f"the bands lie between 0 and half the rate, {self.rate / 2:g} Hz, low below high; got "
                f"low={self.low:g} and high={self.high:g}"
            )
        if 2 * self.hop > self.window:
            raise ValueError(
                f"windows overlap by at least half, or nothing could be inverted: hop is at most "
                f"{self.window // 2}, got {self.hop}"
            )
        return self

    @property
    def samples(self) -> int:
        """Samples of one sound."""
        return self.frames * self.hop

    @property
    def event(self) -> tuple[int, int, int]:
        """Shape of one spectrogram as a network sees it."""
        return (1, self.bands, self.frames)

    @property
    def centres(self) -> NDArray[np.float64]:
        """The bands' centres in Hz, (bands,)."""
        points = needs("librosa").mel_frequencies(n_mels=self.bands + 2, fmin=self.low, fmax=self.high)
        return np.asarray(points[1:-1], dtype=np.float64)

    @property
    def _full_scale(self) -> float:
        """Magnitude that a sine of amplitude 1 has at its own frequency: half the sum of the window."""
        return self.window / 4.0

    def analyse(self, waves: NDArray[Any]) -> Bands:
        """Spectrograms in dB of waves.

        Args:
            waves: (n, samples), amplitudes about -1 to 1.

        Returns:
            (n, bands, frames) float32, at least ``floor``.

        Raises:
            ValueError: for another shape or values that are not finite.
        """
        waves = np.asarray(waves)
        if waves.ndim != 2 or waves.shape[1] != self.samples:
            raise ValueError(f"sounds have shape (n, {self.samples}), got {tuple(waves.shape)}")
        if not np.isfinite(waves).all():
            raise ValueError("a sound holds values that are not finite")
        filters = _filters(self)
        result = np.empty((len(waves), self.bands, self.frames), np.float32)
        for start in range(0, len(waves), 256):
            power = np.abs(self.transform(waves[start : start + 256])) ** 2
            result[start : start + 256] = self._decibels(filters @ power)
        return result

    def transform(self, waves: NDArray[Any]) -> NDArray[np.complex64]:
        """Short-time Fourier transforms (n, window // 2 + 1, frames); a sine of amplitude 1 has modulus 1."""
        frames = needs("librosa").stft(
            waves.astype(np.float32), n_fft=self.window, hop_length=self.hop, pad_mode="constant"
        )
        return np.asarray(frames[..., : self.frames] / self._full_scale, dtype=np.complex64)

    def _decibels(self, power: NDArray[Any]) -> NDArray[Any]:
        decibels = 10.0 * np.log10(np.maximum(power, 1e-30))
        return np.asarray(np.maximum(decibels, self.floor), dtype=np.float32)

    def invert(self, logmel: NDArray[Any]) -> Waves:
        """Waves with about these spectrograms: the same for one alone or among others, and at every call.

        The power spectrum under the bands is found by `spectrum`, its phases by ``librosa``'s fast
        Griffin-Lim algorithm from a fixed random start.

        Sources: Griffin & Lim 1984, section III; Perraudin, Balazs & Søndergaard 2013, algorithm 2.

        Args:
            logmel: (n, bands, frames) in dB; what lies at the floor or below is silence.

        Returns:
            (n, samples) float32.

        Raises:
            ValueError: for another shape or values that are not finite.
        """
        if logmel.ndim != 3 or logmel.shape[1:] != (self.bands, self.frames):
            raise ValueError(
                f"spectrograms have shape (n, {self.bands}, {self.frames}), got {tuple(logmel.shape)}"
            )
        if not np.isfinite(logmel).all():
            raise ValueError("a spectrogram holds values that are not finite")
        result = np.zeros((len(logmel), self.samples), np.float32)
        for row, picture in zip(result, logmel, strict=True):
            row[:] = self._invert_one(picture.astype(np.float64))
        return result

    def spectrum(self, logmel: NDArray[Any]) -> NDArray[np.float64]:
        r"""Power spectra p >= 0 that give these bands b = F p, by multiplicative steps.

        .. math:: p \leftarrow p \cdot \frac{F^T (b / F p)}{F^T 1}

        Each step lowers the Kullback-Leibler divergence of b from F p, which weighs a band by its relative
        error, as the ear and a distance in decibels do; least squares gives the weak bands up for the strong.

        Sources: Richardson 1972; Lucy 1974, eq. 15; Lee & Seung 2001, theorem 2.

        Args:
            logmel: (..., bands, frames) in dB; what lies at the floor or below is silence.

        Returns:
            (..., window // 2 + 1, frames); a sine of amplitude 1 has power 1.
        """
        filters = _filters(self).astype(np.float64)
        heard = np.asarray(logmel, np.float32) > np.float32(self.floor)
        power = np.where(heard, 10.0 ** (np.asarray(logmel, np.float64) / 10.0), 0.0)
        reached = np.maximum(filters.sum(axis=0), 1e-12)[:, None]
        found = filters.T @ power / reached
        for _ in range(_STEPS):
            ratio = power / np.maximum(filters @ found, 1e-20)
            found = found * (filters.T @ ratio) / reached
        return np.asarray(found)

    def _invert_one(self, picture: NDArray[np.float64]) -> NDArray[Any]:
        power = self.spectrum(picture)
        if not power.any():
            return np.zeros(self.samples, np.float32)
        return self.phases(np.sqrt(power))

    def phases(self, magnitudes: NDArray[Any]) -> NDArray[Any]:
        """A wave (samples,) whose spectra have about these magnitudes (window // 2 + 1, frames)."""
        last = magnitudes[:, -1:]  # the frame centred on the end, which `analyse` leaves out
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that a momentum near 1 may be unstable
            wave: NDArray[Any] = needs("librosa").griffinlim(
                np.concatenate([magnitudes, last], axis=1) * self._full_scale,
                n_iter=self.iterations,
                hop_length=self.hop,
                n_fft=self.window,
                length=self.samples,
                momentum=self.momentum,
                pad_mode="constant",
                random_state=_SEED,
            )
        return wave


@lru_cache(maxsize=8)
def _filters(mel: Mel) -> NDArray[Any]:
    """(bands, window // 2 + 1) triangles of height 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of bands narrower than a frequency bin, see below
        filters = needs("librosa").filters.mel(
            sr=mel.rate, n_fft=mel.window, n_mels=mel.bands, fmin=mel.low, fmax=mel.high, norm=None
        )
    empty = np.flatnonzero(filters.max(axis=1) == 0.0)
    if len(empty):
        raise ValueError(
            f"{len(empty)} of {mel.bands} mel bands are narrower than a frequency bin of "
            f"{mel.rate / mel.window:.1f} Hz; use fewer bands or a longer window"
        )
    return np.asarray(filters)
