"""The whole way from a file of tracks to numbers: training, forecasts, evaluation."""

import numpy as np
import pytest

from unstir.recipes.domain import Options
from unstir.recipes.run import train_run
from unstir.recipes.scenarios.check import measure
from unstir.recipes.scenarios.load import scenes_for
from unstir.recipes.scenarios.metrics import best_of
from unstir.recipes.scenarios.recorded import settings
from unstir.recipes.scenarios.task import forecasts


def circles(path, agents: int = 40, frames: int = 150):
    """Everyone walks on a circle of their own, left or right, alone in their part of the plane."""
    rng = np.random.default_rng(0)
    rows = ["frame,id,x,y"]
    for i in range(agents):
        radius, rate = rng.uniform(2.0, 4.0), rng.choice([-1, 1]) * rng.uniform(0.05, 0.15)
        angle = rng.uniform(0.0, 2.0 * np.pi) + rate * np.arange(frames)
        x, y = 50.0 * (i % 7) + radius * np.cos(angle), 50.0 * (i // 7) + radius * np.sin(angle)
        rows += [f"{k},{i},{x[k]:.5f},{y[k]:.5f}" for k in range(frames)]
    path.write_text("\n".join(rows), encoding="utf-8")
    return str(path)


@pytest.mark.slow
def test_a_model_learns_what_constant_velocity_cannot_know(tmp_path):
    recipe = settings()
    recipe = recipe.model_copy(
        update={
            "data": recipe.data.model_copy(
                update={
                    "path": circles(tmp_path / "a.csv"),
                    "heldout": 0.2,
                    "options": {"agents": 4, "stride": 2},
                }
            ),
            "network": recipe.network.model_copy(update={"width": 32, "layers": 1}),
            "training": recipe.training.model_copy(update={"samples": 40_000, "learning_rate": 3e-3}),
        }
    )
    model = train_run(recipe, tmp_path / "run").model
    _, heldout = scenes_for(recipe.data)
    some = heldout.take(slice(0, 20))
    single = best_of(forecasts(model, some, 1), some).ade.mean()
    numbers = measure(model, recipe, Options(n=20))
    assert single < 0.1
    assert numbers["min_ade20"].value < 0.5 * numbers["min_ade20"].baseline
    assert numbers["min_ade20"].limit == ""  # that of zara1 is not one of other tracks
    assert numbers["collision_rate"].reference == 0.0
