"""A microelectrode after a potential step: the depletion round it and the current it draws."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from unstir.evaluation.figures import INK
from unstir.generators import diffusion
from unstir.physics.constants import FARADAY
from unstir.physics.electrode import cottrell, sphere_current, sphere_depletion
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Axis, Grid, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Electrode(Settings):
    """Settings of the electrode."""

    radius: float = Field(1e-5, gt=0, description="radius of the spherical electrode, m")
    D: float = Field(1e-9, gt=0, description="diffusivity of the species, m^2/s")
    concentration: float = Field(1.0, gt=0, description="concentration far away, mol/m^3")
    electrons: float = Field(1.0, gt=0, description="electrons transferred for each molecule, 1")
    first: float = Field(1e-3, gt=0, description="first time shown, s")
    last: float = Field(10.0, gt=0, description="last time shown, s")
    cells: int = Field(200, ge=10, le=1000, description="cells from the surface outward, 1")
    frames: int = Field(40, ge=2, le=500, description="frames of the film, 1")


def run(settings: Electrode, report: Report) -> Simulation:
    """Solve the step on a spherical axis and lay the closed form beside it."""
    if settings.last <= settings.first:
        raise ValueError(f"the last time, {settings.last:g} s, must be after the first, {settings.first:g} s")
    a, D, c = settings.radius, settings.D, settings.concentration
    t = torch.logspace(
        math.log10(settings.first), math.log10(settings.last), settings.frames, dtype=torch.float64
    )
    reach = 7.0 * math.sqrt(D * settings.last)
    # Cells finer than the thinnest depletion at the surface, coarser outward.
    steep = math.log(max(reach / math.sqrt(D * settings.first), math.e)) + 2.0
    share = torch.linspace(0.0, 1.0, settings.cells + 1, dtype=torch.float64)
    edges = a + reach * torch.expm1(steep * share) / math.expm1(steep)
    axis = Axis.from_edges(edges, boundary=(Value(0.0), Value(c)), metric="spherical")
    u = diffusion(Grid(axis), D).exp(t, torch.full((settings.cells,), c, dtype=torch.float64))
    current = settings.electrons * FARADAY * D * axis.areas[0] * u[:, 0] / (0.5 * axis.widths[0])
    exact = sphere_current(t, D, c, a, settings.electrons)
    report(1, 1)
    limit = float(sphere_current(math.inf, D, c, a, settings.electrons))
    planar = cottrell(t, D, c, 4.0 * math.pi * a**2, settings.electrons)
    profile = c * sphere_depletion(axis.centers, t[:, None], D, a)
    micron = (axis.centers - a) * 1e6

    def draw(figure: Figure, frame: int) -> None:
        left, right = figure.subplots(1, 2)
        left.plot(micron, u[frame], label="spherical axis")
        left.plot(micron, profile[frame], "--", color=INK, lw=1.2, label="closed form")
        left.set(xlabel="distance from the surface (µm)", ylabel="concentration (mol/m³)", ylim=(0, 1.05 * c))
        left.set(xlim=(0, min(0.5 * reach, 15.0 * a) * 1e6), title=f"{float(t[frame]):.3g} s after the step")
        left.legend(loc="lower right")
        right.loglog(t, planar * 1e9, lw=1.2, ls=":", label="plane (Cottrell)")
        right.loglog(t, exact * 1e9, "--", color=INK, lw=1.2, label="sphere, closed form")
        right.axhline(limit * 1e9, color="#adb5bd", lw=1, label="steady limit 4π n F D c a")
        right.loglog(t[: frame + 1], current[: frame + 1] * 1e9, "o", ms=4, label="spherical axis")
        right.set(xlabel="time (s)", ylabel="current (nA)")
        right.legend(loc="upper right")

    deviation = float((u - profile).abs().max() / c)
    return Simulation(
        title="A microelectrode after a potential step",
        arrays={"t": t, "r": axis.centers, "concentration": u, "current": current, "closed_form": exact},
        facts={
            "largest deviation of the concentration from the closed form": f"{deviation:.1e} c",
            "largest deviation of the current": f"{float((current / exact - 1.0).abs().max()):.1e}",
            "current at the end": (
                f"{float(current[-1]) * 1e9:.4g} nA, closed form {float(exact[-1]) * 1e9:.4g} nA"
            ),
            "steady limit 4 pi n F D c a": f"{limit * 1e9:.4g} nA",
        },
        draw=draw,
        frames=settings.frames,
        size=(9.0, 4.2),
    )


SYSTEM = System("electrode", "current and depletion at a microelectrode after a step", Electrode, run)
