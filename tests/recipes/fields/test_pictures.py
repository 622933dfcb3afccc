"""The numbers and pictures of a model, from its settings to the file."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.recipes.fields.test_task import untrained
from unstir.recipes.domain import Options
from unstir.recipes.fields import DOMAIN
from unstir.recipes.settings import RunSettings


@pytest.mark.parametrize("problem", ["poisson", "reaction"])
def test_a_joint_model_has_numbers_and_pictures(problem, tmp_path):
    model, settings = untrained(problem=problem)
    options = Options(n=2, steps=2)
    numbers = DOMAIN.measure(model, settings, options)
    assert {"solution_error", "sensors_first_error", "sensors_second_error_over_deviation"} <= numbers.keys()
    assert (numbers["sensors_first_error"].reference is None) == (problem != "poisson")
    # A model that has learned nothing is worse than what needs no network.
    assert numbers["solution_error"].value > numbers["solution_error"].baseline
    assert [panel.title for panel in DOMAIN.panels(model, settings, options)] == ["Solved", "Inferred"]
    said = DOMAIN.files[".png"](model, settings, tmp_path / "x.png", options)
    assert "sensors in the" in said
    with Image.open(tmp_path / "x.png") as image:
        assert image.width > 400


def test_a_conditional_model_solves_only(tmp_path):
    model, settings = untrained(mode="conditional", problem="darcy")
    options = Options(n=2, steps=2)
    assert set(DOMAIN.measure(model, settings, options)) == {"solution_error", "solution_seconds"}
    assert [panel.title for panel in DOMAIN.panels(model, settings, options)] == ["Solved"]
    assert "solved" in DOMAIN.files[".png"](model, settings, tmp_path / "x.png", options)


@pytest.mark.parametrize("name", list(DOMAIN.recipes))
def test_every_recipe_is_whole(name):
    settings = DOMAIN.recipes[name]()
    assert settings.recipe == name
    assert settings.data.source == "fields"
    assert RunSettings.model_validate(settings.model_dump()) == settings
