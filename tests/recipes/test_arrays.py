"""Your own array: every layout loads, is split and scaled; what cannot be used is named."""

from __future__ import annotations

import datetime
import pickle

import numpy as np
import pytest
import torch

from unstir.recipes import DataSettings, RunSettings, arrays, load_data
from unstir.recipes.run import build_model
from unstir.recipes.splits import Rows

LAYOUTS = {"D": (3,), "CL": (2, 16), "CHW": (3, 8, 6), "CDHW": (1, 4, 6, 5)}


def array(event, n=60, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, *event)).astype(np.float32)
    return x * 3.0 + np.arange(1.0, event[0] + 1).reshape(-1, *[1] * (len(event) - 1)).astype(np.float32)


def load(path, **values):
    return load_data(DataSettings.model_validate({"source": "array", "path": str(path)} | values))


@pytest.mark.parametrize("scaling", ["range", "standardise"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_loads_splits_scales_and_scales_back(layout, scaling, tmp_path):
    x = array(LAYOUTS[layout])
    np.save(tmp_path / "x.npy", x)
    splits = load(tmp_path / "x.npy", scaling=scaling, heldout=0.25)
    train, heldout = splits.train.batch(slice(0, 60))[0], splits.heldout.batch(slice(0, 60))[0]
    assert train.shape == (45, *LAYOUTS[layout])
    assert heldout.shape == (15, *LAYOUTS[layout])
    back = torch.cat([splits.train.scaling.to_data(train), splits.heldout.scaling.to_data(heldout)])
    back, x = (a[np.lexsort(a.reshape(60, -1).T)] for a in (back.numpy(), x))
    np.testing.assert_allclose(back, x, rtol=1e-5, atol=1e-5)  # every row is in one half, none in both
    whole = torch.cat([train, heldout])
    if scaling == "range":
        assert float(whole.min()) == pytest.approx(-1.0, abs=1e-5)
        assert float(whole.max()) == pytest.approx(1.0, abs=1e-5)
        assert splits.bounds == (float(x.min()), float(x.max()))
    else:
        axes = [axis for axis in range(whole.ndim) if axis != 1]
        np.testing.assert_allclose(whole.mean(axes).numpy(), 0.0, atol=1e-5)
        np.testing.assert_allclose(whole.std(axes, correction=0).numpy(), 1.0, atol=1e-5)
        assert splits.bounds is None
    assert not splits.integer


@pytest.mark.parametrize("layout", LAYOUTS)
def test_settings_are_chosen_from_the_data_and_build_a_model_that_fits(layout, tmp_path):
    np.save(tmp_path / "mine.npy", array(LAYOUTS[layout]))
    settings, notes = arrays.settings(str(tmp_path / "mine.npy"))
    assert settings.recipe == "mine"
    assert settings.network.kind == ("mlp" if layout == "D" else "unet")
    assert RunSettings.model_validate(settings.model_dump(mode="json")) == settings
    model = build_model(settings, load_data(settings.data))
    assert model.sample(2, steps=1).shape == (2, *LAYOUTS[layout])
    said = " ".join(notes)
    for word in ("54 training and 6 held-out", "no labels", "deviation 1", settings.network.kind.upper()[:1]):
        assert word in said


def test_an_npy_file_stays_a_memory_map_that_is_read_row_by_row(tmp_path):
    x = array((4,), n=5000)
    np.save(tmp_path / "x.npy", x)
    splits = load(tmp_path / "x.npy")
    for part in (splits.train, splits.heldout):
        assert isinstance(part.x, Rows)
        assert isinstance(part.x.base, np.memmap)
    batch, _ = splits.train.batch(torch.tensor([7, 3]))
    rows = splits.train.x.rows[[7, 3]]
    np.testing.assert_allclose(splits.train.scaling.to_data(batch).numpy(), x[rows], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(splits.train.x[2:5], x[splits.train.x.rows[2:5]])


def test_labels_keep_their_rows_and_are_split_in_equal_shares(tmp_path):
    labels = np.array([7] * 30 + [3] * 60 + [5] * 10)
    x = np.stack([labels, np.arange(100)], axis=1).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=x, labels=labels)
    splits = load(tmp_path / "a.npz", heldout=0.2)
    assert splits.classes == ("3", "5", "7")
    for part, counts in ((splits.train, [48, 8, 24]), (splits.heldout, [12, 2, 6])):
        assert np.bincount(part.labels).tolist() == counts
        assert [splits.classes[k] for k in part.labels] == [str(int(v)) for v in part.x[:, 0]]


def test_names_are_classes_and_vectors_are_conditions(tmp_path):
    names = np.array(["dog", "cat"] * 20)
    np.savez(tmp_path / "a.npz", data=array((3,), 40), labels=names, vectors=np.ones((40, 2)))
    splits = load(tmp_path / "a.npz")
    assert splits.classes == ("cat", "dog")
    _, condition = splits.train.batch(torch.arange(4))
    assert condition["label"].shape == (4,)
    assert condition["vector"].shape == (4, 2)
    settings, _ = arrays.settings(str(tmp_path / "a.npz"))
    config = build_model(settings, splits).config
    assert (config.classes, config.vector) == (("cat", "dog"), 2)


def test_an_npz_with_one_array_of_any_name_loads(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", whatever=array((3,)))
    assert load(tmp_path / "a.npz").train.event == (3,)


def test_integers_have_bounds_and_are_known_as_integers(tmp_path):
    rng = np.random.default_rng(0)
    for values, bounds in (
        (rng.integers(0, 256, (50, 1, 4, 4)).astype(np.uint8), (0.0, 255.0)),
        (np.minimum(rng.integers(0, 17, (50, 1, 4, 4)), 16).astype(np.uint8), (0.0, 16.0)),
        (rng.integers(-40, 41, (500, 3)), (-40.0, 40.0)),
        (rng.integers(0, 2, (50, 3)).astype(bool), (0.0, 1.0)),
    ):
        np.save(tmp_path / "x.npy", values)
        splits = load(tmp_path / "x.npy")
        assert splits.integer
        assert splits.bounds == bounds
        settings, _ = arrays.settings(str(tmp_path / "x.npy"))
        assert settings.data.scaling == "range"


def test_a_channel_that_is_constant_does_no_harm(tmp_path):
    x = array((3,))
    x[:, 1] = 5.0
    np.save(tmp_path / "x.npy", x)
    splits = load(tmp_path / "x.npy", scaling="standardise")
    assert splits.train.scaling.scale[1] == 1.0
    assert bool(splits.train.batch(slice(0, 9))[0][:, 1].eq(0).all())


def test_a_limit_takes_so_many_samples_and_the_split_follows_its_seed(tmp_path):
    x = array((3,), 200)
    np.savez(tmp_path / "a.npz", x=x, labels=np.arange(200) % 2)
    small = load(tmp_path / "a.npz", limit=50)
    assert (len(small.train), len(small.heldout)) == (45, 5)
    one, same, other = (load(tmp_path / "a.npz", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.heldout.x, same.heldout.x)
    assert not np.array_equal(one.heldout.x, other.heldout.x)
    np.save(tmp_path / "x.npy", x)
    assert len(load(tmp_path / "x.npy", limit=50).train) == 45


def with_nan(value=np.nan, at=37):
    x = array((2, 3))
    x[at, 1, 2] = value
    return x


BAD = {
    "NaN": (with_nan(), "in sample 37"),
    "infinity": (with_nan(-np.inf, 59), "in sample 59"),
    "one axis": (np.arange(50.0), r"has shape \(50,\); expected \(N, D\), \(N, C, L\)"),
    "six axes": (np.ones((20, 1, 1, 1, 1, 1)), "expected"),
    "no samples": (np.ones((0, 3)), r"has shape \(0, 3\)"),
    "no features": (np.ones((30, 0)), r"has shape \(30, 0\)"),
    "few samples": (np.arange(18.0).reshape(9, 2), "holds 9 samples; at least 10"),
    "constant": (np.full((30, 4), 2.5), "every value in .* is 2.5; there is nothing to learn"),
    "complex": (np.ones((30, 4), complex), "holds complex128; expected real numbers"),
    "text": (np.array([["a", "b"]] * 30), "holds <U1; expected real numbers"),
    "dates": (np.full((30, 2), np.datetime64("2024-01-01")), "expected real numbers"),
    "fields": (np.zeros(30, [("a", float)]), "expected real numbers"),
    "objects": (np.array([[datetime.date(2024, 1, 1)] * 2] * 30), "is not a plain numeric array"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_an_array_that_cannot_be_used_is_refused_with_a_sentence_that_names_the_file(kind, suffix, tmp_path):
    x, sentence = BAD[kind]
    file = tmp_path / f"bad.{suffix}"
    if suffix == "npy":
        np.save(file, x, allow_pickle=True)
    else:
        np.savez(file, x=x, allow_pickle=True)
    with pytest.raises(ValueError, match=sentence) as error:
        load(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


LABELS = {
    "too few": (np.zeros(59, int), r"have shape \(59,\), which does not match its 60 samples"),
    "two axes": (np.zeros((60, 2), int), r"have shape \(60, 2\)"),
    "not whole": (np.zeros(60), "are float64; expected integers or names"),
    "objects": (np.array([None] * 60), "is not a plain numeric array"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_that_do_not_match_are_refused(kind, tmp_path):
    labels, sentence = LABELS[kind]
    np.savez(tmp_path / "a.npz", x=array((3,)), labels=labels, allow_pickle=True)
    with pytest.raises(ValueError, match=sentence):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize("vectors", [np.ones(60), np.ones((59, 2)), np.full((60, 2), np.nan)])
def test_vectors_that_do_not_match_are_refused(vectors, tmp_path):
    np.savez(tmp_path / "a.npz", x=array((3,)), vectors=vectors)
    with pytest.raises(ValueError, match=r"finite array of shape \(60, length\)"):
        load(tmp_path / "a.npz")


def test_an_npz_in_which_the_samples_cannot_be_told_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=array((3,)), masks=array((3,)))
    with pytest.raises(ValueError, match=r"needs an array named 'x'.*it holds images, masks"):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_damaged_file_is_refused_with_a_sentence_that_names_it(suffix, tmp_path):
    file = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(file, array((3,)))
    else:
        np.savez_compressed(file, x=array((3,)))
    whole = file.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes(255 - b for b in whole[middle : middle + 9]) + whole[middle + 9 :]
    harms = [b"", whole[:5], whole[:40], whole[:-50], b"\0" * 200, pickle.dumps([1, 2])]
    for content in harms + ([flipped] if suffix == "npz" else []):
        file.write_bytes(content)
        with pytest.raises(ValueError) as error:  # noqa: PT011, the sentence is compared below
            load(file)
        assert str(file) in str(error.value), content[:20]
        assert "\n" not in str(error.value)


def test_a_file_whose_suffix_is_not_what_it_holds_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", array((3,)))
    np.savez(tmp_path / "b.npz", x=array((3,)))
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    (tmp_path / "b.npz").rename(tmp_path / "b.npy")
    for name in ("a.npz", "b.npy"):
        with pytest.raises(ValueError, match=rf"{name} cannot be read as an array \(its content is not"):
            load(tmp_path / name)


def test_a_file_that_is_not_there_or_no_array_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load(tmp_path / "a.npy")
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(ValueError, match=r"neither \.npy nor \.npz"):
        load(tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_data(DataSettings(source="array"))
