"""Two fields that an equation joins: both inferred from 32 noisy sensors, and the exact answer beside them.

The prior is a random source on the unit square with its potential; its denoiser is known exactly, so no
training is needed. A model of `unstir train fields` takes its place in `infer` and `solve`.
"""

import sys

import torch

from unstir.processes import VP
from unstir.recipes.fields.exact import PairDenoiser, exact_posterior
from unstir.recipes.fields.methods import ExactModel
from unstir.recipes.fields.metrics import apart
from unstir.recipes.fields.pictures import posterior_sheet
from unstir.recipes.fields.poisson import PoissonProblem
from unstir.recipes.fields.residual import Equation
from unstir.recipes.fields.sensors import scattered
from unstir.recipes.fields.task import infer, solve

problem = PoissonProblem(24)  # u = 0 at the edge
truth = torch.cat(problem.draw(1, seed=3), dim=1)[0]  # (2, 24, 24): source, potential
model = ExactModel(PairDenoiser(VP(), problem))

# Both fields from sensors in the potential alone.
sensors = scattered(truth, 32, noise=0.1 * problem.deviations[1], channel=1, seed=1)
found = infer(model, sensors, n=256, seed=0)
seen = sensors.on(tuple(truth.shape))
exact = exact_posterior(problem, seen.y, seen.operator, seen.noise)
for name, channel in (("source", 0), ("potential", 1)):
    one = apart(found.samples, exact, channel)
    print(
        f"{name}: mean within {one.mean_error:.1%} of the exact one, deviations {one.deviation_ratio:.3f} of "
        f"the exact ones, 90 % intervals cover {one.coverage:.1%}"
    )

# The potential of a source that is known everywhere.
solved = solve(model, truth[None, :1], noise=1e-3)
error = (solved[0, 0] - truth[1]).norm() / truth[1].norm()
print(f"solved from the whole source: relative error {error:.2%}")

# A prior that knows each field, but not that they belong together, learns it from the equation.
strangers = ExactModel(PairDenoiser(VP(), problem, joined=False))
for equation in (None, Equation(problem.residual, 0.1)):
    guess = infer(strangers, sensors, equation=equation, n=48, seed=0)
    wrong = (guess.mean[0] - exact.mean[0]).norm() / exact.mean[0].norm()
    print(f"source {'with' if equation else 'without'} the equation: {wrong:.2f} away from the exact mean")

picture = posterior_sheet(truth, seen, found.samples, ("source", "potential"), exact)
path = sys.argv[1] if len(sys.argv) > 1 else "fields.png"
picture.save(path)
print(path)
