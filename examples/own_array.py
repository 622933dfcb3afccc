"""Train on an array of your own, sample, and compare: signals of two kinds, no download, about a minute."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import unstir
from unstir.recipes.arrays import settings
from unstir.recipes.run import Report, prepare_folder, train_run

rng = np.random.default_rng(0)
phase, kind = rng.uniform(0, 2 * np.pi, 2000), rng.integers(2, size=2000)
t = np.linspace(0, 1, 32)
waves = np.where(kind[:, None] == 0, np.sin(6 * t + phase[:, None]), np.sign(np.sin(12 * t + phase[:, None])))
np.savez("waves.npz", x=waves[:, None].astype(np.float32), labels=kind)

chosen, notes = settings("waves.npz")
print(*notes, sep="\n")
out = Path("runs/waves")
prepare_folder(out, resume=False, overwrite=True)
train_run(chosen, out, report=Report(say=print))

model = unstir.load(out)
smooth = model.sample(500, condition={"label": "0"}, seed=1)
print("roughness of class 0:", float(smooth.diff(dim=-1).abs().max(dim=-1).values.mean()))
