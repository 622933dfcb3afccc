"""Release from a sphere behind a film of water: the series of roots beside a spherical axis."""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import torch

from unstir.generators import diffusion
from unstir.physics.release import matrix_release
from unstir.spaces import Axis, Grid, Robin

D, radius, cells = 1e-10, 1e-3, 80  # m^2/s, m
t = torch.linspace(0, 3, 61, dtype=torch.float64) * radius**2 / D
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for biot in (0.3, 1.0, 10.0):
    transfer = biot * D / radius
    grid = Grid(Axis(0, radius, cells, boundary=("reflect", Robin(transfer, D, 0)), metric="spherical"))
    start = torch.ones(cells, dtype=torch.float64)
    solved = 1 - grid.integrate(diffusion(grid, D).exp(t, start)) / grid.integrate(start)
    series = matrix_release(t, D, radius, transfer)
    print(f"k a / D = {biot:4.1f}: largest difference {float((solved - series).abs().max()):.1e}")
    (line,) = axes.plot(t / 3600, series, label=f"k a / D = {biot:g}")
    axes.plot(t[::4] / 3600, solved[::4], "o", ms=4, color=line.get_color())
axes.set(xlabel="time (h)", ylabel="fraction released (points: spherical axis)")
axes.legend(frameon=False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "capsule.png", dpi=120)
