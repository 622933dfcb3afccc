"""How far oxygen reaches from a capillary, and how well a cylindrical axis agrees with Krogh's formula."""

from __future__ import annotations

import math
import sys

import matplotlib.pyplot as plt
import torch

from unstir.generators import diffusion
from unstir.physics.krogh import MMHG, Cylinder, critical_radius
from unstir.spaces import Axis, Grid, Value

capillary, tissue, M, K = 3e-6, 26e-6, 0.03, 2.4e-14  # m, m, mol/(m^3 s), mol/(m s Pa)
cylinder, blood = Cylinder(capillary, tissue, M, K), 95 * MMHG
errors = []
for cells in (20, 40, 80):
    axis = Axis(capillary, tissue, cells, boundary=(Value(blood), "reflect"), metric="cylindrical")
    supply = torch.full((cells,), -M / K, dtype=torch.float64)
    pressure = diffusion(Grid(axis)).solve(0.0, supply)
    errors.append(float((pressure - cylinder.profile(axis.centers, blood)).abs().max()))
print("errors", [f"{e / MMHG:.1e} mmHg" for e in errors], "order", f"{math.log2(errors[1] / errors[2]):.2f}")

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
P = torch.linspace(0, 100, 200, dtype=torch.float64)
for consumption in (0.01, 0.03, 0.1):
    reach = critical_radius(P * MMHG, capillary, consumption, K) * 1e6
    axes.plot(P, reach, label=f"{consumption:g} mol/(m³ s)")
axes.set(xlabel="oxygen in the blood (mmHg)", ylabel="critical radius (µm)", ylim=(0, None))
axes.legend(frameon=False, title="consumption")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "krogh.png", dpi=120)
