"""How fast lineages spread: statistics of located trees, as the literature reports them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.physics.phylo_sphere import EARTH, great_circle, unit_vectors
from unstir.spaces import Tree


@dataclass(frozen=True)
class Dispersal:
    """Statistics over the edges of a located tree, with distances d along great circles and durations t.

    Attributes:
        diffusion: sum d^2 / (4 sum t), km^2 per unit of time: Trovao et al. 2015, "weighted diffusion
            coefficient". Of a Brownian motion it estimates D.
        branch_diffusion: mean of d^2 / (4 t): Pybus et al. 2012, "diffusion coefficient".
        velocity: sum d / sum t, km per unit of time: Dellicour et al. 2017, "weighted branch velocity".
        distance: sum d, km.
        duration: sum t.
    """

    diffusion: float
    branch_diffusion: float
    velocity: float
    distance: float
    duration: float


def dispersal(tree: Tree, places: Tensor, *, radius: float = EARTH) -> Dispersal:
    """Statistics of a tree with every node located; edges of no duration count for their distance only.

    Ancestors that are means given the tips lie closer together than lineages went, so a coefficient made from
    them is too small; one made from ancestors drawn from their distribution is not.

    Args:
        tree: at least one edge.
        places: (n, 2) latitude and longitude in degrees of every node.
        radius: of the sphere, km.

    Raises:
        ValueError: for places of another shape, or a tree without any duration.
    """
    if places.shape != (len(tree), 2):
        raise ValueError(
            f"places of {len(tree)} nodes have the shape ({len(tree)}, 2), got {tuple(places.shape)}"
        )
    below = tree.parent >= 0
    points = unit_vectors(places.to(torch.float64))
    d = radius * great_circle(points[below], points[tree.parent[below]])
    t = tree.length[below]
    if not float(t.sum()) > 0:
        raise ValueError("all edges of this tree have length 0, so nothing can be said about speeds")
    lasting = t > 0
    return Dispersal(
        diffusion=float(d.square().sum() / (4.0 * t.sum())),
        branch_diffusion=float((d[lasting] ** 2 / (4.0 * t[lasting])).mean()),
        velocity=float(d.sum() / t.sum()),
        distance=float(d.sum()),
        duration=float(t.sum()),
    )
