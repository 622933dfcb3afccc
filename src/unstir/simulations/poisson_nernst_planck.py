"""A cell between two blocking electrodes is charged: ions leave the middle and screen the walls."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from unstir.evaluation.figures import INK, QUIET
from unstir.physics.constants import FARADAY, ROOM, thermal_voltage
from unstir.physics.double_layer import charging_rate, debye_length, gouy_chapman, grahame
from unstir.physics.poisson_nernst_planck import Electrolyte, Ends, simulate
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Axis, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Charging(Settings):
    """Settings of the cell."""

    concentration: float = Field(10.0, gt=0, description="concentration of the 1:1 salt, mol/m^3")
    width: float = Field(40.0, ge=8, description="distance of the electrodes, Debye lengths")
    voltage: float = Field(0.2, ge=-2, le=2, description="voltage between the electrodes, V")
    D: float = Field(1e-9, gt=0, description="diffusivity of both ions, m^2/s")
    cells: int = Field(160, ge=20, le=2000, description="cells, finer at the electrodes, 1")
    frames: int = Field(40, ge=2, le=500, description="frames of the film, 1")


def run(settings: Charging, report: Report) -> Simulation:
    """Solve the charging and lay Gouy and Chapman's layer beside its end."""
    c, D = settings.concentration, settings.D
    debye = debye_length([c, c], [1, -1])
    half = 0.5 * settings.width * debye
    share = torch.linspace(-1.0, 1.0, settings.cells + 1, dtype=torch.float64)
    axis = Axis.from_edges(half * torch.tanh(2.5 * share) / math.tanh(2.5))
    rate = charging_rate(half, D, debye)
    t = torch.logspace(-3.0, math.log10(30.0 + half / debye), settings.frames, dtype=torch.float64) / rate
    electrolyte = Electrolyte((1, -1), (D, D))
    start = torch.full((2, settings.cells), c, dtype=torch.float64)
    wall = 0.5 * settings.voltage
    ions = simulate(axis, electrolyte, start, t, Ends((Value(wall), Value(-wall))), tolerance=5e-3)
    report(1, 1)
    x = axis.centers * 1e9
    # Against the middle's own concentration at the end, which the layers have drained.
    middle = float(ions.concentration[-1, 0, settings.cells // 2])
    thin = debye_length([middle, middle], [1, -1])
    exact = gouy_chapman((half + axis.centers).clamp(min=0.0), wall, thin)
    exact = torch.where(axis.centers < 0, exact, -exact.flip(0))
    amount = (ions.concentration * axis.widths).sum(-1)
    balance = ions.wall_charge.sum(1) + FARADAY * (amount[:, 0] - amount[:, 1])

    def draw(figure: Figure, frame: int) -> None:
        left, center, right = figure.subplots(1, 3)
        left.plot(x, ions.potential[frame] * 1e3)
        left.plot(x, exact * 1e3, "--", color=QUIET, lw=1.2, label="Gouy–Chapman, at rest")
        left.set(
            xlabel="position (nm)",
            ylabel="potential (mV)",
            ylim=(-1.1e3 * abs(wall) - 1, 1.1e3 * abs(wall) + 1),
        )
        left.set_title(
            f"{float(t[frame]) * 1e9:,.0f} ns" if t[frame] >= 1e-7 else f"{float(t[frame]) * 1e9:.3g} ns"
        )
        left.legend()
        for s, name in enumerate(("cation", "anion")):
            center.semilogy(x, ions.concentration[frame, s], label=name)
        span = float(ions.concentration.max()) * 1.5
        center.set(xlabel="position (nm)", ylabel="concentration (mol/m³)", ylim=(c**2 / span, span))
        center.legend(loc="upper center")
        right.semilogx(t * 1e9, ions.wall_charge[:, 0] * 1e3, color=QUIET, lw=1)
        right.semilogx(t[: frame + 1] * 1e9, ions.wall_charge[: frame + 1, 0] * 1e3)
        right.axhline(float(grahame(wall, middle)) * 1e3, color=INK, ls="--", lw=1, label="Grahame, at rest")
        right.axvline(1e9 / rate, color=QUIET, ls=":", lw=1.2, label="charging time, closed form")
        right.set(xlabel="time (ns)", ylabel="charge of the left electrode (mC/m²)")
        right.legend(loc="center left")

    deviation = float((ions.potential[-1] - exact).abs().max()) / thermal_voltage(ROOM)
    drift = float((amount / amount[0] - 1.0).abs().max())
    scale = max(float(ions.wall_charge.abs().max()), 1e-30)
    return Simulation(
        title="Charging an electrolyte between two electrodes",
        arrays={
            "t": t,
            "x": axis.centers,
            "potential": ions.potential,
            "concentration": ions.concentration,
            "wall_charge": ions.wall_charge,
        },
        facts={
            "Debye length": f"{debye * 1e9:.3f} nm",
            "charge of an electrode at the end": (
                f"{float(ions.wall_charge[-1, 0]) * 1e3:.4f} mC/m^2, "
                f"Grahame {float(grahame(wall, middle)) * 1e3:.4f}"
            ),
            "largest deviation from Gouy and Chapman at the end": f"{deviation:.1e} R T / F",
            "drift of the ions' amounts": f"{drift:.1e}",
            "charge of walls and ions together, over a wall's": f"{float(balance.abs().max()) / scale:.1e}",
            "smallest concentration": f"{float(ions.concentration.min()):.2e} mol/m^3",
            "implicit steps": f"{ions.steps}, Newton iterations {ions.iterations}",
        },
        draw=draw,
        frames=settings.frames,
        size=(11.5, 4.0),
    )


SYSTEM = System(
    "poisson-nernst-planck", "ions in their own field: charging between two electrodes", Charging, run
)
