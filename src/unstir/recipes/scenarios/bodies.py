"""Bodies that do not overlap: estimates whose vehicles and pedestrians touch are moved apart."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.guidance.operators import Map
from unstir.recipes.scenarios.clearance import discs, headings, least_distance
from unstir.recipes.scenarios.coordinates import decode
from unstir.recipes.scenarios.ranges import Ranges
from unstir.training import Scaling

MARGIN = 0.02
"""Metres of clearance that bodies are moved to."""


def overlaps(tracks: Tensor, kinds: Tensor, *, past: int, margin: float) -> Tensor:
    """Half the squared overlaps of bodies, summed over pairs and intervals, (n,) square metres.

    Of two bodies the discs that overlap most count. Differentiable.

    Args:
        tracks: (n, agents, frames, 2) metres, finite.
        kinds: (n, agents), -1 for absent ones.
        past: frames of the past.
        margin: metres of clearance below which two bodies count as overlapping.
    """
    first, second = torch.triu_indices(kinds.shape[1], kinds.shape[1], offset=1)
    middles, radii = discs(tracks[:, :, past - 1 :], headings(tracks, past - 1), kinds)
    apart = middles[:, first][:, :, :, None] - middles[:, second][:, :, None]
    touch = (radii[:, first] + radii[:, second] + margin)[..., None, None, None]
    there = (kinds[:, first] >= 0) & (kinds[:, second] >= 0)
    overlap = (touch - least_distance(apart)).amax((2, 3)).clamp(min=0.0) * there[..., None]
    return 0.5 * (overlap**2).sum((1, 2))


def polyak_step(x: Tensor, energy: Map) -> Tensor:
    r"""Each sample a step towards energy 0, by itself; where the energy is 0 it stays as it is.

    .. math:: x \leftarrow x - \frac{2 E}{\lVert \nabla E \rVert^2} \nabla E

    Source: Polyak 1969, "Minimization of unsmooth functionals", eq. 4, for the square of a distance.

    Args:
        x: (n, channels, agents).
        energy: x to (n,), differentiable, at least 0.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        left = energy(x)
        (gradient,) = torch.autograd.grad(left.sum(), x)
    size = (gradient**2).flatten(1).sum(1)
    step = torch.where(size > 1e-12, 2.0 * left.detach() / size.clamp(min=1e-12), 0.0)
    return x.detach() - step[:, None, None] * gradient


def bodies_apart(
    past: Tensor,
    kinds: Tensor,
    scaling: Scaling,
    future: int,
    *,
    margin: float = MARGIN,
    iterations: int = 4,
    ranges: Ranges | None = None,
    strained: Tensor | None = None,
) -> Map:
    r"""An approximate projection onto scenes in which no body overlaps another, for `guidance.Constrained`.

    Descent on E = `overlaps`, with ranges plus `Ranges.excess`, in the units of the model, where every mode
    has deviation 1: smooth displacements are large and jitter small, so tracks stay smooth.
    The step is Polyak's (`polyak_step`), which ends a lone overlap at once where distances are linear. Where
    E is 0 a sample stays as it is, and each sample is moved by itself.

    Source: projections in the reverse process, Christopher et al. 2024, "Constrained synthesis with projected
    diffusion models", algorithm 1.

    Args:
        past: (n, agents, past, 2) metres, finite.
        kinds: (n, agents), -1 for absent ones.
        scaling: of the model, between its units and metres.
        future: frames of the future.
        margin: metres between bodies.
        iterations: of the descent.
        ranges: of speeds and accelerations to keep, too; None for any.
        strained: (n, agents) bool, whose acceleration may leave the range; nobody's by default.
    """
    free = torch.zeros_like(kinds, dtype=torch.bool) if strained is None else strained

    def energy(x: Tensor, rows: Tensor) -> Tensor:
        before, who, frames = past[rows].to(x), kinds[rows], past.shape[2]
        tracks = torch.cat([before, decode(scaling.to_data(x), before, future)], dim=2)
        result = overlaps(tracks, who, past=frames, margin=margin)
        return result if ranges is None else result + ranges.excess(tracks, who, free[rows], past=frames)

    def project(x: Tensor) -> Tensor:
        x, rows = x.detach().clone(), torch.arange(len(x), device=x.device)
        with torch.no_grad():  # most samples are done before they begin
            rows = rows[energy(x, rows) > 0.0]
        for _ in range(iterations if len(rows) else 0):
            x[rows] = polyak_step(x[rows], lambda part: energy(part, rows))
        return x

    return project
