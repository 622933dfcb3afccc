"""The recipe: data in each form, a saved model that knows how to sound, files and pictures of samples."""

import warnings

import numpy as np
import pytest

import unstir
from unstir.notice import Notice
from unstir.recipes.audio import DOMAIN
from unstir.recipes.audio.baseline import gaussian_events
from unstir.recipes.audio.data import load, settings
from unstir.recipes.audio.metrics import Ear, in_tune
from unstir.recipes.audio.options import AudioOptions, options_of, options_of_model
from unstir.recipes.audio.show import GAP, SHOWN
from unstir.recipes.audio.sounds import read_sound, write_wav
from unstir.recipes.audio.task import classes_in_turn, draw_events, generate
from unstir.recipes.domain import Options
from unstir.recipes.run import build_model, prepare_folder, train_run
from unstir.recipes.settings import RunSettings

pytest.importorskip("librosa")
SMALL = {
    "notes": 40,
    "lowest": "A4",
    "highest": "B4",
    "mel": {"bands": 32, "window": 512, "hop": 256, "frames": 8, "low": 200.0, "floor": -60.0},
}


def small(form="bands", **training):
    base = settings().model_dump(mode="json")
    base["data"]["options"] = {**SMALL, "form": form}
    base["network"] = {"kind": "unet", "width": 16, "multipliers": (1,)}
    base["training"].update(training)
    return RunSettings.model_validate(base)


@pytest.mark.parametrize(("form", "event"), [("bands", (32, 8)), ("image", (1, 32, 8)), ("wave", (1, 2048))])
def test_sounds_take_each_form_and_come_back(form, event):
    run = small(form)
    splits, options = load(run.data), options_of(run.data)
    assert splits.train.event == event
    assert splits.classes == ("A4", "A#4", "B4")
    assert len(splits.train) + len(splits.heldout) == 40
    internal = np.concatenate([x.numpy() for x in splits.train.chunks()])
    assert np.isclose(internal.std(), 0.5, atol=0.05)
    assert abs(internal.mean()) < 0.05
    waves = options.waves(np.asarray(splits.heldout.x))
    assert waves.shape == (4, 2048)
    assert in_tune(options, waves, np.asarray(splits.heldout.labels)).all()


def test_the_same_seed_makes_the_same_notes():
    run = small()
    first, again = load(run.data), load(run.data)
    assert np.array_equal(first.train.x, again.train.x)
    other = load(run.data.model_copy(update={"seed": 1}))
    assert not np.array_equal(first.train.x, other.train.x)


def test_a_saved_model_knows_how_to_sound(tmp_path):
    run = small()
    model = build_model(run, load(run.data))
    model.save(tmp_path)
    loaded = unstir.load(tmp_path)
    assert options_of_model(loaded) == options_of(run.data)
    assert options_of_model(loaded).mel.bands == 32
    waves = generate(loaded, ["A4", "B4"], seed=3, steps=2)
    assert waves.shape == (2, 2048)
    assert np.isfinite(waves).all()
    second = generate(loaded, ["B4"], seed=3, steps=2, first_index=1)
    assert np.allclose(waves[1], second[0], atol=1e-4)
    assert draw_events(loaded, ["A4"], steps=2).min() >= -60.0
    assert classes_in_turn(loaded, 5) == [0, 1, 2, 0, 1]


def test_files_hold_the_sounds_and_their_picture(tmp_path):
    from PIL import Image

    run = small()
    model = build_model(run, load(run.data))
    told = DOMAIN.files[".wav"](model, run, tmp_path / "a.wav", Options(n=3, steps=2))
    assert told.startswith("3 sounds, 1.0 s at 8,000 Hz")
    assert len(read_sound(tmp_path / "a.wav", 8000).wave) == 3 * 2048 + 2 * round(GAP * 8000)
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > 300
    DOMAIN.files[".png"](model, run, tmp_path / "b.png", Options(label="A#4", n=1, steps=2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.wav", "b.png"]
    panels = DOMAIN.panels(model, run, Options())
    assert [panel.title for panel in panels] == ["Samples", "Held-out sounds"]
    assert all(panel.image is not None for panel in panels)
    assert SHOWN == 12


def test_a_folder_of_sounds_is_data_and_what_was_done_to_it_is_said(tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("low", "high"):
        for i in range(6):
            t = np.arange(16000 if i else 9000) / 16000
            pitch = (300 if kind == "low" else 900) * rng.uniform(0.9, 1.1)
            write_wav(tmp_path / kind / f"{i}.wav", 0.3 * np.sin(2 * np.pi * pitch * t), 16000)
    data = small().data.model_copy(update={"path": str(tmp_path), "heldout": 0.25})
    with pytest.warns(Notice) as told:
        splits = load(data)
    assert any("12 of 12 sounds were resampled" in str(w.message) for w in told)
    assert splits.classes == ("high", "low")
    assert np.asarray(splits.heldout.labels).tolist().count(0) in (1, 2)
    louder = np.asarray(splits.train.x).mean(axis=2).argmax(axis=1)
    labels = np.asarray(splits.train.labels)
    assert louder[labels == 0].min() > louder[labels == 1].max()


def test_notes_are_made_without_a_notice():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(small().data)


def test_an_unknown_option_is_one_sentence_with_the_nearest_name():
    data = small().data.model_copy(update={"options": {"lowst": "A4"}})
    with pytest.raises(ValueError, match="unknown setting 'lowst'; did you mean 'lowest'"):
        load(data)
    with pytest.raises(ValueError, match="lowest is below highest"):
        AudioOptions(lowest="B4", highest="A4")


def test_a_model_of_something_else_has_no_sound():
    run = small()
    model = build_model(run, load(run.data))
    model.about["settings"]["data"]["source"] = "digits"
    with pytest.raises(ValueError, match="not trained on sound"):
        generate(model, None)


def test_the_baseline_has_the_means_of_the_classes():
    splits = load(small().data.model_copy(update={"options": {**SMALL, "notes": 400}}))
    x, labels = np.asarray(splits.train.x), np.asarray(splits.train.labels)
    drawn = gaussian_events(splits, [1] * 400)
    np.testing.assert_array_equal(
        gaussian_events(splits, [1, 0, 1, 0])[:3], gaussian_events(splits, [1, 0, 1])
    )
    assert drawn.shape == (400, 32, 8)
    assert np.abs(drawn.mean(axis=0) - x[labels == 1].mean(axis=0)).mean() < 1.5
    assert drawn.min() >= -60.0


def test_real_sounds_are_nearer_to_real_sounds_than_noise_is():
    run = small()
    options = options_of(run.data)
    splits = load(run.data.model_copy(update={"options": {**SMALL, "notes": 400}}))
    waves = options.waves(np.asarray(splits.train.x)[:80])
    ear = Ear.of(options.mel, waves[:40], waves[40:])
    noise = 0.1 * np.random.default_rng(0).standard_normal((40, 2048)).astype(np.float32)
    assert np.isclose(ear.distance(waves[:40]), 1.0)
    assert ear.distance(noise) > 3.0


@pytest.mark.slow
def test_a_short_training_on_four_semitones_gives_most_of_the_pitches_that_are_asked_for(tmp_path):
    base = small(samples=12_000).model_dump(mode="json")
    base["data"]["options"] |= {"lowest": "A4", "highest": "C5", "notes": 400}
    base["network"]["width"] = 48
    run = RunSettings.model_validate(base)
    prepare_folder(tmp_path / "run", resume=False, overwrite=True)
    model = train_run(run, tmp_path / "run").model
    numbers = DOMAIN.measure(model, run, Options(n=40))
    assert numbers["pitch_within_quarter_tone"].value >= 0.7
    assert numbers["pitch_within_quarter_tone"].reference >= 0.95
