"""Any spreading on a tree: lineages that follow a generator, with bounds, walls, currents, potentials.

A lineage's position has a density on the cells. Up an edge the likelihood goes by the backward equation,
down it the density by the forward one; both are exact exponentials of the generator, so that bounds,
barriers and currents are as in the physics.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unstir.generators import Fourier, Generator, Kronecker
from unstir.physics.phylo_pruning import Level, downward, plan, upward
from unstir.spaces import Grid, Tree


class GridEdges:
    """A generator along the edges of a tree; see `unstir.physics.phylo_pruning.Edges`. States are cells."""

    def __init__(
        self, tree: Tree, seen: Tensor, generator: Generator, rate: Tensor | float, positive: bool
    ) -> None:
        shape = (len(tree.tips), *generator.shape)
        if tuple(seen.shape) != shape or not seen.is_floating_point():
            raise ValueError(
                f"what was seen at the tips is a likelihood of every cell, shape {shape}, got {seen.dtype} "
                f"of shape {tuple(seen.shape)}; see `seen_at`"
            )
        if generator.source is not None:
            raise ValueError(
                "a lineage cannot enter through a boundary: use boundaries without inflow or values"
            )
        self.generator = generator
        self.length = tree.length * rate
        self.volumes = generator.volumes.reshape(-1)
        tip = torch.empty_like(tree.parent).index_copy(0, tree.tips, torch.arange(len(tree.tips)))
        levels = plan(tree)
        flat = seen.reshape(len(seen), 1, self.volumes.numel())
        self.seen = [flat[tip[level.leaf_nodes]] for level in levels]
        # With one eigenbasis all edges of a level are one product, each with its own time.
        self.batched = not positive and generator.reversible and isinstance(generator, Fourier | Kronecker)
        self.positive = positive
        if self.batched:
            scale = generator.parts().log_scale
            assert scale is not None
            log_weight = 2.0 * scale - self.volumes.log()
            self.weight = (log_weight - log_weight.max()).exp()
            self.batched = float(log_weight.max() - log_weight.min()) < 10.0
        self.adjoint = None if self.batched else generator.T

    def leaves(self, level: Level) -> Tensor:
        return self.seen[level.number]

    def leaf_messages(self, level: Level) -> Tensor:
        return self._backward(level.leaf_nodes, self.seen[level.number])

    def up(self, level: Level, partial: Tensor) -> Tensor:
        return self._backward(level.inner_nodes, partial)

    def down(self, level: Level, weight: Tensor) -> Tensor:
        density = weight / self.volumes
        return self._moved(self.generator, level.nodes, density) * self.volumes

    def _backward(self, nodes: Tensor, likelihood: Tensor) -> Tensor:
        if self.adjoint is not None:
            return self._moved(self.adjoint, nodes, likelihood)
        # Detailed balance: the backward operator is the forward one seen through the stationary weights.
        return self._moved(self.generator, nodes, likelihood / self.weight) * self.weight

    def _moved(self, generator: Generator, nodes: Tensor, u: Tensor) -> Tensor:
        times = self.length[nodes]
        cells = u.reshape(len(nodes), *generator.shape)
        if self.batched:
            t = times.reshape(-1, *[1] * len(generator.shape))
            moved = generator.function(lambda values: torch.exp(t * values), cells)
        else:
            pairs = zip(times, cells, strict=True)
            moved = torch.stack([generator.exp(t, c, positive=self.positive) for t, c in pairs])
        return moved.clamp(min=0.0).reshape(u.shape)


def seen_at(grid: Grid, x: Tensor) -> Tensor:
    """The likelihood of every cell for lineages seen at given positions.

    A density at a point lies linearly between those of the centres around it, so likelihoods are densities
    per volume with an error of second order in the width of the cells.

    Args:
        grid: a grid of cartesian axes.
        x: (tips, d) positions inside the grid.

    Returns:
        (tips, *grid.shape) float64.

    Raises:
        ValueError: for positions outside the grid, in masked cells, or of another shape.
    """
    if x.ndim != 2 or x.shape[1] != len(grid.axes):
        raise ValueError(
            f"positions on this grid have the shape (tips, {len(grid.axes)}), got {tuple(x.shape)}"
        )
    result = torch.ones(len(x), *[1] * len(grid.axes), dtype=torch.float64)
    for k, axis in enumerate(grid.axes):
        weights = _between(axis, x[:, k].to(torch.float64).contiguous())
        like = [len(x)] + [1] * len(grid.axes)
        like[k + 1] = axis.cells
        result = result * weights.reshape(like)
    result = result / grid.volumes
    if grid.mask is not None:
        result = torch.where(grid.mask, result, 0.0)
        lost = result.flatten(1).amax(1) == 0
        if bool(lost.any()):
            raise ValueError(
                f"position {x[int(lost.nonzero()[0])].tolist()} lies where the grid has no cells"
            )
    return result


def _between(axis: Any, x: Tensor) -> Tensor:
    """(tips, cells) weights of the two centres beside each position; beyond the last it alone counts."""
    outside = ~((x >= axis.low) & (x <= axis.high))
    if bool(outside.any()):
        place = float(x[int(outside.nonzero()[0])])
        raise ValueError(f"position {place:g} lies outside the axis from {axis.low:g} to {axis.high:g}")
    centers = axis.centers
    if axis.periodic:
        length = axis.high - axis.low
        centers = torch.cat([centers[-1:] - length, centers, centers[:1] + length])
    right = torch.searchsorted(centers, x).clamp(1, len(centers) - 1)
    share = ((x - centers[right - 1]) / (centers[right] - centers[right - 1])).clamp(0.0, 1.0)
    rows = torch.arange(len(x))
    weights = torch.zeros(len(x), axis.cells, dtype=torch.float64)
    shift = 1 if axis.periodic else 0
    for index, weight in ((right - 1, 1.0 - share), (right, share)):
        weights.index_put_((rows, (index - shift) % axis.cells), weight, accumulate=True)
    return weights


def _root(generator: Generator, root: Tensor | None) -> Tensor:
    """Masses of the root's density on flattened cells."""
    volumes = generator.volumes.reshape(-1)
    if root is None:
        mask = getattr(generator.space, "mask", None)
        inside = torch.ones_like(volumes) if mask is None else mask.reshape(-1).to(volumes)
        return volumes * inside / (volumes * inside).sum()
    if tuple(root.shape) != generator.shape or bool((root < 0).any()):
        raise ValueError(f"the root's density has the shape {generator.shape} and is at least 0")
    return root.reshape(-1).to(volumes) * volumes


def grid_log_likelihood(
    tree: Tree,
    seen: Tensor,
    generator: Generator,
    *,
    root: Tensor | None = None,
    rate: Tensor | float = 1.0,
    positive: bool = False,
) -> Tensor:
    """The log density of where the tips were seen, lineages following du/dt = rate A u.

    Source: Felsenstein 1981, eq. 2, on cells; bounded Brownian motion: Boucher & Demery 2016, eq. 3.

    Args:
        tree: lengths in the generator's unit of time.
        seen: (tips, *shape) likelihood of every cell, from `seen_at`, or any soft knowledge.
        generator: of the spreading; without inflow.
        root: (*shape,) density of the root's position; None for the same everywhere.
        rate: multiplies the generator; a tensor carries its gradient.
        positive: keep likelihoods far out in the tails right (for tips that are many deviations apart), one
            edge at a time: slower.

    Returns:
        Scalar float64, differentiable in ``seen``, ``root`` and ``rate``.

    Raises:
        ValueError: for arguments of another shape, or a generator with inflow.
    """
    edges = GridEdges(tree, seen, generator, rate, positive)
    return upward(tree, edges).log_likelihood(_root(generator, root))[0]


def ancestral_densities(
    tree: Tree,
    seen: Tensor,
    generator: Generator,
    *,
    root: Tensor | None = None,
    rate: float = 1.0,
    positive: bool = False,
) -> Tensor:
    """The density of each node's position given all tips; arguments as in `grid_log_likelihood`.

    Returns:
        (n, *shape) float64, each with integral 1.

    Raises:
        ValueError: as there, or if where the tips were seen is impossible.
    """
    edges = GridEdges(tree, seen, generator, rate, positive)
    masses = downward(tree, edges, _root(generator, root))[:, 0]
    return (masses / generator.volumes.reshape(-1)).reshape(len(tree), *generator.shape)
