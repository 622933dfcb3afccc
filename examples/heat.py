"""Heat in a plate with one insulated and one cooled edge, exactly, and its way back."""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

from unstir.generators import diffusion
from unstir.physics.backward import backward_heat
from unstir.spaces import Axis, Grid, Value

plate = Grid(Axis(0, 1, 120, boundary=("reflect", Value(0.0))), Axis(0, 1, 120))
x, y = plate.centers
start = ((x - 0.4) ** 2 + (y - 0.5) ** 2 < 0.04).double()
A = diffusion(plate, D=1.0)
times = torch.tensor([0.001, 0.01, 0.1], dtype=torch.float64)
states = A.exp(times, start)  # three exponentials, no time steps
print(f"engine: {A.engine}; heat left: {[round(float(m), 4) for m in plate.integrate(states)]}")

noisy = states[0] + 1e-3 * torch.randn(plate.shape, generator=torch.Generator().manual_seed(0)).double()
back = backward_heat(A, 0.001, noisy, noise=1e-3)
print(f"backward: {back.why}")
print(
    f"relative error {float((noisy - start).norm() / start.norm()):.3f} -> "
    f"{float((back.u - start).norm() / start.norm()):.3f}"
)

figure, axes = plt.subplots(1, 5, figsize=(14, 3), layout="constrained")
titles = ["start", *(f"t = {t:g}" for t in times.tolist()), "back from t = 0.001"]
for axis, u, title in zip(axes, [start, *states, back.u], titles, strict=True):
    axis.imshow(u.T, origin="lower", cmap="inferno", vmin=0, extent=(0, 1, 0, 1))
    axis.set(title=title, xlabel="x")
path = sys.argv[1] if len(sys.argv) > 1 else "heat.png"
figure.savefig(path)
print(path)
