"""Will a new mutant take over? Simulation, Markov chain and diffusion against Kimura's formula."""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import torch

from unstir.physics.population import WrightFisher
from unstir.physics.population_formulas import fixation_probability

copies = 100  # of a gene in 50 diploid individuals
selections = torch.linspace(-0.03, 0.05, 9, dtype=torch.float64)
kimura = fixation_probability(1 / copies, selections, copies)

print("      s   simulated       chain      Kimura")
simulated = []
for s, formula in zip(selections.tolist(), kimura.tolist(), strict=True):
    model = WrightFisher(copies, s)
    ends = model.simulate(torch.ones(4000, dtype=torch.int64), generations=5000, seed=2)
    simulated.append(float((ends == copies).double().mean()))
    print(f"{s:7.3f} {simulated[-1]:11.5f} {float(model.fixation()[1]):11.5f} {formula:11.5f}")

fine = torch.linspace(-0.035, 0.055, 200, dtype=torch.float64)
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
axes.plot(fine, fixation_probability(1 / copies, fine, copies), "k", lw=1, label="Kimura 1962")
axes.plot(selections, simulated, "o", label="4,000 populations each")
axes.axhline(1 / copies, color="gray", lw=0.8, ls=":", label="neutral, 1 / 2N")
axes.set(
    xlabel="advantage s of the mutant", ylabel="probability of fixation", title="one new mutant in 2N = 100"
)
axes.legend(frameon=False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "population.png", dpi=120)
