"""Notes whose pitch is known, and the pitch that is measured."""

import numpy as np
import pytest

from unstir.recipes.audio.notes import INSTRUMENTS, frequency, key_name, key_number, make_notes
from unstir.recipes.audio.pitch import cents, measured_pitch, within_quarter_tone

pytest.importorskip("librosa")
RATE, SAMPLES = 8000, 4096
KEYS = tuple(range(64, 88))


def test_keys_have_their_names_and_concert_pitch():
    assert frequency(69) == 440.0
    assert np.isclose(frequency(81), 880.0)
    assert np.isclose(frequency(60), 261.6255653)
    assert (key_name(69), key_name(60), key_name(61)) == ("A4", "C4", "C#4")
    assert all(key_number(key_name(key)) == key for key in range(128))
    with pytest.raises(ValueError, match="such as A4 or C#5"):
        key_number("H4")


def test_a_semitone_is_a_hundred_cents():
    assert np.isclose(cents(frequency(70), frequency(69)), 100.0)
    assert np.isclose(cents(frequency(57), frequency(69)), -1200.0)


@pytest.mark.parametrize("partials", [(1.0,), (1.0, 0.5, 0.3), (0.2, 1.0, 0.6)])
def test_the_pitch_of_tones_is_measured_to_ten_cents(partials):
    t = np.arange(SAMPLES) / RATE
    wanted = np.array([220.0, 333.3, 440.0, 613.7, 880.0, 1244.5])
    waves = sum(
        a * np.sin(2 * np.pi * k * wanted[:, None] * t + k) for k, a in enumerate(partials, 1)
    ).astype(np.float32)
    assert np.abs(cents(measured_pitch(waves, RATE), wanted)).max() < 10.0


def test_silence_has_no_pitch_and_is_never_in_tune():
    waves = np.zeros((2, SAMPLES), np.float32)
    assert np.isnan(measured_pitch(waves, RATE)).all()
    assert not within_quarter_tone(waves, RATE, np.array([440.0, 880.0])).any()


def test_a_note_a_semitone_off_is_out_of_tune():
    waves, labels, _ = make_notes(24, KEYS, SAMPLES, RATE, seed=0)
    wanted = frequency(np.array(KEYS))[labels]
    assert within_quarter_tone(waves, RATE, wanted).all()
    assert not within_quarter_tone(waves, RATE, wanted * 2 ** (1 / 12)).any()


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_each_instrument_plays_every_key_in_tune(name):
    wanted = frequency(np.array(KEYS))
    time = np.arange(SAMPLES) / RATE
    waves = INSTRUMENTS[name](wanted, time, RATE, np.random.default_rng(3)).astype(np.float32)
    assert waves.shape == (24, SAMPLES)
    assert np.abs(cents(measured_pitch(waves, RATE), wanted)).max() < 20.0


def test_notes_are_decided_by_their_seed_and_vary():
    first, labels, played = make_notes(48, KEYS, SAMPLES, RATE, seed=5)
    again, _, _ = make_notes(48, KEYS, SAMPLES, RATE, seed=5)
    other, _, _ = make_notes(48, KEYS, SAMPLES, RATE, seed=6)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.bincount(labels).tolist() == [2] * 24
    assert set(played) == {0, 1, 2, 3}
    peak = np.abs(first).max(axis=1)
    assert peak.max() <= 0.8
    assert peak.min() > 0.1
    assert peak.max() > 2.0 * peak.min()


def test_a_pluck_dies_away_and_an_organ_does_not():
    time = np.arange(SAMPLES) / RATE
    pitch = np.full(8, 440.0)
    late = slice(2000, 2800)
    share = {}
    for name in ("pluck", "organ"):
        waves = INSTRUMENTS[name](pitch, time, RATE, np.random.default_rng(0))
        share[name] = np.square(waves[:, late]).mean() / np.square(waves[:, 600:1400]).mean()
    assert share["pluck"] < 0.5
    assert share["organ"] > 0.9


def test_notes_that_cannot_be_made_are_one_sentence():
    with pytest.raises(ValueError, match="at least one note for each"):
        make_notes(3, KEYS, SAMPLES, RATE, seed=0)
    with pytest.raises(ValueError, match=r"C7 has 2093 Hz, too high for 8000 samples a second"):
        make_notes(3, (96,), SAMPLES, RATE, seed=0)


@pytest.mark.parametrize("pitch", [65.4, 1760.0, 1975.5])
def test_tones_outside_the_usual_range_are_heard_in_tune(pitch):
    wanted = np.array([pitch])
    waves = np.sin(2 * np.pi * wanted[:, None] * np.arange(SAMPLES) / RATE).astype(np.float32)
    assert within_quarter_tone(waves, RATE, wanted).all()
    assert not within_quarter_tone(waves, RATE, wanted * 2 ** (1 / 12), among=wanted).any()
