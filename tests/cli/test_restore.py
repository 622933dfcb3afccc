"""`unstir restore`, `edit` and `interpolate` as processes: what they write, say and refuse."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tests.cli.commands import check_error, strays, tree

QUICK = ["-n", 3, "--steps", 3]
HEAT = ["--operator", "heat", "--time", 0.5, "--noise", 0.02]


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    return load_digits().images[:2, None].astype(np.float32)


@pytest.fixture
def place(tmp_path, digits):
    """A folder with measurements of two digits."""
    np.save(tmp_path / "whole.npy", digits)
    np.save(tmp_path / "one.npy", digits[0])
    np.save(tmp_path / "coarse.npy", digits.reshape(2, 1, 4, 2, 4, 2).mean((3, 5)))
    holes = digits.copy()
    holes[..., 2:5, 2:5] = np.nan
    np.save(tmp_path / "holes.npy", holes)
    np.save(tmp_path / "kernel.npy", np.full((3, 3), 1 / 9))
    Image.fromarray((digits[0, 0] * 15.9).astype(np.uint8)).save(tmp_path / "one.png")
    return tmp_path


def test_heat_is_undone_into_arrays_a_picture_and_a_table(unstir, trained, place):
    before = tree(trained)
    text = unstir.good(place, "restore", trained, "whole.npy", *HEAT, *QUICK, "--out", "x")
    lines = text.splitlines()
    assert lines[0] == "noise 0.02 of the range 0 to 16: 0.32"
    assert lines[1].split("  ")[0] == "measurement"
    assert [line.split()[0] for line in lines[2:4]] == ["0", "1"]
    assert lines[4].startswith("3 samples of each of 2 measurements by ")
    assert lines[4].endswith("evaluations each: x.npz and x.png")
    assert lines[5].startswith("the intervals cover 50% of the posterior instead of 90%")
    assert lines[5].endswith("take -n 19 or more")
    with np.load(place / "x.npz") as file:
        assert file["samples"].shape == (2, 3, 1, 8, 8)
        assert file["tikhonov"].shape == file["truncated"].shape == file["mean"].shape == (2, 1, 8, 8)
        assert (file["low"] <= file["mean"]).all()
        assert (file["mean"] <= file["high"]).all()
        assert float(file["noise"]) == pytest.approx(0.32)
        assert 0.0 <= file["samples"].min() <= file["samples"].max() <= 16.0
    with Image.open(place / "x.png") as picture:
        assert min(picture.size) > 200
    assert strays(place) == []
    assert tree(trained) == before


def test_all_operators_and_methods_are_there_and_programs_read_json(unstir, trained, place):
    cases = [
        ("holes.npy", ["--operator", "mask"]),
        ("coarse.npy", ["--operator", "downsample", "--factor", 2]),
        ("whole.npy", ["--operator", "blur", "--kernel", "kernel.npy", "--method", "pigdm"]),
        ("one.png", ["--operator", "mask", "--mask", "mask.npy", "--method", "ddrm", "--class", 0]),
    ]
    np.save(place / "mask.npy", np.eye(8) > 0)
    for file, options in cases:
        text = unstir.good(
            place, "restore", trained, file, *options, "--noise", 0.05, *QUICK, "--json", "--out", "x.npz"
        )
        found = json.loads(text)
        count = 1 if file == "one.png" else 2
        assert len(found["residual"]) == len(found["deviation"]) == count
        assert found["noise"] == pytest.approx(0.8)
        assert found["files"] == ["x.npz"]
        assert 0.0 <= min(found["residual"]) <= max(found["residual"]) <= 16.0


def test_a_restoration_is_the_same_again_and_another_with_another_seed(unstir, trained, place):
    def samples(*options):
        unstir.good(place, "restore", trained, "one.npy", *HEAT, *QUICK, "--out", "x.npz", *options)
        with np.load(place / "x.npz") as file:
            return file["samples"]

    first = samples()
    assert np.array_equal(first, samples())
    assert not np.array_equal(first, samples("--seed", 1))


def test_results_lie_among_the_runs_samples_unless_told_otherwise(unstir, run, place):
    unstir.good(place, "restore", run, "one.npy", *HEAT, *QUICK)
    unstir.good(place, "edit", run, "one.npy", "--steps", 3)
    assert {path.name for path in (run / "samples").iterdir()} >= {
        "restored-one.npz", "restored-one.png", "edited-one.png",
    }  # fmt: skip


RESTORE = {
    "no file": (["none.npy", *HEAT], "there is no file none.npy"),
    "shape": (
        ["coarse.npy", *HEAT],
        "coarse.npy has shape (2, 1, 4, 4), but the heat of events of (1, 8, 8) has shape (1, 8, 8)",
    ),
    "noise": (
        ["one.npy", "--operator", "heat", "--time", 1, "--noise", 0],
        "a standard deviation above 0, got 0",
    ),
    "word": (["one.npy", *HEAT[:-1], "low"], "--noise is a number above 0, such as 0.02, or 'auto'"),
    "operator": (
        ["one.npy", "--operator", "heet", "--noise", 1],
        "unknown operator 'heet'; did you mean 'heat'?",
    ),
    "time": (["one.npy", "--operator", "heat", "--noise", 1], "--operator heat needs its time"),
    "method": (["one.npy", *HEAT, "--method", "mmp"], "unknown method 'mmp'; did you mean 'mmps'?"),
    "solver": (["one.npy", *HEAT, "--method", "ddrm", "--solver", "ddpm"], "this method is a solver itself"),
    "class": (["one.npy", *HEAT, "--class", "12"], "there is no class 12"),
    "suffix": (["one.npy", *HEAT, "--out", "x.gif"], "a restoration is written as .png, .npz"),
    "steps": (["one.npy", *HEAT, "--steps", 0], "at least 1"),
    "samples": (["one.npy", *HEAT, "-n", 1], "at least 2 samples"),
}


@pytest.mark.parametrize("kind", RESTORE)
def test_a_restoration_that_cannot_be_had_is_one_sentence_and_writes_nothing(kind, unstir, trained, place):
    arguments, sentence = RESTORE[kind]
    before = tree(place)
    check_error(unstir(place, "restore", trained, *arguments), 2, sentence)
    assert tree(place) == before


def test_missing_runs_and_options_are_refused(unstir, place):
    check_error(unstir(place, "restore", "nowhere", "one.npy", *HEAT), 2, "there is no folder nowhere")
    missing = unstir(place, "restore", "nowhere", "one.npy", "--operator", "heat")
    assert missing.code == 2
    assert "--noise" in missing.stderr


def test_an_edit_keeps_more_of_the_data_the_weaker_it_is(unstir, trained, place, digits):
    def distance(strength):
        text = unstir.good(
            place,
            "edit",
            trained,
            "whole.npy",
            "--strength",
            strength,
            "-n",
            2,
            "--class",
            3,
            "--out",
            "x.npz",
        )
        assert "times the data's deviation" in text
        with np.load(place / "x.npz") as file:
            assert file["x"].shape == (2, 2, 1, 8, 8)
            assert file["x"].dtype == np.uint8
            assert np.array_equal(file["original"], digits)
            return np.abs(file["x"].astype(float) - digits[:, None]).mean()

    assert distance(0.05) < distance(0.9)


def test_a_way_leads_from_the_one_file_to_the_other(unstir, trained, place, digits):
    np.save(place / "two.npy", digits[1])
    options = ["--frames", 3, "--tolerance", 1e-3]
    text = unstir.good(place, "interpolate", trained, "one.npy", "two.npy", *options, "--out", "x.npz")
    assert text.startswith("3 frames (one.npy comes back to ")
    with np.load(place / "x.npz") as file:
        assert file["x"].shape == (3, 1, 8, 8)
        assert np.abs(file["x"][0].astype(float) - digits[0]).max() <= 1
        assert np.abs(file["x"][2].astype(float) - digits[1]).max() <= 1
    unstir.good(place, "interpolate", trained, "one.npy", "seed:3", *options, "--out", "x.gif")
    with Image.open(place / "x.gif") as film:
        assert film.n_frames >= 3
    unstir.good(place, "interpolate", trained, "seed:1", "seed:2", *options, "--class", 4, "--out", "x.png")
    with Image.open(place / "x.png") as strip:
        assert strip.width > 2.5 * strip.height


EDIT = {
    "strength": (["edit", "one.npy", "--strength", 0], "the strength of an edit lies above 0"),
    "nan": (["edit", "holes.npy"], "holes.npy holds values that are not finite"),
    "shape": (
        ["edit", "coarse.npy"],
        "coarse.npy has shape (2, 1, 4, 4), but an event of this model",
    ),
    "suffix": (["edit", "one.npy", "--out", "x.gif"], "this is written as .png, .npz"),
    "variants": (["edit", "one.npy", "-n", 0], "the number of variants is at least 1"),
    "several": (["interpolate", "whole.npy", "one.npy"], "whole.npy holds 2 events"),
    "seed": (["interpolate", "seed:x", "one.npy"], "an end is a file or a seed such as seed:3"),
    "frames": (["interpolate", "seed:1", "seed:2", "--frames", 1], "at least 2 frames, got 1"),
    "same": (["interpolate", "seed:1", "none.npy"], "there is no file none.npy"),
}


@pytest.mark.parametrize("kind", EDIT)
def test_an_edit_that_cannot_be_had_is_one_sentence(kind, unstir, trained, place):
    (command, *arguments), sentence = EDIT[kind]
    check_error(unstir(place, command, trained, *arguments), 2, sentence)
