"""Graphs: nodes joined by weighted edges, from a matrix, networkx or a file of edges."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class Graph:
    """Nodes of volume 1 joined by edges of a conductance.

    Args:
        adjacency: (n, n) weights of at least 0: a tensor (dense or sparse), a numpy array, a scipy sparse
            matrix or a networkx graph (its ``weight``, 1 where there is none). Entry [i, j] is the
            conductance from i to j; self-loops carry nothing and are dropped.
        names: (n,) names of the nodes; networkx and files bring their own.
        directed: whether [i, j] may differ from [j, i].

    Attributes:
        index: (2, m) int64, start and end of every entry; an undirected edge has two.
        weights: (m,) float64.
        shape: (n,).
        names: of the nodes.
        directed: as given.

    Raises:
        ValueError: if the matrix is not square, has a weight that is negative or not finite, or is
            asymmetric while ``directed`` is False.
    """

    def __init__(self, adjacency: Any, names: Sequence[str] | None = None, directed: bool = False) -> None:
        index, weights, n, own = _entries(adjacency)
        if weights.numel() and not bool((torch.isfinite(weights) & (weights >= 0)).all()):
            bad = int((~(torch.isfinite(weights) & (weights >= 0))).nonzero()[0, 0])
            i, j = index[:, bad].tolist()
            raise ValueError(
                f"edge weights are finite and at least 0, but [{i}, {j}] is {float(weights[bad]):g}"
            )
        keep = (index[0] != index[1]) & (weights > 0)
        self.index, self.weights = index[:, keep], weights[keep]
        self.shape = (n,)
        self.directed = directed
        names = names if names is not None else own
        self.names = [str(name) for name in names] if names is not None else [str(i) for i in range(n)]
        if len(self.names) != n:
            raise ValueError(f"a graph of {n} nodes has {n} names, got {len(self.names)}")
        if not directed:
            self._check_symmetric()

    def _check_symmetric(self) -> None:
        one, other = self.adjacency, self.adjacency.t().coalesce()
        difference = (one - other).coalesce()
        scale = float(self.weights.max()) if self.weights.numel() else 0.0
        wrong = (difference.values().abs() > 1e-9 * scale).nonzero()
        if len(wrong):
            i, j = difference.indices()[:, int(wrong[0, 0])].tolist()
            raise ValueError(
                f"the adjacency is asymmetric: [{i}, {j}] and [{j}, {i}] differ; symmetrise it, "
                "for example (a + a.T) / 2, or say directed=True"
            )

    @classmethod
    def from_edge_list(cls, path: str | Path, *, directed: bool = False) -> Graph:
        """Read lines ``from to [weight]``, separated by spaces, tabs or commas; ``#`` begins a comment.

        Names are any words, numbered in the order in which they appear; the weight is 1 where it is missing.

        Raises:
            ValueError: for a line that is not an edge (with its number), or a file without edges.
            OSError: if the file cannot be read.
        """
        numbers: dict[str, int] = {}
        edges: list[tuple[int, int, float]] = []
        for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
            words = line.split("#")[0].replace(",", " ").split()
            if not words:
                continue
            try:
                start, end, weight = words[0], words[1], float(words[2]) if len(words) > 2 else 1.0
            except (IndexError, ValueError):
                raise ValueError(
                    f"{path}, line {number}: expected `from to [weight]`, got {line.strip()!r}"
                ) from None
            edges.append(
                (numbers.setdefault(start, len(numbers)), numbers.setdefault(end, len(numbers)), weight)
            )
        if not edges:
            raise ValueError(f"{path} holds no edge; expected lines of `from to [weight]`")
        i, j, w = (torch.tensor(column) for column in zip(*edges, strict=True))
        if not directed:
            i, j, w = torch.cat([i, j]), torch.cat([j, i]), torch.cat([w, w])
        n = len(numbers)
        return cls(
            torch.sparse_coo_tensor(torch.stack([i, j]), w.double(), (n, n), check_invariants=True),
            list(numbers),
            directed,
        )

    @property
    def adjacency(self) -> Tensor:
        """(n, n) sparse COO, float64."""
        n = self.shape[0]
        return torch.sparse_coo_tensor(self.index, self.weights, (n, n), check_invariants=False).coalesce()

    @property
    def volumes(self) -> Tensor:
        """(n,) of ones."""
        return torch.ones(self.shape, dtype=torch.float64)

    @property
    def degrees(self) -> Tensor:
        """(n,) sums of the weights of the edges that leave a node."""
        return torch.zeros(self.shape, dtype=torch.float64).index_add(0, self.index[0], self.weights)

    @cached_property
    def component(self) -> Tensor:
        """(n,) int64, the number of the connected component of every node (directions ignored)."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        n = self.shape[0]
        matrix = coo_matrix((self.weights.numpy(), tuple(self.index.numpy())), shape=(n, n))
        return torch.as_tensor(connected_components(matrix, directed=False)[1]).long()

    @property
    def components(self) -> int:
        """Number of connected components; what starts in one stays in it."""
        return int(self.component.max()) + 1

    def integrate(self, u: Tensor) -> Tensor:
        """The sum of u (..., n) over the nodes."""
        return u.sum(-1)

    def __repr__(self) -> str:
        edges = self.weights.numel() if self.directed else self.weights.numel() // 2
        return f"Graph({self.shape[0]} nodes, {edges} {'directed ' if self.directed else ''}edges)"


def _entries(adjacency: Any) -> tuple[Tensor, Tensor, int, list[str] | None]:
    """(index, weights, number of nodes, names) of whatever holds an adjacency."""
    names = None
    if hasattr(adjacency, "nodes") and hasattr(adjacency, "edges"):
        import networkx

        names = [str(node) for node in adjacency.nodes]
        adjacency = networkx.to_scipy_sparse_array(adjacency, dtype=float)
    if hasattr(adjacency, "tocoo"):
        coo = adjacency.tocoo()
        index = torch.stack([torch.as_tensor(coo.row).long(), torch.as_tensor(coo.col).long()])
        shape, values = coo.shape, torch.as_tensor(coo.data).double()
        matrix = torch.sparse_coo_tensor(index, values, shape, check_invariants=True).coalesce()
    else:
        tensor = torch.as_tensor(adjacency).detach().cpu()
        if tensor.ndim != 2:
            raise ValueError(f"an adjacency is a square matrix, got shape {tuple(tensor.shape)}")
        matrix = tensor.double().to_sparse().coalesce()
    if matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        raise ValueError(f"an adjacency is a square matrix, got shape {tuple(matrix.shape)}")
    return matrix.indices(), matrix.values(), matrix.shape[0], names
