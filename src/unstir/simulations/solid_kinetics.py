"""A grain that reacts through its own product: three laws beside the boundary that really moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field

from unstir.evaluation.figures import INK, QUIET
from unstir.physics.kinetics import Carter, GinstlingBrounshtein, Jander
from unstir.physics.shrinking_shell import Shell, react
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class SolidKinetics(Settings):
    """Settings of the grain."""

    radius: float = Field(1e-6, gt=0, description="radius of the grain, m")
    D: float = Field(1e-16, gt=0, description="diffusivity in the product, m^2/s")
    supply: float = Field(0.02, gt=0, le=10, description="surface concentration over what the grain uses, 1")
    volume_ratio: float = Field(2.1, gt=0, le=10, description="volume of the product over the reactant's, 1")
    cells: int = Field(40, ge=4, le=400, description="cells in the shell, 1")
    frames: int = Field(40, ge=1, le=500, description="frames of the film, 1")


def run(settings: SolidKinetics, report: Report) -> Simulation:
    """Solve the moving boundary and lay the laws beside it."""
    law = Carter(settings.volume_ratio)
    second = settings.radius**2 / settings.D
    last = 1.1 * law.end / (2.0 * settings.supply)
    tau = torch.linspace(0.0, last, settings.frames + 1, dtype=torch.float64)[1:]
    shell = react(tau, settings.supply, volume_ratio=settings.volume_ratio, cells=settings.cells)
    report(1, 1)
    laws = {"Jander": Jander(), "Ginstling–Brounshtein": GinstlingBrounshtein(), "Carter–Valensi": law}
    curves = {name: each.conversion(2.0 * settings.supply * tau) for name, each in laws.items()}
    hours = tau * second / 3600.0

    def draw(figure: Figure, frame: int) -> None:
        left, right = figure.subplots(1, 2, width_ratios=[1.25, 1.0])
        fine = torch.linspace(0.0, last, 400, dtype=torch.float64)
        for name, each in laws.items():
            left.plot(
                fine * second / 3600.0, each.conversion(2.0 * settings.supply * fine), lw=1.4, label=name
            )
        left.plot(
            hours[: frame + 1], shell.conversion[: frame + 1], "o", ms=3.5, color=INK, label="moving boundary"
        )
        left.set(xlabel="time (h)", ylabel="conversion", ylim=(0, 1.05), xlim=(0, float(hours[-1])))
        left.legend(loc="lower right")
        _draw_grain(figure, right, shell, frame, settings.radius)

    facts = {
        f"largest deviation from {name}": f"{float((shell.conversion - curve).abs().max()):.4f}"
        for name, curve in curves.items()
    }
    facts["supply, with which the deviation from Carter–Valensi falls to 0"] = f"{settings.supply:g}"
    facts["matter that came in, neither used nor on its way"] = f"{shell.imbalance:.1e}"
    return Simulation(
        title="A grain reacting through its product",
        arrays={
            "t": tau * second,
            "conversion": shell.conversion,
            "core": shell.core * settings.radius,
            "outer": shell.outer * settings.radius,
            **{name.split("–")[0].lower(): curve for name, curve in curves.items()},
        },
        facts=facts,
        draw=draw,
        frames=len(tau),
    )


def _draw_grain(figure: Figure, axes: Axes, shell: Shell, frame: int, radius: float) -> None:
    """The grain cut open: the core, the product coloured by what diffuses in it, the first outline dashed."""
    from matplotlib.patches import Circle

    core, outer = float(shell.core[frame]), float(shell.outer[frame])
    scale = radius * 1e6
    edge = 1.05 * max(float(shell.outer.max()), 1.0)
    line = torch.linspace(-edge, edge, 301, dtype=torch.float64)
    r = torch.hypot(line[:, None], line)
    profile = torch.cat([torch.zeros(1), shell.profile[frame], torch.ones(1)])
    place = ((r - core) / max(outer - core, 1e-12)).clamp(0.0, 1.0) * (len(profile) - 2) + 0.5
    low = place.long().clamp(0, len(profile) - 2)
    colour = torch.lerp(profile[low], profile[low + 1], (place - low).clamp(0.0, 1.0))
    inside = (r >= core) & (r <= outer)
    extent = (-edge * scale, edge * scale, -edge * scale, edge * scale)
    image = axes.imshow(
        torch.where(inside, colour, torch.nan).numpy(), extent=extent, vmin=0, vmax=1, cmap="viridis"
    )
    axes.add_patch(Circle((0, 0), core * scale, color=INK, lw=0))
    axes.add_patch(Circle((0, 0), scale, fill=False, ls="--", lw=1, color=QUIET))
    axes.set(xlabel="x (µm)", ylabel="y (µm)", title="unreacted core (dark), product")
    figure.colorbar(image, ax=axes, label="concentration / that at the surface", shrink=0.8)


SYSTEM = System(
    "solid-kinetics", "a grain reacting through its product, and the laws for it", SolidKinetics, run
)
