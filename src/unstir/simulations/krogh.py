"""Oxygen in the tissue round a capillary, from rest to hard work: where it reaches and where it ends."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from unstir.evaluation.figures import INK, SECOND
from unstir.generators import diffusion
from unstir.physics.krogh import MMHG, Blood, Cylinder, along_capillary, critical_radius
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Axis, Grid, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Krogh(Settings):
    """Settings of the cylinder; the defaults are those of muscle."""

    capillary: float = Field(3e-6, gt=0, description="radius of the capillary, m")
    tissue: float = Field(3e-5, gt=0, description="radius of the tissue cylinder, m")
    length: float = Field(5e-4, gt=0, description="length of the capillary, m")
    speed: float = Field(1e-3, gt=0, description="speed of the blood, m/s")
    inlet: float = Field(95.0, gt=0, description="partial pressure at the inlet, mmHg")
    D: float = Field(2.4e-9, gt=0, description="diffusivity of oxygen in the tissue, m^2/s")
    solubility: float = Field(1e-5, gt=0, description="solubility of oxygen in the tissue, mol/(m^3 Pa)")
    rest: float = Field(1e-2, gt=0, description="consumption in the first frame, mol/(m^3 s)")
    work: float = Field(2e-1, gt=0, description="consumption in the last frame, mol/(m^3 s)")
    cells: int = Field(80, ge=10, le=400, description="cells along the radius and the length, 1")
    frames: int = Field(30, ge=1, le=200, description="frames of the film, one a consumption, 1")


def run(settings: Krogh, report: Report) -> Simulation:
    """The pressure in the tissue by the closed form, and on the axis where all of it is supplied."""
    n, K = settings.cells, settings.D * settings.solubility
    still = Cylinder(settings.capillary, settings.tissue, settings.rest, K)
    consumption = torch.linspace(settings.rest, settings.work, settings.frames, dtype=torch.float64).tolist()
    z = torch.linspace(0.0, settings.length, n, dtype=torch.float64)
    axis = Axis(
        settings.capillary, settings.tissue, n, boundary=(Value(0.0), "reflect"), metric="cylindrical"
    )
    # The drop is linear in the consumption: one solution serves all of them.
    unit = diffusion(Grid(axis)).solve(0.0, torch.full((n,), -1.0 / K, dtype=torch.float64))
    maps, bloods, errors, share = [], [], [], []
    for done, M in enumerate(consumption, start=1):
        cylinder = replace(still, consumption=M)
        P = along_capillary(z, cylinder, settings.inlet * MMHG, settings.speed, Blood())
        field = cylinder.profile(axis.centers, P[:, None]) / MMHG
        supplied = cylinder.reach(P) >= settings.tissue
        if bool(supplied.any()):
            solved = (P[supplied, None] + M * unit) / MMHG
            errors.append(float((solved - field[supplied]).abs().max()))
        maps.append(field)
        bloods.append(P / MMHG)
        share.append(_without(field, axis.volumes))
        report(done, len(consumption))
    pressure, blood = torch.stack(maps), torch.stack(bloods)
    radius = axis.centers * 1e6

    def draw(figure: Figure, frame: int) -> None:
        left, right = figure.subplots(1, 2, width_ratios=[1.5, 1.0])
        both = torch.cat([pressure[frame].mT.flip(0), pressure[frame].mT])
        extent = (0.0, settings.length * 1e6, -settings.tissue * 1e6, settings.tissue * 1e6)
        gap = settings.capillary / (settings.tissue - settings.capillary) * n
        middle = blood[frame].expand(2 * max(round(gap), 1), n)
        whole = torch.cat([both[:n], middle, both[n:]])
        image = left.imshow(
            whole.numpy(), extent=extent, aspect="auto", vmin=0, vmax=settings.inlet, cmap="inferno"
        )
        left.contour(
            torch.linspace(extent[0], extent[1], n),
            torch.linspace(extent[2], extent[3], len(whole)),
            whole,
            levels=[1.0],
            colors="white",
            linewidths=1.0,
        )
        left.set(xlabel="along the capillary (µm)", ylabel="distance from its axis (µm)")
        left.set_title(
            f"consumption {consumption[frame]:.3f} mol/(m³ s), {share[frame]:.0%} of the tissue without"
        )
        figure.colorbar(image, ax=left, label="oxygen (mmHg), white line 1 mmHg")
        for place, name in ((0, "inlet"), (n // 2, "middle"), (n - 1, "outlet")):
            right.plot(radius, pressure[frame, place], label=name)
        supplied = float(pressure[frame, 0, -1]) > 0
        if supplied:
            solved = blood[frame, 0] + consumption[frame] * unit / MMHG
            right.plot(radius[::5], solved[::5], "o", ms=3.5, color=INK, label="inlet, cylindrical axis")
        right.axhline(0, color=SECOND, lw=0.8)
        right.set(
            xlabel="distance from the axis (µm)", ylabel="oxygen (mmHg)", ylim=(-2, 1.05 * settings.inlet)
        )
        right.legend(loc="upper right")

    first = float(critical_radius(blood[-1, 0] * MMHG, settings.capillary, consumption[-1], K)) * 1e6
    last = float(critical_radius(blood[-1, -1] * MMHG, settings.capillary, consumption[-1], K)) * 1e6
    facts = {
        "critical radius at the inlet, last frame": f"{first:.2f} µm of {settings.tissue * 1e6:g} µm",
        "critical radius at the outlet, last frame": f"{last:.2f} µm",
        "tissue without oxygen, first and last frame": f"{share[0]:.1%}, {share[-1]:.1%}",
        "blood at the outlet, first and last frame": (
            f"{float(blood[0, -1]):.1f}, {float(blood[-1, -1]):.1f} mmHg"
        ),
    }
    if errors:
        facts["largest deviation of the cylindrical axis from the closed form"] = f"{max(errors):.1e} mmHg"
    return Simulation(
        title="Oxygen round a capillary",
        arrays={
            "consumption": torch.tensor(consumption),
            "z": z,
            "r": axis.centers,
            "pressure": pressure,
            "blood": blood,
        },
        facts=facts,
        draw=draw,
        frames=settings.frames,
        size=(11.0, 4.2),
    )


def _without(field: Tensor, volumes: Tensor) -> float:
    """Share of the tissue's volume without oxygen."""
    return float(((field <= 0).double() @ volumes).mean() / volumes.sum())


SYSTEM = System("krogh", "oxygen round a capillary, and what it does not reach", Krogh, run)
