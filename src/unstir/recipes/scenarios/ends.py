"""Agents that end where they are told to: what a network knows roughly is made exact in every estimate."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.guidance.operators import Map
from unstir.recipes.scenarios.coordinates import modes_of
from unstir.training import Scaling


def in_turn(*maps: Map | None) -> Map | None:
    """One projection after the other, those that are None left out; None if all are."""
    given = [one for one in maps if one is not None]

    def project(x: Tensor) -> Tensor:
        for one in given:
            x = one(x)
        return x

    return project if given else None


def reach_ends(tokens: Tensor | None, scaling: Scaling, future: int) -> Map | None:
    r"""The projection onto futures that end where tokens say, for `guidance.Constrained`.

    The end of an agent, in its own frame and from its constant-velocity course, is linear in its
    coefficients, :math:`e = \sum_m a_m x_m`, and so is the nearest state that ends elsewhere:

    .. math:: x_m \leftarrow x_m + \frac{a_m}{\sum_k a_k^2}\, (e^\ast - e)

    In the units of the model every mode has deviation 1, so smooth modes give way most. Who is not asked
    stays as it is.

    Source: the range-null space step of Wang et al. 2023, "Zero-shot image restoration using denoising
    diffusion null-space model", eq. 13.

    Args:
        tokens: (n, agents, 4) as in `tokens`, NaN for what is not asked; None for nothing.
        scaling: of the model, between its units and metres, without a shift.
        future: frames of the future.

    Returns:
        The projection of states (n, 2 * modes, agents); None if no end is asked for.
    """
    if tokens is None:
        return None
    wanted = tokens[:, :, :2].transpose(1, 2)
    asked = ~wanted.isnan()
    if not bool(asked.any()):
        return None

    def project(x: Tensor) -> Tensor:
        state = x.reshape(len(x), 2, -1, x.shape[2])
        last = modes_of(future)[-1, : state.shape[2]].to(x)
        moves = (last * torch.tensor(scaling.scale).to(x).reshape(2, -1))[..., None]
        missing = torch.where(asked.to(x.device), wanted.to(x) - (moves * state).sum(2), 0.0)
        change = moves / moves.square().sum(1, keepdim=True) * missing[:, :, None]
        return (state + change).flatten(1, 2)

    return project
