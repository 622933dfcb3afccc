"""Pathology that spreads over a made-up connectome from one region, is measured, and is traced back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from unstir import noise
from unstir.evaluation.figures import ACCENT, INK, QUIET, SECOND
from unstir.generators import diffusion
from unstir.noise import Stream
from unstir.physics.connectome import fit_values
from unstir.physics.connectome_result import ConnectomeFit
from unstir.physics.network_diffusion import LAPLACIANS, NetworkDiffusion
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Graph

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOBES = {"frontal": (0.9, 2.2), "parietal": (1.1, -0.9), "occipital": (0.7, -2.6), "temporal": (2.3, 0.3)}
"""Where the lobes of the right side are, in a plane, no unit."""
_REACH = 1.6
_BETWEEN = 0.05
_STRONGEST = 100.0


class Connectome(Settings):
    """Settings of the network and of what spreads on it."""

    per_lobe: int = Field(8, ge=3, le=40, description="regions in each of the eight lobes, count")
    start: str = Field("left-temporal-3", description="the region where it begins, side-lobe-number")
    laplacian: str = Field("normalised", description=f"kind of the Laplacian: {', '.join(LAPLACIANS)}")
    beta_t: float = Field(3.0, gt=0.0, le=1e4, description="rate times time when it is measured, no unit")
    noise: float = Field(
        0.6, ge=0.0, le=10.0, description="of a measurement, relative to the pattern's spread"
    )
    frames: int = Field(32, ge=2, le=400, description="frames of the film, count")
    seed: int = Field(0, description="of the network and the noise, no unit")


def run(settings: Connectome, report: Report) -> Simulation:
    """Build the network, let the pathology spread, measure it with noise, and look for its origin."""
    o = settings
    graph, place = _network(o)
    if o.start not in graph.names:
        raise ValueError(f"there is no region {o.start!r}; regions are {graph.names[0]} to {graph.names[-1]}")
    start = graph.names.index(o.start)
    model = NetworkDiffusion(graph, o.laplacian)
    late = 10.0 * o.beta_t
    film = torch.cat([torch.zeros(1), torch.logspace(-2, 0, o.frames - 1)]).double() * late
    states = model.seeded([(start,)], film)[:, 0]
    report(1, 4)
    truth = model.seeded([(start,)], torch.tensor([o.beta_t], dtype=torch.float64))[0, 0]
    index = torch.ones(1, dtype=torch.int64)
    draws = noise.normal(truth.shape, seed=o.seed, index=index, stream=Stream.CONNECTOME, dtype=torch.float64)
    measured = truth + o.noise * truth.std() * draws[0]
    fit = fit_values(graph, measured, laplacian=o.laplacian, column="pathology", seed=o.seed)
    report(3, 4)
    low, high = ("open" if end is None else f"{end:.3g}" for end in fit.profile)
    facts = {
        "spreading against the graph's own generator": f"largest difference {_generator_gap(graph):.1e}",
        "end state against its closed form": _end_fact(model),
        "seed put in, seed found": f"{o.start}, {fit.seed.name} (best in {fit.seed.share:.0%} of bootstraps)",
        "beta t put in, found": f"{o.beta_t:g}, {fit.beta_t:.3g}; 95 % interval {low} to {high}",
        "correlation": f"r = {fit.pearson:.3f}; p = {fit.p_shuffled:.3g} against shuffled regions, "
        f"{fit.p_rewired:.3g} against {fit.rewired}",
    }
    arrays = {
        "beta_t": film,
        "state": states,
        "place": place,
        "adjacency": graph.adjacency.to_dense(),
        "measured": measured,
        "predicted": fit.predicted,
        "seed_correlations": torch.tensor([s.correlation for s in fit.seeds], dtype=torch.float64),
    }
    report(4, 4)
    return Simulation(
        title="Pathology that spreads over a connectome",
        arrays=arrays,
        facts=facts,
        draw=lambda figure, frame: _draw(figure, frame, graph, arrays, fit),
        frames=o.frames,
        size=(9.0, 4.6),
    )


def _network(o: Connectome) -> tuple[Graph, Tensor]:
    """Lobes on two sides: strengths fall with distance, and each region has a strong link to its twin."""
    names, middles = [], []
    for side, sign in (("left", -1.0), ("right", 1.0)):
        for lobe, (x, y) in _LOBES.items():
            names += [f"{side}-{lobe}-{i + 1}" for i in range(o.per_lobe)]
            middles += [(sign * x, y, sign)] * o.per_lobe
    half = len(names) // 2
    centre = torch.tensor(middles, dtype=torch.float64)
    index = torch.zeros(1, dtype=torch.int64)
    near = noise.normal((half, 2), seed=o.seed, index=index, stream=Stream.CONNECTOME, dtype=torch.float64)[0]
    jitter = 0.55 * torch.cat([near * torch.tensor([-1.0, 1.0]), near])
    place = centre[:, :2] + jitter
    place[:, 0] = centre[:, 2] * place[:, 0].abs().clamp(min=0.15)
    chance = noise.uniform((2 * half, 2 * half), seed=o.seed, index=index, stream=Stream.CONNECTOME, step=1)[
        0
    ]
    chance = torch.triu(chance, 1) + torch.triu(chance, 1).mT
    nearness = torch.exp(-torch.cdist(place, place) / _REACH)
    across = centre[:, None, 2] != centre[:, 2]
    strength = _STRONGEST * nearness**2 * torch.where(across, _BETWEEN, 1.0) * (chance < nearness)
    twins = torch.arange(half)
    strength[twins, twins + half] = strength[twins + half, twins] = 0.2 * _STRONGEST
    strength.fill_diagonal_(0.0)
    return Graph(strength, names), place


def _generator_gap(graph: Graph) -> float:
    """The combinatorial model against exp(t A) of the graph, from one node."""
    model = NetworkDiffusion(graph, "combinatorial")
    times = model.times(5)
    start = torch.zeros(graph.shape, dtype=torch.float64)
    start[0] = 1.0
    return float((model.spread(start, times) - diffusion(graph).exp(times, start)).abs().max())


def _end_fact(model: NetworkDiffusion) -> str:
    """The state long after against the null vector of the Laplacian."""
    if model.graph.components > 1:
        return f"none, the network has {model.graph.components} components"
    n = model.graph.shape[0]
    degrees = model.graph.degrees
    late = torch.tensor([1e3], dtype=torch.float64) * model.times(2)[-1]
    end = model.seeded([(0,)], late)[0, 0]
    if model.kind == "combinatorial":
        exact = torch.full_like(end, 1.0 / n)
    elif model.kind == "random-walk":
        exact = degrees / degrees.sum()
    else:
        exact = math.sqrt(float(degrees[0])) * degrees.sqrt() / degrees.sum()
    return f"largest difference {float((end - exact).abs().max()):.1e}"


def _draw(figure: Figure, frame: int, graph: Graph, arrays: dict[str, Tensor], fit: ConnectomeFit) -> None:
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.15, 1.0]})
    _draw_network(left, frame, arrays)
    left.set_title(f"βt = {float(arrays['beta_t'][frame]):.2g}", loc="left", fontsize=10)
    figure.colorbar(left.collections[-1], ax=left, label="pathology / largest", shrink=0.8)
    times, r = fit.curve.numpy()
    right.plot(times, r, color=ACCENT, lw=2, label=f"seed {fit.seed.name}")
    low = times[0] if fit.profile[0] is None else fit.profile[0]
    high = times[-1] if fit.profile[1] is None else fit.profile[1]
    right.axvspan(low, high, color=ACCENT, alpha=0.15, lw=0, label="95 % interval of βt")
    others = torch.tensor([(s.beta_t, s.correlation) for s in fit.seeds if s != fit.seed]).mT.numpy()
    right.plot(*others, "o", color=QUIET, ms=3, label="other seeds, each at its best")
    now = float(arrays["beta_t"][frame])
    if now > 0:
        right.axvline(now, color=SECOND, lw=1, ls=":", label="shown on the left")
    right.set(xscale="log", xlabel="rate times time, βt", ylabel="correlation with the measurement, r")
    right.set(xlim=(times[0], times[-1]), ylim=(min(0.0, float(r.min())), 1.3))
    right.legend(frameon=False, fontsize=8, loc="upper right")
    right.spines[["top", "right"]].set_visible(False)


def _draw_network(axes: Axes, frame: int, arrays: dict[str, Tensor]) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import PowerNorm

    place, strength = arrays["place"], torch.triu(arrays["adjacency"], 1)
    i, j = (strength > 0).nonzero(as_tuple=True)
    weight = strength[i, j] / strength.max()
    lines = torch.stack([place[i], place[j]], dim=1).numpy()
    axes.add_collection(
        LineCollection(list(lines), colors=QUIET, linewidths=(0.2 + 1.5 * weight).numpy(), alpha=0.35)
    )
    state = arrays["state"][frame]
    x, y = place.mT.numpy()
    axes.scatter(x, y, c=(state / state.max()).numpy(), cmap="magma_r", norm=PowerNorm(0.5, 0.0, 1.0), s=42,
                 edgecolors=INK, linewidths=0.4, zorder=3)  # fmt: skip
    axes.set_aspect("equal")
    axes.set_axis_off()


SYSTEM = System(
    name="connectome",
    summary="spreading over a network, and the search for its seed",
    settings=Connectome,
    run=run,
)
