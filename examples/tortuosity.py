"""The tortuosity of a packing of spheres, voxel by voxel, beside Maxwell's and Bruggeman's laws."""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import torch

from unstir.noise import Stream, uniform
from unstir.physics.porous import bruggeman, effective_diffusivity, maxwell

cells, radius = 40, 0.12
x = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
pores = torch.ones(cells, cells, cells, dtype=torch.bool)
porosity, value = [], []
for number, spot in enumerate(uniform((96, 3), seed=0, index=torch.tensor([0]), stream=Stream.SIMULATE)[0]):
    gap = (x[:, None] - spot).abs()
    gap = torch.minimum(gap, 1 - gap) ** 2
    pores &= gap[:, None, None, 0] + gap[:, None, 1] + gap[:, 2] > radius**2
    if number % 16 == 7:
        found = effective_diffusivity(pores)
        porosity.append(found.porosity)
        value.append(found.value)
        print(
            f"porosity {found.porosity:.3f}: D_e/D {found.value:.3f}, Maxwell "
            f"{float(maxwell(1.0, 0.0, 1 - found.porosity)):.3f}, tortuosity {found.tortuosity:.3f}"
        )
line = torch.linspace(min(porosity), 1, 100, dtype=torch.float64)
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
axes.plot(line, maxwell(1.0, 0.0, 1 - line), "--", label="Maxwell")
axes.plot(line, bruggeman(line), ":", label="Bruggeman")
axes.plot(porosity, value, "o", label="solved")
axes.set(xlabel="porosity", ylabel="D effective / D")
axes.legend(frameon=False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "tortuosity.png", dpi=120)
