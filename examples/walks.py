"""A crowd of random walkers, the explicit scheme that is their law, and the heat kernel both tend to."""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import torch

from unstir.physics.heat import heat_kernel
from unstir.physics.walks import ftcs, lattice_walk
from unstir.spaces import Axis, Grid

steps, stay = 100, 0.2
r = (1 - stay) / 2  # the probability of a step to the left, and D dt / dx^2 of the scheme
grid = Grid(Axis(-60.5, 60.5, 121))
(x,) = grid.centers
start = (x == 0).double()

walkers = lattice_walk(20000, steps, stay=stay, seed=0)[:, 0]
scheme = ftcs(start, grid, D=1.0, dt=r, steps=steps)
kernel = heat_kernel(x, t=float(steps), D=r)
share = torch.bincount(walkers + 60, minlength=121) / len(walkers)

print(f"mean squared displacement: {walkers.double().square().mean():.2f}, exactly {2 * r * steps:.2f}")
print(f"scheme against heat kernel: {(scheme - kernel).abs().max():.1e}")
print(f"walkers against scheme: {(share - scheme).abs().max():.1e}, by chance {(0.045 / 20000) ** 0.5:.1e}")

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.bar(x.numpy(), share.numpy(), width=1.0, color="lightgray", label="20,000 walkers")
axes.plot(x, scheme, ".", label="explicit scheme")
axes.plot(x, kernel, "k", lw=1, label="heat kernel")
axes.set(xlabel="site", ylabel=f"share after {steps} steps")
axes.legend(frameon=False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "walks.png", dpi=120)
