"""Walkers on a line beside the explicit scheme that is their law, and the heat kernel that both tend to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field

from unstir.evaluation.figures import INK, QUIET, SECOND
from unstir.physics.heat import heat_kernel
from unstir.physics.walks import ftcs, lattice_walk, walk_distribution
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Axis, Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class RandomWalk(Settings):
    """Settings of the walk."""

    walkers: int = Field(5000, ge=1, le=1000000, description="number of walkers, 1")
    steps: int = Field(200, ge=1, le=1000, description="steps of each, 1")
    stay: float = Field(0.2, ge=0, lt=1, description="probability of staying in a step, 1")
    frames: int = Field(50, ge=1, le=500, description="frames of the film, 1")
    seed: int = Field(0, description="seed of the random numbers, 1")


def run(settings: RandomWalk, report: Report) -> Simulation:
    """Walk, and step the scheme with D dt / dx^2 equal to the probability of a step to one side."""
    n, r = settings.steps, 0.5 * (1.0 - settings.stay)
    path = lattice_walk(settings.walkers, n, stay=settings.stay, path=True, seed=settings.seed)[..., 0]
    grid = Grid(Axis(-n - 0.5, n + 0.5, 2 * n + 1))
    sites = grid.centers[0]
    start = torch.zeros(2 * n + 1, dtype=torch.float64)
    start[n] = 1.0
    scheme = ftcs(start, grid, 1.0, r, n, path=True)
    offset = torch.arange(n + 1)[:, None] * (2 * n + 1)
    counts = torch.bincount((path + n + offset).flatten(), minlength=scheme.numel())
    shares = counts.reshape(scheme.shape).double() / settings.walkers
    report(1, 1)
    shown = torch.linspace(0, n, settings.frames + 1).round().long()[1:]
    edge = min(n + 0.5, 4.0 * (2.0 * r * n) ** 0.5 + 1.0)
    variance = path.double().square().mean(1)

    def draw(figure: Figure, frame: int) -> None:
        k = int(shown[frame])
        left, right = figure.subplots(1, 2, width_ratios=[1.8, 1.0])
        left.bar(
            sites.numpy(), shares[k].numpy(), width=1.0, color=QUIET, label=f"{settings.walkers} walkers"
        )
        here = scheme[k] > 0
        left.plot(sites[here], scheme[k][here], ".", ms=5, color=SECOND, label="FTCS")
        if k:
            # Without staying every second site is empty, so the others hold twice the density.
            density = heat_kernel(sites, float(k), r) * (2.0 if settings.stay == 0 else 1.0)
            left.plot(sites, density, color=INK, lw=1.2, label="heat kernel")
        high = 1.15 * float(scheme[max(k, 1)].max())
        left.set(xlim=(-edge, edge), ylim=(0, high), xlabel="site", ylabel="share of walkers")
        left.set_title(f"after {k} steps")
        left.legend(loc="upper right")
        steps = torch.arange(n + 1)
        right.plot(steps, 2.0 * r * steps, "--", color=QUIET, label="2 D t")
        right.plot(steps[: k + 1], variance[: k + 1], color=INK, label="walkers")
        right.set(xlim=(0, n), ylim=(0, 2.3 * r * n), xlabel="step", ylabel="squared distance (sites²)")
        right.set_title("mean squared displacement")
        right.legend(loc="upper left")

    gap = float((scheme[-1] - walk_distribution(n, stay=settings.stay)).abs().max())
    excess = (shares[-1] - scheme[-1]).square().sum() / ((1.0 - scheme[-1].square().sum()) / settings.walkers)
    facts = {
        "FTCS against the closed form of the walk, largest difference": f"{gap:.1e}",
        "walkers against FTCS, squared difference over that of chance": f"{float(excess):.2f} (1 expected)",
        "mean squared displacement at the end": f"{float(variance[-1]):.1f} sites² (2 D t = {2 * r * n:.1f})",
    }
    return Simulation(
        title="A random walk is the explicit scheme",
        arrays={"sites": sites, "walkers": shares[shown], "ftcs": scheme[shown], "step": shown},
        facts=facts,
        draw=draw,
        frames=settings.frames,
        size=(9.5, 4.0),
    )


SYSTEM = System("random-walk", "walkers on a line beside the scheme that is their law", RandomWalk, run)
