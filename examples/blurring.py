"""Blurring diffusion on a ring of sensors: heat flow on any graph as a forward process, and the way back."""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

from unstir.denoisers import Dataset
from unstir.generators import diffusion
from unstir.processes import Cosine, HeatOnGraph
from unstir.samplers import sample
from unstir.spaces import Graph

n = 24
ring = Graph(torch.roll(torch.eye(n), 1, 0) + torch.roll(torch.eye(n), -1, 0))
laplacian = -diffusion(ring).matrix().to_dense()
schedule = HeatOnGraph.from_laplacian(laplacian, Cosine(), blur=6.0)

angle = 2 * torch.pi * torch.arange(n, dtype=torch.float64) / n
turn = torch.linspace(0, 2 * torch.pi, 200, dtype=torch.float64)[:, None]
data = torch.sign(torch.cos(angle - turn) + 0.3)  # a plateau somewhere on the ring

flowed = torch.linalg.matrix_exp(-laplacian * float(schedule.clock(0.5))) @ data[0]
expected = schedule.d_min * data[0] + (1 - schedule.d_min) * flowed
mean, std = schedule.marginal(data[:1], 0.5)
difference = float((mean[0] - schedule.alpha(0.5) * expected).abs().max())
print(f"blur against the matrix exponential: {difference:.1e}")

solution = sample(Dataset(schedule, data), (64, n), solver="multistep", steps=40, path=True)
nearest = (solution.x.double()[:, None] - data).square().mean(2).min(1).values.sqrt()
print(f"ends of 64 ways back are {float(nearest.max()):.1e} from the data (root mean square, the farthest)")

figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", sharey=True)
for t in (0.0, 0.3, 0.5, 0.7):
    mean, std = schedule.marginal(data[:1], t)
    axes[0].plot(mean[0], label=f"t = {t:g}, noise {float(std):.2f}")
axes[0].set(xlabel="sensor", ylabel="value", title="forward, without its noise")
for step in (0, 16, 24, 30, 40):
    axes[1].plot(solution.path[step, 3], label=f"t = {float(solution.grid[step]):.2f}")
axes[1].set(xlabel="sensor", title="one way back", ylim=(-3, 3))
for axis in axes:
    axis.legend(frameon=False, fontsize=8)
path = sys.argv[1] if len(sys.argv) > 1 else "blurring.png"
figure.savefig(path)
print(path)
