"""Brownian motion on a tree: lineages that wander as Gaussians and split.

Everything is exact and takes one pass up the tree (contrasts) and one down (ancestors): no matrix of tips by
tips is made. The covariance of a lineage grows by ``covariance`` per unit of time; in a plane that is 2 D.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.noise import Stream, normal
from unstir.physics.phylo_pruning import plan
from unstir.spaces import Tree


@dataclass(frozen=True)
class Contrasts:
    """What the tips say, passed up to the root.

    Attributes:
        mean: (n, B, d) the best estimate of each node's position from the tips below it.
        variance: (n,) its variance in units of the covariance rate: a time.
        squares: (B, d, d) sum of the squared contrasts, each over its variance.
        log_det: scalar, sum of the logs of the contrasts' variances.
        degrees: tips - 1, the number of contrasts.
    """

    mean: Tensor
    variance: Tensor
    squares: Tensor
    log_det: Tensor
    degrees: int


def contrasts(tree: Tree, x: Tensor) -> Contrasts:
    """Independent contrasts, level by level; nodes may have any number of children.

    Children with means m and variances v at the ends of edges t merge with weights p = 1 / (v + t): the mean
    is that of the weights, its variance 1 / sum p, and the contrasts' squares are sum p (m - mean)^2.

    Source: Felsenstein 1973, eq. 12 to 15; 1985, table 1.

    Args:
        tree: at least two tips.
        x: (tips, B, d) positions of the tips, in the order of ``tree.tips``.

    Raises:
        ValueError: if tips stand at zero distance from each other, so that a contrast has no variance.
    """
    inner_mean, inner_variance = x[:0], x.new_zeros(0)
    tip = torch.empty_like(tree.parent).index_copy(0, tree.tips, torch.arange(len(tree.tips)))
    squares, log_det = x.new_zeros(x.shape[1], x.shape[2], x.shape[2]), x.new_zeros(())
    length = tree.length.to(x)
    means, variances = [], []
    for level in reversed(plan(tree)):
        mean = torch.cat([inner_mean, x[tip[level.leaf_nodes]]])[level.order]
        own = torch.cat([inner_variance, x.new_zeros(len(level.leaf_nodes))])[level.order]
        means.append(mean)
        variances.append(own)
        variance = own + length[level.nodes]
        if not bool((variance.detach() > 0).all()):
            raise ValueError(_zero_distance(tree, level.nodes[int((variance <= 0).nonzero()[0])]))
        precision = 1.0 / variance
        count = int(level.group[-1]) + 1
        total = x.new_zeros(count).index_add(0, level.group, precision)
        weighted = precision[:, None, None] * mean
        inner_mean = (
            x.new_zeros(count, *x.shape[1:]).index_add(0, level.group, weighted) / total[:, None, None]
        )
        inner_variance = 1.0 / total
        gap = mean - inner_mean[level.group]
        squares = squares + torch.einsum("m,mbi,mbj->bij", precision, gap, gap)
        log_det = log_det + variance.log().sum() + total.log().sum()
    nodes = torch.cat([tree.levels[0], *(level.nodes for level in plan(tree))])
    back = torch.empty_like(nodes).index_copy(0, nodes, torch.arange(len(nodes)))
    mean = torch.cat([inner_mean, *reversed(means)])[back]
    variance = torch.cat([inner_variance, *reversed(variances)])[back]
    return Contrasts(mean, variance, squares, log_det, len(tree.tips) - 1)


def _zero_distance(tree: Tree, node: Tensor) -> str:
    assert tree.names is not None
    name = tree.names[int(node)] or f"number {int(node)}"
    return (
        f"tip {name!r} stands at zero distance from its ancestor, where a Brownian motion cannot differ; "
        "merge it with its neighbour or lengthen its edge"
    )


@dataclass(frozen=True)
class BrownianFit:
    """A Brownian motion fitted to the tips.

    Attributes:
        covariance: (..., d, d) per unit of time.
        root: (..., d) position of the root.
        root_covariance: (..., d, d) of that estimate.
        log_likelihood: (...,) at the estimate, restricted or full.
        degrees: the contrasts that the covariance rests on.
    """

    covariance: Tensor
    root: Tensor
    root_covariance: Tensor
    log_likelihood: Tensor
    degrees: int


def fit_brownian(tree: Tree, x: Tensor, *, restricted: bool = True) -> BrownianFit:
    """The covariance per unit of time and the root, in closed form.

    Source: Felsenstein 1973 (restricted: the squares over the degrees of freedom, unbiased), Schluter et al.
    1997 (full: over the number of tips).

    Args:
        tree: at least two tips.
        x: (..., tips, d) positions, in the order of ``tree.tips``; d is at most the number of contrasts.
        restricted: REML, the root integrated out; else maximum likelihood.

    Raises:
        ValueError: for positions of another shape or not finite, or tips at zero distance.
    """
    found, batch = _contrasts(tree, x)
    degrees = found.degrees if restricted else found.degrees + 1
    covariance = (found.squares / degrees).reshape(*batch, *found.squares.shape[-2:])
    root, variance = found.mean[tree.root].reshape(*batch, -1), found.variance[tree.root]
    value = brownian_log_likelihood(tree, x, covariance, None if restricted else root)
    return BrownianFit(covariance, root, variance * covariance, value, found.degrees)


def brownian_log_likelihood(tree: Tree, x: Tensor, covariance: Tensor, root: Tensor | None = None) -> Tensor:
    """Log density of the tips' positions.

    Source: Felsenstein 1973, eq. 15; the root integrates out to the restricted likelihood (Harville 1974).

    Args:
        tree: at least two tips.
        x: (..., tips, d) positions.
        covariance: (..., d, d) per unit of time, symmetric and positive definite.
        root: (..., d) the root's position; None integrates over all positions with weight 1.

    Returns:
        (...,), differentiable in ``x``, ``covariance`` and ``root``.

    Raises:
        ValueError: for positions of another shape or not finite, tips at zero distance, or a covariance that
            is not positive definite.
    """
    found, batch = _contrasts(tree, x)
    d = x.shape[-1]
    covariance = torch.as_tensor(covariance).to(found.squares).expand(*batch, d, d)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if bool((failed > 0).any()):
        raise ValueError("the covariance of a Brownian motion is symmetric and positive definite")
    squares, log_det, degrees = found.squares.reshape(*batch, d, d), found.log_det, found.degrees
    if root is not None:
        variance = found.variance[tree.root]
        gap = found.mean[tree.root].reshape(*batch, d) - root.to(squares)
        squares = squares + gap[..., :, None] * gap[..., None, :] / variance
        log_det, degrees = log_det + variance.log(), degrees + 1
    trace = torch.cholesky_solve(squares, factor).diagonal(dim1=-2, dim2=-1).sum(-1)
    volume = 2.0 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    value: Tensor = -0.5 * (degrees * (d * math.log(2.0 * math.pi) + volume) + d * log_det + trace)
    return value


def brownian_ancestors(tree: Tree, x: Tensor) -> tuple[Tensor, Tensor]:
    r"""Where each node was, given all tips; the position of the root is otherwise unknown.

    Down an edge t, from a parent with mean m_p and variance s_p to a node whose tips below say m with v:

    .. math:: \mu = \frac{t\,m + v\,m_p}{t + v},\quad s = \frac{t\,v}{t + v} + \Big(\frac{v}{t + v}\Big)^2 s_p

    the smoother of Rauch, Tung & Striebel 1965 on a tree. The mean does not depend on the covariance.

    Args:
        tree: at least two tips.
        x: (..., tips, d) positions of the tips.

    Returns:
        Means (..., n, d), and variances (n,) to be multiplied by the covariance per unit of time.

    Raises:
        ValueError: for positions of another shape or not finite, or tips at zero distance.
    """
    found, batch = _contrasts(tree, x)
    mean, variance = [found.mean[tree.root][None]], [found.variance[tree.root][None]]
    for level, above in zip(plan(tree), tree.levels, strict=False):
        v, t = found.variance[level.nodes], tree.length[level.nodes].to(found.variance)
        parents = tree.places[tree.parent[level.nodes]]
        assert len(above) == len(mean[-1])
        share = v / (v + t)
        mean.append(torch.lerp(found.mean[level.nodes], mean[-1][parents], share[:, None, None]))
        variance.append(t * share + share**2 * variance[-1][parents])
    nodes = torch.cat(tree.levels)
    back = torch.empty_like(nodes).index_copy(0, nodes, torch.arange(len(nodes)))
    positions = torch.cat(mean)[back].movedim(0, -2)
    return positions.reshape(*batch, len(tree), -1), torch.cat(variance)[back]


def sample_brownian_ancestors(
    tree: Tree, x: Tensor, covariance: Tensor, count: int, *, seed: int = 0, first_index: int = 0
) -> Tensor:
    """Histories drawn from their distribution given the tips: positions of all nodes, jointly.

    Args:
        tree: at least two tips.
        x: (tips, d) positions of the tips.
        covariance: (d, d) per unit of time.
        count: how many histories.
        seed: decides the draws; history i of a seed is the same however many are drawn.
        first_index: the number of the first within the seed.

    Returns:
        (count, n, d); tips stand where they were seen.

    Raises:
        ValueError: for positions or a covariance that cannot be, or tips at zero distance.
    """
    found, _ = _contrasts(tree, x)
    z = _draws(tree, covariance.to(x), count, seed, first_index, Stream.TREE_ANCESTORS)
    result = torch.empty_like(z)
    root = tree.root
    result[:, root] = found.mean[root] + found.variance[root].sqrt() * z[:, root]
    for level in plan(tree):
        nodes = level.nodes
        v, t = found.variance[nodes], tree.length[nodes].to(x)
        share = (v / (v + t))[:, None]
        middle = torch.lerp(found.mean[nodes, 0], result[:, tree.parent[nodes]], share)
        result[:, nodes] = middle + (t[:, None] * share).sqrt() * z[:, nodes]
    return result


def simulate_brownian(
    tree: Tree, covariance: Tensor, root: Tensor, count: int = 1, *, seed: int = 0, first_index: int = 0
) -> Tensor:
    """Positions of all nodes, drawn from the motion; history i of a seed is the same however many are drawn.

    Args:
        tree: any.
        covariance: (d, d) per unit of time, positive definite.
        root: (d,) where it starts.
        count: how many independent histories.
        seed: decides the draws.
        first_index: the number of the first history within the seed.

    Returns:
        (count, n, d) of the type of ``covariance``.

    Raises:
        ValueError: for a covariance that is not positive definite.
    """
    z = _draws(tree, covariance, count, seed, first_index, Stream.TREE_WALK)
    steps = z * tree.length.to(z).sqrt()[:, None]
    steps[:, tree.root] = root.to(z)
    for nodes in tree.levels[1:]:
        steps[:, nodes] += steps[:, tree.parent[nodes]]
    return steps


def _draws(tree: Tree, covariance: Tensor, count: int, seed: int, first: int, stream: Stream) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if int(failed):
        raise ValueError("the covariance of a Brownian motion is symmetric and positive definite")
    index = torch.arange(first, first + count)
    d = covariance.shape[-1]
    z = normal((len(tree), d), seed=seed, index=index, stream=stream, dtype=covariance.dtype)
    steps: Tensor = z @ factor.mT
    return steps


def _contrasts(tree: Tree, x: Tensor) -> tuple[Contrasts, tuple[int, ...]]:
    """Contrasts of positions (..., tips, d), and their leading axes."""
    if x.ndim < 2 or x.shape[-2] != len(tree.tips) or not x.is_floating_point():
        raise ValueError(
            f"positions are floating-point numbers of shape (..., tips, d) for {len(tree.tips)} tips, got "
            f"{x.dtype} of shape {tuple(x.shape)}"
        )
    wrong = ~x.detach().isfinite().all(-1).reshape(-1, x.shape[-2]).all(0)
    if bool(wrong.any()):
        raise ValueError(f"the position of tip {tree.tip_names[int(wrong.nonzero()[0])]!r} is not finite")
    flat = x.reshape(-1, *x.shape[-2:]).movedim(-2, 0)
    return contrasts(tree, flat), tuple(x.shape[:-2])
