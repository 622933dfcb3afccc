"""Carbon hops through iron at five temperatures: the diffusivities, and the barrier that they give away."""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import torch

from unstir.physics.hopping import carbon_in_iron, fit_arrhenius, fit_diffusivity, hop, hop_on_graph
from unstir.spaces import Graph

law = carbon_in_iron()
temperatures = [400.0, 500.0, 600.0, 800.0, 1000.0]
fits = []
for temperature in temperatures:
    rate = law.rate(temperature)
    hops = hop(rate=rate, times=[1000.0 / rate], walkers=5000)
    fits.append(fit_diffusivity(hops))
    print(f"{temperature:5.0f} K: D = ({fits[-1].value:.3e} ± {fits[-1].error:.0e}) m²/s")
fit = fit_arrhenius(temperatures, fits)
print(f"barrier ({fit.energy:.4f} ± {fit.energy_error:.4f}) eV, put in {law.energy} eV")

# On a graph every waiting time is drawn: a ring with one slow bond, and how long its two sides differ.
ring = torch.zeros(8, 8, dtype=torch.float64)
for i in range(8):
    ring[i, (i + 1) % 8] = ring[(i + 1) % 8, i] = 0.1 if i == 3 else 1.0
times = torch.linspace(0.0, 20.0, 41)
paths = hop_on_graph(Graph(ring), torch.full((20_000,), 3), times)
across = (paths.states >= 4).double().mean(1)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.semilogy([1000 / t for t in temperatures], [one.value for one in fits], "o")
left.set(xlabel="1000 K / temperature", ylabel="diffusivity of carbon, m²/s")
right.plot(times, across, label="started left of the slow bond")
right.axhline(0.5, color="grey", lw=1, ls=":")
right.set(xlabel="time, units of 1 / rate", ylabel="share on the other side", ylim=(0, 0.6))
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "hopping.png", dpi=120)
