"""Acting by diffusion: learn from demonstrations in a maze, and let the policy plan, act and plan anew."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from unstir.recipes.domain import Options
from unstir.recipes.policy import load, rollouts, settings
from unstir.recipes.policy.check import heldout
from unstir.recipes.policy.maze import Maze
from unstir.recipes.policy.task import DiffusionPlanner, Policy
from unstir.recipes.policy.video import routes_picture
from unstir.recipes.run import train_run

# A few seconds of training, so the policy is a beginner: `unstir check policy` trains the whole of it.
recipe = settings()
recipe = recipe.model_copy(
    update={
        "data": recipe.data.model_copy(update={"options": {"demonstrations": 40}}),
        "network": recipe.network.model_copy(update={"width": 16}),
        "training": recipe.training.model_copy(update={"samples": 12_800}),
    }
)
splits = load(recipe.data)
with TemporaryDirectory() as folder:
    model = train_run(recipe, Path(folder) / "run", splits=splits).model

numbers = heldout(DiffusionPlanner(model), splits.heldout, Options(n=100))
error = numbers["plan_error"]
print(
    f"plans differ from held-out demonstrations by {error.value:.2f}, standing still by {error.baseline:.2f}"
)

episodes = rollouts(Policy(model, executed=8), Maze, range(6))
print(f"{sum(e.success for e in episodes)} of {len(episodes)} episodes reach the goal")
routes_picture([("Diffusion policy", episodes)]).save("policy.png")
