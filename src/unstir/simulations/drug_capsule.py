"""A drug leaves a capsule: a core, a coat that takes up little of it, and the water outside."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from unstir.evaluation.figures import INK, QUIET
from unstir.generators import diffusion
from unstir.physics.release import Layer, capsule_release, matrix_release, spherical_permeability
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Axis, Grid, Robin

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class DrugCapsule(Settings):
    """Settings of the capsule."""

    radius: float = Field(1e-3, gt=0, description="radius of the core, m")
    coat: float = Field(5e-5, gt=0, description="thickness of the coat, m")
    D_core: float = Field(5e-11, gt=0, description="diffusivity of the drug in the core, m^2/s")
    D_coat: float = Field(1e-11, gt=0, description="diffusivity of the drug in the coat, m^2/s")
    partition: float = Field(0.2, gt=0, le=100, description="concentration in the coat over that in water, 1")
    film: float = Field(5e-5, gt=0, description="thickness of the stagnant water outside, m")
    D_water: float = Field(7e-10, gt=0, description="diffusivity of the drug in water, m^2/s")
    cells: int = Field(120, ge=20, le=800, description="cells, half in the coat, 1")
    frames: int = Field(40, ge=2, le=500, description="frames of the film, 1")


def run(settings: DrugCapsule, report: Report) -> Simulation:
    """Solve core and coat on one spherical axis and lay the series of resistances beside it."""
    a, half = settings.radius, settings.cells // 2
    outer = a + settings.coat
    layers = [
        Layer(settings.coat, settings.D_coat, settings.partition),
        Layer(settings.film, settings.D_water),
    ]
    P = spherical_permeability(layers, a)
    # The coat is written in its own concentration, K times the water's: a film of conductance k / K.
    film = settings.D_water * (1.0 / outer - 1.0 / (outer + settings.film)) ** -1 / outer**2
    end = Robin(film / settings.partition, settings.D_coat, 0.0)
    share = torch.linspace(0.0, 1.0, half + 1, dtype=torch.float64)
    edges = torch.cat([a * torch.sin(0.5 * math.pi * share), a + settings.coat * share[1:]])
    axis = Axis.from_edges(edges, boundary=("reflect", end), metric="spherical")
    grid, core = Grid(axis), torch.arange(2 * half) < half
    A = diffusion(
        grid,
        torch.where(core, settings.D_core, settings.D_coat).double(),
        potential=torch.where(core, 0.0, -math.log(settings.partition)).double(),
    )
    last = 4.0 * (a / (3.0 * P) + a**2 / (15.0 * settings.D_core))
    t = torch.linspace(0.0, last, settings.frames, dtype=torch.float64)
    start = core.double()
    u = A.exp(t, start)
    released = 1.0 - grid.integrate(u) / grid.integrate(start)
    report(1, 1)
    stirred = capsule_release(t, P, a)
    fine = torch.linspace(0.0, last, 400, dtype=torch.float64)
    bare = matrix_release(fine, settings.D_core, a)
    # A core that is not stirred, behind a barrier without content of its own: a film of permeability P.
    closed = matrix_release(t, settings.D_core, a, P)
    hours, r = t / 3600.0, axis.centers * 1e3

    def draw(figure: Figure, frame: int) -> None:
        left, right = figure.subplots(1, 2)
        left.axvspan(a * 1e3, outer * 1e3, color=QUIET, alpha=0.3, lw=0, label="coat")
        # One line each: the concentration jumps by the partition coefficient between them.
        left.plot(r[:half], u[frame, :half])
        left.plot(r[half:], u[frame, half:], color="C0")
        left.set(xlabel="distance from the centre (mm)", ylabel="concentration / the first in the core")
        left.set(xlim=(0, outer * 1e3), ylim=(0, 1.05), title=f"after {float(hours[frame]):.1f} h")
        left.legend(loc="lower left")
        right.plot(fine / 3600.0, bare, color=QUIET, lw=1.2, label="bare core (Crank)")
        right.plot(hours, stirred, ":", lw=1.4, label="stirred core, resistances in series")
        right.plot(hours, closed, "--", color=INK, lw=1.2, label="core with a barrier (Crank)")
        right.plot(
            hours[: frame + 1], released[: frame + 1], "o", ms=3.5, color="C0", label="solved, coat and all"
        )
        right.set(xlabel="time (h)", ylabel="fraction released", ylim=(0, 1.03))
        right.legend(loc="lower right")

    deviation = float((released - closed).abs().max())
    content = settings.partition * ((outer / a) ** 3 - 1.0)
    return Simulation(
        title="A drug leaving a coated capsule",
        arrays={"t": t, "r": axis.centers, "concentration": u, "released": released, "closed_form": closed},
        facts={
            "permeability of coat and film in series": f"{P:.3e} m/s",
            "lag of the coat, thickness^2 / 6 D": f"{layers[0].lag:.3g} s",
            "largest deviation from Crank's core with a barrier": f"{deviation:.4f}",
            "the coat's own content, over the core's, which that form leaves out": f"{content:.3f}",
            "half released after": f"{float(hours[int((released < 0.5).sum())]):.2f} h",
        },
        draw=draw,
        frames=settings.frames,
        size=(9.5, 4.2),
    )


SYSTEM = System("drug-capsule", "a drug leaving a coated capsule, by layers in series", DrugCapsule, run)
