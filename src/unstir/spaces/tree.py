"""Trees: a clock that branches, along which things spread and split.

Plain arrays, one entry a node: whose child it is, and for how long it lived apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.noise import Stream, uniform
from unstir.spaces.tree_files import Nodes, parse, read


@dataclass(frozen=True, eq=False)
class Tree:
    """A rooted tree with edge lengths; any node may have one, two or more children.

    Args:
        parent: (n,) int64, the index of each node's parent, -1 for the one root; nodes in any order.
        length: (n,) float64, time from the parent to the node, at least 0; the root's is ignored and kept 0.
        names: n names; tips have distinct ones, inner nodes may have "". None names the nodes by number.
        annotations: n dictionaries, what a file says about each node; None for none.

    Raises:
        ValueError: for arrays that are not a rooted tree, lengths that are negative or not finite, tips
            without a name or with the same one.
    """

    parent: Tensor
    length: Tensor
    names: Sequence[str] | None = None
    annotations: Sequence[Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        parent = torch.as_tensor(self.parent, dtype=torch.int64, device="cpu")
        n = parent.numel()
        if parent.ndim != 1 or n == 0 or int(parent.min()) < -1 or int(parent.max()) >= n:
            raise ValueError(
                "the parents of a tree are a list of node numbers 0 to n - 1, with -1 for the root"
            )
        roots = int((parent < 0).sum())
        if roots != 1:
            raise ValueError(f"a tree has one root (parent -1), got {roots}")
        length = torch.as_tensor(self.length, dtype=torch.float64, device="cpu").clone()
        if length.shape != parent.shape:
            raise ValueError(f"a tree of {n} nodes needs {n} edge lengths, got shape {tuple(length.shape)}")
        length[parent < 0] = 0.0
        names = [str(i) for i in range(n)] if self.names is None else [str(name) for name in self.names]
        annotations = [{}] * n if self.annotations is None else list(self.annotations)
        if len(names) != n or len(annotations) != n:
            raise ValueError(f"a tree of {n} nodes needs as many names and annotations as nodes")
        wrong = ~(length.isfinite() & (length >= 0))
        if wrong.any():
            node = int(wrong.nonzero()[0])
            label = names[node] or f"number {node}"
            raise ValueError(
                f"the edge above node {label!r} has length {float(length[node]):g}; lengths are times, "
                "finite and at least 0"
            )
        for field, value in (("parent", parent), ("length", length), ("names", tuple(names))):
            object.__setattr__(self, field, value)
        object.__setattr__(self, "annotations", tuple(annotations))
        self._check_tips()

    def _check_tips(self) -> None:
        if not bool((self._to_root[0] >= 0).all()):
            raise ValueError("the parents of a tree run in a circle: some nodes never reach the root")
        seen: set[str] = set()
        for name in self.tip_names:
            if not name:
                raise ValueError("a tip of the tree has no name; name every tip")
            if name in seen:
                raise ValueError(f"two tips of the tree are named {name!r}; tips need distinct names")
            seen.add(name)

    def __len__(self) -> int:
        """The number of nodes."""
        return self.parent.numel()

    @property
    def root(self) -> int:
        """The root's index."""
        return int((self.parent < 0).nonzero()[0])

    @cached_property
    def child_counts(self) -> Tensor:
        """(n,) int64, how many children each node has; 0 at a tip."""
        return torch.bincount(self.parent[self.parent >= 0], minlength=len(self))

    @cached_property
    def tips(self) -> Tensor:
        """(tips,) int64, the nodes without children, in the order of the nodes."""
        return (self.child_counts == 0).nonzero()[:, 0]

    @property
    def tip_names(self) -> list[str]:
        """The names of the tips, in the order of `tips`."""
        assert self.names is not None
        return [self.names[i] for i in self.tips.tolist()]

    @cached_property
    def _to_root(self) -> tuple[Tensor, Tensor]:
        """Edges and time from the root to each node; edges are -1 where the root is never reached."""
        root = self.root
        ancestor = torch.where(self.parent < 0, root, self.parent)
        edges, time = (self.parent >= 0).long(), self.length.clone()
        # Each turn doubles how far back the ancestor lies: log2(n) turns reach any root.
        for _ in range(math.ceil(math.log2(len(self))) + 1):
            edges, time, ancestor = edges + edges[ancestor], time + time[ancestor], ancestor[ancestor]
        return torch.where(ancestor == root, edges, -1), time

    @property
    def depth(self) -> Tensor:
        """(n,) float64, time from the root to each node."""
        return self._to_root[1]

    @cached_property
    def levels(self) -> tuple[Tensor, ...]:
        """The nodes by the number of edges from the root, siblings side by side.

        Level 0 is the root; level d holds all children of level d - 1, in the order of their parents there. A
        pass up or down the tree therefore needs only two levels at a time.
        """
        edges = self._to_root[0].numpy()
        order = np.argsort(edges, kind="stable")
        parent, place = self.parent.numpy(), np.zeros(len(self), dtype=np.int64)
        levels = []
        for nodes in np.split(order, np.cumsum(np.bincount(edges))[:-1]):
            nodes = nodes[np.argsort(place[parent[nodes]], kind="stable")]
            place[nodes] = np.arange(len(nodes))
            levels.append(torch.from_numpy(nodes))
        return tuple(levels)

    @cached_property
    def places(self) -> Tensor:
        """(n,) int64, the position of each node in its level."""
        place = torch.empty_like(self.parent)
        place[torch.cat(self.levels)] = torch.cat([torch.arange(len(nodes)) for nodes in self.levels])
        return place

    def scaled(self, factor: float) -> Tree:
        """The same tree with all lengths times a factor, such as 365.25 from years to days."""
        return Tree(self.parent, self.length * factor, self.names, self.annotations)

    def cut(self, times: Tensor) -> Tree:
        """The same tree with a node, of one child, wherever an edge crosses one of the times.

        Args:
            times: (T,) since the root, increasing.

        Returns:
            A tree whose first n nodes are those of this one; the others have no name.
        """
        assert self.names is not None
        assert self.annotations is not None
        times = times.to(torch.float64).contiguous()
        depth, above = self.depth, self.depth[self.parent.clamp(min=0)]
        first = torch.searchsorted(times, above, right=True)
        count = (torch.searchsorted(times, depth) - first).clamp(min=0)
        count[self.root] = 0
        owner = torch.repeat_interleave(torch.arange(len(self)), count)
        rank = torch.arange(len(owner)) - (count.cumsum(0) - count)[owner]
        at = times[first[owner] + rank]
        number = len(self) + torch.arange(len(owner))
        parent = torch.cat([self.parent, torch.where(rank == 0, self.parent[owner], number - 1)])
        length = torch.cat([self.length, torch.where(rank == 0, at - above[owner], at - at.roll(1))])
        last = rank == count[owner] - 1
        parent[owner[last]] = number[last]
        length[owner[last]] = depth[owner[last]] - at[last]
        extra = len(owner)
        return Tree(parent, length, [*self.names, *[""] * extra], [*self.annotations, *[{}] * extra])

    @classmethod
    def from_newick(cls, source: str | Path) -> Tree:
        """Read a tree from Newick text, or from a file of it (.gz too).

        Args:
            source: the text, or the path of a file; a string that holds a bracket is text.

        Raises:
            ValueError: if it is not a tree, an edge other than the root's has no length or a negative one, or
                two tips have the same name.
            ModuleNotFoundError: without dendropy.
            OSError: if the file cannot be read.
        """
        if isinstance(source, str) and "(" in source:
            return cls._of(parse(source, "newick", "the text"))
        return cls._of(parse(read(Path(source)), "newick", str(source)))

    @classmethod
    def from_nexus(cls, path: str | Path) -> Tree:
        """Read the first tree of a NEXUS file (.gz too), with BEAST's annotations ``[&key=value, ...]``.

        Numbers become float, ``{a, b}`` becomes a list, the rest stays text without its quotes.

        Raises:
            ValueError: if it is not a tree, an edge other than the root's has no length or a negative one, or
                two tips have the same name.
            ModuleNotFoundError: without dendropy.
            OSError: if the file cannot be read.
        """
        return cls._of(parse(read(Path(path)), "nexus", str(path)))

    @classmethod
    def from_file(cls, path: str | Path) -> Tree:
        """Read Newick or NEXUS, told apart by the file's first word; errors as there."""
        text = read(Path(path))
        schema = "nexus" if text.lstrip()[:6].lower() == "#nexus" else "newick"
        return cls._of(parse(text, schema, str(path)))

    @classmethod
    def _of(cls, nodes: Nodes) -> Tree:
        length = torch.tensor(nodes.length, dtype=torch.float64)
        return cls(torch.tensor(nodes.parent), length, nodes.names, nodes.annotations)

    @classmethod
    def yule(cls, tips: int, rate: float = 1.0, *, seed: int = 0) -> Tree:
        """A random tree of pure birth: each lineage splits at a rate, until there are so many tips.

        All tips are sampled at the same time, an exponential wait after the last split; the mean time from
        the root is the sum of 1 / (k rate) for k = 2 to ``tips``. Source: Yule 1925; Aldous 2001, sect. 3.1.

        Args:
            tips: at least 2.
            rate: splits per lineage and unit of time, positive.
            seed: decides the tree.

        Raises:
            ValueError: for fewer than two tips or a rate that is not positive.
        """
        if tips < 2 or not rate > 0:
            raise ValueError(f"a Yule tree has at least 2 tips and a positive rate, got {tips} and {rate}")
        draws = uniform((tips, 2), seed=seed, index=torch.zeros(1, dtype=torch.int64), stream=Stream.TREE)[0]
        lineages = torch.arange(2, tips + 1)
        times = (-draws[1:, 0].log() / (lineages * rate)).cumsum(0).tolist()
        choice = (draws[:-1, 1] * torch.arange(1, tips)).long().tolist()
        parent, born = [-1], [0.0]
        alive, died = [0], [times[-1]] * (2 * tips - 1)
        for split, pick in enumerate(choice):
            time = times[split - 1] if split else 0.0
            node = alive[pick]
            died[node] = time
            alive[pick] = len(parent)
            alive.append(len(parent) + 1)
            parent += [node, node]
            born += [time, time]
        length = torch.tensor(died, dtype=torch.float64) - torch.tensor(born, dtype=torch.float64)
        return cls(torch.tensor(parent), length)
