"""Mel spectrograms: levels of known tones, and waves that come back."""

import numpy as np
import pytest

from unstir.recipes.audio.baseline import least_squares_waves
from unstir.recipes.audio.mel import Mel
from unstir.recipes.audio.metrics import log_spectral_distance
from unstir.recipes.audio.notes import make_notes
from unstir.settings import parse_settings

pytest.importorskip("librosa")
MEL = Mel(bands=48, window=512, hop=128, frames=32, low=100.0, floor=-60.0)


def tone(frequency, amplitude=1.0, mel=MEL):
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(mel.samples) / mel.rate)


def test_a_sine_at_a_bands_centre_reads_its_level_there():
    centre = round(MEL.centres[20] / 15.625) * 15.625  # on a frequency bin, so no leakage between bins
    spectrogram = MEL.analyse(tone(centre, 0.5)[None])[0]
    assert spectrogram[:, 5:-5].argmax(axis=0).tolist() == [20] * 22
    # The main lobe of a Hann window: 1, 1/4 and 1/4 in power, of which the triangle takes up to 1.5 (1.8 dB).
    assert np.all(spectrogram[20, 5:-5] > 20 * np.log10(0.5) - 1.0)
    assert np.all(spectrogram[20, 5:-5] < 20 * np.log10(0.5) + 1.8)


def test_ten_times_the_amplitude_is_twenty_decibels():
    loud, quiet = MEL.analyse(np.stack([tone(700.0), tone(700.0, 0.1)]))
    both = quiet > MEL.floor
    assert both.any()
    assert np.allclose((loud - quiet)[both], 20.0, atol=1e-3)


def test_silence_lies_at_the_floor_and_stays_silent():
    silence = np.zeros((2, MEL.samples), np.float32)
    spectrograms = MEL.analyse(silence)
    assert spectrograms.shape == (2, 48, 32)
    assert np.all(spectrograms == MEL.floor)
    assert np.array_equal(MEL.invert(spectrograms), silence)


def test_a_click_is_seen_in_the_frame_that_is_centred_on_it():
    click = np.zeros((1, MEL.samples))
    click[0, 10 * MEL.hop] = 1.0
    assert MEL.analyse(click)[0].sum(axis=0).argmax() == 10


def test_the_spectrum_gives_the_bands_back_where_the_bands_came_from_one():
    rng = np.random.default_rng(0)
    waves = rng.standard_normal((3, MEL.samples)) * 0.1
    bands = MEL.analyse(waves)
    power = MEL.spectrum(bands)
    assert power.shape == (3, 257, 32)
    assert (power >= 0).all()
    from unstir.recipes.audio.mel import _filters

    again = 10 * np.log10(_filters(MEL) @ power)
    assert np.abs(again - bands).max() < 0.3


def test_inverted_sounds_are_the_same_alone_among_others_and_again():
    waves, _, _ = make_notes(12, (69, 76), MEL.samples, MEL.rate, seed=0)
    bands = MEL.analyse(waves[:3])
    together = MEL.invert(bands)
    assert np.array_equal(together, MEL.invert(bands))
    assert np.array_equal(together[1:2], MEL.invert(bands[1:2]))


def test_the_vocoder_loses_less_than_two_decibels_of_notes_and_less_than_least_squares():
    waves, _, _ = make_notes(12, tuple(range(64, 76)), MEL.samples, MEL.rate, seed=1)
    before = MEL.analyse(waves)
    ours = log_spectral_distance(before, MEL.analyse(MEL.invert(before)), MEL.floor)
    theirs = log_spectral_distance(before, MEL.analyse(least_squares_waves(MEL, before)), MEL.floor)
    assert ours.mean() < 2.5
    assert ours.mean() < 0.5 * theirs.mean()


def test_the_log_spectral_distance_of_a_constant_offset_is_that_offset():
    rng = np.random.default_rng(0)
    a = rng.uniform(-50, 0, (4, 8, 5)).astype(np.float32)
    assert np.allclose(log_spectral_distance(a, a + 3.0, -60.0), 3.0, atol=1e-5)
    a[:, :, 3:] = -60.0  # two silent frames do not dilute it
    assert np.allclose(log_spectral_distance(a, a + 3.0, -60.0), 3.0, atol=1e-5)
    assert np.isnan(log_spectral_distance(np.full((1, 8, 5), -60.0), a[:1], -60.0)).all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"high": 5000.0}, "half the rate, 4000 Hz"),
        ({"low": 3000.0, "high": 2000.0}, "low below high"),
        ({"hop": 400}, "hop is at most 256"),
        ({"band": 3}, "did you mean 'bands'"),
    ],
)
def test_impossible_settings_are_one_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse_settings(Mel, settings)


def test_bands_narrower_than_a_frequency_bin_are_named():
    with pytest.raises(ValueError, match=r"narrower than a frequency bin of 62\.5 Hz"):
        Mel(bands=128, window=128, hop=64).analyse(np.zeros((1, 2048)))


def test_waves_and_spectrograms_of_other_shapes_or_values_are_refused():
    with pytest.raises(ValueError, match=r"shape \(n, 4096\), got \(2, 100\)"):
        MEL.analyse(np.zeros((2, 100)))
    with pytest.raises(ValueError, match=r"shape \(n, 48, 32\), got \(1, 32, 48\)"):
        MEL.invert(np.zeros((1, 32, 48)))
    with pytest.raises(ValueError, match="not finite"):
        MEL.analyse(np.full((1, MEL.samples), np.nan))
    with pytest.raises(ValueError, match="not finite"):
        MEL.invert(np.full((1, 48, 32), np.inf))
