"""Training and held-out halves."""

from __future__ import annotations

import numpy as np
import pytest

from unstir.recipes.splits import range_scaling, split, take
from unstir.training import ArrayData, ConditionArray


def rows(part):
    return part.x[:, 0].astype(int)


def data(labels):
    return ArrayData(np.arange(len(labels))[:, None].astype(np.float32), np.asarray(labels))


def test_the_halves_are_all_rows_once_in_the_order_of_the_file():
    train, heldout = split(data([0, 1] * 50), 0.2)
    assert (len(train), len(heldout)) == (80, 20)
    assert sorted([*rows(train), *rows(heldout)]) == list(range(100))
    assert (np.diff(rows(train)) > 0).all()
    assert (np.diff(rows(heldout)) > 0).all()


def test_each_class_gives_the_same_share():
    train, heldout = split(data([0] * 70 + [1] * 20 + [2] * 10), 0.1)
    assert np.bincount(heldout.labels).tolist() == [7, 2, 1]
    assert np.bincount(train.labels).tolist() == [63, 18, 9]


@pytest.mark.parametrize(
    "labels", [[0] * 19 + [1], [*range(20)], [3] * 20], ids=["single", "all", "one class"]
)
def test_classes_too_small_to_share_are_split_anyway(labels):
    train, heldout = split(data(labels), 0.1)
    assert (len(train), len(heldout)) == (18, 2)
    for part in (train, heldout):
        assert [labels[row] for row in rows(part)] == part.labels.tolist()


def test_a_split_that_leaves_a_part_empty_is_refused():
    for share in (0.01, 0.99):
        with pytest.raises(ValueError, match="20 samples cannot be split"):
            split(data([0] * 20), share)


def test_some_rows_keep_labels_and_vectors():
    whole = ArrayData(np.eye(5), np.arange(5), np.arange(10.0).reshape(5, 2))
    part = take(whole, np.array([4, 1]))
    assert part.labels.tolist() == [4, 1]
    assert part.vectors.tolist() == [[8, 9], [2, 3]]
    assert part.x.tolist() == np.eye(5)[[4, 1]].tolist()


def test_range_scaling_maps_the_range_to_minus_one_to_one():
    scaling = range_scaling(-2.0, 6.0)
    assert (scaling.shift, scaling.scale) == ((2.0,), (4.0,))


def test_what_is_read_when_asked_for_stays_so(tmp_path):
    class Squares:
        """Rows that are made when asked for; counts how many were."""

        shape, ndim, dtype, made = (20, 2), 2, np.dtype(np.float32), 0

        def __len__(self):
            return 20

        def __getitem__(self, key):
            rows = np.arange(20)[key]
            self.made += len(rows)
            return np.stack([rows, rows**2], axis=1).astype(np.float32)

    np.save(tmp_path / "x.npy", np.arange(20.0)[:, None])
    squares = Squares()
    conditions = {"square": ConditionArray(squares), "plain": ConditionArray(np.ones((20, 1)))}
    whole = ArrayData(np.load(tmp_path / "x.npy", mmap_mode="r"), conditions=conditions)
    train, heldout = split(whole, 0.2)
    assert squares.made == 0
    assert type(train.conditions["plain"].values) is np.ndarray
    for part in (train, heldout, take(train, np.array([3, 0]))):
        squares.made = 0
        x, condition = part.batch(slice(0, 2))
        assert squares.made == 2
        assert (condition["square"][:, 1] == x[:, 0] ** 2).all()
