"""Likelihoods up a tree and marginals down it, one level at a time (Felsenstein's pruning).

What a state is, and how it changes along an edge, is given by an `Edges`; here is only the order of work.
Sites are independent histories on the same tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from unstir.spaces import Tree

_SMALL = 1e-60
"""Partial likelihoods below this are scaled up: far from underflow, and seldom reached."""


class Level(NamedTuple):
    """The indices that a pass needs at one level.

    Attributes:
        number: from 0, the children of the root, downward.
        nodes: (m,) in the order of their parents.
        inner_nodes: (i,) those with children.
        leaf_nodes: (l,) those without.
        inner: (i,) positions in ``nodes`` of those with children.
        order: (m,) where each node is in the concatenation of inner nodes and tips.
        group: (m,) number of each node's parent among the inner nodes of the level above.
        rounds: pairs to multiply until one is left for each parent, and whether some are alone: their partner
            is the count, one past the last.
    """

    number: int
    nodes: Tensor
    inner_nodes: Tensor
    leaf_nodes: Tensor
    inner: Tensor
    order: Tensor
    group: Tensor
    rounds: list[tuple[Tensor, Tensor, bool]]


class Edges(Protocol):
    """How likelihoods pass along the edges of a level; states are the last axis, k of them."""

    def leaves(self, level: Level) -> Tensor:
        """Likelihood of what was seen at the level's tips, (l, sites, k)."""

    def leaf_messages(self, level: Level) -> Tensor:
        """The same at the tips' parents, (l, sites, k): `up` of `leaves`."""

    def up(self, level: Level, partial: Tensor) -> Tensor:
        """Likelihood below the inner nodes as a function of the parents' states, (i, sites, k)."""

    def down(self, level: Level, weight: Tensor) -> Tensor:
        """Weights of the parents' states to those of all the nodes' states, (m, sites, k): adjoint of up."""


@lru_cache(maxsize=8)
def plan(tree: Tree) -> list[Level]:
    """The levels of a tree below the root, made once for each of the last eight trees."""
    sizes = np.array([len(nodes) for nodes in tree.levels])
    nodes = torch.cat(tree.levels).numpy()
    level = np.repeat(np.arange(len(sizes)), sizes)
    has = tree.child_counts.numpy()[nodes] > 0
    inner_before = np.cumsum(has) - has
    first = np.cumsum(sizes) - sizes
    inner_first = inner_before[first]
    inner_sizes = np.append(inner_first[1:], has.sum()) - inner_first
    rank = inner_before - inner_first[level]
    place = np.arange(len(nodes)) - first[level]
    order = np.where(has, rank, inner_sizes[level] + place - rank)
    rank_of = np.empty(len(nodes), dtype=np.int64)
    rank_of[nodes] = rank
    group = rank_of[tree.parent.numpy()[nodes]]
    children = tree.child_counts.numpy()[nodes[has]]

    def pieces(values: np.ndarray, counts: np.ndarray) -> list[Tensor]:
        return [torch.from_numpy(part) for part in np.split(values, np.cumsum(counts)[:-1])]

    split = [tree.levels, pieces(nodes[has], inner_sizes), pieces(nodes[~has], sizes - inner_sizes)]
    split += [pieces(place[has], inner_sizes), pieces(order, sizes), pieces(group, sizes)]
    above = pieces(children, inner_sizes)
    return [
        Level(
            d - 1,
            *(nodes_at, inner_nodes, leaf_nodes, inner, order_at, group_at),
            _rounds(above[d - 1].numpy(), order_at.numpy()),
        )
        for d, (nodes_at, inner_nodes, leaf_nodes, inner, order_at, group_at) in enumerate(
            zip(*split, strict=True)
        )
        if d > 0
    ]


def _rounds(children: np.ndarray, order: np.ndarray) -> list[tuple[Tensor, Tensor, bool]]:
    if (children == 2).all():
        return [(torch.from_numpy(order[::2].copy()), torch.from_numpy(order[1::2].copy()), False)]
    rounds = []
    while True:
        first = np.repeat(np.cumsum(children) - children, children)
        rank = np.arange(len(first)) - first
        left = np.flatnonzero(rank % 2 == 0)
        alone = rank[left] + 1 == np.repeat(children, children)[left]
        padded = np.append(order, len(order))
        right = padded[np.where(alone, len(order), left + 1)]
        rounds.append((torch.from_numpy(order[left]), torch.from_numpy(right), bool(alone.any())))
        children = (children + 1) // 2
        order = np.arange(int(children.sum()))
        if len(order) == len(children):
            return rounds


@dataclass
class Upward:
    """What a pass from the tips to the root found.

    Attributes:
        root: (sites, k) scaled likelihood of all tips given the root's state.
        log_scale: (sites,) log of what it was divided by.
        partials: likelihoods below the nodes of each level, (m, sites, k), if kept.
        messages: the same at the nodes' parents, if kept.
    """

    root: Tensor
    log_scale: Tensor
    partials: list[Tensor]
    messages: list[Tensor]

    def log_likelihood(self, prior: Tensor) -> Tensor:
        """(sites,) for weights (k,) of the root's state."""
        return (self.root @ prior).log() + self.log_scale


def upward(tree: Tree, edges: Edges, *, keep: bool = False) -> Upward:
    """Felsenstein's pruning, level by level, scaled against underflow.

    Source: Felsenstein 1981, eq. 2; scaling: Yang 2000, section 2.

    Args:
        tree: with at least two nodes.
        edges: how likelihoods pass along edges; differentiable if they are.
        keep: whether to keep what `downward` needs.
    """
    levels = plan(tree)
    inner: Tensor | None = None
    log_scale: Tensor = torch.zeros((), dtype=torch.float64)
    partials: list[Tensor] = []
    messages: list[Tensor] = []
    for level in reversed(levels):
        leaves = len(level.leaf_nodes) > 0
        parts = [] if inner is None else [edges.up(level, inner)]
        if leaves:
            parts.append(edges.leaf_messages(level))
        message = parts[0] if len(parts) == 1 else torch.cat(parts)
        if keep:
            seen = [] if inner is None else [inner]
            partials.append(torch.cat([*seen, edges.leaves(level)] if leaves else seen)[level.order])
            messages.append(message[level.order])
        for left, right, padded in level.rounds:
            if padded:
                message = torch.cat([message, torch.ones_like(message[:1])])
            message, scale = _scaled(message.index_select(0, left) * message.index_select(0, right))
            log_scale = log_scale if scale is None else log_scale + scale
        inner = message
    assert inner is not None
    sites = inner.shape[1]
    return Upward(inner[0], log_scale.expand(sites), partials[::-1], messages[::-1])


def _scaled(partial: Tensor) -> tuple[Tensor, Tensor | None]:
    """Partial likelihoods near 1, and the log of the factor summed over nodes, (sites,), None for 0."""
    largest = partial.detach().amax(-1, keepdim=True)
    if float(largest.min()) > _SMALL:
        return partial, None
    safe = torch.where(largest > 0, largest, 1.0)
    return partial / safe, largest.log().sum(0)[:, 0]


def downward(tree: Tree, edges: Edges, prior: Tensor) -> Tensor:
    r"""The probability of each state at each node given everything seen at the tips.

    From the root down, with L the likelihood below a node and m its message to the parent:

    .. math:: \pi_c(j) = L_c(j) \sum_i P_{ij}\, \pi_p(i) / m_c(i)

    Source: Yang, Kumar & Nei 1995, eq. 2, in the form of Pearl 1988, section 4.2. The quotient is 0 where the
    message is, since no history goes through such a state.

    Args:
        tree: with at least two nodes.
        edges: how likelihoods pass along edges.
        prior: (k,) weights of the root's state.

    Returns:
        (n, sites, k), each adding up to 1.

    Raises:
        ValueError: if what was seen at the tips is impossible.
    """
    found = upward(tree, edges, keep=True)
    posterior = _normalised((found.root * prior)[None])
    result = posterior.new_empty((len(tree), *found.root.shape))
    result[tree.root] = posterior[0]
    inner = posterior
    for level, partial, message in zip(plan(tree), found.partials, found.messages, strict=True):
        above = inner[level.group]
        quotient = torch.where(message > 0, above / torch.where(message > 0, message, 1.0), 0.0)
        posterior = _normalised(partial * edges.down(level, quotient))
        result[level.nodes] = posterior
        inner = posterior[level.inner]
    return result


def _normalised(weight: Tensor) -> Tensor:
    total = weight.sum(-1, keepdim=True)
    if not bool((total > 0).all()):
        raise ValueError(
            "what was seen at the tips is impossible on this tree (its likelihood is 0): a state cannot be "
            "reached, or tips at zero distance differ"
        )
    return weight / total
