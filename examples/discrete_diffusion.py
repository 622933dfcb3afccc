"""Words behind masks: how far solvers in steps are from the known law of the words, and the exact one."""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import torch

from unstir.denoisers import Sequences
from unstir.processes import absorbing
from unstir.samplers import sample_jumps

words = ["cat", "cot", "cut", "bat", "but", "bit", "sit", "sat", "set", "met"]
letters = sorted(set("".join(words)))
data = torch.tensor([[letters.index(c) for c in word] for word in words])
denoiser = Sequences(absorbing(len(letters) + 1), data)


def distance(x: torch.Tensor) -> float:
    """Total variation between the samples and the words, all alike."""
    share = (x[:, None] == data).all(-1).double().mean(0)
    return 0.5 * (float((share - 1 / len(words)).abs().sum()) + 1 - float(share.sum()))


steps, count = [2, 4, 8, 16, 32], 5000
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for solver in ("tau-leaping", "ancestral"):
    far = [distance(sample_jumps(denoiser, count, solver=solver, steps=n).x) for n in steps]
    print(f"{solver:<12}" + "".join(f"{one:8.4f}" for one in far))
    axes.loglog(steps, far, "o-", label=solver)
exact = sample_jumps(denoiser, count, solver="exact")
print(f"{'exact':<12}{distance(exact.x):8.4f} with {float(exact.nfe.double().mean()):.1f} evaluations")
axes.axhline(distance(exact.x), color="black", ls=":", label="exact (what is left is chance)")
axes.set_xscale("log", base=2)
axes.set(xlabel="steps", ylabel="total variation from the words")
axes.legend(frameon=False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "discrete_diffusion.png", dpi=120)
