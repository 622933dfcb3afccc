"""A density solved forward on a grid, and its score at any point: what the reverse of any diffusion needs."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.generators import Generator
from unstir.processes import as_float64


class ForwardDensity:
    r"""p_t = exp(tA) p_0 on a grid, with the score :math:`\nabla \log p_t` between its cells.

    With A the generator of an Ito equation (`SDE.generator`) the score runs it backward:
    ``sde.reverse(density.score).simulate(x, falling_grid)``. The density is computed on the positive path, so
    the logarithm is right in the tails too. The score at a face is the difference of log p across it over
    the distance of the centres (order 2), interpolated linearly between faces and the other axes' centres;
    beyond the outer faces it is that of the nearest point inside.

    Source: Anderson 1982 (the reverse needs nothing but the score); Song et al. 2021, eq. 6.

    Args:
        generator: conservative, on a grid of cartesian axes of at least 2 cells each, without mask.
        p_0: density of the grid's shape, at least 0; normalised here.

    Raises:
        ValueError: for another shape or space, or a density that is negative.
    """

    def __init__(self, generator: Generator, p_0: Tensor) -> None:
        grid = generator.space
        axes = getattr(grid, "axes", ())
        if (
            not axes
            or any(axis.metric != "cartesian" or axis.cells < 2 for axis in axes)
            or grid.mask is not None
        ):
            raise ValueError("a score needs a whole grid of cartesian axes with at least 2 cells each")
        density = torch.as_tensor(p_0, dtype=torch.float64)
        if tuple(density.shape) != generator.shape:
            raise ValueError(f"p_0 has the shape {generator.shape} of the grid, got {tuple(density.shape)}")
        if not bool((torch.isfinite(density) & (density >= 0)).all()) or not bool((density > 0).any()):
            raise ValueError("a density is finite, at least 0 and not 0 everywhere")
        self.generator, self.grid = generator, grid
        self.p_0 = density / grid.integrate(density)
        self._kept: tuple[float, list[Tensor]] | None = None

    def at(self, t: Tensor | float) -> Tensor:
        """p_t, of the grid's shape, or (T, *shape) for several times."""
        return self.generator.exp(t, self.p_0, positive=True)

    def score(self, x: Tensor, t: Tensor | float) -> Tensor:
        """grad log p_t at points, of the shape of x.

        Args:
            x: (batch, d).
            t: scalar, at least 0.
        """
        slopes = self._slopes(float(as_float64(t)))
        columns = [self._interpolate(slope, x.double(), k) for k, slope in enumerate(slopes)]
        return torch.stack(columns, dim=1).to(x)

    def _slopes(self, t: float) -> list[Tensor]:
        """The score at the inner faces across every axis (on periodic axes at all faces)."""
        if self._kept is None or self._kept[0] != t:
            log_p = self.at(t).clamp(min=1e-300).log()
            slopes = []
            for k, axis in enumerate(self.grid.axes):
                like = [1] * log_p.ndim
                like[k] = -1
                rise, gap = log_p.diff(dim=k), axis.centers.diff()
                if axis.periodic:
                    wrap = log_p.narrow(k, 0, 1) - log_p.narrow(k, axis.cells - 1, 1)
                    across = 0.5 * (axis.widths[:1] + axis.widths[-1:])
                    rise, gap = torch.cat([wrap, rise, wrap], k), torch.cat([across, gap, across])
                slopes.append(rise / gap.reshape(like))
            self._kept = t, slopes
        return self._kept[1]

    def _interpolate(self, field: Tensor, x: Tensor, across: int) -> Tensor:
        """A field on the faces across one axis, at points, (batch,)."""
        places, shares = [], []
        for k, axis in enumerate(self.grid.axes):
            nodes = axis.centers if k != across else axis.edges if axis.periodic else axis.edges[1:-1]
            place, share = _bracket(nodes, x[:, k], axis.length if axis.periodic and k != across else None)
            places.append(place)
            shares.append(share)
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for corner in range(2 ** len(places)):
            upper = [corner >> k & 1 for k in range(len(places))]
            index, weight = [], torch.ones_like(total)
            for k, side in enumerate(upper):
                index.append(places[k][side])
                weight = weight * (shares[k] if side else 1.0 - shares[k])
            total = total + weight * field.to(x.device)[tuple(index)]
        return total


def _bracket(nodes: Tensor, x: Tensor, period: float | None) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """((lower node, upper node), share of the upper one) for each point; the ends hold beyond them."""
    nodes = nodes.to(x.device)
    n = len(nodes)
    if n == 1:
        zero = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        return (zero, zero), torch.zeros_like(x)
    place = torch.searchsorted(nodes, x.contiguous()) - 1
    if period is None:
        low = place.clamp(0, n - 2)
        share = ((x - nodes[low]) / (nodes[low + 1] - nodes[low])).clamp(0.0, 1.0)
        return (low, low + 1), share
    low, high = place % n, (place + 1) % n
    gap = (nodes[high] - nodes[low]) % period
    return (low, high), (((x - nodes[low]) % period) / gap).clamp(0.0, 1.0)
