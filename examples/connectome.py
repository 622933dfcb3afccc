"""Where did it begin? A pattern that spread over a small network is traced back to its seed and its time."""

from __future__ import annotations

import sys

import torch
from matplotlib.figure import Figure

from unstir.physics.connectome import fit_values
from unstir.physics.network_diffusion import NetworkDiffusion
from unstir.spaces import Graph

draws = torch.Generator().manual_seed(0)
place = torch.rand(60, 2, generator=draws, dtype=torch.float64)
strength = torch.exp(-((torch.cdist(place, place) / 0.2) ** 2)).fill_diagonal_(0.0)
graph = Graph(strength * (strength > 0.02), [f"region {i}" for i in range(60)])

truth, origin = 1.5, 17
pattern = NetworkDiffusion(graph).seeded([(origin,)], torch.tensor([truth], dtype=torch.float64))[0, 0]
noise = 0.3 * pattern.std() * torch.randn(60, generator=draws, dtype=torch.float64)
fit = fit_values(graph, pattern + noise, column="pathology")
print("\n".join(fit.lines()))
print(f"put in: seed region {origin}, beta t = {truth}")

figure = Figure(figsize=(9, 5))
fit.draw(figure)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "connectome.png", dpi=120)
