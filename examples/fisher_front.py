"""The exact travelling wave of Fisher's equation, followed pointwise; and what a choice of method says."""

import sys

import torch
from matplotlib.figure import Figure

from unstir.generators import diffusion
from unstir.physics import evolve
from unstir.physics.fronts import exact_wave
from unstir.physics.reaction import Logistic
from unstir.spaces import Axis, Grid

axis = Axis(-30.0, 70.0, 800)
x = axis.centers
times = torch.tensor([0.0, 5.0, 10.0, 15.0], dtype=torch.float64)
result = evolve(exact_wave(x, 0.0), times, diffusion(Grid(axis), 1.0), Logistic(), tolerance=1e-3)
exact = torch.stack([exact_wave(x, t) for t in times])
print(f"{result.method}, because {result.why}; {result.steps} steps, estimated error {result.error:.1e}")
print(f"largest deviation from the exact wave: {float((result.u - exact).abs().max()):.1e}")
assert float((result.u - exact).abs().max()) < 3e-3

figure = Figure(figsize=(7, 4), layout="constrained")
axes = figure.subplots()
for t, u, closed in zip(times, result.u, exact, strict=True):
    axes.plot(x, u, label=f"t = {float(t):g}")
    axes.plot(x, closed, "k--", lw=0.8)
axes.set(xlabel="place (length)", ylabel="density / capacity", title="dashed: exact wave")
axes.legend(frameon=False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "fisher_front.png", dpi=110)
