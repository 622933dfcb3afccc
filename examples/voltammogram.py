"""A cyclic voltammogram of a reversible couple, and its peak beside the formula of Randles and Sevcik."""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import torch

from unstir.physics.electrode import sweep_peak, voltammogram

D, c, area, standard = 7e-10, 1.0, 7e-6, 0.1  # m^2/s, mol/m^3, m^2, V
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for rate in (0.02, 0.1, 0.5):
    forth = torch.linspace(0.5, -0.3, 1501, dtype=torch.float64)
    potential = torch.cat([forth, forth.flip(0)[1:]])
    t = torch.arange(len(potential), dtype=torch.float64) * (0.8 / 1500 / rate)
    current = voltammogram(t, potential, standard, D, c, area)
    peak = float(sweep_peak(rate, D, c, area))
    print(f"{rate:4.2f} V/s: peak {float(current.max()) * 1e6:.3f} uA, Randles-Sevcik {peak * 1e6:.3f} uA")
    axes.plot(potential, current * 1e6, label=f"{rate:g} V/s")
axes.set(xlabel="potential (V)", ylabel="current (µA), reduction positive")
axes.legend(frameon=False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "voltammogram.png", dpi=120)
