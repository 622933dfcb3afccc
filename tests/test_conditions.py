"""What a user says of the samples wanted: shapes that are understood, and a sentence for all others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.test_model import model
from unstir.conditions import tensors_of

CONDITIONS = {
    "goal": {"shape": [2, 3], "shift": [1.0, 2.0], "scale": [2.0, 4.0]},
    "speed": {"shape": [1]},
}


@pytest.fixture(scope="module")
def config():
    return model(vector=2, classes=("a", "b"), conditions=CONDITIONS).config


def test_numbers_come_in_any_container(config):
    goal = [[1.0, 3.0, 5.0], [2.0, 6.0, 10.0]]
    expected = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]).expand(3, 2, 3)
    for value in (goal, np.array(goal), torch.tensor(goal), [goal] * 3):
        assert torch.equal(tensors_of(config, 3, {"goal": value})["goal"], expected)


def test_a_condition_of_one_number_is_one_for_all_or_one_for_each(config):
    for value in (0.5, [0.5], [[0.5]] * 3, [0.5] * 3):
        assert torch.equal(tensors_of(config, 3, {"speed": value})["speed"], torch.full((3, 1), 0.5))
    found = tensors_of(config, 3, {"speed": [0.1, 0.2, 0.3]})["speed"]
    assert torch.equal(found, torch.tensor([[0.1], [0.2], [0.3]]))
    assert tensors_of(config, 2, {"vector": [1, 2]})["vector"].tolist() == [[1.0, 2.0]] * 2


def test_not_given_stays_so(config):
    assert bool(tensors_of(config, 2, {"speed": float("nan")})["speed"].isnan().all())


@pytest.mark.parametrize(
    ("condition", "sentence"),
    [
        ({"speed": "fast"}, r"'speed' is numbers of shape \(3, 1\) or \(1,\), got 'fast'"),
        ({"speed": None}, "'speed' is numbers of shape .* got None"),
        ({"goal": [[1.0, 2.0], [1.0]]}, "'goal' is numbers of shape"),
        ({"goal": "x" * 99}, r"got 'x{56}\.\.\.$"),
        ({"vector": "north"}, r"'vector' is numbers of shape \(3, 2\) or \(2,\)"),
        ({"speed": float("inf")}, "'speed' is finite, or NaN where it is not given"),
        ({"goal": torch.zeros(2, 2)}, r"'goal' has shape \(3, 2, 3\) or \(2, 3\), got \(2, 2\)"),
        ({"speed": [0.5, 0.5]}, r"'speed' has shape \(3, 1\) or \(1,\), got \(2,\)"),
        ({"vector": [1.0]}, r"'vector' has shape \(3, 2\) or \(2,\), got \(1,\)"),
        ({"wind": 1}, "takes no condition 'wind'; it takes label and vector and goal and speed"),
    ],
)
def test_what_is_no_condition_is_one_sentence(config, condition, sentence):
    with pytest.raises(ValueError, match=sentence):
        tensors_of(config, 3, condition)


def test_a_model_describes_its_conditions():
    assert model(conditions=CONDITIONS).describe()["conditions"] == "goal 2x3 (embed), speed 1 (embed)"
    assert model().describe()["conditions"] == "none"
