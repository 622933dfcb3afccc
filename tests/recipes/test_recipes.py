"""Every recipe's settings survive YAML, build a model and describe data that load."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from unstir.cli import to_yaml
from unstir.recipes import RECIPES, DataSettings, RunSettings, find_recipe, load_data
from unstir.recipes.densities import DENSITIES
from unstir.recipes.run import build_model
from unstir.recipes.splits import Splits, range_scaling
from unstir.settings import parse_settings
from unstir.training import ArrayData

EVENTS = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "cifar10": (3, 32, 32)}


@pytest.mark.parametrize("name", RECIPES)
def test_settings_survive_yaml(name):
    settings = find_recipe(name)
    assert settings.recipe == name
    again = parse_settings(RunSettings, yaml.safe_load(to_yaml(settings)))
    assert again == settings
    assert to_yaml(again) == to_yaml(settings)


@pytest.mark.parametrize("name", ["digits", "mnist", *DENSITIES])  # the domains build theirs themselves
def test_settings_build_a_model_that_samples(name):
    x = np.random.default_rng(0).uniform(0, 255, (400, *EVENTS.get(name, (2,)))).astype(np.float32)
    data = ArrayData(x, np.arange(400) % 2, scaling=range_scaling(0.0, 255.0))
    model = build_model(find_recipe(name), Splits(data, data, ("a", "b"), (0.0, 255.0)))
    x = model.sample(2, steps=1, condition={"label": ["a", "b"]})
    assert x.shape == (2, *EVENTS.get(name, (2,)))
    assert model.about["recipe"] == name
    assert model.config.sigma_data == pytest.approx(0.577, abs=0.05)  # uniform on -1 ... 1


def test_the_cifar_network_fits_its_images():
    x = np.zeros((2, 3, 32, 32), np.float32)
    x[0] = 255
    model = build_model(find_recipe("cifar10"), Splits(ArrayData(x), ArrayData(x)))
    assert 25e6 < model.describe()["parameters"] < 60e6


def test_an_unknown_recipe_or_density_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="unknown recipe 'digit'; did you mean 'digits'"):
        find_recipe("digit")
    with pytest.raises(ValueError, match="unknown density 'ring'; did you mean 'rings'"):
        load_data(DataSettings(source="density", name="ring"))
    with pytest.raises(ValueError, match=r"^source: unknown source 'digit'; did you mean 'digits'\?"):
        parse_settings(DataSettings, {"source": "digit"})


def test_digits_are_the_uci_digits():
    splits = load_data(find_recipe("digits").data)
    assert (len(splits.train), len(splits.heldout)) == (1437, 360)
    assert splits.classes == tuple("0123456789")
    assert (splits.bounds, splits.integer) == ((0.0, 16.0), True)
    x, condition = splits.train.batch(slice(0, 1437))
    assert x.shape == (1437, 1, 8, 8)
    assert (float(x.min()), float(x.max())) == (-1.0, 1.0)
    assert np.bincount(condition["label"]).min() > 130
    assert len(load_data(DataSettings(source="digits", limit=100)).train) == 90


@pytest.mark.parametrize("name", DENSITIES)
def test_a_density_is_the_same_for_a_seed_and_is_scaled_to_unit_deviation(name):
    data = DataSettings(source="density", name=name, limit=4000, seed=3)
    a, b = load_data(data), load_data(data)
    np.testing.assert_array_equal(a.train.x, b.train.x)
    assert not np.array_equal(a.train.x, load_data(data.model_copy(update={"seed": 4})).train.x)
    assert (len(a.train), len(a.heldout)) == (3600, 400)
    assert a.train.internal_std() == pytest.approx(1.0, abs=0.02)
    assert np.isfinite(a.train.x).all()


def test_densities_are_where_their_formulas_say():
    rng = np.random.default_rng(0)
    n = 5000
    rings = np.linalg.norm(DENSITIES["rings"](n, rng), axis=1)
    assert np.abs(rings[:, None] - [0.4, 0.8, 1.2]).min(1).max() < 0.25
    board = DENSITIES["checkerboard"](n, rng)
    assert board.min() >= -1.0
    assert board.max() <= 1.0
    squares = np.floor((board + 1.0) / 0.5).astype(int)
    assert (squares.sum(1) % 2 == 0).all()
    assert len(np.unique(squares, axis=0)) == 8
    moons = DENSITIES["two-moons"](n, rng) + np.array([0.5, 0.25])
    upper = np.abs(np.linalg.norm(moons, axis=1) - 1)
    lower = np.abs(np.linalg.norm(moons - np.array([1.0, 0.5]), axis=1) - 1)
    assert np.minimum(upper, lower).max() < 0.5
    assert np.mean(np.minimum(upper, lower)) < 0.1
