"""Heat on a network: what starts in one node of a clustered graph, and how fast clusters mix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from unstir import noise
from unstir.generators import diffusion
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Graph

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class GraphHeat(Settings):
    """Settings of the network."""

    clusters: int = Field(4, ge=2, le=12, description="clusters of nodes, 1")
    nodes: int = Field(30, ge=5, le=200, description="nodes of a cluster, 1")
    bridges: int = Field(3, ge=0, le=100, description="edges between neighbouring clusters, 1")
    D: float = Field(1.0, gt=0, description="rate of an edge, 1/s")
    time: float = Field(6.0, gt=0, description="duration, s")
    frames: int = Field(50, ge=1, le=400, description="frames of the film, 1")
    seed: int = Field(0, description="of the places of nodes and edges")


def run(settings: GraphHeat, report: Report) -> Simulation:
    """Start with all heat in one node; the slowest mode's rate is the spectral gap."""
    place, edges = _network(settings)
    n = len(place)
    adjacency = torch.zeros(n, n, dtype=torch.float64)
    adjacency[edges[0], edges[1]] = adjacency[edges[1], edges[0]] = 1.0
    graph = Graph(adjacency)
    A = diffusion(graph, settings.D)
    start = torch.zeros(n, dtype=torch.float64)
    start[0] = 1.0
    share = torch.linspace(0, 1, settings.frames + 1, dtype=torch.float64)[1:]
    times = settings.time * share**2
    states = A.exp(times, start)
    report(1, 1)
    laplacian = torch.diag(adjacency.sum(0)) - adjacency
    values, vectors = torch.linalg.eigh(settings.D * laplacian)
    exact = torch.einsum("ik,tk,k->ti", vectors, torch.exp(-times[:, None] * values), vectors.T @ start)
    together = graph.component == graph.component[0]
    flat = together.double() / together.sum()
    gap = float(values[graph.components])
    late = A.exp(torch.tensor([6.0, 7.0], dtype=torch.float64) / gap, start) - flat
    measured = -math.log(float(late[1].norm() / late[0].norm())) * gap

    def draw(figure: Figure, frame: int) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
        for i, j in edges.T.tolist():
            left.plot(*place[[i, j]].T, color="0.85", lw=0.6, zorder=0)
        colours = left.scatter(
            *place.T,
            c=(states[frame].clamp(min=1e-6)).log10(),
            cmap="inferno",
            vmin=-5,
            vmax=0,
            s=26,
            edgecolor="0.3",
            lw=0.3,
        )
        figure.colorbar(colours, ax=left, label="log10 of the share of heat")
        left.set(xticks=[], yticks=[], title=f"t = {float(times[frame]):.2f} s")
        left.set_aspect("equal")
        inside = states.reshape(len(times), settings.clusters, settings.nodes).sum(-1)
        for c in range(settings.clusters):
            right.plot(times, inside[:, c], lw=1.5, label=f"cluster {c + 1}")
        right.axvline(float(times[frame]), color="0.6", ls=":", lw=1)
        right.set(xlabel="time (s)", ylabel="share of heat", ylim=(0, 1.02))
        right.legend(frameon=False)

    return Simulation(
        title="Heat on a network",
        arrays={"time": times, "u": states, "place": place, "edges": edges},
        facts={
            "engine": A.engine,
            "components": f"{graph.components} (what starts in one stays in it)",
            "largest difference from all eigenvectors": f"{float((states - exact).abs().max()):.1e}",
            "last rate of decay": f"{measured:.5f} 1/s (spectral gap: {gap:.5f} 1/s)",
            "heat at the end, minus 1": f"{float(states[-1].sum()) - 1.0:.1e}",
        },
        draw=draw,
        frames=settings.frames,
        size=(10.0, 4.5),
    )


def _network(settings: GraphHeat) -> tuple[torch.Tensor, torch.Tensor]:
    """Places (n, 2) and edges (2, m): near nodes of a cluster joined, and some bridges to the next one."""
    c, m = settings.clusters, settings.nodes
    u = noise.uniform(
        (c * m + c * settings.bridges, 2),
        seed=settings.seed,
        index=torch.zeros(1, dtype=torch.int64),
        stream=noise.Stream.SIMULATE,
    )[0]
    angle = 2.0 * math.pi * torch.arange(c, dtype=torch.float64) / c
    center = 2.2 * torch.stack([angle.cos(), angle.sin()], dim=1)
    radius, turn = u[: c * m, 0].sqrt(), 2.0 * math.pi * u[: c * m, 1]
    place = center.repeat_interleave(m, 0) + torch.stack([radius * turn.cos(), radius * turn.sin()], 1)
    pairs = []
    for k in range(c):
        own = torch.arange(k * m, (k + 1) * m)
        near = torch.cdist(place[own], place[own]).topk(min(5, m), largest=False).indices[:, 1:]
        pairs.append(torch.stack([own.repeat_interleave(near.shape[1]), own[near.reshape(-1)]]))
        draw = u[c * m + k * settings.bridges : c * m + (k + 1) * settings.bridges]
        ends = (draw * m).long().clamp(max=m - 1)
        pairs.append(torch.stack([k * m + ends[:, 0], (k + 1) % c * m + ends[:, 1]]))
    return place, torch.cat(pairs, dim=1)


SYSTEM = System("graph-heat", "heat on a clustered network, beside its eigenvectors", GraphHeat, run)
