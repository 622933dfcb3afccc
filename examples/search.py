"""How long should a protein slide along DNA before it lets go? As long as an excursion takes."""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import torch

from unstir.physics.search import FacilitatedSearch

search = FacilitatedSearch(length=5_000.0, D=4e5, off_rate=200.0, tau_3d=0.002)  # bp and seconds
best = search.optimum()
print(f"best slide {1e3 * best.tau_1d:.3f} ms, an excursion {1e3 * search.tau_3d:.3f} ms")

slides = torch.logspace(-4, -0.5, 8, dtype=torch.float64)
measured = []
for tau_1d in slides.tolist():
    model = FacilitatedSearch(search.length, search.D, 1 / tau_1d, search.tau_3d)
    times = model.simulate(300).times
    measured.append(float(times.mean()))
    error = float(times.std()) / 300**0.5
    print(
        f"slide {1e3 * tau_1d:9.3f} ms: {measured[-1]:.3f} ± {error:.3f} s, exactly {model.mean_time():.3f} s"
    )

fine = torch.logspace(-4.1, -0.4, 200, dtype=torch.float64)
exact = [FacilitatedSearch(search.length, search.D, 1 / t, search.tau_3d).mean_time() for t in fine.tolist()]
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
axes.loglog(1e3 * fine, exact, "k", lw=1, label="exact")
axes.loglog(1e3 * slides, measured, "o", label="300 searchers each")
axes.axvline(1e3 * search.tau_3d, color="gray", ls=":", label="time of an excursion")
axes.set(xlabel="mean time of a slide (ms)", ylabel="mean search time (s)")
axes.legend(frameon=False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "search.png", dpi=120)
