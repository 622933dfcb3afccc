"""A Markov chain x' = P x on a small graph, and how the spectral gap sets the time in which it forgets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from unstir import noise
from unstir.evaluation.figures import ACCENT, INK, QUIET, SECOND
from unstir.processes.jump import categorical
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Graph

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class MarkovChain(Settings):
    """Settings of the chain."""

    nodes: int = Field(12, ge=3, le=100, description="nodes of the ring")
    shortcut: float = Field(
        1.0, ge=0.0, le=100.0, description="weight of one edge across the ring, whose others are 1"
    )
    stay: float = Field(0.2, gt=0.0, lt=1.0, description="probability of staying in a step")
    steps: int = Field(60, ge=5, le=2000, description="steps, each a frame of the film")
    walkers: int = Field(2000, ge=1, le=1_000_000, description="walkers that do the same by chance")
    seed: int = Field(0, description="of the random numbers")


def run(settings: MarkovChain, report: Report) -> Simulation:
    """Power the chain, walk on it, and compare the decay with the second eigenvalue."""
    o = settings
    graph = _ring(o)
    degrees = graph.degrees
    P = (1.0 - o.stay) * graph.adjacency.to_dense() / degrees[:, None] + o.stay * torch.eye(o.nodes).to(
        degrees
    )
    stationary = degrees / degrees.sum()
    # Similar to a symmetric matrix, because the walk on an undirected graph is reversible.
    root = stationary.sqrt()
    spectrum = torch.linalg.eigvalsh(root[:, None] * P / root)
    second = float(torch.sort(spectrum.abs(), descending=True).values[1])
    laws = [torch.eye(o.nodes, dtype=torch.float64)[0]]
    x = torch.zeros(o.walkers, dtype=torch.int64)
    index = torch.arange(o.walkers)
    counts = [torch.bincount(x, minlength=o.nodes)]
    for step in range(o.steps):
        laws.append(laws[-1] @ P)
        x = categorical(P[x], seed=o.seed, index=index, stream=noise.Stream.JUMP_PATH, step=step)
        counts.append(torch.bincount(x, minlength=o.nodes))
        report(step + 1, o.steps)
    law, walkers = torch.stack(laws), torch.stack(counts).double() / o.walkers
    distance = 0.5 * (law - stationary).abs().sum(1)
    facts = {
        "second eigenvalue": _eigenvalue_fact(o, second),
        "decay of the distance in a step": _decay_fact(P, stationary, second),
        "steps to lose a factor e": f"{-1.0 / math.log(second):.2f}",
        "change of the stationary law by P": f"{float((stationary @ P - stationary).abs().max()):.1e}",
        "walkers, distance from the law at the end": (
            f"{float(0.5 * (walkers[-1] - law[-1]).abs().sum()):.4f}; expected "
            f"{float((law[-1] * (1.0 - law[-1]) / (2.0 * math.pi * o.walkers)).sqrt().sum()):.4f} by chance"
        ),
    }
    arrays = {"P": P, "law": law, "walkers": walkers, "stationary": stationary, "distance": distance}
    return Simulation(
        title="A Markov chain forgets where it began",
        arrays=arrays,
        facts=facts,
        draw=lambda figure, frame: _draw(figure, frame, graph, arrays, second),
        frames=o.steps + 1,
        size=(11.0, 4.2),
    )


def _ring(o: MarkovChain) -> Graph:
    i = torch.arange(o.nodes)
    weights = torch.zeros(o.nodes, o.nodes, dtype=torch.float64)
    weights[i, (i + 1) % o.nodes] = weights[(i + 1) % o.nodes, i] = 1.0
    across = o.nodes // 3
    weights[0, across] = weights[across, 0] = max(o.shortcut, float(weights[0, across]))
    return Graph(weights)


def _eigenvalue_fact(o: MarkovChain, second: float) -> str:
    ring = [o.stay + (1.0 - o.stay) * math.cos(2.0 * math.pi * k / o.nodes) for k in range(1, o.nodes)]
    formula = max(abs(value) for value in ring)
    return f"{second:.8f}; of the ring without shortcut {formula:.8f} (closed form)"


def _decay_fact(P: Tensor, stationary: Tensor, second: float) -> str:
    """The slope of the distance from the worst start, late enough that one mode is left."""
    late = math.ceil(-16.0 / math.log(second))
    early = math.ceil(0.75 * late)
    far = [float((torch.linalg.matrix_power(P, n) - stationary).abs().sum(1).max()) for n in (early, late)]
    return f"{(far[1] / far[0]) ** (1.0 / (late - early)):.8f}; the second eigenvalue {second:.8f}"


def _draw(figure: Figure, frame: int, graph: Graph, arrays: dict[str, Tensor], second: float) -> None:
    left, middle, right = figure.subplots(1, 3, gridspec_kw={"width_ratios": [1.0, 1.1, 1.1]})
    law, stationary, distance = arrays["law"], arrays["stationary"], arrays["distance"]
    _draw_graph(left, graph, law[frame], float(law[min(2, len(law) - 1) :].max()))
    figure.suptitle(f"after {frame} steps", color=INK, fontsize=11)
    nodes = range(len(stationary))
    middle.bar(nodes, arrays["walkers"][frame].tolist(), color=QUIET, label="walkers")
    middle.plot(nodes, law[frame], "o", color=ACCENT, ms=5, label="law x′ = P x")
    middle.plot(nodes, stationary, "_", color=INK, ms=12, label="stationary law")
    middle.set(xlabel="node", ylabel="probability", ylim=(0.0, max(0.35, 1.1 * float(stationary.max()))))
    middle.legend(loc="upper right")
    steps = torch.arange(len(distance))
    reference = float(distance[-1]) * second ** (steps.double() - len(distance) + 1)
    right.semilogy(steps, reference, color=SECOND, ls=":", lw=1.4, label=f"slope of λ₂ = {second:.4f}")
    right.semilogy(steps[: frame + 1], distance[: frame + 1], color=ACCENT, label="distance from stationary")
    right.set(xlabel="step", ylabel="total variation", xlim=(0, len(distance) - 1))
    right.set_ylim(0.5 * max(float(distance[-1]), 1e-16), 2.0)
    right.legend(loc="upper right")


def _draw_graph(axes: Axes, graph: Graph, law: Tensor, top: float) -> None:
    n = graph.shape[0]
    angle = torch.arange(n) * (2.0 * math.pi / n)
    x, y = angle.sin(), angle.cos()
    for i, j, w in zip(*graph.index.tolist(), graph.weights.tolist(), strict=True):
        if i < j:
            axes.plot([x[i], x[j]], [y[i], y[j]], color=QUIET, lw=min(6.0, 1.2 * w**0.5), zorder=1)
    dots = axes.scatter(x, y, c=law, s=220.0, cmap="YlGnBu", vmin=0.0, vmax=top, edgecolors=INK, zorder=2)
    axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal")
    axes.axis("off")
    axes.figure.colorbar(dots, ax=axes, label="probability", location="left", shrink=0.7)


SYSTEM = System(
    name="markov-chain",
    summary="a chain forgets its start at the rate of its spectral gap",
    settings=MarkovChain,
    run=run,
)
