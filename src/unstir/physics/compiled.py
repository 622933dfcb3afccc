"""Explicit steps of a stencil with a reaction, compiled into one pass over memory.

The compiler joins stencil and reaction only if no stack of species stands between them, so a reaction is
taken apart first: traced once, with each species a tensor of its own. Results go to buffers that are kept,
because fresh memory costs more than the step.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from unstir.physics.halo import Halo, conductances, halo, spread
from unstir.physics.stencil import Stencil, exchanged

A_CALL = 4
"""Steps that one compiled call takes."""

Reaction = Callable[[Tensor], Tensor]
Rates = Callable[..., Sequence[Tensor]]
Calls = Callable[[list[Tensor], list[Tensor], list[Any], Tensor], None]

_KEPT: dict[Any, Calls] = {}
_MOST = 16


class Compiled:
    """Euler steps of one system, several a call.

    Args:
        stencils: one for each species, in u's type and on its device; one alone if u has no species.
        reaction: du/dt.
        u: a state; decides shapes.
        periodic: for each axis of the grid.
        several: whether u's first axis counts species.
    """

    def __init__(
        self,
        stencils: Sequence[Stencil],
        reaction: Reaction,
        u: Tensor,
        periodic: Sequence[bool],
        several: bool,
    ) -> None:
        self.several = several
        shape = tuple(u.shape[u.ndim - len(periodic) :])
        rates = _apart(reaction, u) if several else _alone(reaction)
        self.layout = halo(stencils, periodic, shape, A_CALL)
        if self.layout is not None and not _pointwise(rates, self._parts(u), self.layout):
            self.layout = None
        self.coefficients: list[Any] = [(s.gains, s.sink, s.source) for s in stencils]
        if self.layout is not None:
            self.coefficients = [(conductances(s), s.sink, s.source) for s in stencils]
        key = (reaction, several, self.layout, tuple(u.shape), u.dtype, str(u.device))
        self._calls = _kept(key, rates, self.layout)
        # Memory of its own for each species: views of one buffer would be checked for overlap at every call.
        like = [part if self.layout is None else self.layout.line(part) for part in self._parts(u)]
        self.states = [
            [torch.zeros_like(part, memory_format=torch.contiguous_format) for part in like] for _ in range(2)
        ]

    def run(self, u: Tensor, dt: float, calls: int) -> Tensor:
        """u after ``calls`` times A_CALL steps of dt; a new tensor."""
        step = torch.tensor(dt, dtype=u.dtype, device=u.device)
        layout, now = self.layout, 0
        with torch.no_grad():
            for state, part in zip(self.states[0], self._parts(u), strict=True):
                (state if layout is None else layout.grid(state)).copy_(part)
            for _ in range(calls):
                if layout is not None:
                    for state in self.states[now]:
                        layout.fill(state)
                self._calls(self.states[now], self.states[1 - now], self.coefficients, step)
                now = 1 - now
            ends = [state if layout is None else layout.grid(state) for state in self.states[now]]
            return torch.stack(ends) if self.several else ends[0].clone()

    def _parts(self, u: Tensor) -> list[Tensor]:
        return list(u.unbind(0)) if self.several else [u]


def _kept(key: Any, rates: Rates, layout: Halo | None) -> Calls:
    """The compiled function of a system; the last few are kept, so that a second run compiles nothing."""
    try:
        if key in _KEPT:
            return _KEPT[key]
    except TypeError:  # a reaction that cannot be hashed
        return _compile(rates, layout)
    if len(_KEPT) >= _MOST:
        _KEPT.pop(next(iter(_KEPT)))
    _KEPT[key] = _compile(rates, layout)
    return _KEPT[key]


def _compile(rates: Rates, layout: Halo | None) -> Calls:
    def shifted(parts: list[Tensor], results: list[Tensor], coefficients: list[Any], dt: Tensor) -> None:
        for _ in range(A_CALL):
            changes = rates(*parts)
            parts = [
                part + dt * (exchanged(part, *flat) + change)
                for part, flat, change in zip(parts, coefficients, changes, strict=True)
            ]
        for result, part in zip(results, parts, strict=True):
            result.copy_(part)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch._dynamo as dynamo

        # One code object serves every system, and each has a compiled form of its own.
        dynamo.config.recompile_limit = max(dynamo.config.recompile_limit, 4 * _MOST)
        chosen = shifted if layout is None else _along_line(rates, layout)
        function: Calls = torch.compile(chosen, dynamic=False)
    return function


def _along_line(rates: Rates, layout: Halo) -> Calls:
    strides, reach = layout.strides, layout.strides[0]

    def lined(parts: list[Tensor], results: list[Tensor], coefficients: list[Any], dt: Tensor) -> None:
        for _ in range(A_CALL):
            centres = [part[..., reach : part.shape[-1] - reach] for part in parts]
            changes = rates(*centres)
            new = []
            for part, centre, change, (gains, sink, source) in zip(
                parts, centres, changes, coefficients, strict=True
            ):
                slope = spread(part, gains, strides) + change
                slope = slope if sink is None else slope - sink * centre
                new.append(centre + dt * (slope if source is None else slope + source))
            parts = new
        edge = A_CALL * reach
        for result, part in zip(results, parts, strict=True):
            result[..., edge : result.shape[-1] - edge].copy_(part)

    return lined


def _pointwise(rates: Rates, parts: list[Tensor], layout: Halo) -> bool:
    """Whether the reaction acts cell by cell, so that it may run along the line; tried on the state."""
    try:
        with torch.no_grad():
            lined = rates(*[layout.line(part) for part in parts])
            plain = rates(*parts)
            return all(bool((layout.grid(a) == b).all()) for a, b in zip(lined, plain, strict=True))
    except Exception:  # a field of the grid's shape, for instance
        return False


def _alone(reaction: Reaction) -> Rates:
    def rates(u: Tensor) -> Sequence[Tensor]:
        return (reaction(u),)

    return rates


def _apart(reaction: Reaction, u: Tensor) -> Rates:
    """The reaction of separate species, (u_1, u_2, ...) -> (r_1, r_2, ...)."""
    try:
        taken = _traced(reaction, u)
    except Exception:  # what cannot be traced is still compiled as it is
        taken = None
    if taken is not None:
        return taken

    def whole(*parts: Tensor) -> Sequence[Tensor]:
        return reaction(torch.stack(parts)).unbind(0)

    return whole


def _traced(reaction: Reaction, u: Tensor) -> Rates | None:
    """By tracing: selected species become inputs, the final stack the outputs; None if there is no stack."""
    from torch.fx import Graph, GraphModule, Node
    from torch.fx.experimental.proxy_tensor import make_fx

    aten = torch.ops.aten
    traced = make_fx(reaction)(u)
    whole = next(node for node in traced.graph.nodes if node.op == "placeholder")
    end: Any = next(node for node in traced.graph.nodes if node.op == "output").args[0]
    if not isinstance(end, Node) or end.target is not aten.stack.default or any(end.args[1:]):
        return None
    graph = Graph()
    species = [graph.placeholder(f"species_{i}") for i in range(u.shape[0])]
    known: dict[Any, Any] = {}
    for node in traced.graph.nodes:
        if node.op in ("placeholder", "output") or node is end:
            continue
        first = node.args[0] if node.args else None
        along_species = first is whole and not any(node.args[1:2])
        if along_species and node.target is aten.select.int:
            known[node] = species[node.args[2]]
        elif along_species and node.target is aten.unbind.int:
            known[node] = species
        elif isinstance(first, Node) and isinstance(known.get(first), list):
            known[node] = known[first][node.args[1]]
        elif whole in node.all_input_nodes:
            return None
        else:
            known[node] = graph.node_copy(node, lambda n: known[n])
    results: Any = end.args[0]
    graph.output(tuple(known[node] for node in results))
    module: Rates = GraphModule(traced, graph)
    return module
