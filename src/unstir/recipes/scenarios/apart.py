"""Forecasts in which nobody walks through anybody: estimates are moved apart at every step of the sampler."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.guidance.operators import Map
from unstir.recipes.scenarios.clearance import least_distance
from unstir.recipes.scenarios.coordinates import decode
from unstir.training import Scaling

PACE = 1.5
"""Share of Polyak's step that is taken: 2 moves a lone overlap apart at once, below 2 it always converges."""


def keep_apart(
    past: Tensor,
    scaling: Scaling,
    future: int,
    *,
    distance: float = 0.25,
    iterations: int = 4,
) -> Map:
    r"""An approximate projection onto scenes whose agents keep a distance, for `guidance.Constrained`.

    Gradient descent from the estimate on the overlap of all pairs, in metres,

    .. math:: E = \tfrac12 \sum_k \sum_{i < j} \max(0,\, d - |p_i(k) - p_j(k)|)^2

    with the distance taken at the closest point between two frames, too. The steps are Polyak's,
    :math:`E \nabla E / |\nabla E|^2` in the units of the network, since the least of E is 0. Where nobody
    overlaps the estimate stays as it is. Each sample is moved by itself, whatever else is in the batch.

    Source: projections in the reverse process, Christopher et al. 2024, "Constrained synthesis with projected
    diffusion models", algorithm 1; the step, Polyak 1969, "Minimization of unsmooth functionals".

    Args:
        past: (batch, agents, past, 2) metres, NaN for an absent agent.
        scaling: of the model, between its units and metres.
        future: frames of the future.
        distance: d, metres between the middles.
        iterations: of the descent, at most; samples without an overlap need none.
    """
    agents = past.shape[1]
    there = ~past.isnan().flatten(2).any(dim=2)
    first, second = torch.triu_indices(agents, agents, offset=1, device=past.device)
    met = (there[:, first] & there[:, second]).any(dim=0)
    first, second = first[met], second[met]
    both = there[:, first] & there[:, second]
    known = past.nan_to_num()

    def energy(x: Tensor, rows: Tensor) -> Tensor:
        overlap = _overlap(scaling.to_data(x), known[rows], first, second, future, distance)
        return 0.5 * (overlap * both[rows, :, None].to(x)).square().sum(dim=(1, 2))

    def project(x: Tensor) -> Tensor:
        rows = torch.arange(len(x), device=x.device)
        if not len(first):
            return x
        moved = x.clone()
        with torch.no_grad():
            rows = rows[energy(x, rows) > 0]
        for _ in range(iterations):
            if not len(rows):
                break
            with torch.enable_grad():
                state = moved[rows].detach().requires_grad_()
                value = energy(state, rows)
                (gradient,) = torch.autograd.grad(value.sum(), state)
            value, squared = value.detach(), gradient.square().sum(dim=(1, 2))
            moved[rows] = state.detach() - (PACE * value / (squared + 1e-12))[:, None, None] * gradient
            rows = rows[value > 0]
        return moved

    return project


def _overlap(c: Tensor, past: Tensor, first: Tensor, second: Tensor, future: int, distance: float) -> Tensor:
    """By how much pairs are nearer than a distance, (batch, pairs, future), from coefficients in metres."""
    tracks = torch.cat([past[:, :, -1:].to(c), decode(c, past.to(c), future)], dim=2)
    return (distance - least_distance(tracks[:, first] - tracks[:, second])).clamp(min=0.0)
