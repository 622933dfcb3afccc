"""Heat in a plate: a hot ring spreads, exactly, beside its closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field

from unstir.generators import diffusion
from unstir.physics.heat import gaussian_spread
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Axis, Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SPOTS = ((3.0, 3.5), (6.5, 6.0), (5.0, 7.5))


class Heat(Settings):
    """Settings of the plate."""

    D: float = Field(1.0, gt=0, description="thermal diffusivity, mm^2/s")
    time: float = Field(0.5, gt=0, description="duration, s")
    width: float = Field(0.35, gt=0.1, le=2, description="standard deviation of a hot spot at the start, mm")
    boundary: Literal["reflect", "absorb", "periodic"] = Field(
        "reflect", description="edges of the plate: insulated, held at 0, or joined to the opposite edge"
    )
    cells: int = Field(160, ge=16, le=1024, description="cells along each edge of 10 mm, 1")
    frames: int = Field(40, ge=1, le=400, description="frames of the film, 1")


def run(settings: Heat, report: Report) -> Simulation:
    """Spread three hot spots; in the open plane each would stay a Gaussian."""
    axis = Axis(0.0, 10.0, settings.cells, boundary=settings.boundary)
    grid = Grid(axis, axis)
    x, y = grid.centers

    def plane(t: float) -> torch.Tensor:
        spots = [((x - a) ** 2 + (y - b) ** 2).sqrt() for a, b in _SPOTS]
        total = sum(gaussian_spread(r, t, settings.D, settings.width, dimensions=2) for r in spots)
        return torch.as_tensor(total)

    start = plane(0.0)
    A = diffusion(grid, settings.D)
    share = (
        torch.linspace(0.0, 1.0, settings.frames + 1, dtype=torch.float64)[1:]
        if settings.frames > 1
        else None
    )
    times = settings.time * (torch.ones(1, dtype=torch.float64) if share is None else share**2)
    states = []
    for done, t in enumerate(times.tolist(), start=1):
        states.append(A.exp(t, start))
        report(done, len(times))
    u = torch.stack(states)
    early = min(float(times[-1]), 0.2 / settings.D)
    gap = float((A.exp(early, start) - plane(early)).abs().max() / plane(early).max())
    kept = float(grid.integrate(u[-1]) / grid.integrate(start)) - 1.0
    top = float(start.max())

    def draw(figure: Figure, frame: int) -> None:
        left, right = figure.subplots(1, 2)
        shown = u[frame]
        image = left.imshow(
            shown.T, origin="lower", extent=(0, 10, 0, 10), cmap="inferno", vmin=0, vmax=shown.max()
        )
        figure.colorbar(image, ax=left, label="temperature (relative)", shrink=0.85)
        left.set(xlabel="x (mm)", ylabel="y (mm)", title=f"t = {float(times[frame]):.3f} s")
        row = int(settings.cells * 0.35)
        right.plot(axis.centers, start[:, row], "--", lw=1.2, color="0.6", label="start")
        right.plot(axis.centers, shown[:, row], lw=1.6, label="now")
        right.plot(
            axis.centers, plane(float(times[frame]))[:, row], ":", lw=1.4, label="Gaussians, open plane"
        )
        right.set(
            xlabel="x (mm)", ylabel="temperature (relative)", ylim=(0, 1.05 * top), title="along y = 3.5 mm"
        )
        right.legend(frameon=False)

    return Simulation(
        title="Heat in a plate",
        arrays={"x": axis.centers, "time": times, "u": u},
        facts={
            "engine": A.engine,
            f"difference from the open plane's Gaussians at t = {early:.3g} s": f"{gap:.2e} of the peak",
            "heat at the end relative to the start, minus 1": f"{kept:.1e}",
            "error of time stepping": "none: one exponential for each frame",
        },
        draw=draw,
        frames=len(times),
        size=(10.0, 4.2),
    )


SYSTEM = System("heat", "heat spreads in a plate, exactly in time", Heat, run)
