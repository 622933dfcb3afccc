"""Spots that divide and stripes that wander: the Gray-Scott model on a torus."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from unstir.generators import diffusion
from unstir.noise import Stream, uniform
from unstir.physics.evolve import evolve
from unstir.physics.reaction import GrayScott
from unstir.physics.turing import pattern_wavenumber
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Axis, Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class GrayScottSettings(Settings):
    """Settings of the pattern; cells have width 1."""

    F: float = Field(0.037, gt=0, lt=1, description="feed rate, 1/time")
    k: float = Field(0.06, gt=0, lt=1, description="removal rate, 1/time")
    D_u: float = Field(0.2, gt=0, le=1, description="diffusivity of the substrate, cell^2/time")
    D_v: float = Field(0.1, gt=0, le=1, description="diffusivity of the catalyst, cell^2/time")
    cells: int = Field(128, ge=32, le=512, description="cells along each axis, 1")
    last: float = Field(4000.0, gt=0, description="last time, time")
    seeds: int = Field(20, ge=1, le=500, description="squares of catalyst at the start, 1")
    frames: int = Field(25, ge=2, le=200, description="frames of the film, 1")
    seed: int = Field(0, ge=0, description="seed of the places of the squares, 1")


def run(settings: GrayScottSettings, report: Report) -> Simulation:
    """Sow squares of catalyst and let them divide."""
    n, half = settings.cells, 4
    axis = Axis(0.0, float(n), n, boundary="periodic")
    grid = Grid(axis, axis)
    places = uniform((settings.seeds, 2), seed=settings.seed, index=torch.zeros(1).long(), stream=Stream.SOW)
    v = torch.zeros(n, n, dtype=torch.float64)
    for i, j in (places[0] * n).long().tolist():
        rows, cols = (torch.arange(c - half, c + half) % n for c in (i, j))
        v[rows[:, None], cols] = 0.25
    u_0 = torch.stack([1.0 - 2.0 * v, v])
    times = torch.linspace(0.0, settings.last, settings.frames, dtype=torch.float64)
    model = GrayScott(settings.F, settings.k)
    result = evolve(
        u_0,
        times,
        (diffusion(grid, settings.D_u), diffusion(grid, settings.D_v)),
        model,
        method="explicit",
        progress=report,
    )
    pattern = result.u[:, 1]
    inflow = settings.F * float((1.0 - result.u[-1, 0]).mean())
    outflow = (settings.F + settings.k) * float(result.u[-1, 1].mean())
    change = float((result.u[-1].sum(0) - result.u[-2].sum(0)).mean() / (times[-1] - times[-2]))
    varied = float(pattern[-1].std()) > 1e-6
    wave = (
        f"{2.0 * math.pi / pattern_wavenumber(pattern[-1], grid):.1f} cells" if varied else "no pattern left"
    )

    def draw(figure: Figure, frame: int) -> None:
        axes = figure.subplots()
        shown = axes.imshow(pattern[frame].numpy(), cmap="magma", vmin=0.0, vmax=0.4, extent=(0, n, 0, n))
        axes.set(xlabel="place (cells)", ylabel="place (cells)", title=f"t = {float(times[frame]):.0f}")
        figure.colorbar(shown, label="catalyst v (1)")

    return Simulation(
        title="Gray-Scott pattern",
        arrays={"t": times, "u": result.u[:, 0], "v": pattern},
        facts={
            "supply F <1 - u> beside loss (F + k) <v>": f"{inflow:.5f} and {outflow:.5f}; "
            f"they differ by the change of <u + v>, measured {change:.5f}",
            "mean wavelength": wave,
            "homogeneous states": "; ".join(f"({a:.3f}, {b:.3f})" for a, b in model.states().tolist()),
            "method": f"{result.method}, {result.steps} {result.why.split('; ')[-1]}",
        },
        draw=draw,
        frames=settings.frames,
        size=(6.0, 5.0),
    )


SYSTEM = System("gray-scott", "spots that divide and stripes that wander", GrayScottSettings, run)
