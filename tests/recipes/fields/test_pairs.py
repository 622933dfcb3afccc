"""Pairs of fields from files: .npz, HDF5 and zarr, any layout, and what is wrong with them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from unstir.recipes.fields.pairs import read_pairs


def fields(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def write(path, arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".h5":
        import h5py

        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    else:
        import zarr

        group = zarr.open_group(str(path), mode="w")
        for name, array in arrays.items():
            group.create_array(name, data=array)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".zarr"])
@pytest.mark.parametrize("space", [(9,), (5, 6), (3, 4, 5)])
def test_every_format_gives_back_what_was_written(suffix, space, tmp_path):
    a, b = fields(12, *space), fields(12, *space, seed=1)
    first, second, names = read_pairs(write(tmp_path / f"pairs{suffix}", {"solution": b, "source": a}))
    assert names == ("source", "solution")
    np.testing.assert_array_equal(first[:, 0], a)
    np.testing.assert_array_equal(second[:, 0], b)


@pytest.mark.parametrize("names", [("x", "y"), ("a", "u"), ("coeff", "sol"), ("zeta", "alpha")])
def test_known_names_come_in_order_and_two_unknown_ones_as_they_stand(names, tmp_path):
    arrays = {names[0]: fields(4, 6, 6), names[1]: fields(4, 6, 6, seed=1)}
    first, _, found = read_pairs(write(tmp_path / "pairs.npz", arrays))
    assert found == names
    np.testing.assert_array_equal(first[:, 0], arrays[names[0]])


def test_channels_are_kept_and_the_other_field_gets_one(tmp_path):
    arrays = {"source": fields(4, 2, 8, 8), "solution": fields(4, 8, 8)}
    first, second, _ = read_pairs(write(tmp_path / "pairs.npz", arrays))
    assert first.shape == (4, 2, 8, 8)
    assert second.shape == (4, 1, 8, 8)


def test_one_channel_of_a_plane_is_no_axis_of_space(tmp_path):
    arrays = {"source": fields(4, 1, 8, 8), "solution": fields(4, 1, 8, 8)}
    assert read_pairs(write(tmp_path / "pairs.npz", arrays))[0].shape == (4, 1, 8, 8)


def test_names_can_be_given_and_lie_in_groups(tmp_path):
    arrays = {"run/k": fields(4, 6), "run/p": fields(4, 6, seed=1), "run/q": fields(4, 6, seed=2)}
    path = write(tmp_path / "pairs.h5", arrays)
    first, second, _ = read_pairs(path, "run/q", "run/k")
    np.testing.assert_array_equal(first[:, 0], arrays["run/q"])
    np.testing.assert_array_equal(second[:, 0], arrays["run/k"])
    with pytest.raises(ValueError, match="which two are the fields is not clear"):
        read_pairs(path)
    with pytest.raises(ValueError, match="holds no array 'run/z'; it holds run/k, run/p, run/q"):
        read_pairs(path, "run/z")


def test_coordinates_beside_the_fields_do_not_disturb(tmp_path):
    arrays = {"x-coordinate": np.arange(6.0), "nu": fields(4, 6, 6), "tensor": fields(4, 6, 6)}
    assert read_pairs(write(tmp_path / "pairs.h5", arrays))[2] == ("nu", "tensor")


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"x": fields(4, 6), "y": fields(5, 6)}, "as many first fields as second"),
        ({"x": fields(4, 6), "y": fields(4, 7)}, "the same for both"),
        ({"x": fields(4, 6), "y": fields(4, 6) * 1j}, "real numbers"),
        ({"x": np.full((4, 6), np.nan), "y": fields(4, 6)}, "'x' in .* not finite .* in sample 0"),
        ({"x": np.full((4, 6), 1e60), "y": fields(4, 6)}, "not finite"),
        ({"x": fields(4, 6)}, "holds x where there should be two fields"),
        ({"p": fields(4, 6), "q": fields(4, 6), "r": fields(4, 6)}, "which two are the fields"),
        ({"x": fields(4), "y": fields(4)}, "holds no array where there should be two fields"),
        ({"x": fields(4, 6, 6, 6, 6, 6), "y": fields(4, 6)}, "layout"),
        ({"x": fields(0, 6), "y": fields(0, 6)}, r"'x' in .* is empty, of shape \(0, 6\)"),
    ],
)
def test_arrays_that_are_no_pairs_are_one_sentence(arrays, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        read_pairs(write(tmp_path / "pairs.npz", arrays))


def test_a_file_that_is_not_there_or_damaged_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_pairs(tmp_path / "none.npz")
    for suffix in (".npz", ".h5"):
        (tmp_path / f"bad{suffix}").write_bytes(b"nothing of the kind")
        with pytest.raises(ValueError, match=r"cannot be read .*; it is damaged or of another kind"):
            read_pairs(tmp_path / f"bad{suffix}")
    (tmp_path / "pairs.txt").write_text("1 2 3")
    with pytest.raises(ValueError, match=r"neither \.npz nor HDF5"):
        read_pairs(tmp_path / "pairs.txt")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ValueError, match="zarr"):
        read_pairs(tmp_path / "empty.zarr")


def test_coordinates_of_the_axes_and_single_numbers_are_no_fields(tmp_path):
    arrays = {
        "x": np.arange(6.0),
        "y": np.arange(6.0),
        "dt": np.array(0.1),
        "a": fields(4, 6),
        "u": fields(4, 6),
    }
    for suffix in (".npz", ".h5", ".zarr"):
        assert read_pairs(write(tmp_path / f"pairs{suffix}", arrays))[2] == ("a", "u")


def test_every_damage_to_a_file_is_one_sentence(tmp_path):
    """A byte in four changed, anywhere in the file: it is read or refused, and says which file it was."""
    arrays = {"source": fields(4, 8, 8), "solution": fields(4, 8, 8)}
    np.savez_compressed(tmp_path / "whole.npz", **arrays)
    write(tmp_path / "whole.h5", arrays)
    rng = np.random.default_rng(0)
    refused = {".npz": 0, ".h5": 0}
    for suffix in refused:
        told = []
        whole = np.frombuffer((tmp_path / f"whole{suffix}").read_bytes(), np.uint8)
        for _ in range(150):
            start = rng.integers(len(whole) - 8)
            changed = whole.copy()
            changed[start : start + 64 : 4] = rng.integers(256, size=len(changed[start : start + 64 : 4]))
            (tmp_path / f"bad{suffix}").write_bytes(changed.tobytes())
            try:
                read_pairs(tmp_path / f"bad{suffix}")
            except ValueError as error:
                told.append(str(error))
        assert all(f"bad{suffix}" in sentence for sentence in told)
        refused[suffix] = len(told)
    assert refused[".npz"] > 50
    assert refused[".h5"] > 5


def test_a_zarr_array_that_would_be_unpickled_is_refused_before_it_is_read(tmp_path):
    place = write(tmp_path / "pairs.zarr", {"source": np.ones((4, 8, 8)), "solution": np.ones((4, 8, 8))})
    header = json.loads((place / "source" / "zarr.json").read_text())
    header["codecs"] = [{"name": "numcodecs.pickle", "configuration": {}}]
    (place / "source" / "zarr.json").write_text(json.dumps(header))
    with pytest.raises(ValueError, match=r"'source' in .* is kept with the codec pickle, which"):
        read_pairs(place)
    (place / "source" / "zarr.json").write_text("{no json")
    with pytest.raises(ValueError, match=r"pairs\.zarr cannot be read .*; it is damaged or of another kind"):
        read_pairs(place)
