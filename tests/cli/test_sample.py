"""`unstir sample`: every format, class and seed."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.cli.commands import real


def sample(unstir, run, out, *arguments):
    unstir.good(out.parent, "sample", run, "--steps", 2, "--out", out, *arguments)
    if out.suffix == ".npz":
        with np.load(out) as file:
            return dict(file)
    return np.load(out)


def test_samples_of_integers_are_integers_within_the_bounds(unstir, trained, tmp_path):
    x = sample(unstir, trained, tmp_path / "x.npy", "-n", 12)
    assert x.shape == (12, 1, 8, 8)
    assert x.dtype == np.uint8
    assert x.max() <= 16
    assert x.max() > 8
    assert len(np.unique(x.reshape(12, -1), axis=0)) == 12


def test_every_class_comes_in_turn_and_npz_carries_the_labels(unstir, trained, tmp_path):
    found = sample(unstir, trained, tmp_path / "x.npz", "-n", 12)
    assert found["labels"].tolist() == [*range(10), 0, 1]
    np.testing.assert_array_equal(found["x"], sample(unstir, trained, tmp_path / "x.npy", "-n", 12))


def test_a_class_is_asked_for_by_name_or_number_or_not_at_all(unstir, trained, tmp_path):
    three = sample(unstir, trained, tmp_path / "a.npz", "-n", 3, "--class", "3")
    assert three["labels"].tolist() == [3, 3, 3]
    none = sample(unstir, trained, tmp_path / "b.npz", "-n", 3, "--class", "none")
    assert "labels" not in none
    missing = sample(unstir, trained, tmp_path / "c.npz", "-n", 3, "--class", "-1")
    np.testing.assert_array_equal(missing["x"], none["x"])


def test_a_seed_repeats_byte_for_byte_and_samples_do_not_depend_on_their_number(unstir, trained, tmp_path):
    for suffix in ("npy", "npz", "png", "gif"):
        files = [tmp_path / f"{name}.{suffix}" for name in "ab"]
        for file in files:
            unstir.good(tmp_path, "sample", trained, "-n", 4, "--steps", 2, "--seed", 5, "--out", file)
        assert files[0].read_bytes() == files[1].read_bytes()
    whole = sample(unstir, trained, tmp_path / "whole.npy", "-n", 12, "--seed", 5)
    part = sample(unstir, trained, tmp_path / "part.npy", "-n", 4, "--first-index", 8, "--seed", 5)
    assert np.abs(part.astype(int) - whole[8:]).max() <= 1  # integers round the last float bit
    other = sample(unstir, trained, tmp_path / "other.npy", "-n", 12, "--seed", 6)
    assert not np.array_equal(other, whole)


def test_another_process_draws_the_same_samples(unstir, trained, tmp_path):
    x = sample(unstir, trained, tmp_path / "x.npy", "-n", 4)
    result = real(tmp_path, "sample", trained, "-n", 4, "--steps", 2, "--out", "y.npy")
    assert (result.code, result.stderr) == (0, "")
    assert "4 samples, 2 evaluations each: y.npy" in result.stdout
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), x)


def test_guidance_window_solver_grid_and_schedule_each_act(unstir, trained, tmp_path):
    plain = sample(unstir, trained, tmp_path / "x.npy", "-n", 6, "--steps", 3)
    for index, option in enumerate(
        [
            ("--guidance", 4),
            ("--solver", "ddpm"),
            ("--grid", "karras"),
            ("--schedule", "flow"),
            ("--steps", 4),
        ]
    ):
        x = sample(unstir, trained, tmp_path / f"{index}.npy", "-n", 6, "--steps", 3, *option)
        assert x.shape == plain.shape
        assert not np.array_equal(x, plain), option
    never = ("--guidance", 4, "--window", 0.999, 1.0)
    x = sample(unstir, trained, tmp_path / "never.npy", "-n", 6, "--steps", 3, *never)
    np.testing.assert_array_equal(x, plain)


def test_a_picture_shows_the_samples_a_column_a_class(unstir, trained, tmp_path):
    unstir.good(tmp_path, "sample", trained, "-n", 20, "--steps", 2, "--out", "x.png")
    x = sample(unstir, trained, tmp_path / "x.npy", "-n", 20)
    with Image.open(tmp_path / "x.png") as image:
        zoom = image.width // (10 * 9 - 1)
        assert image.size == ((10 * 9 - 1) * zoom, (2 * 9 - 1) * zoom)
        pixels = np.asarray(image.convert("L"), int)[zoom // 2 :: zoom, zoom // 2 :: zoom]
    for index in (0, 3, 17):
        top, left = 9 * (index // 10), 9 * (index % 10)
        shown = pixels[top : top + 8, left : left + 8]
        assert np.abs(shown - x[index, 0] * (255 / 16)).max() <= 255 / 32 + 1  # the array is rounded


def test_a_film_has_a_frame_for_every_state_and_ends_with_the_samples(unstir, trained, tmp_path):
    unstir.good(tmp_path, "sample", trained, "-n", 10, "--steps", 5, "--out", "x.gif")
    unstir.good(tmp_path, "sample", trained, "-n", 10, "--steps", 5, "--out", "x.png")
    with Image.open(tmp_path / "x.gif") as film, Image.open(tmp_path / "x.png") as picture:
        frames = []
        for index in range(film.n_frames):
            film.seek(index)
            frames.append((np.asarray(film.convert("L"), int), film.info["duration"]))
        last = np.asarray(picture.convert("L"), int)
    assert sum(duration for _, duration in frames) == 6 * 120 + 2000  # equal frames are joined
    assert np.abs(frames[-1][0] - last).mean() < 3
    assert np.abs(frames[0][0] - last).mean() > 20


def test_without_a_file_the_picture_goes_into_the_run(unstir, run, tmp_path):
    printed = unstir.good(tmp_path, "sample", "run", "-n", 10, "--steps", 1, "--seed", 3)
    assert "run/samples/seed3.png" in printed
    assert (run / "samples" / "seed3.png").is_file()


@pytest.mark.parametrize("name", ["new/deep/x.npy", "with [brackets]/x.npy"])
def test_folders_of_the_file_are_made_and_named_as_they_are(name, unstir, trained, tmp_path):
    printed = unstir.good(tmp_path, "sample", trained, "-n", 1, "--steps", 1, "--out", name)
    assert (tmp_path / name).is_file()
    assert name in printed
