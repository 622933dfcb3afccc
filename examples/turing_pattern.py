"""A Turing pattern of Schnakenberg's model: growth rates first, then the pattern they lead to."""

import math
import sys

import torch
from matplotlib.figure import Figure

from unstir.generators import diffusion
from unstir.noise import Stream, normal
from unstir.physics import evolve
from unstir.physics.reaction import Schnakenberg
from unstir.physics.turing import Turing
from unstir.spaces import Axis, Grid

model, D = Schnakenberg(0.1, 0.9), (1.0, 20.0)
state = model.states()[0]
theory = Turing(model.jacobian(state), D)
wave, growth = theory.fastest()
axis = Axis(0.0, 6 * 2.0 * math.pi / wave, 72, boundary="periodic")
grid = Grid(axis, axis)
generators = (diffusion(grid, D[0]), diffusion(grid, D[1]))

q = 6 * 2.0 * math.pi / axis.length
square = (2.0 * axis.cells / axis.length * math.sin(0.5 * q * axis.length / axis.cells)) ** 2
ripple = torch.cos(q * grid.centers[0])
u_0 = state[:, None, None] + 1e-5 * theory.mode(square)[:, None, None] * ripple
later = evolve(u_0, 1.0, generators, model, tolerance=1e-9)
share = [((u[0] - state[0]) * ripple).sum() for u in (u_0, later.u)]
rate = float((share[1] / share[0]).log())
print(f"growth rate of the grid's own wave: {rate:.6f}, theory {float(theory.growth(square)):.6f}")
assert abs(rate / float(theory.growth(square)) - 1.0) < 1e-3

first = torch.zeros(1, dtype=torch.int64)
noise = normal((2, 72, 72), seed=1, index=first, stream=Stream.PERTURB, dtype=torch.float64)[0]
end = evolve(state[:, None, None] * (1 + 1e-3 * noise), 15.0 / growth, generators, model, tolerance=1e-3)
figure = Figure(figsize=(5.5, 4.6), layout="constrained")
axes = figure.subplots()
image = axes.imshow(end.u[0].numpy(), extent=(0, axis.length, 0, axis.length), origin="lower")
axes.set(xlabel="place (length)", ylabel="place (length)")
axes.set_title(f"fastest wavelength {2 * math.pi / wave:.1f}")
figure.colorbar(image, label="activator u")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "turing_pattern.png", dpi=110)
