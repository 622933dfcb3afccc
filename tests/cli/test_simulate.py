"""`unstir simulate`: what it lists, makes and refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tests.cli.commands import check_error, real, strays, tree
from unstir.simulations import NAMES, find_system

QUICK = ["barriers", "--set", "cells=20", "--set", "frames=3", "--set", "days=5"]


def test_without_a_name_every_system_is_listed_in_80_columns(tmp_path):
    result = real(tmp_path, "simulate")
    assert result.code == 0, result
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[1 : len(NAMES) + 1]] == sorted(NAMES)
    for name, line in zip(sorted(NAMES), lines[1:], strict=False):
        assert find_system(name).summary in line
        assert len(line.rstrip()) <= 80


def test_the_settings_of_a_system_are_listed_with_defaults_units_and_limits(unstir, tmp_path):
    listed = unstir.good(tmp_path, "simulate", "barriers", "--settings")
    line = next(line for line in listed.splitlines() if line.startswith("permeability"))
    assert line.split() == ["permeability", "0.01", "of", "the", "road,", "km/day", "(≥", "0,", "≤", "10)"]
    assert all(name in listed for name in find_system("barriers").settings.model_fields)


def test_a_film_is_made_by_default_with_the_facts_told_beside_their_closed_forms(unstir, tmp_path):
    told = unstir.good(tmp_path, "simulate", *QUICK)
    assert list(tree(tmp_path)) == ["barriers.gif"]
    with Image.open(tmp_path / "barriers.gif") as film:
        assert film.n_frames == 3
    assert "closed form" in told
    assert told.splitlines()[-1] == "film: barriers.gif"


def test_a_frame_makes_a_picture_and_frames_shorten_the_film(unstir, tmp_path):
    assert "picture: barriers.png" in unstir.good(tmp_path, "simulate", *QUICK, "--frame", 1)
    unstir.good(tmp_path, "simulate", *QUICK, "--frames", 2, "--out", "sub/x.gif")
    with Image.open(tmp_path / "sub/x.gif") as film:
        assert film.n_frames == 2
    assert Image.open(tmp_path / "barriers.png").format == "PNG"


def test_arrays_and_json_say_the_same(unstir, tmp_path):
    told = json.loads(unstir.good(tmp_path, "simulate", *QUICK, "--out", "x.npz", "--json"))
    assert told["system"] == "barriers"
    assert told["settings"]["days"] == 5.0
    assert told["file"] == "x.npz"
    with np.load(tmp_path / "x.npz") as file:
        assert dict(file["facts"].tolist()) == told["facts"]
        assert json.loads(str(file["settings"])) == told["settings"]
        assert file["density"].shape == (3, 40, 20)


def test_the_same_command_gives_the_same_bytes(unstir, tmp_path):
    for name in ("a.gif", "b.gif", "a.npz", "b.npz"):
        unstir.good(tmp_path, "simulate", *QUICK, "--out", name)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        assert all((a[name] == b[name]).all() for name in a)


WRONG = {
    "name": (["bariers"], "unknown system 'bariers'; did you mean 'barriers'?"),
    "no name": (["--out", "x.png"], "say which system to simulate"),
    "setting": (["barriers", "--set", "permability=1"], "did you mean 'permeability'?"),
    "range": (["barriers", "--set", "D=-1"], "the setting 'D' is -1, but input should be greater than 0"),
    "word": (
        ["barriers", "--set", "D=fast"],
        "the setting 'D' is 'fast', but input should be a valid number",
    ),
    "no value": (["barriers", "--set", "D"], "--set takes key=value, such as D=0.5, got 'D'"),
    "not YAML": (["barriers", "--set", "D=[1"], "is not valid YAML"),
    "NaN": (["barriers", "--set", "D=.nan"], "the setting 'D' is nan"),
    "infinite": (["barriers", "--set", "days=.inf"], "the setting 'days' is inf"),
    "format": (["barriers", "--out", "x.jpg"], "written as .png, .gif, .mp4, .npz, got 'x.jpg'"),
    "no suffix": (["barriers", "--out", "x"], "written as .png, .gif, .mp4, .npz, got 'x'"),
    "no frames": (["barriers", "--frames", "0"], "a film has at least 1 frame, got --frames 0"),
    "frames of a picture": (
        ["barriers", "--frames", "3", "--out", "x.png"],
        "--frames is the length of a film",
    ),
    "frame of a film": (["barriers", "--frame", "3", "--out", "x.gif"], "--frame chooses what a .png shows"),
    "frame beyond": ([*QUICK, "--frame", "3"], "there are frames 0 to 2, got 3"),
    "coarse": (["barriers", "--set", "cells=3"], "the setting 'cells' is 3"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_simulated_is_one_sentence_and_writes_nothing(kind, unstir, tmp_path):
    arguments, sentence = WRONG[kind]
    check_error(unstir(tmp_path, "simulate", *arguments), 2, sentence)
    assert tree(tmp_path) == {}


def test_a_full_disk_or_a_folder_in_the_way_leaves_what_was_there(unstir, tmp_path):
    for name in ("x.gif", "x.png", "x.npz"):
        (tmp_path / name).write_bytes(b"old")
        check_error(
            unstir(tmp_path, "simulate", *QUICK, "--out", name, limit=500),
            1,
            f"cannot read or write {name}: File too large",
        )
        assert (tmp_path / name).read_bytes() == b"old"
    assert strays(tmp_path) == []
    check_error(unstir(tmp_path, "simulate", *QUICK, "--out", "/proc/x.png"), 1, "cannot read or write /proc")


def test_a_state_that_is_not_finite_is_a_failure_that_says_where_and_when(tmp_path, unstir):
    result = unstir(
        tmp_path, "simulate", "integrodifference", "--set", "scale=1e308", "--set", "length=1e308"
    )
    check_error(result, 1, "not finite")
    assert tree(tmp_path) == {}
