"""Scaling between units, batches of rows, conditions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unstir.training import ArrayData, ConditionArray, Scaling


@pytest.mark.parametrize("event", [(3,), (3, 5), (3, 4, 5), (3, 2, 4, 5)], ids=str)
@pytest.mark.parametrize(
    "scaling", [Scaling(), Scaling((2.0,), (0.5,)), Scaling((1.0, -2.0, 3.0), (0.1, 2.0, 40.0))]
)
def test_scaling_acts_on_the_first_axis_of_the_event_and_inverts(event, scaling):
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((6, *event)))
    internal = scaling.to_internal(x)
    for channel in range(3):
        place = channel if len(scaling.shift) > 1 else 0
        expected = (x[:, channel] - scaling.shift[place]) / scaling.scale[place]
        torch.testing.assert_close(internal[:, channel], expected)
    torch.testing.assert_close(scaling.to_data(internal), x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("shift", "scale"),
    [((), ()), ((0.0,), (0.0,)), ((0.0,), (-1.0,)), ((0.0, 1.0), (1.0,)), ((0.0,), (np.nan,))],
)
def test_a_scaling_that_cannot_be_undone_is_refused(shift, scale):
    with pytest.raises(ValueError, match="every scale is above 0"):
        Scaling(shift, scale)


def test_a_batch_holds_its_rows_scaled_with_their_conditions():
    x = np.arange(24, dtype=np.uint8).reshape(12, 2)
    data = ArrayData(x, np.arange(12) % 3, np.arange(36.0).reshape(12, 3), Scaling((4.0,), (2.0,)))
    rows = torch.tensor([11, 0, 5])
    batch, condition = data.batch(rows)
    assert batch.dtype == torch.float32
    np.testing.assert_allclose(batch.numpy(), (x[[11, 0, 5]] - 4.0) / 2.0)
    assert condition["label"].tolist() == [2, 0, 2]
    assert condition["label"].dtype == torch.int64
    assert condition["vector"].tolist() == [[33, 34, 35], [0, 1, 2], [15, 16, 17]]
    assert len(data) == 12
    assert data.event == (2,)


def test_chunks_are_all_rows_in_order_and_the_deviation_is_theirs():
    rng = np.random.default_rng(1)
    data = ArrayData(rng.normal(5.0, 3.0, (1001, 4)), scaling=Scaling((1.0,), (2.0,)))
    joined = torch.cat(list(data.chunks(100)))
    np.testing.assert_allclose(joined.numpy(), (data.x - 1.0) / 2.0, rtol=1e-5, atol=1e-6)
    assert data.internal_std() == pytest.approx(float((data.x / 2.0).std()), rel=1e-5)


def test_data_that_do_not_match_are_refused():
    x = np.zeros((5, 2))
    with pytest.raises(ValueError, match="5 samples but 4 labels"):
        ArrayData(x, np.zeros(4, np.int64))
    with pytest.raises(ValueError, match="5 samples but 6 vectors"):
        ArrayData(x, vectors=np.zeros((6, 2)))
    for empty in (np.zeros((0, 2)), np.zeros(5)):
        with pytest.raises(ValueError, match="at least one sample"):
            ArrayData(empty)


def test_unscaled_data_are_in_their_own_units_conditions_too():
    values = np.arange(10.0).reshape(5, 2)
    named = {"wind": ConditionArray(values, scaling=Scaling((1.0, 2.0), (3.0, 4.0)), drop=0.5)}
    data = ArrayData(values + 1.0, scaling=Scaling((4.0,), (2.0,)), conditions=named)
    x, condition = data.unscaled().batch(slice(None))
    assert x.tolist() == (values + 1.0).tolist()
    assert condition["wind"].tolist() == values.tolist()
    assert data.unscaled().conditions["wind"].drop == 0.5
    inside = data.batch(slice(None))[1]["wind"].numpy()
    np.testing.assert_allclose(inside, (values - [1.0, 2.0]) / [3.0, 4.0], rtol=1e-6)


@pytest.mark.parametrize("name", ["x", "log_snr", "x_t", "t", "a.b", "", "label", "vector"])
def test_a_condition_of_a_name_that_cannot_be_one_is_refused(name):
    with pytest.raises(ValueError, match="the name of a condition is a word such as 'observation'"):
        ArrayData(np.zeros((5, 2)), conditions={name: ConditionArray(np.zeros((5, 1)))})


@pytest.mark.parametrize(
    ("shape", "values", "sentence"),
    [
        ((5,), {}, r"at least one entry a sample, got \(5,\)"),
        ((5, 0), {}, "at least one entry a sample"),
        ((5, 3), {"how": "embd"}, "a condition enters by embed, channels, image, own; got 'embd'"),
        ((5, 3), {"scaling": Scaling((0.0, 0.0), (1.0, 1.0))}, "one shift and scale, or by 3 of each"),
        ((5, 3), {"drop": 7.0}, "for a share of the samples, 0 to 1, got 7.0"),
        ((5, 3), {"drop": -0.1}, "for a share of the samples"),
        ((5, 3), {"drop": float("nan")}, "for a share of the samples"),
    ],
)
def test_a_condition_that_cannot_be_one_is_one_sentence(shape, values, sentence):
    with pytest.raises(ValueError, match=sentence):
        ConditionArray(np.zeros(shape), **values)


def test_a_condition_is_finite_or_not_given():
    ConditionArray(np.array([[1.0], [np.nan]]))
    with pytest.raises(ValueError, match="finite, or NaN where not given"):
        ConditionArray(np.array([[1.0], [np.inf]]))
    with pytest.raises(ValueError, match="a scaling is finite"):
        Scaling((np.inf,), (1.0,))
