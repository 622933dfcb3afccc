"""Lineages that jump between regions on a ring: the rates and the ancestors' regions, told from the tips."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from unstir.evaluation.figures import INK, QUIET
from unstir.physics.draw_tree import COLOURS, draw_branches
from unstir.physics.phylo_region_rates import RateModel, fit_regions, profile_interval
from unstir.physics.phylo_regions import (
    ancestral_regions,
    region_log_likelihood,
    simulate_regions,
    stationary_regions,
)
from unstir.physics.propagators import chain_generator
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Tree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Regions(Settings):
    """Settings of the spread."""

    tips: int = Field(150, ge=10, le=2000, description="sampled lineages, count")
    regions: int = Field(4, ge=4, le=10, description="regions on a ring, count")
    near: float = Field(0.1, gt=0.0, le=100.0, description="rate of jumping to either neighbour, 1/year")
    far: float = Field(0.02, gt=0.0, le=100.0, description="rate of jumping to each other region, 1/year")
    years: float = Field(5.0, gt=0.0, le=1e6, description="from the first split to the samples, years")
    frames: int = Field(40, ge=2, le=400, description="frames of the film, count")
    seed: int = Field(1, description="of the tree and the jumps, no unit")


class _World(NamedTuple):
    tree: Tree
    times: Tensor
    best: list[int]
    true: Tensor
    told: Tensor


def run(settings: Regions, report: Report) -> Simulation:
    """Let lineages jump and split, keep the tips, and find rates and ancestors from them."""
    o = settings
    tree = Tree.yule(o.tips, seed=o.seed)
    tree = tree.scaled(o.years / float(tree.depth.max()))
    times = torch.linspace(0.0, o.years, o.frames, dtype=torch.float64)
    whole = tree.cut(times[1:-1])
    model = ring(o.regions)
    truth = model.rates(torch.tensor([o.near, o.far], dtype=torch.float64).log())
    history = simulate_regions(whole, truth, seed=o.seed)[:, 0]
    seen = history[tree.tips]
    report(1, 3)
    fit = fit_regions(tree, seen, model)
    report(2, 3)
    marginals = ancestral_regions(whole, seen, fit.rates)
    inner = whole.child_counts > 0
    best = marginals.argmax(1)
    right = float((best == history)[inner].double().mean())
    said = float(marginals.amax(1)[inner].mean())
    true, told = _census(whole, times, history, marginals)
    gap = _plain_log_likelihood(tree, seen, fit.rates) - float(
        region_log_likelihood(tree, seen, fit.rates)[0]
    )
    put_in = (o.near, o.far)
    effects = [profile_interval(tree, seen, fit, m) for m in range(2)]
    ends = torch.tensor(effects, dtype=torch.float64).exp().tolist()
    world = _World(tree, times, best[: len(tree)].tolist(), true, told)
    report(3, 3)
    return Simulation(
        title="Regions on a tree",
        arrays={
            "parent": whole.parent,
            "time": whole.depth,
            "region": history,
            "probability": marginals,
            "rates": fit.rates,
            "times": times,
            "lineages_true": true,
            "lineages_told": told,
        },
        facts={
            "log-likelihood": f"{fit.log_likelihood:.3f}; node by node it differs by {abs(gap):.1e}",
            **{
                f"rate to {name}": f"put in {put_in[m]:g}, fitted {float(fit.effects[m].exp()):.3g} per year "
                f"(95 % profile interval {ends[m][0]:.3g} to {ends[m][1]:.3g})"
                for m, name in enumerate(model.names)
            },
            "most probable region is the true one": f"at {100 * right:.1f} % of all "
            f"moments; it says {100 * said:.1f} %",
        },
        draw=lambda figure, frame: _draw(figure, frame, world),
        frames=o.frames,
        size=(9.5, 4.6),
    )


def ring(k: int) -> RateModel:
    """Two rates between k regions on a ring: to neighbours, and to all others."""
    place = torch.arange(k)
    apart = (place[:, None] - place).abs()
    near = torch.minimum(apart, k - apart) == 1
    return RateModel(["a neighbour", "another region"], torch.stack([near, ~near]).double())


def _census(tree: Tree, times: Tensor, history: Tensor, marginals: Tensor) -> tuple[Tensor, Tensor]:
    """Lineages in each region at each time, (T, k): as they were, and as told from the tips."""
    k = marginals.shape[1]
    at = (tree.depth - times[:, None]).abs() < 1e-9
    at[0], at[0, tree.root] = False, True
    one_hot = torch.nn.functional.one_hot(history, k).double()
    return at.double() @ one_hot, at.double() @ marginals


def _plain_log_likelihood(tree: Tree, seen: Tensor, Q: Tensor) -> float:
    """Felsenstein's recursion as it is written in books, an exponential for each edge."""
    k, generator = len(Q), chain_generator(Q)
    below = torch.ones(len(tree), k, dtype=torch.float64)
    below[tree.tips] = torch.nn.functional.one_hot(seen, k).double()
    log_scale = 0.0
    for nodes in reversed(tree.levels[1:]):
        for node in nodes.tolist():
            P = torch.linalg.matrix_exp(float(tree.length[node]) * generator)
            parent = int(tree.parent[node])
            below[parent] *= P @ below[node]
            top = float(below[parent].max())
            below[parent] /= top
            log_scale += float(torch.tensor(top, dtype=torch.float64).log())
    return log_scale + float((stationary_regions(Q) @ below[tree.root]).log())


def _draw(figure: Figure, frame: int, world: _World) -> None:
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.3, 1.0]})
    time = float(world.times[frame])
    draw_branches(left, world.tree, ["#e9ecef"] * len(world.tree), lw=0.9)
    colours = [COLOURS[i % len(COLOURS)] for i in world.best]
    draw_branches(left, world.tree, colours, until=time, lw=1.3)
    left.set_xlabel("time since the first split (years)")
    left.set_title("most probable region of each lineage", loc="left")
    for i in range(world.true.shape[1]):
        left.plot([], [], color=COLOURS[i % len(COLOURS)], lw=3, label=f"region {i + 1}")
    left.legend(loc="upper left", fontsize=8)
    _draw_census(right, frame, world)


def _draw_census(axes: Axes, frame: int, world: _World) -> None:
    t = world.times[: frame + 1].numpy()
    for i in range(world.true.shape[1]):
        colour = COLOURS[i % len(COLOURS)]
        axes.plot(t, world.told[: frame + 1, i].numpy(), color=colour, lw=2.2)
        axes.plot(t, world.true[: frame + 1, i].numpy(), color=colour, lw=1.0, ls=":")
    axes.plot([], [], color=INK, lw=2.2, label="expected, told from the tips")
    axes.plot([], [], color=INK, lw=1.0, ls=":", label="true")
    axes.set_xlim(0.0, float(world.times[-1]))
    axes.set_ylim(0.0, 1.05 * float(torch.cat([world.true, world.told]).max()))
    axes.axvline(float(world.times[frame]), color=QUIET, lw=0.8)
    axes.set_xlabel("time since the first split (years)")
    axes.set_ylabel("lineages in each region")
    axes.legend(loc="upper left", fontsize=8)


SYSTEM = System(
    name="regions",
    summary="lineages jump between regions; rates told from the tips",
    settings=Regions,
    run=run,
)
