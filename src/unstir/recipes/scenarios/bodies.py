"""Bodies that do not overlap: estimates whose vehicles and pedestrians touch are moved apart."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.guidance.operators import Map
from unstir.recipes.scenarios.clearance import discs, headings
from unstir.recipes.scenarios.coordinates import decode
from unstir.training import Scaling


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
    start, way = apart[..., :-1, :], apart.diff(dim=-2)
    squared = (way**2).sum(-1).clamp(min=1e-9)
    share = (-(start * way).sum(-1) / squared).clamp(0.0, 1.0).detach()
    # The small number is for two discs in the very same place, where a length has no gradient.
    length = (((start + share[..., None] * way) ** 2).sum(-1) + 1e-8).sqrt()
    touch = (radii[:, first] + radii[:, second] + margin)[..., None, None, None]
    there = (kinds[:, first] >= 0) & (kinds[:, second] >= 0)
    overlap = (touch - length).amax((2, 3)).clamp(min=0.0) * there[..., None]
    return 0.5 * (overlap**2).sum((1, 2))


def bodies_apart(
    past: Tensor, kinds: Tensor, scaling: Scaling, future: int, *, margin: float = 0.02, iterations: int = 4
) -> Map:
    r"""An approximate projection onto scenes in which no body overlaps another, for `guidance.Constrained`.

    Descent on E = `overlaps` in the units of the model, where every mode has deviation 1: smooth
    displacements are large and jitter small, so tracks stay smooth.
    The step is Polyak's for a least value of 0,

    .. math:: x \leftarrow x - \frac{2 E}{\lVert \nabla E \rVert^2} \nabla E,

    which ends a lone overlap at once where distances are linear. What does not overlap stays as it is, and
    each sample is moved by itself.

    Source: projections in the reverse process, Christopher et al. 2024, "Constrained synthesis with projected
    diffusion models", algorithm 1; the step, Polyak 1969, "Minimization of unsmooth functionals", eq. 4.

    Args:
        past: (n, agents, past, 2) metres, finite.
        kinds: (n, agents), -1 for absent ones.
        scaling: of the model, between its units and metres.
        future: frames of the future.
        margin: metres between bodies.
        iterations: of the descent.
    """

    def project(x: Tensor) -> Tensor:
        for _ in range(iterations):
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                future_tracks = decode(scaling.to_data(x), past.to(x), future)
                tracks = torch.cat([past.to(x), future_tracks], dim=2)
                energy = overlaps(tracks, kinds, past=past.shape[2], margin=margin)
                (gradient,) = torch.autograd.grad(energy.sum(), x)
            size = (gradient**2).flatten(1).sum(1)
            step = torch.where(size > 1e-12, 2.0 * energy.detach() / size.clamp(min=1e-12), 0.0)
            x = x.detach() - step[:, None, None] * gradient
        return x

    return project
