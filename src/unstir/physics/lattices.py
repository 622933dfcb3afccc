r"""Lattices of sites between which atoms hop, and the diffusivity of each in closed form.

A lattice has kinds of sites with equally many neighbours, each with its displacement and its own kind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Lattice:
    """Sites of several kinds with equal numbers of neighbours.

    Args:
        unit: length of the displacements' unit, m.
        moves: (kinds, neighbours, 3) int64 displacements.
        next: (kinds, neighbours) int64, the kind of site that each leads to.

    Raises:
        ValueError: for shapes that do not match, more than 8 kinds, or a unit that is not above 0.
    """

    unit: float
    moves: Tensor
    next: Tensor

    def __post_init__(self) -> None:
        if not 0.0 < self.unit < math.inf:
            raise ValueError(f"the unit of a lattice is a length above 0, got {self.unit}")
        kinds, ways = self.next.shape
        if self.moves.shape != (kinds, ways, 3) or kinds > 8 or ways < 2:
            raise ValueError(
                "a lattice has moves (kinds, neighbours, 3) and next (kinds, neighbours), with at most 8 "
                f"kinds and at least 2 neighbours, got {tuple(self.moves.shape)} and {tuple(self.next.shape)}"
            )

    def diffusivity(self, rate: float) -> Tensor:
        r"""The exact tensor of diffusion for the total rate of leaving a site, (3, 3), m^2 / s.

        .. math:: D = \frac{\Gamma}{2} \left\langle \delta \delta^T + \delta\,(Z m)_{next}^T
                  + (Z m)_{next}\,\delta^T \right\rangle

        with the mean displacement m of each kind and the sum over later hops
        :math:`Z = (I - P + 1 \pi^T)^{-1}`; hops that remember their predecessor are thus counted right.
        Source: Kemeny & Snell 1960, section 4.6 (central limit theorem of a chain). Needs kinds that all
        lead to each other and no mean drift.

        Args:
            rate: Gamma, 1 / s.
        """
        kinds, ways = self.next.shape
        moves = self.moves.double() * self.unit
        chain = torch.zeros(kinds, kinds, dtype=torch.float64)
        chain.scatter_add_(1, self.next, torch.full(self.next.shape, 1.0 / ways, dtype=torch.float64))
        system = torch.cat([chain.mT - torch.eye(kinds), torch.ones(1, kinds)])
        right = torch.zeros(kinds + 1, dtype=torch.float64)
        right[-1] = 1.0
        pi = torch.linalg.lstsq(system, right[:, None]).solution[:, 0]
        later = torch.linalg.solve(torch.eye(kinds) - chain + pi.expand(kinds, -1), moves.mean(1))[self.next]
        share = pi[:, None, None, None] / ways
        product = moves[..., :, None] * moves[..., None, :] + moves[..., :, None] * later[..., None, :]
        total = (share * (product + later[..., :, None] * moves[..., None, :])).sum((0, 1))
        tensor: Tensor = 0.5 * rate * total
        return tensor


def octahedral_bcc(spacing: float) -> Lattice:
    """Octahedral sites of a bcc crystal, where carbon and nitrogen sit; D = a^2 Gamma / 24.

    A site of axis k has the metal's nearest atoms along k; its four neighbours lie a/2 away along the other
    two axes, and a hop along j leads to a site of the third axis.

    Args:
        spacing: lattice constant a, m.
    """
    moves, following = [], []
    for kind in range(3):
        for along in ((kind + 1) % 3, (kind + 2) % 3):
            for sign in (1, -1):
                moves.append([sign * int(axis == along) for axis in range(3)])
                following.append(3 - kind - along)
    return Lattice(spacing / 2.0, torch.tensor(moves).reshape(3, 4, 3), torch.tensor(following).reshape(3, 4))


def tetrahedral_bcc(spacing: float) -> Lattice:
    """Tetrahedral sites of a bcc crystal, where hydrogen sits; D = a^2 Gamma / 48.

    Sites (0, 1/2, 1/4) a and their images; the four neighbours lie a sqrt(2) / 4 away.

    Args:
        spacing: lattice constant a, m.
    """
    # In units of a/4: each face of the cube holds four sites around its centre.
    sites: list[tuple[int, ...]] = []
    for axis in range(3):
        for place in ((2, 1), (2, 3), (1, 2), (3, 2)):
            point = [0, 0, 0]
            point[(axis + 1) % 3], point[(axis + 2) % 3] = place
            sites.append(tuple(point))
    kinds: list[tuple[int, ...]] = []
    of_site: dict[tuple[int, ...], int] = {}
    for site in sites:
        # Sites that differ by half the body diagonal are of one kind.
        other = tuple((c + 2) % 4 for c in site)
        if other in of_site:
            of_site[site] = of_site[other]
        else:
            of_site[site] = len(kinds)
            kinds.append(site)
    steps = [
        (x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if x * x + y * y + z * z == 2
    ]
    moves, following = [], []
    for site in kinds:
        for step in steps:
            end = tuple((c + s) % 4 for c, s in zip(site, step, strict=True))
            if end in of_site:
                moves.append(step)
                following.append(of_site[end])
    count = len(kinds)
    return Lattice(
        spacing / 4.0, torch.tensor(moves).reshape(count, -1, 3), torch.tensor(following).reshape(count, -1)
    )


def simple_cubic(spacing: float) -> Lattice:
    """One kind of site with six neighbours; D = a^2 Gamma / 6.

    Args:
        spacing: lattice constant a, m.
    """
    eye = torch.eye(3, dtype=torch.int64)
    return Lattice(spacing, torch.cat([eye, -eye])[None], torch.zeros(1, 6, dtype=torch.int64))


def octahedral_fcc(spacing: float) -> Lattice:
    """Octahedral sites of an fcc crystal (carbon in austenite), an fcc lattice too; D = a^2 Gamma / 12.

    Args:
        spacing: lattice constant a, m.
    """
    steps = [
        [x, y, z] for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if x * x + y * y + z * z == 2
    ]
    return Lattice(spacing / 2.0, torch.tensor(steps)[None], torch.zeros(1, 12, dtype=torch.int64))
