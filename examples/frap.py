"""What one recovery curve can decide: diffusion and binding fitted to it, with intervals that may be open."""

from __future__ import annotations

import sys

import torch
from matplotlib.figure import Figure

from unstir.physics.frap import observed, reaction_diffusion
from unstir.physics.frap_data import make_curve
from unstir.physics.frap_fit import fit_curves

D, k_on, k_off, mobile = 0.5, 0.3, 0.1, 0.9
t = torch.arange(-10, 160, dtype=torch.float64) * 0.25
recovery = reaction_diffusion(t[t >= 0], D, 1.0, (k_on,), (k_off,))
clean = torch.cat([torch.ones(10, dtype=torch.float64), observed(recovery, depth=0.8, mobile=mobile)])
images = 100.0 * (clean + 0.01 * torch.randn(len(t), generator=torch.Generator().manual_seed(1)))

curve = make_curve(t.numpy(), images.numpy(), bleach=10, name="simulated curve")
fit = fit_curves([curve], spot_radius=1.0)
print("\n".join(fit.lines()))
print(f"put in: D = {D}, k_on = {k_on}, k_off = {k_off}, mobile = {mobile}")

figure = Figure(figsize=(9, 5))
fit.draw(figure)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "frap.png", dpi=120)
