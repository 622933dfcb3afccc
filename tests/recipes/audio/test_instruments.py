"""The judge of instruments: right on notes that it has not heard, and it tells sets of them apart."""

from __future__ import annotations

import numpy as np
import pytest

from unstir.recipes.audio.instruments import InstrumentJudge, spread
from unstir.recipes.audio.metrics import instrument_numbers
from unstir.recipes.audio.notes import INSTRUMENTS, make_notes
from unstir.recipes.audio.options import AudioOptions

pytest.importorskip("librosa")
OPTIONS = AudioOptions.model_validate(
    {
        "lowest": "A4",
        "highest": "C5",
        "mel": {"bands": 32, "window": 512, "hop": 256, "frames": 8, "low": 200.0, "floor": -60.0},
    }
)


@pytest.fixture(scope="module")
def judge():
    return InstrumentJudge.taught(OPTIONS, notes=500, tested=40, steps=50)


def notes(n, seed):
    mel = OPTIONS.mel
    return make_notes(n, OPTIONS.keys, mel.samples, mel.rate, seed=seed)


def test_it_names_the_instrument_of_notes_that_it_has_not_heard(judge):
    waves, _, played = notes(200, 3)
    found = judge.probabilities(waves)
    assert found.shape == (200, len(INSTRUMENTS))
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-9)
    assert (found.argmax(axis=1) == played).mean() > 0.9
    assert judge.judge.accuracy > 0.85


def test_one_instrument_alone_is_heard_as_one_and_all_as_four(judge):
    waves, _, played = notes(400, 4)
    one = judge.shares(waves[played == 1])
    assert one.argmax() == 1
    assert spread(one) < 1.6
    assert spread(judge.shares(waves)) > 3.5


def test_the_effective_number_of_instruments_is_exact():
    assert spread(np.full(4, 0.25)) == pytest.approx(4.0)
    assert spread(np.array([0.0, 1.0, 0.0, 0.0])) == pytest.approx(1.0)
    assert spread(np.array([0.5, 0.5, 0.0, 0.0])) == pytest.approx(2.0)


def test_notes_of_one_instrument_are_farther_from_all_than_other_notes_of_all(judge):
    waves, _, played = notes(400, 5)
    real = notes(200, 6)[0]
    assert judge.mmd(waves[:200], real) < 0.1 * judge.mmd(waves[played == 0], real)


def test_noise_is_told_from_notes_by_every_number(judge):
    rng = np.random.default_rng(0)
    real = notes(120, 7)[0]
    hiss = 0.1 * rng.standard_normal(real[:60].shape).astype(np.float32)
    found = instrument_numbers(judge, real[:60], hiss, notes(60, 9)[0], real[60:])
    assert found["instrument_clear"].value > 0.8
    assert found["instruments_played"].value > found["instruments_played"].baseline
    assert found["instrument_mmd"].value < found["instrument_mmd"].baseline
