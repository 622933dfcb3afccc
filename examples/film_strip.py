"""Four moments between noise and data, side by side: the README's picture, from the run of `make demo`."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import unstir
from unstir.evaluation.pictures import save_image, tile, to_pixels

model = unstir.load("runs/demo")
labels = torch.arange(80) % 10
solution = model.solve(80, condition={"label": labels}, seed=3, path=True)
assert solution.path is not None

strips = []
last = len(solution.path) - 1
for step in (0, round(0.4 * last), round(0.65 * last), last):
    t = float(solution.grid[step])
    # Scaled to the deviation of data, so that every moment shows in the same range of grey.
    alpha, sigma = float(model.schedule.alpha(t)), float(model.schedule.sigma(t))
    internal = model.scaling.to_internal(solution.path[step])
    x = model.scaling.to_data(internal / math.hypot(alpha, sigma / 1.5))
    strips.append(tile(to_pixels(x, model.config.bounds), 10))
gap = np.full((strips[0].shape[0], 4, 3), 255, np.uint8)
sheet = np.concatenate([part for strip in strips for part in (strip, gap)][:-1], axis=1)
save_image(Image.fromarray(sheet.repeat(4, axis=0).repeat(4, axis=1)), Path("docs/images/film.png"))
