"""Systems are found by name, check their settings and results, and are written whole in every format."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from tests.simulations.two_blobs import SYSTEM
from unstir.simulations import NAMES, Simulation, find_system, frame_indices
from unstir.simulations.render import check_output, draw_frame, save


@pytest.fixture(scope="module")
def blobs():
    return SYSTEM.simulate()


def test_every_name_is_a_system_of_that_name_whose_settings_have_defaults_and_descriptions():
    for name in NAMES:
        system = find_system(name)
        assert system.name == name
        assert len(system.summary) <= 57, f"the summary of {name} does not fit a line of the list"
        system.settings()
        for key, field in system.settings.model_fields.items():
            assert field.description, f"{name} does not say what {key} is"


def test_a_name_may_have_underscores_and_an_unknown_one_names_the_nearest():
    assert find_system("Solid_Kinetics").name == "solid-kinetics"
    with pytest.raises(ValueError, match="unknown system 'barriars'; did you mean 'barriers'"):
        find_system("barriars")


def test_settings_are_checked_and_an_unknown_one_names_the_nearest():
    with pytest.raises(ValueError, match="unknown setting 'cell'; did you mean 'cells'"):
        SYSTEM.simulate(cell=3)
    with pytest.raises(ValueError, match="the setting 'D' is 0"):
        SYSTEM.simulate(D=0)


def test_progress_is_told_to_the_end():
    told = []
    SYSTEM.simulate(lambda done, total: told.append((done, total)), frames=3)
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_result_that_is_not_finite_is_one_sentence_that_says_where(blobs):
    u = torch.zeros(2, 3)
    u[1, 2] = torch.nan
    broken = Simulation("Blobs", {"x": torch.ones(3), "u": u}, {}, blobs.draw)
    with pytest.raises(
        FloatingPointError, match=r"Blobs: 'u' is not finite .* at \[1, 2\] of shape \[2, 3\]"
    ):
        broken.check()


def test_frames_are_evenly_chosen_from_the_first_to_the_last():
    assert list(frame_indices(5, None)) == [0, 1, 2, 3, 4]
    assert list(frame_indices(5, 9)) == [0, 1, 2, 3, 4]
    assert list(frame_indices(5, 3)) == [0, 2, 4]
    assert list(frame_indices(5, 1)) == [4]
    with pytest.raises(ValueError, match="at least 1 frame, got 0"):
        frame_indices(5, 0)


def test_a_picture_shows_the_frame_that_was_asked_for(blobs, tmp_path):
    save(blobs, tmp_path / "last.png")
    save(blobs, tmp_path / "same.png", frame=3)
    save(blobs, tmp_path / "first.png", frame=0)
    last, same, first = ((tmp_path / f"{name}.png").read_bytes() for name in ("last", "same", "first"))
    assert last == same != first
    assert Image.open(tmp_path / "last.png").size == (440, 330)
    with pytest.raises(ValueError, match="frames 0 to 3, got 4"):
        draw_frame(blobs, 4)


def test_a_film_has_the_chosen_frames_and_rests_on_the_last(blobs, tmp_path):
    told = []
    save(blobs, tmp_path / "x.gif", report=lambda done, total: told.append((done, total)))
    assert told == [(n, 4) for n in range(1, 5)]
    with Image.open(tmp_path / "x.gif") as film:
        assert film.n_frames == 4
        film.seek(3)
        assert film.info["duration"] == 2000
    save(blobs, tmp_path / "x.gif", frames=2)
    with Image.open(tmp_path / "x.gif") as film:
        assert film.n_frames == 2


def test_arrays_come_with_facts_and_settings(blobs, tmp_path):
    save(blobs, tmp_path / "x.npz", settings={"D": 1.0})
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        assert set(file) == {"x", "u", "facts", "settings"}
        np.testing.assert_array_equal(file["u"], blobs.arrays["u"].numpy())
        assert file["facts"].tolist() == [["mass", "1.0; closed form 1.0"]]
        assert json.loads(str(file["settings"])) == {"D": 1.0}
    taken = Simulation("Blobs", {"facts": torch.ones(1)}, {}, blobs.draw)
    with pytest.raises(ValueError, match="'facts' is taken"):
        save(taken, tmp_path / "y.npz")


def test_a_drawing_that_fails_leaves_the_old_file_and_nothing_else(blobs, tmp_path):
    def draw(figure, frame):
        raise FloatingPointError("no")

    (tmp_path / "x.gif").write_bytes(b"old")
    for name in ("x.gif", "x.png"):
        with pytest.raises(FloatingPointError):
            save(Simulation("Blobs", {}, {}, draw, frames=3), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["x.gif"]
    assert (tmp_path / "x.gif").read_bytes() == b"old"


def test_drawing_changes_no_global_style(blobs):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    draw_frame(blobs)
    assert dict(mpl.rcParams) == before


def test_a_film_as_mp4_needs_ffmpeg_and_says_so(blobs, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImportError, match=r"needs the program ffmpeg, which is not installed; write \.gif"):
        check_output(tmp_path / "x.mp4")
    with pytest.raises(ImportError, match="ffmpeg"):
        save(blobs, tmp_path / "x.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg is installed")
def test_a_film_as_mp4_is_written(blobs, tmp_path):
    save(blobs, tmp_path / "x.mp4")
    assert (tmp_path / "x.mp4").read_bytes()[4:8] == b"ftyp"


def test_an_unknown_format_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"written as \.png, \.gif, \.mp4, \.npz, got 'x\.jpg'"):
        check_output(tmp_path / "x.jpg")
