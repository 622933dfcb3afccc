"""The charged layer at a wall: the solved equations beside Gouy and Chapman's closed form, and its order."""

from __future__ import annotations

import math
import sys

import matplotlib.pyplot as plt
import torch

from unstir.physics.double_layer import debye_hueckel, debye_length, gouy_chapman
from unstir.physics.poisson_nernst_planck import Electrolyte, Ends, steady
from unstir.spaces import Axis, Value

c, wall = 10.0, 0.05  # mol/m^3, V
length = debye_length([c, c], [1, -1])
errors = []
for cells in (50, 100, 200):
    axis = Axis(0.0, 12 * length, cells)
    salt = Electrolyte((1, -1), (1.3e-9, 2e-9))
    start = torch.full((2, cells), c, dtype=torch.float64)
    ions = steady(axis, salt, start, Ends((Value(wall), Value(0.0)), (None, (c, c))))
    exact = gouy_chapman(axis.centers, wall, length)
    errors.append(float((ions.potential[0] - exact).abs().max()))
print("errors", [f"{e:.2e} V" for e in errors], "order", f"{math.log2(errors[1] / errors[2]):.2f}")

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
x = axis.centers * 1e9
axes.plot(x, ions.potential[0] * 1e3, lw=3, alpha=0.5, label="Poisson–Nernst–Planck")
axes.plot(x, exact * 1e3, "k--", lw=1, label="Gouy–Chapman")
axes.plot(x, debye_hueckel(axis.centers, wall, length) * 1e3, ":", label="Debye–Hückel")
axes.set(xlabel="distance from the wall (nm)", ylabel="potential (mV)")
axes.legend(frameon=False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "double_layer.png", dpi=120)
