"""From an Ito SDE to the operator on a grid that moves its density."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.generators import Generator, diffusion
from unstir.processes.sde import SDE
from unstir.processes.sde_steps import divergence
from unstir.processes.shapes import as_float64
from unstir.spaces import Grid


def fokker_planck(sde: SDE, space: Grid, t: float = 0.0) -> Generator:
    r"""What `SDE.generator` documents: flux :math:`(f - \nabla D) p - D \nabla p` with D = g^2 / 2.

    Args:
        sde: an SDE whose states are (batch, d).
        space: a grid of d cartesian axes.
        t: the time of the coefficients.

    Raises:
        ValueError: for a radial axis, or noise that correlates two axes.
    """
    if any(axis.metric != "cartesian" for axis in space.axes):
        raise ValueError("the Fokker-Planck operator of an SDE needs cartesian axes, one for each component")
    time = as_float64(t)
    x = torch.stack([centre.reshape(-1) for centre in space.centers], dim=1)
    g = sde.amplitude(x, time)
    if g.ndim == 3:
        squared = g @ g.mT
        D = 0.5 * squared.diagonal(dim1=1, dim2=2)
        crossed = squared - torch.diag_embed(2.0 * D)
        if float(crossed.detach().abs().max()) > 1e-12 * float(squared.detach().abs().max()):
            raise ValueError(
                "the noise of this SDE correlates two components, and a grid's generator has no "
                "cross-diffusion; rotate the coordinates so that g g^T is diagonal"
            )
    else:
        D = (0.5 * g * g).expand(x.shape)
    drift = sde.drift(x, time)
    if not sde.additive:
        drift = drift - 0.5 * divergence(sde, x, time)
    return diffusion(space, D=_fields(D, space), drift=_fields(drift, space))


def _fields(values: Tensor, space: Grid) -> tuple[Tensor, ...]:
    """One coefficient for each axis from (cells, d): a number where it is the same everywhere."""
    columns = values.unbind(dim=1)
    same = [bool((column == column[0]).all()) for column in columns]
    pairs = zip(columns, same, strict=True)
    return tuple(column[0] if constant else column.reshape(space.shape) for column, constant in pairs)
