"""The numbers of recorded tracks: which there are, and what limits them."""

import numpy as np
import pytest

from tests.helpers import steps_of_solves
from tests.recipes.scenarios.test_forecasts import a_model
from unstir.recipes.domain import Options
from unstir.recipes.run import build_model
from unstir.recipes.scenarios.check import measure
from unstir.recipes.scenarios.default import settings as default_settings
from unstir.recipes.scenarios.forecasting import track_numbers, track_settings
from unstir.recipes.scenarios.load import load, scenes_for

NAMES = {
    *(
        f"{kind}{error}20{end}"
        for kind in ("", "joint_")
        for error in ("min_ade", "min_fde")
        for end in ("", "_ratio")
    ),
    "collision_rate",
    "collision_rate_unguided",
    "speed_in_range",
    "acceleration_in_range",
} - {"joint_min_ade20_ratio", "joint_min_fde20_ratio"}


def recordings(folder, names=("crowds_zara01", "other")):
    """Bent ways of five agents, metres apart."""
    k = np.arange(40)
    for name in names:
        rows = [f"{t} {i} {0.5 * t:.3f} {4 * i + 0.002 * (i - 1) * t * t:.4f}" for i in range(5) for t in k]
        (folder / f"{name}.txt").write_text("\n".join(rows), encoding="utf-8")
    return str(folder)


def test_zara1_is_held_out_where_it_is_and_only_it_has_limits_in_metres(tmp_path):
    recipe = track_settings(recordings(tmp_path), seed=3)
    assert recipe.data.options["heldout"] == "zara1"
    assert recipe.training.seed == 3
    train, heldout = scenes_for(recipe.data)
    assert len(train) == len(heldout) == 21
    numbers = track_numbers(a_model(train), recipe.data, n=3, steps=2)
    assert set(numbers) == NAMES
    assert (numbers["min_ade20"].limit, numbers["min_fde20"].limit) == ("<= 0.27", "<= 0.48")
    assert numbers["collision_rate"].reference == 0.0
    assert numbers["collision_rate"].limit == "<= 0"
    assert numbers["speed_in_range"].reference == pytest.approx(0.99, abs=0.02)


def test_other_tracks_are_held_to_the_baseline_only(tmp_path):
    recipe = track_settings(recordings(tmp_path, ["north", "south"]), seed=0)
    assert recipe.data.options["heldout"] is None
    options = {**recipe.data.options, "heldout": "north"}
    data = recipe.data.model_copy(update={"options": options})
    numbers = track_numbers(a_model(scenes_for(data)[0]), data, n=3, steps=2)
    assert numbers["min_ade20"].limit == ""
    ratio = numbers["min_ade20_ratio"]
    assert ratio.limit == "< 1"
    assert ratio.value == pytest.approx(numbers["min_ade20"].value / numbers["min_ade20"].baseline)


def test_scenes_take_no_label_and_no_guidance_weight(tmp_path):
    recipe = track_settings(recordings(tmp_path), seed=0)
    model = a_model(scenes_for(recipe.data)[0])
    for options in (Options(label="3"), Options(guidance=1.0)):
        with pytest.raises(ValueError, match="scenes are not guided by a class"):
            measure(model, recipe, options)


def test_every_number_is_of_the_steps_that_are_asked_for(monkeypatch):
    """What is held against a limit is what was measured, not the model's own sampler."""
    recipe = default_settings()
    options = {**recipe.data.options, "scenes": 60}
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"options": options})})
    model = build_model(recipe, load(recipe.data))
    seen = steps_of_solves(monkeypatch)
    measure(model, recipe, Options(n=6, steps=2))
    assert seen == {2}
