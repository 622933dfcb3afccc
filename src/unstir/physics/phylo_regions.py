"""Regions on a tree: lineages that jump between places, as a Markov chain seen only at the tips.

The likelihood by pruning, the probability of each region at each branching, and simulation; any chain, any
number of sites (alignment columns are sites, too).
"""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.noise import Stream, uniform
from unstir.physics.phylo_pruning import Level, downward, plan, upward
from unstir.physics.propagators import chain_generator, propagators
from unstir.spaces import Tree


class RegionEdges:
    """A chain along the edges of a tree; see `unstir.physics.phylo_pruning.Edges`."""

    def __init__(self, tree: Tree, states: Tensor, Q: Tensor) -> None:
        P = propagators(Q, tree.length)
        self.k = k = P.shape[1]
        levels = plan(tree)
        inner = [len(level.inner_nodes) for level in levels]
        leaves = [len(level.leaf_nodes) for level in levels]
        leaf_nodes = torch.cat([level.leaf_nodes for level in levels])
        tip = torch.empty_like(tree.parent).index_copy(0, tree.tips, torch.arange(len(tree.tips)))
        seen = _checked(tree, states, k)[tip[leaf_nodes]]
        # Split once, so that the gradient is one concatenation and not a sum over levels.
        self.P = P
        self.inner = torch.split(P[torch.cat([level.inner_nodes for level in levels])].mT, inner)
        # A row of ones more, for tips whose region is unknown.
        rows = torch.cat([P[leaf_nodes].mT, P.new_ones(len(leaf_nodes), 1, k)], dim=1)
        self.rows = torch.split(rows.reshape(-1, k), [(k + 1) * count for count in leaves])
        first = torch.cat([torch.arange(count) for count in leaves])
        self.index = torch.split((k + 1) * first[:, None] + seen, leaves)
        self.seen = torch.split(seen, leaves)

    def leaves(self, level: Level) -> Tensor:
        known = torch.cat([torch.eye(self.k), torch.ones(1, self.k)]).to(self.P)
        return known[self.seen[level.number]]

    def leaf_messages(self, level: Level) -> Tensor:
        index = self.index[level.number]
        rows = self.rows[level.number].index_select(0, index.reshape(-1))
        return rows.reshape(*index.shape, self.k)

    def up(self, level: Level, partial: Tensor) -> Tensor:
        return torch.bmm(partial, self.inner[level.number])

    def down(self, level: Level, weight: Tensor) -> Tensor:
        return torch.bmm(weight, self.P[level.nodes])


def _checked(tree: Tree, states: Tensor, k: int) -> Tensor:
    """States as (tips, sites), unknown ones as k."""
    states = torch.as_tensor(states)
    if states.is_floating_point() or states.ndim not in (1, 2) or len(states) != len(tree.tips):
        raise ValueError(
            f"states are whole numbers of shape (tips,) or (tips, sites) for {len(tree.tips)} tips, got "
            f"{states.dtype} of shape {tuple(states.shape)}"
        )
    if int(states.min()) < -1 or int(states.max()) >= k:
        raise ValueError(f"states of a chain of {k} are 0 to {k - 1}, or -1 where unknown")
    states = states.reshape(len(states), -1).long()
    return torch.where(states < 0, k, states)


def stationary_regions(Q: Tensor) -> Tensor:
    """The probabilities (k,) that a chain keeps, differentiable in its rates.

    Raises:
        ValueError: for rates that are not a square matrix, negative or not finite, or a chain of which more
            than one mixture is kept.
    """
    Q = chain_generator(Q)
    k = len(Q)
    scale = float(Q.detach().diagonal().abs().max())
    # Replacing one balance equation by the normalisation leaves a regular system.
    system = torch.cat([Q.mT[:-1] / (scale or 1.0), Q.new_ones(1, k)])
    right = torch.zeros(k, dtype=Q.dtype)
    right[-1] = 1.0
    if scale == 0 or float(torch.linalg.cond(system.detach())) > 1e14:
        raise ValueError(
            "this chain keeps more than one mixture of its states; give the root's probabilities"
        )
    shares: Tensor = torch.linalg.solve(system, right).clamp(min=0.0)
    return shares


def _prior(Q: Tensor, root: Tensor | None) -> Tensor:
    if root is None:
        return stationary_regions(Q)
    root = torch.as_tensor(root, dtype=torch.float64)
    if root.shape != (len(Q),) or bool((root.detach() < 0).any()) or abs(float(root.sum()) - 1) > 1e-9:
        raise ValueError(f"the root's probabilities are {len(Q)} numbers of at least 0 that add up to 1")
    return root


def region_log_likelihood(tree: Tree, states: Tensor, Q: Tensor, root: Tensor | None = None) -> Tensor:
    """The log-likelihood of the tips' regions under a chain of rates, by pruning level by level.

    Source: Felsenstein 1981, eq. 2; for regions: Lemey et al. 2009, section "Discrete phylogeographic model".

    Args:
        tree: lengths in the time unit of 1 / rates.
        states: (tips,) or (tips, sites) integers 0 to k - 1 in the order of ``tree.tips``; -1 is unknown.
        Q: (k, k) rates from i to j, reversible or not; the diagonal is recomputed.
        root: (k,) probabilities at the root; None for the stationary ones.

    Returns:
        (sites,) float64, differentiable in ``Q`` and ``root``; (1,) for states of shape (tips,).

    Raises:
        ValueError: for states, rates or probabilities out of range.
    """
    return upward(tree, RegionEdges(tree, states, Q)).log_likelihood(_prior(Q, root))


def ancestral_regions(tree: Tree, states: Tensor, Q: Tensor, root: Tensor | None = None) -> Tensor:
    """The probability of each region at each node given all tips; arguments as in `region_log_likelihood`.

    Returns:
        (n, sites, k) float64; (n, k) for states of shape (tips,).

    Raises:
        ValueError: as there, or if the tips' regions are impossible under these rates.
    """
    marginals = downward(tree, RegionEdges(tree, states, Q), _prior(Q, root))
    return marginals[:, 0] if torch.as_tensor(states).ndim == 1 else marginals


def simulate_regions(
    tree: Tree,
    Q: Tensor,
    sites: int = 1,
    *,
    root: Tensor | None = None,
    seed: int = 0,
    first_index: int = 0,
) -> Tensor:
    """Regions at all nodes, drawn from the chain; site i of a seed is the same however many are drawn.

    Args:
        tree: lengths in the time unit of 1 / rates.
        Q: (k, k) rates.
        sites: how many independent histories.
        root: (k,) probabilities at the root; None for the stationary ones.
        seed: decides the draws.
        first_index: the number of the first history within the seed.

    Returns:
        (n, sites) int64.

    Raises:
        ValueError: for rates or probabilities out of range.
    """
    index = torch.arange(first_index, first_index + sites)
    draws = uniform((len(tree),), seed=seed, index=index, stream=Stream.TREE_REGIONS).T.contiguous()
    below = propagators(Q, tree.length).cumsum(-1)
    states = torch.empty((len(tree), sites), dtype=torch.int64)
    last = below.shape[-1] - 1
    states[tree.root] = torch.bucketize(draws[tree.root], _prior(Q, root).cumsum(0)).clamp(max=last)
    for nodes in tree.levels[1:]:
        rows = below[nodes[:, None], states[tree.parent[nodes]]]
        states[nodes] = (rows < draws[nodes, :, None]).sum(-1).clamp(max=last)
    return states
