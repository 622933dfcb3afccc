"""The default recipe: a few thousand simulated scenes, learnt in two minutes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unstir.recipes.scenarios.highway import highway
from unstir.recipes.scenarios.scenes import Scenes
from unstir.recipes.scenarios.simulate import simulate
from unstir.recipes.settings import RunSettings
from unstir.settings import Count, Settings


class SimulationSettings(Settings):
    """``data.options`` of the default recipe."""

    simulator: Literal["streets", "highway"] = Field(
        default="streets", description="our own streets and squares, or highway-env (extra driving)"
    )
    scenes: Count = Field(default=10_000, description="scenes to simulate, the held-out ones included")
    asked: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=0.6, description="share of the agents that are trained with tokens"
    )


def settings() -> RunSettings:
    """Simulated streets, squares and corridors."""
    return RunSettings.model_validate(
        {
            "recipe": "scenarios",
            "data": {"source": "scenarios", "heldout": 0.15},
            "schedule": {"name": "vp"},
            "network": {"kind": "agents", "width": 64, "layers": 3, "heads": 4, "pairs": 16, "points": 6},
            "training": {
                "samples": 280_000,
                "batch": 128,
                "learning_rate": 2e-3,
                "warm_up": 0.03,
                "drop_condition": 0.0,
                "noise_levels": {"mean": -1.2, "std": 1.6},
                "ema": (0.1,),
                "ema_width": 0.1,
            },
            "sampling": {"steps": 20},
        }
    )


def simulated(options: SimulationSettings, share: float, seed: int) -> tuple[Scenes, Scenes]:
    """Training and held-out scenes, of independent random numbers.

    Args:
        options: how many.
        share: of the held-out ones; they have no tokens, which would tell the future.
        seed: of both.

    Raises:
        ModuleNotFoundError: if the simulator is not installed.
    """
    heldout = max(1, round(share * options.scenes))
    make = highway if options.simulator == "highway" else simulate
    train = make(max(1, options.scenes - heldout), seed=2 * seed, tokens=options.asked)
    return train, make(heldout, seed=2 * seed + 1, tokens=0.0)
