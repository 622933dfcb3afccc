"""A pathogen that spreads over a map as its tree branches, and where lineages were, told from the tips."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from unstir.evaluation.figures import ACCENT, INK, QUIET, SECOND
from unstir.physics.draw_tree import draw_branches
from unstir.physics.phylo_brownian import (
    brownian_ancestors,
    brownian_log_likelihood,
    fit_brownian,
    simulate_brownian,
)
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Tree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WITHIN = 5.991464547107979
"""Chi-squared of two directions at 95 %: -2 log 0.05."""


class Phylogeography(Settings):
    """Settings of the outbreak."""

    tips: int = Field(60, ge=5, le=500, description="sampled lineages, count")
    D: float = Field(8000.0, gt=0.0, le=1e9, description="diffusion coefficient, km^2/year")
    years: float = Field(4.0, gt=0.0, le=1e6, description="from the first split to the samples, years")
    frames: int = Field(48, ge=2, le=400, description="frames of the film, count")
    seed: int = Field(3, description="of the tree and the motion, no unit")


class _World(NamedTuple):
    tree: Tree
    whole: Tree
    times: Tensor
    truth: Tensor
    mean: Tensor
    radius: Tensor


def run(settings: Phylogeography, report: Report) -> Simulation:
    """Let lineages wander and split, keep the tips, and find the ancestors from them."""
    from scipy.stats import chi2

    o = settings
    tree = Tree.yule(o.tips, seed=o.seed)
    tree = tree.scaled(o.years / float(tree.depth.max()))
    times = torch.linspace(0.0, o.years, o.frames, dtype=torch.float64)
    # A node wherever a lineage is at the time of a frame: the film shows the path, not only its branchings.
    whole = tree.cut(times[1:-1])
    report(1, 3)
    covariance = 2.0 * o.D * torch.eye(2, dtype=torch.float64)
    truth = simulate_brownian(whole, covariance, torch.zeros(2, dtype=torch.float64), seed=o.seed)[0]
    tips = truth[tree.tips]
    fit = fit_brownian(tree, tips)
    D = 0.25 * float(fit.covariance.trace())
    mean, variance = brownian_ancestors(whole, tips)
    radius = (2.0 * D * variance * _WITHIN).sqrt()
    report(2, 3)
    degrees = 2 * fit.degrees
    low, high = (degrees * D / float(chi2.ppf(q, degrees)) for q in (0.975, 0.025))
    inner = whole.child_counts > 0
    inside = (truth - mean).norm(dim=-1)[inner] < radius[inner]
    share = 100.0 * float(inside.double().mean())
    gap = _dense_gap(tree, tips, D)
    deviation = float(radius[tree.root]) / _WITHIN**0.5
    off = float((truth - mean)[tree.root].norm())
    world = _World(tree, whole, times, truth, mean, radius)
    report(3, 3)
    return Simulation(
        title="Phylogeography: where lineages were",
        arrays={
            "parent": whole.parent,
            "time": whole.depth,
            "truth": truth,
            "mean": mean,
            "radius": radius,
            "tips": tree.tips,
        },
        facts={
            "likelihood against the dense normal": f"log-likelihoods differ by {gap:.1e}",
            "D put in": f"{o.D:,.0f} km^2/year",
            "D fitted to the tips": f"{D:,.0f} km^2/year (95 % interval {low:,.0f} to {high:,.0f})",
            "true lineages inside their 95 % circles": f"{share:.1f} % of all moments",
            "root": f"{off:,.0f} km from the truth; its deviation is {deviation:,.0f} km",
        },
        draw=lambda figure, frame: _draw(figure, frame, world),
        frames=o.frames,
        size=(9.5, 4.8),
    )


def _dense_gap(tree: Tree, x: Tensor, D: float) -> float:
    """The pruned likelihood beside that of the multivariate normal of all tips, root at 0."""
    shared = torch.zeros(len(tree), len(tree), dtype=torch.float64)
    for nodes in tree.levels[1:]:
        parents = tree.parent[nodes]
        rows = shared[parents]
        shared[nodes], shared[:, nodes] = rows, rows.T
        shared[nodes[:, None], nodes] = rows[:, parents]
        shared[nodes, nodes] = tree.depth[nodes]
    C = 2.0 * D * shared[tree.tips][:, tree.tips]
    normal = torch.distributions.MultivariateNormal(C.new_zeros(len(C)), C)
    exact = normal.log_prob(x.T).sum()  # type: ignore[no-untyped-call]
    covariance = 2.0 * D * torch.eye(2, dtype=torch.float64)
    return float((brownian_log_likelihood(tree, x, covariance, x.new_zeros(2)) - exact).abs())


def _draw(figure: Figure, frame: int, world: _World) -> None:
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.25, 1.0]})
    time = float(world.times[frame])
    _draw_map(left, time, world)
    # The cut tree keeps the order of the nodes, so the branching one is enough here.
    draw_branches(right, world.tree, [QUIET] * len(world.tree), lw=0.8)
    draw_branches(right, world.tree, [ACCENT] * len(world.tree), until=time, lw=1.3)
    right.axvline(time, color=SECOND, lw=1.0, ls=":")
    right.set_xlabel("time since the first split (years)")
    right.set_title("tree", loc="left")


def _draw_map(axes: Axes, time: float, world: _World) -> None:
    from matplotlib.collections import EllipseCollection, LineCollection

    whole, x = world.whole, world.truth
    done = (whole.depth <= time + 1e-9) & (whole.parent >= 0)
    nodes = done.nonzero()[:, 0]
    lines = torch.stack([x[whole.parent[nodes]], x[nodes]], dim=1).numpy()
    axes.add_collection(LineCollection(list(lines), colors=QUIET, linewidths=0.7))
    now = (whole.depth - time).abs() < 1e-9
    shown = now
    if time >= float(world.times[-1]):  # at the end, when all tips are known: the branchings
        shown = torch.zeros_like(now)
        shown[: len(world.tree)] = world.tree.child_counts > 0
    middle, size = world.mean[shown].numpy(), 2.0 * world.radius[shown].numpy()
    axes.add_collection(
        EllipseCollection(
            size,
            size,
            size * 0.0,
            units="xy",
            offsets=middle,
            offset_transform=axes.transData,
            facecolors=ACCENT,
            edgecolors=ACCENT,
            alpha=min(0.15, 1.5 / max(1, len(size))) + 0.03,
        )
    )
    axes.plot(*middle.T, "+", color=ACCENT, ms=5, label="told from the tips, with 95 % circles")
    axes.plot(*x[now].numpy().T, ".", color=INK, ms=5, label="lineages now")
    axes.plot(0.0, 0.0, "*", color=SECOND, ms=12, label="origin")
    reach = 1.1 * float(torch.cat([x, world.mean]).abs().max())
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.grid(color="#e9ecef", lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("east (km)")
    axes.set_ylabel("north (km)")
    axes.set_title(f"{time:.1f} years after the first split", loc="left")
    axes.legend(loc="lower left", fontsize=8, frameon=True, framealpha=0.8, edgecolor="none")


SYSTEM = System(
    name="phylogeography",
    summary="lineages wander and split; ancestors told from the tips",
    settings=Phylogeography,
    run=run,
)
