"""How far are the laws of solid-state kinetics from the boundary that really moves?"""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import torch

from unstir.physics.kinetics import Carter, fit_rate
from unstir.physics.shrinking_shell import react

law = Carter(volume_ratio=2.1)
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for supply in (0.5, 0.1, 0.02):
    t = torch.linspace(0.02, 1.1, 40, dtype=torch.float64) * law.end / (2 * supply)
    shell = react(t, supply, volume_ratio=2.1)
    deviation = (shell.conversion - law.conversion(2 * supply * t)).abs().max()
    fit = fit_rate(t, shell.conversion, law)
    print(
        f"supply {supply:4.2f}: the law is off by at most {deviation:.3f}, "
        f"and a fit finds k = {fit.k / (2 * supply):.3f} of the true one"
    )
    axes.plot(2 * supply * t, shell.conversion, label=f"moving boundary, supply {supply:g}")
g = torch.linspace(0, 1.1 * law.end, 200, dtype=torch.float64)
axes.plot(g, law.conversion(g), "k--", label="Carter–Valensi (supply 0)")
axes.set(xlabel="k t", ylabel="conversion")
axes.legend(frameon=False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "solid_kinetics.png", dpi=120)
