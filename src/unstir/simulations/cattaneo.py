"""Heat at finite speed: Cattaneo's equation beside the heat equation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from unstir.generators import diffusion, telegraph
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Axis, Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Cattaneo(Settings):
    """Settings of the rod."""

    D: float = Field(1.0, gt=0, description="thermal diffusivity, mm^2/s")
    tau: float = Field(1.0, gt=0, description="relaxation time of the flux, s")
    time: float = Field(4.0, gt=0, description="duration, s")
    cells: int = Field(1000, ge=100, le=8000, description="cells of the rod of 16 mm, 1")
    frames: int = Field(60, ge=1, le=400, description="frames of the film, 1")


def run(settings: Cattaneo, report: Report) -> Simulation:
    """Release a narrow pulse; the front moves at sqrt(D / tau), then diffusion takes over."""
    grid = Grid(Axis(-8.0, 8.0, settings.cells, boundary="periodic"))
    (x,) = grid.centers
    width = 0.12
    start = torch.exp(-0.5 * (x / width) ** 2)
    A = diffusion(grid, settings.D, scheme="spectral")
    times = settings.time * torch.arange(1, settings.frames + 1, dtype=torch.float64) / settings.frames
    waves = telegraph(A, settings.tau).exp(times, start)
    report(1, 2)
    spread = A.exp(times, start)
    report(2, 2)
    speed = math.sqrt(settings.D / settings.tau)
    k = int((times * speed < 7.0).nonzero()[-1]) if bool((times * speed < 7.0).any()) else 0
    reach = float(x[(waves[k] > 1e-6 * waves[k].max()) & (x > 0)].max())
    edge = math.sqrt(2.0 * math.log(1e6)) * width
    beyond = float((spread[k] * (x.abs() > speed * times[k] + edge)).sum() / spread[k].sum())
    mass = float(waves[-1].sum() / start.sum())

    def draw(figure: Figure, frame: int) -> None:
        axes = figure.subplots()
        t = float(times[frame])
        axes.plot(x, spread[frame], lw=1.4, label="heat equation (infinite speed)")
        axes.plot(x, waves[frame], lw=1.8, label="Cattaneo")
        for side in (-1, 1):
            axes.axvline(
                side * speed * t, color="0.6", ls=":", lw=1.2, label="±√(D/τ) t" if side > 0 else None
            )
        top = max(float(waves[frame].max()), float(spread[frame].max()))
        axes.set(
            xlim=(-8, 8), ylim=(-0.05 * top, 1.35 * top), xlabel="x (mm)", ylabel="temperature (relative)"
        )
        axes.set_title(f"t = {t:.2f} s = {t / settings.tau:.2f} τ")
        axes.legend(loc="upper right", frameon=True, framealpha=0.9, edgecolor="none")

    return Simulation(
        title="Heat at finite speed",
        arrays={"x": x, "time": times, "cattaneo": waves, "heat": spread},
        facts={
            f"front at t = {float(times[k]):.3g} s": (
                f"{reach:.3f} mm (sqrt(D/tau) t and the pulse's own edge: "
                f"{speed * float(times[k]) + edge:.3f} mm)"
            ),
            "heat that the heat equation has beyond it": f"{beyond:.2e} of all (Cattaneo: none)",
            "heat at the end relative to the start, minus 1": f"{mass - 1.0:.1e}",
        },
        draw=draw,
        frames=settings.frames,
    )


SYSTEM = System("cattaneo", "heat at finite speed beside the heat equation", Cattaneo, run)
