"""The backward heat equation with a trained model as the prior: digits blurred by exact heat flow come back.

Needs the run of `unstir demo` in runs/demo (or a folder given as the second argument).
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

import unstir
from unstir.generators import diffusion
from unstir.guidance import MMPS, heat, summarise
from unstir.physics.backward import backward_heat
from unstir.spaces import Axis, Grid

model = unstir.load(sys.argv[2] if len(sys.argv) > 2 else "runs/demo")
truth = model.sample(5, condition={"label": [0, 3, 5, 8, 9]}, guidance=0.5, seed=4)
time, noise, count = 0.5, 0.04, 39

flow = heat((1, 8, 8), time)  # cells of width 1, D = 1: a blur of one cell
clean = model.scaling.to_internal(truth)
blurred = flow(clean) + noise * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))

y = blurred.repeat_interleave(count, 0)  # 39 samples of each
samples = model.sample(
    len(y),
    guide=lambda denoiser: MMPS(denoiser, y, flow, noise),
    solver="stochastic-heun",
    steps=10,
    batch=len(y),
).reshape(5, count, 1, 8, 8)
found = summarise(samples, 0.9, groups=True)

plate = diffusion(Grid(Axis(0, 8, 8), Axis(0, 8, 8)))
mean, deviation = clean.mean(), clean.std()
inverse = (
    backward_heat(plate, time, (blurred - mean).double(), noise=noise, signal=float(deviation)).u.float()
    + mean
)
tikhonov = model.scaling.to_data(inverse).clamp(0, 16)


def error(x: torch.Tensor) -> float:
    return float((x - truth).square().mean().sqrt())


inside = ((found.low <= truth) & (truth <= found.high)).double().mean()
print(
    f"root mean square error (of 16): Tikhonov {error(tikhonov):.2f}, posterior mean {error(found.mean):.2f}"
)
print(f"{float(inside):.0%} of the pixels lie in their 90 % intervals")

rows = {
    "truth": truth,
    "blurred": model.scaling.to_data(blurred),
    "Tikhonov": tikhonov,
    "posterior mean": found.mean,
    "a sample": samples[:, 0],
}
figure, panels = plt.subplots(len(rows), 5, figsize=(6, 6), layout="constrained")
for line, (name, images) in zip(panels, rows.items(), strict=True):
    for axes, image in zip(line, images, strict=True):
        axes.imshow(image[0], cmap="gray", vmin=0, vmax=16)
        axes.set(xticks=[], yticks=[])
    line[0].set_ylabel(name)
path = sys.argv[1] if len(sys.argv) > 1 else "deblurring.png"
figure.savefig(path)
print(path)
