"""The network diffusion model: pathology that spreads along the connections of a graph from a seed.

dx/dt = -beta L x with a Laplacian L of the connectome; time and rate enter as the product beta t only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unstir.spaces import Graph

LAPLACIANS = ("normalised", "combinatorial", "random-walk")


class NetworkDiffusion:
    r"""dx/dt = -beta L x on an undirected graph, solved exactly by one eigendecomposition.

    With weights C and degrees :math:`\Delta = diag(C 1)`, L is

    - normalised: :math:`I - \Delta^{-1/2} C \Delta^{-1/2}` (Raj et al. 2012), which ends in
      :math:`\sqrt{degree}` and does not conserve the sum;
    - combinatorial: :math:`\Delta - C`, which conserves the sum and ends uniform;
    - random-walk: :math:`I - C \Delta^{-1}`, which conserves the sum and ends in proportion to the degree.

    A node without a connection stays as it is.

    Source: Raj, Kuceyeski & Weiner 2012, "A network diffusion model of disease progression in dementia",
    eq. 1 to 3.

    Args:
        graph: undirected.
        kind: of the Laplacian, one of the above.

    Attributes:
        graph: as given.
        kind: as given.
        eigenvalues: (n,) of L, increasing, 0 once for each component.

    Raises:
        ValueError: for a directed graph or an unknown kind.
    """

    def __init__(self, graph: Graph, kind: str = "normalised") -> None:
        from unstir.settings import nearest

        if kind not in LAPLACIANS:
            raise ValueError(f"unknown Laplacian {kind!r}; {nearest(kind, list(LAPLACIANS))}")
        if graph.directed:
            raise ValueError("the network diffusion model needs an undirected graph; symmetrise its weights")
        self.graph = graph
        self.kind = kind
        weights, degrees = graph.adjacency.to_dense(), graph.degrees
        self._scale = torch.ones_like(degrees)
        if kind == "combinatorial":
            laplacian = degrees.diag() - weights
        else:
            root = degrees.rsqrt().where(degrees > 0, 0.0)
            laplacian = (degrees > 0).double().diag() - root[:, None] * weights * root
            if kind == "random-walk":
                self._scale = degrees.sqrt().where(degrees > 0, 1.0)
        values, self._vectors = torch.linalg.eigh(laplacian)
        # Round-off below zero would grow, and above it decay, in a long time.
        self.eigenvalues = values.where(values > 1e-12 * values[-1], 0.0)

    def spread(self, x_0: Tensor, beta_t: Tensor) -> Tensor:
        """The state at beta t from a state.

        Args:
            x_0: (..., n).
            beta_t: (T,) at least 0, without unit (normalised, random-walk) or 1 / weight (combinatorial).

        Returns:
            (T, ..., n), differentiable in x_0 and beta_t.
        """
        start = (x_0.double() / self._scale) @ self._vectors
        shape = (len(beta_t), *(1,) * (x_0.ndim - 1), -1)
        decay = torch.exp(-beta_t.double()[:, None] * self.eigenvalues).reshape(shape)
        state: Tensor = (start * decay) @ self._vectors.mT
        return state * self._scale

    def seeded(self, seeds: Sequence[Sequence[int]], beta_t: Tensor) -> Tensor:
        """The state at beta t from each seed, a set of nodes that hold one unit together.

        Args:
            seeds: S sets of nodes.
            beta_t: (T,).

        Returns:
            (T, S, n).
        """
        x_0 = torch.zeros((len(seeds), len(self.eigenvalues)), dtype=torch.float64)
        for row, nodes in zip(x_0, seeds, strict=True):
            row[list(nodes)] = 1.0 / len(nodes)
        return self.spread(x_0, beta_t)

    def times(self, count: int) -> Tensor:
        """(count,) values of beta t, evenly in their logarithm, from a first step to near the end state.

        From 0.02 over the fastest mode to 8 over the slowest that decays.
        """
        fast = float(self.eigenvalues[-1])
        alive = self.eigenvalues[self.eigenvalues > 1e-9 * max(fast, 1e-300)]
        if not len(alive):
            raise ValueError("the network has no connection, so nothing spreads")
        low, high = 0.02 / fast, 8.0 / float(alive[0])
        share = torch.linspace(0.0, 1.0, count, dtype=torch.float64)
        return low * (high / low) ** share
