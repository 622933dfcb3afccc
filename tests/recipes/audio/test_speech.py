"""Recordings by name, their copies, and what a judge hears of digits."""

from __future__ import annotations

import tarfile

import numpy as np
import pytest
import torch

from tests.datasets import ROOT, needs
from unstir.notice import Notice
from unstir.recipes.audio.baseline import gaussian_events
from unstir.recipes.audio.data import load
from unstir.recipes.audio.mel import Mel
from unstir.recipes.audio.options import AudioOptions
from unstir.recipes.audio.recordings import at_loudness, changed, read_recordings
from unstir.recipes.audio.sounds import write_wav
from unstir.recipes.audio.speech import (
    digits_numbers,
    heard_numbers,
    listener,
    settings,
)
from unstir.recipes.domain import Options, Plan
from unstir.recipes.run import train_run
from unstir.recipes.settings import DataSettings
from unstir.recipes.splits import Splits
from unstir.training import ArrayData

pytest.importorskip("librosa")

FSDD = ROOT / "fsdd" / "fsdd_25_takes.tar"
real = needs(FSDD)
MEL = Mel(bands=16, window=256, hop=64, frames=16, floor=-60.0)


def tone(pitch, seconds, amplitude=0.3, rate=8000):
    return amplitude * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate)


@pytest.fixture
def folder(tmp_path):
    """Two classes, four takes each, a tone a class; take 0 is quiet."""
    home = tmp_path / "words"
    home.mkdir()
    for word, pitch in (("no", 400.0), ("yes", 800.0)):
        for take in range(4):
            wave = tone(pitch, 0.1 + 0.01 * take, 0.003 if take == 0 else 0.3)
            write_wav(home / f"{word}_ann_{take}.wav", wave, 8000)
    return home


def options(**values):
    return AudioOptions.model_validate(
        {"form": "image", "mel": MEL.model_dump(), "label": "^([a-z]+)_"} | values
    )


def data(path, **values):
    stored = options(**values).model_dump(mode="json")
    return DataSettings.model_validate({"source": "audio", "path": str(path), "options": stored})


def test_a_tar_file_reads_as_the_folder_in_it(folder, tmp_path):
    packed = tmp_path / "words.tar"
    with tarfile.open(packed, "w") as archive:
        archive.add(folder, arcname="some/words")
    ours, theirs = read_recordings(folder, options()), read_recordings(packed, options())
    assert theirs.classes == ours.classes == ("no", "yes")
    np.testing.assert_array_equal(theirs.labels, ours.labels)
    for a, b in zip(theirs.waves, ours.waves, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore::unstir.notice.Notice")
def test_the_named_takes_are_held_out_and_never_copied(folder):
    splits = load(data(folder, heldout=r"_0\.wav$", copies=3))
    assert (len(splits.train), len(splits.heldout)) == (6 * 4, 2)
    np.testing.assert_array_equal(np.bincount(splits.train.labels), [12, 12])
    np.testing.assert_array_equal(splits.heldout.labels, [0, 1])
    np.testing.assert_array_equal(
        np.asarray(splits.heldout.x), np.asarray(load(data(folder, heldout=r"_0\.wav$")).heldout.x)
    )


def test_what_was_done_to_recordings_is_said(folder):
    with pytest.warns(Notice) as said:
        load(data(folder, loudness=-20.0))
    texts = " / ".join(str(one.message) for one in said)
    assert "7 of 8" not in texts
    assert "8 sounds were brought to -20 dB" in texts
    assert "were cut to 0.128 s" in texts


def test_loudness_is_the_same_for_all_and_pauses_do_not_change_it(folder):
    found = read_recordings(folder, options(loudness=-20.0, trim=False))
    levels = [
        20 * np.log10(np.sqrt(np.sort(w.astype(np.float64) ** 2)[len(w) // 2 :].mean())) for w in found.waves
    ]
    np.testing.assert_allclose(levels, -20.0, atol=1e-4)
    wave = tone(400, 0.2)
    paused = np.concatenate([wave, np.zeros(len(wave) // 2)])
    assert np.abs(at_loudness(paused, -20.0)).max() == pytest.approx(
        np.abs(at_loudness(wave, -20.0)).max(), rel=0.2
    )


def test_copies_are_a_little_faster_or_slower_and_later():
    wave = tone(500, 0.5).astype(np.float32)
    found = changed(wave, 4096, 8000, 12, seed=0, index=3)
    assert found.shape == (13, 4096)
    np.testing.assert_array_equal(found[0, :4000], wave)
    spectra = np.abs(np.fft.rfft(found * np.hanning(4096)))
    peaks = spectra.argmax(axis=1) * 8000 / 4096
    assert abs(peaks[0] - 500) < 2
    assert 470 < peaks.min() < 495
    assert 505 < peaks.max() < 530
    starts = (np.abs(found) > 0.01).argmax(axis=1) / 8000
    assert starts.max() <= 0.0305
    assert len(set(starts.round(4))) > 5


def test_copies_depend_on_the_recording_and_the_seed_alone():
    wave = tone(500, 0.5).astype(np.float32)
    first = changed(wave, 4096, 8000, 3, seed=0, index=3)
    np.testing.assert_array_equal(changed(wave, 4096, 8000, 2, seed=0, index=3), first[:3])
    assert not np.array_equal(changed(wave, 4096, 8000, 3, seed=0, index=4), first)
    assert not np.array_equal(changed(wave, 4096, 8000, 3, seed=1, index=3), first)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"heldout": "_9"}, "finds no one of 8 sounds"),
        ({"heldout": "_"}, "finds every one of 8 sounds"),
        ({"heldout": "("}, "data.options.heldout is no regular expression"),
    ],
)
def test_an_expression_that_holds_out_nothing_or_all_is_one_sentence(folder, values, sentence):
    with pytest.raises(ValueError, match=sentence):
        load(data(folder, **values))


def test_a_path_without_recordings_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder or tar file"):
        load(data(tmp_path / "nowhere"))
    (tmp_path / "text.tar").write_text("no tar")
    with pytest.raises(ValueError, match="neither a folder of sounds nor a tar file"):
        load(data(tmp_path / "text.tar"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="there is no sound in"):
        load(data(tmp_path / "empty"))


def test_digits_need_their_recordings(tmp_path):
    with pytest.raises(ValueError, match="give their folder or tar file with --data"):
        load(settings().data)
    with pytest.raises(ValueError, match="give their folder or tar file with --data"):
        digits_numbers(Plan(lambda run, name: pytest.fail("trained"), tmp_path))


def test_the_gaussian_baseline_has_the_moments_of_its_class():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(4, 4))
    x = (rng.normal(size=(2000, 4)) @ mixing + np.array([5.0, 0, 0, 0])).astype(np.float32)[:, None]
    labels = np.repeat([0, 1], 1000)
    x[labels == 1] *= 0.1
    splits = Splits(ArrayData(x, labels), ArrayData(x[:2], labels[:2]), ("a", "b"))
    drawn = gaussian_events(splits, [0] * 4000 + [1] * 10, seed=1)[:4000, 0]
    own = x[labels == 0][:, 0]
    np.testing.assert_allclose(drawn.mean(0), own.mean(0), atol=5 * np.sqrt(own.var(0).max() / 4000))
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(own.T), atol=0.1 * np.abs(np.cov(own.T)).max())


@real
@pytest.mark.filterwarnings("ignore::unstir.notice.Notice")
def test_spoken_digits_are_read_from_their_tar_file_and_takes_0_to_4_are_held_out():
    run = settings().data.model_copy(update={"path": str(FSDD), "limit": 300})
    splits = load(run.model_copy(update={"options": {**run.options, "copies": 1}}))
    assert splits.classes == ("0", "1")
    assert (len(splits.train), len(splits.heldout)) == (2 * 240, 60)
    assert np.asarray(splits.train.x).max() < 0
    assert splits.train.event == (1, 32, 32)


@real
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::unstir.notice.Notice")
def test_a_short_training_on_two_digits_is_heard(tmp_path):
    """Far from the numbers of the check: two digits, and a few seconds of training."""
    run = settings()
    path = {"path": str(FSDD), "limit": 300, "options": {**run.data.options, "copies": 3}}
    training = {"samples": 4000, "batch": 16}
    run = run.model_copy(
        update={
            "data": run.data.model_copy(update=path),
            "training": run.training.model_copy(update=training),
        }
    )
    splits = load(run.data)
    who = listener(splits, options_of_run(run))
    assert who.judge.accuracy > 0.9
    assert torch.isfinite(who.reference).all()
    assert len(who.reference) == len(who.heldout) == 60
    numbers = heard_numbers(
        train_run(run, tmp_path / "run", splits=splits).model, splits, who, Options(), sets=1
    )
    assert numbers["word_accuracy_w1"].value > 0.7


def options_of_run(run):
    return AudioOptions.model_validate(run.data.options)
