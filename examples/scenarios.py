"""Streets are simulated, a small diffusion learns them in half a minute, and is asked for near misses."""

import sys
import tempfile
from pathlib import Path

from unstir.recipes.run import train_run
from unstir.recipes.scenarios.data import halves
from unstir.recipes.scenarios.default import SimulationSettings, settings, simulated
from unstir.recipes.scenarios.draw import draw_scenes
from unstir.recipes.scenarios.ranges import Ranges
from unstir.recipes.scenarios.rates import rates
from unstir.recipes.scenarios.show import side_by_side
from unstir.recipes.scenarios.simulate import simulate

train, heldout = simulated(SimulationSettings(scenes=2000), share=0.1, seed=0)
run = settings()
short = run.training.model_copy(update={"samples": 30_000})
splits = halves(train, heldout)
with tempfile.TemporaryDirectory() as folder:
    model = train_run(run.model_copy(update={"training": short}), Path(folder), splits=splits).model

scenes = simulate(150, seed=1, tokens=0.0)
usual = Ranges.of(train)
found = rates(model, "near_miss", scenes, usual)
free, guided, real = (float(part.float().mean()) for part in (found.free, found.guided, found.data))
print(f"near misses: {free:.0%} of the scenes without guidance, {guided:.0%} with it")
print(f"and {real:.0%} of the simulated ones; {found.touch.float().mean():.0%} of those asked for touch")

path = sys.argv[1] if len(sys.argv) > 1 else "scenarios.png"
draw_scenes(side_by_side(model, scenes, "near_miss", 3, ranges=usual), columns=2).save(path)
print(path)
