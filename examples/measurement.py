"""One number is measured of a point in the plane: each method beside the exact posterior."""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

from unstir.denoisers import GaussianMixture, given
from unstir.evaluation import sliced_wasserstein
from unstir.guidance import DPS, MMPS, PiGDM, Twisted
from unstir.processes import VP
from unstir.samplers import sample

angle = 2 * torch.pi * torch.arange(8, dtype=torch.float64) / 8
means = 2.0 * torch.stack([angle.cos(), angle.sin()], dim=1)
prior = GaussianMixture(VP(), means, stds=torch.full((8,), 0.25))
matrix = torch.tensor([[1.0, 0.35]], dtype=torch.float64)  # y = x + 0.35 y, with noise
y, noise = torch.tensor([1.5], dtype=torch.float64), 0.3

posterior = given(prior, y, matrix, noise)
exact = posterior.sample_data(2048, seed=0)
floor = sliced_wasserstein(posterior.sample_data(2048, seed=1), exact)

runs = {
    "DPS": sample(DPS(prior, y, matrix, noise), (2048, 2), steps=100).x,
    "PiGDM": sample(PiGDM(prior, y, matrix, noise), (2048, 2), steps=100).x,
    "MMPS": sample(MMPS(prior, y, matrix, noise, iterations=1), (2048, 2), steps=100).x,
    "Twisted, 256 particles": sample(
        prior, (2048, 2), solver=Twisted(y, matrix, noise, particles=256), steps=100
    ).x,
}
figure, panels = plt.subplots(1, 5, figsize=(15, 3.4), layout="constrained", sharex=True, sharey=True)
for axes, (name, x) in zip(
    panels, {"exact posterior": posterior.sample_data(2048, seed=1), **runs}.items(), strict=True
):
    distance = float(sliced_wasserstein(x.double(), exact))
    axes.scatter(*means.T, s=260, color="0.9", zorder=0)
    line = torch.tensor([-3.0, 3.0])
    axes.plot((float(y) - 0.35 * line), line, color="0.7", linewidth=1)
    axes.scatter(*x[:1000].T, s=3, alpha=0.5)
    axes.set(title=f"{name}\ndistance {distance:.3f}", xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
    if name in runs:
        print(f"{name}: sliced Wasserstein distance {distance:.3f} to the exact posterior")
print(f"between two exact sets: {float(floor):.3f}")
path = sys.argv[1] if len(sys.argv) > 1 else "measurement.png"
figure.savefig(path)
print(path)
