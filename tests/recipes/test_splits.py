"""Training and held-out halves."""

from __future__ import annotations

import numpy as np
import pytest

from unstir.recipes.splits import range_scaling, split, take
from unstir.training import ArrayData


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
