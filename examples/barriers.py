"""How many animals cross a road that lets few through? The grid beside the closed form."""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import torch

from unstir.generators import diffusion
from unstir.physics.barriers import crossed_share
from unstir.spaces import Axis, Grid, Wall

D, distance = 0.5, 2.0  # km^2/day, km
axis = Axis(-40.0, 40.0, 400)
released = torch.zeros(400, dtype=torch.float64)
face = int((axis.edges + distance).abs().argmin())
released[[face - 1, face]] = 0.5 / axis.widths[[face - 1, face]]
t = torch.linspace(0.0, 60.0, 31, dtype=torch.float64)

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for permeability in (0.01, 0.05, 0.25):
    grid = Grid(axis, walls=(Wall(0, 0.0, permeability),))
    u = diffusion(grid, D).exp(t, released)
    share = grid.integrate(u * (axis.centers > 0))
    exact = crossed_share(t, distance, D, permeability)
    print(f"permeability {permeability:4.2f} km/day: largest error {float((share - exact).abs().max()):.1e}")
    (line,) = axes.plot(t, exact, label=f"{permeability:g} km/day")
    axes.plot(t[::3], share[::3], "o", color=line.get_color(), ms=4)
axes.set(xlabel="time, days", ylabel="share behind the road")
axes.legend(title="permeability", frameon=False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "barriers.png", dpi=120)
