"""Several agents' futures together: forecasts of recorded tracks, and rare but valid scenes."""

from unstir.recipes.domain import Domain
from unstir.recipes.scenarios import default, recorded
from unstir.recipes.scenarios.check import check, measure
from unstir.recipes.scenarios.load import load
from unstir.recipes.scenarios.scenes import Scenes
from unstir.recipes.scenarios.show import FILES, panels
from unstir.recipes.scenarios.task import forecast, forecasts

DOMAIN = Domain(
    recipes={"scenarios": default.settings, "eth-ucy": recorded.settings},
    load=load,
    check=check,
    on_data=True,
    measure=measure,
    panels=panels,
    files=FILES,
)
"""What the command line knows of scenes."""

__all__ = ["DOMAIN", "Scenes", "forecast", "forecasts"]
