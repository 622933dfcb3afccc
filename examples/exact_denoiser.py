"""Watch a solver converge: the error of each against a reference, on a mixture whose denoiser is known."""

from __future__ import annotations

import torch

from unstir import VP, GaussianMixture, sample

torch.manual_seed(0)
mixture = GaussianMixture(VP(), torch.randn(8, 2), stds=torch.full((8,), 0.2))
noise = torch.randn(2000, 2, dtype=torch.float64)
reference = sample(mixture, x_T=noise, solver="multistep-3", steps=500).x

print("evaluations   " + "".join(f"{n:>10}" for n in (5, 10, 20, 40)))
for solver in ("multistep", "multistep-3", "ddim", "heun"):
    errors = []
    for evaluations in (5, 10, 20, 40):
        steps = evaluations // 2 if solver == "heun" else evaluations
        x = sample(mixture, x_T=noise, solver=solver, steps=steps).x
        errors.append(float((x - reference).square().mean().sqrt()))
    print(f"{solver:<14}" + "".join(f"{error:>10.4f}" for error in errors))
