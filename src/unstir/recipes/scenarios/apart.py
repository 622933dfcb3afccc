"""Forecasts in which nobody walks through anybody: estimates are moved apart at every step of the sampler."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.guidance.operators import Map
from unstir.recipes.scenarios.coordinates import decode
from unstir.training import Scaling


def keep_apart(
    past: Tensor,
    scaling: Scaling,
    future: int,
    *,
    distance: float = 0.25,
    iterations: int = 4,
    step: float = 1.0,
) -> Map:
    r"""An approximate projection onto scenes whose agents keep a distance, for `guidance.Constrained`.

    Gradient descent from the estimate on the overlap of all pairs, in metres of the coefficients:

    .. math:: E = \tfrac12 \sum_k \sum_{i < j} \max(0,\, d - |p_i(k) - p_j(k)|)^2

    with the distance taken at the closest point between two frames, too. Where nobody overlaps the gradient
    is 0 and the estimate stays as it is. Each sample is moved by itself, whatever else is in the batch.

    Source: projections in the reverse process, Christopher et al. 2024, "Constrained synthesis with projected
    diffusion models", algorithm 1.

    Args:
        past: (batch, agents, past, 2) metres, NaN for an absent agent.
        scaling: of the model, between its units and metres.
        future: frames of the future.
        distance: d, metres between the middles.
        iterations: of the descent.
        step: of the descent; 1 moves a lone pair's overlap in one frame apart by what the modes allow.
    """
    agents = past.shape[1]
    first, second = torch.triu_indices(agents, agents, offset=1)
    there = ~past.isnan().flatten(2).any(dim=2)
    both = there[:, first] & there[:, second]
    known = past.nan_to_num()

    def project(x: Tensor) -> Tensor:
        coefficients = scaling.to_data(x)
        for _ in range(iterations):
            gradient = _overlap_gradient(coefficients, known, first, second, both, future, distance)
            coefficients = coefficients - step * gradient
        return scaling.to_internal(coefficients)

    return project


def _overlap_gradient(
    c: Tensor, past: Tensor, first: Tensor, second: Tensor, both: Tensor, future: int, distance: float
) -> Tensor:
    with torch.enable_grad():
        c = c.detach().requires_grad_()
        tracks = torch.cat([past[:, :, -1:].to(c), decode(c, past.to(c), future)], dim=2)
        apart = tracks[:, first] - tracks[:, second]
        start, way = apart[:, :, :-1], apart.diff(dim=2)
        squared = way.square().sum(dim=-1, keepdim=True).clamp(min=1e-9)
        share = (-(start * way).sum(dim=-1, keepdim=True) / squared).clamp(0.0, 1.0).detach()
        # The small number is for two agents in the very same place, where a length has no gradient.
        length = ((start + share * way).square().sum(dim=-1) + 1e-8).sqrt()
        overlap = (distance - length).clamp(min=0.0) * both[..., None].to(c)
        (gradient,) = torch.autograd.grad(0.5 * overlap.square().sum(), c)
    return gradient
