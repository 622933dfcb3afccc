"""Where an outbreak began, from a dated tree and the places of its samples; with a wall that nothing crosses.

Run: python examples/phylogeography.py [picture.png]
"""

import sys

import torch
from matplotlib.figure import Figure

from unstir.generators import diffusion
from unstir.physics.phylo_brownian import brownian_ancestors, fit_brownian, simulate_brownian
from unstir.physics.phylo_grid import ancestral_densities, seen_at
from unstir.spaces import Axis, Grid, Tree

tree = Tree.yule(25, rate=1.0, seed=4)
D = 0.5
history = simulate_brownian(tree, 2 * D * torch.eye(1).double(), torch.tensor([1.0]), seed=2)[0].abs()
tips = history[tree.tips]  # reflected by a coast at 0

fit = fit_brownian(tree, tips)
mean, variance = brownian_ancestors(tree, tips)
grid = Grid(Axis(0.0, 8.0, 400))
density = ancestral_densities(tree, seen_at(grid, tips), diffusion(grid, D))[tree.root]

x = grid.centers[0]
spread = 2 * D * variance[tree.root]
gaussian = torch.exp(-((x - mean[tree.root]) ** 2) / (2 * spread)) / (2 * torch.pi * spread).sqrt()
print(f"D put in {D}, fitted without the coast {float(fit.covariance) / 2:.3f}")
at_sea = 1 - float(grid.integrate(gaussian))
print(f"probability of an origin in the sea: {at_sea:.3f} without the coast, 0 with it")
print(f"integral of the density between the coast and 8: {float(grid.integrate(density)):.12f}")

figure = Figure(figsize=(6, 3.6), layout="constrained")
axes = figure.subplots()
axes.plot(x, gaussian, color="#adb5bd", label="unbounded Brownian motion")
axes.plot(x, density, color="#1f6feb", label="reflected at the coast")
axes.plot(tips, torch.zeros_like(tips), "|", color="#22303c", ms=12, label="samples")
axes.axvline(float(history[tree.root]), color="#d9480f", ls=":", label="true origin")
axes.set_xlabel("distance from the coast (lengths)")
axes.set_ylabel("density of the origin (1/length)")
axes.legend(frameon=False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "phylogeography.png", dpi=120)
