"""How often lineages jump between regions, and in which region each branching was, from the tips alone.

Run: python examples/regions.py [picture.png]
"""

import sys

import torch
from matplotlib.figure import Figure

from unstir.physics.draw_tree import COLOURS, draw_branches
from unstir.physics.phylo_region_rates import equal_rates, fit_regions, profile_interval
from unstir.physics.phylo_regions import ancestral_regions, simulate_regions
from unstir.spaces import Tree

tree = Tree.yule(80, rate=1.0, seed=7)
truth = 0.1 * torch.ones(3, 3, dtype=torch.float64)
history = simulate_regions(tree, truth, seed=1)[:, 0]
seen = history[tree.tips]

fit = fit_regions(tree, seen, equal_rates(3))
low, high = torch.tensor(profile_interval(tree, seen, fit, 0)).exp().tolist()
probability = ancestral_regions(tree, seen, fit.rates)
right = (probability.argmax(1) == history)[tree.child_counts > 0].double().mean()
print(f"rate put in 0.1, fitted {float(fit.rates[0, 1]):.3f} (95 % profile interval {low:.3f} to {high:.3f})")
print(f"the most probable region is the true one at {100 * float(right):.0f} % of the branchings")

figure = Figure(figsize=(6, 5), layout="constrained")
axes = figure.subplots()
draw_branches(axes, tree, [COLOURS[i] for i in probability.argmax(1).tolist()])
for i in range(3):
    axes.plot([], [], color=COLOURS[i], lw=3, label=f"region {i + 1}")
axes.set_xlabel("time since the first split (mean times between splits of a lineage)")
axes.legend(frameon=False, loc="upper left")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "regions.png", dpi=120)
