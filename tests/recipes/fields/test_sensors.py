"""Sensors: where they are, what they measure, and how several of one cell are one."""

from __future__ import annotations

import math

import pytest
import torch

from unstir.recipes.fields.sensors import Sensors, scattered
from unstir.training import Scaling


def test_coordinates_fall_into_the_cell_that_holds_them():
    places = torch.tensor([[0.0, 0.0], [0.26, 0.74], [1.0, 1.0]])
    cells = Sensors(places, torch.zeros(3), 0.1).cells((4, 8))
    assert cells.tolist() == [[0, 0], [1, 5], [3, 7]]


def test_integers_are_cells():
    assert Sensors(torch.tensor([[1, 5]]), torch.zeros(1), 0.1).cells((4, 8)).tolist() == [[1, 5]]


def test_the_operator_reads_the_sensors_cells():
    x = torch.arange(2 * 3 * 4.0).reshape(1, 2, 3, 4)
    sensors = Sensors(torch.tensor([[2, 3], [0, 1]]), torch.tensor([7.0, 8.0]), 0.1, ["potential", "source"])
    seen = sensors.on((2, 3, 4))
    assert seen.operator(x).tolist() == [[x[0, 0, 0, 1].item(), x[0, 1, 2, 3].item()]]
    assert seen.y.tolist() == [8.0, 7.0]


def test_two_sensors_of_a_cell_are_one_with_their_mean_by_precision():
    places = torch.tensor([[1], [1]])
    seen = Sensors(places, torch.tensor([1.0, 4.0]), torch.tensor([0.1, 0.2]), "first").on((1, 3))
    assert seen.y.tolist() == pytest.approx([(1.0 * 100 + 4.0 * 25) / 125])
    assert seen.noise.tolist() == pytest.approx([125**-0.5])


def test_in_the_units_of_a_network_value_and_noise_are_scaled():
    seen = Sensors(torch.tensor([[0]]), torch.tensor([5.0]), 0.4, "second").on((2, 3))
    inside = seen.internal(Scaling((0.0, 1.0), (1.0, 2.0)))
    assert inside.y.tolist() == [2.0]
    assert inside.noise.tolist() == [0.2]


def test_the_condition_has_the_values_in_their_cells_and_nothing_elsewhere():
    seen = Sensors(torch.tensor([[0], [2]]), torch.tensor([5.0, 6.0]), 0.4).on((2, 3))
    assert seen.event[0, 1, [0, 2]].tolist() == [5.0, 6.0]
    assert int(seen.event.isnan().sum()) == 4


def test_scattered_sensors_read_the_field_with_noise():
    field = torch.stack([torch.zeros(20, 20), torch.full((20, 20), 3.0)])
    sensors = scattered(field, 400, 0.5, seed=1)
    assert len(sensors.places.unique(dim=0)) == 400
    assert abs(float(sensors.values.mean()) - 3.0) < 5 * 0.5 / math.sqrt(400)
    assert abs(float(sensors.values.std()) / 0.5 - 1.0) < 5 / math.sqrt(800)
    assert torch.equal(sensors.values, scattered(field, 400, 0.5, seed=1).values)


@pytest.mark.parametrize(
    ("places", "sentence"),
    [
        (torch.tensor([[0.5, 0.5], [0.5, 1.01]]), r"sensor 1 at \[0.5, 1.0\d+\] lies outside"),
        (torch.tensor([[-0.1, 0.5], [0.5, 0.5]]), "sensor 0 at .* lies outside"),
        (torch.tensor([[0, 0], [4, 0]]), r"sensor 1 at \[4, 0\] lies outside"),
        (torch.tensor([[0.1], [0.2]]), "2 axes, but the sensors have 1 coordinates"),
        (torch.tensor([[math.nan, 0.1], [0.2, 0.2]]), "sensor 0 .* lies outside"),
    ],
)
def test_a_sensor_outside_the_grid_is_one_sentence(places, sentence):
    with pytest.raises(ValueError, match=sentence):
        Sensors(places, torch.zeros(2), 0.1).on((2, 4, 8))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"values": torch.tensor([1.0, math.nan])}, "sensor 1 says nan"),
        ({"values": torch.zeros(3)}, r"shape \(k, axes\) and values"),
        ({"noise": 0.0}, "above 0"),
        ({"noise": torch.tensor([0.1, -0.1])}, "above 0"),
        ({"field": "velocity"}, "got 'velocity'"),
        ({"field": ["first"]}, "2 sensors but fields for 1"),
        ({"field": -1}, "from 0 on"),
    ],
)
def test_sensors_that_say_nothing_are_one_sentence(arguments, sentence):
    good = {"places": torch.zeros(2, 2), "values": torch.zeros(2), "noise": 0.1}
    with pytest.raises(ValueError, match=sentence):
        Sensors(**{**good, **arguments})


def test_a_field_that_the_event_lacks_is_one_sentence():
    with pytest.raises(ValueError, match="field 2, but there are fields 0 to 1"):
        Sensors(torch.zeros(1, 2), torch.zeros(1), 0.1, 2).on((2, 4, 4))
    with pytest.raises(ValueError, match="holds 1 to 16 sensors"):
        scattered(torch.zeros(2, 4, 4), 17, 0.1)
