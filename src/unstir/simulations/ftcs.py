"""The explicit scheme below and above its limit: one smooths, the other explodes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from unstir.evaluation.figures import INK, QUIET, SECOND
from unstir.generators import diffusion
from unstir.physics.walks import ftcs
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Axis, Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Ftcs(Settings):
    """Settings of the two runs."""

    stable: float = Field(0.4, gt=0, le=0.5, description="stability number D dt/dx^2 on the left, 1")
    unstable: float = Field(0.55, gt=0.5, le=2, description="stability number D dt/dx^2 on the right, 1")
    cells: int = Field(64, ge=8, le=1000, description="cells of the line, 1")
    steps: int = Field(60, ge=1, le=400, description="steps, 1")
    frames: int = Field(60, ge=1, le=400, description="frames of the film, 1")


def run(settings: Ftcs, report: Report) -> Simulation:
    """Step a block of heat on 10 mm with D = 1 mm^2/s both ways, beside the exact solution."""
    grid = Grid(Axis(0.0, 10.0, settings.cells))
    (x,) = grid.centers
    start = ((x > 2.5) & (x < 6.0)).double()
    square = (10.0 / settings.cells) ** 2
    exact_operator = diffusion(grid, 1.0)
    runs, exact = {}, {}
    for done, r in enumerate((settings.stable, settings.unstable), start=1):
        runs[r] = ftcs(start, grid, 1.0, r * square, settings.steps, unsafe=True, path=True)
        times = torch.arange(settings.steps + 1, dtype=torch.float64) * r * square
        exact[r] = exact_operator.exp(times, start)
        report(done, 2)
    shown = torch.linspace(0, settings.steps, settings.frames + 1).round().long()[1:]

    def draw(figure: Figure, frame: int) -> None:
        k = int(shown[frame])
        for r, axes in zip(runs, figure.subplots(1, 2), strict=True):
            axes.plot(x, start, "--", color=QUIET, lw=1.2, label="start")
            axes.plot(x, exact[r][k], color=INK, lw=1.4, label="exact in time")
            axes.plot(x, runs[r][k], "o-", ms=2.5, lw=0.9, color=SECOND, label="FTCS")
            side = "stable" if r <= 0.5 else "unstable"
            high = max(1.8, 1.15 * float(runs[r][k].abs().max()))
            axes.set(
                xlim=(0, 10),
                ylim=(-high if high > 1.8 else -0.2, high),
                xlabel="x (mm)",
                ylabel="temperature (relative)",
            )
            axes.set_title(f"D dt/dx² = {r:g}, {side}: step {k}, t = {k * r * square:.2f} s")
            axes.legend(loc="upper right", frameon=True, framealpha=0.9, edgecolor="none")

    r = settings.unstable
    gap = (runs[settings.stable] - exact[settings.stable])[-1].abs().max()
    amplitude = _shortest(runs[r])
    measured = float((amplitude[-1] / amplitude[0]).abs()) ** (1.0 / settings.steps)
    grows = 4.0 * r * math.sin(0.5 * math.pi * (settings.cells - 1) / settings.cells) ** 2 - 1.0
    facts = {
        "stable run against exact, largest difference": f"{float(gap):.4f}",
        "unstable run, largest value": f"{float(runs[r][-1].abs().max()):.3g}",
        "growth of the shortest wave in a step": f"{measured:.5f} (4 r sin²(k dx/2) - 1 = {grows:.5f})",
    }
    return Simulation(
        title="The explicit scheme below and above its limit",
        arrays={"x": x, "stable": runs[settings.stable][shown], "unstable": runs[r][shown], "step": shown},
        facts=facts,
        draw=draw,
        frames=settings.frames,
        size=(10.0, 4.0),
    )


def _shortest(path: torch.Tensor) -> torch.Tensor:
    """The amplitude of the shortest wave that the reflecting ends allow, (steps + 1,)."""
    n = path.shape[-1]
    wave = (math.pi * (n - 1) * (torch.arange(n, dtype=torch.float64) + 0.5) / n).cos()
    return path @ wave


SYSTEM = System("ftcs", "the explicit scheme below and above its stability limit", Ftcs, run)
