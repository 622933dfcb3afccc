"""A membrane between two salt solutions: its resting voltage, its currents, and the ions inside it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from unstir.evaluation.figures import INK, QUIET
from unstir.physics.constants import thermal_voltage
from unstir.physics.ions import (
    Ion,
    goldman_current,
    goldman_flux,
    goldman_voltage,
    nernst_planck,
    nernst_potential,
    reversal_voltage,
)
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Axis, Grid, Value
from unstir.spaces.boundary import bernoulli

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_THICKNESS = 4e-9


class Goldman(Settings):
    """Settings of the membrane; the defaults are those of the squid's giant axon at rest."""

    temperature: float = Field(293.15, gt=0, description="temperature, K")
    K_inside: float = Field(400.0, gt=0, description="potassium inside, mol/m^3")
    K_outside: float = Field(20.0, gt=0, description="potassium outside, mol/m^3")
    Na_inside: float = Field(50.0, gt=0, description="sodium inside, mol/m^3")
    Na_outside: float = Field(440.0, gt=0, description="sodium outside, mol/m^3")
    Cl_inside: float = Field(52.0, gt=0, description="chloride inside, mol/m^3")
    Cl_outside: float = Field(560.0, gt=0, description="chloride outside, mol/m^3")
    P_K: float = Field(1e-8, ge=0, description="permeability for potassium, m/s")
    P_Na: float = Field(4e-10, ge=0, description="permeability for sodium, m/s")
    P_Cl: float = Field(4.5e-9, ge=0, description="permeability for chloride, m/s")
    cells: int = Field(40, ge=2, le=1000, description="cells across the membrane, 1")
    frames: int = Field(41, ge=1, le=500, description="frames of the film, one a voltage, 1")

    def ions(self) -> list[Ion]:
        """The three ions."""
        return [
            Ion("K⁺", 1, self.P_K, self.K_inside, self.K_outside),
            Ion("Na⁺", 1, self.P_Na, self.Na_inside, self.Na_outside),
            Ion("Cl⁻", -1, self.P_Cl, self.Cl_inside, self.Cl_outside),
        ]


def steady(ion: Ion, voltage: float, cells: int, temperature: float) -> tuple[torch.Tensor, float]:
    """Steady concentrations in the membrane, relative to no partition, and the flux between two cells."""
    axis = Axis(0.0, _THICKNESS, cells, boundary=(Value(ion.inside), Value(ion.outside)))
    potential = voltage * (1.0 - axis.centers / _THICKNESS)
    D = ion.permeability * _THICKNESS
    u = nernst_planck(Grid(axis), D, ion.valence, potential, temperature).stationary()
    drop = ion.valence * (potential[0] - potential[1]) / thermal_voltage(temperature)
    flux = D / axis.widths[0] * (bernoulli(-drop) * u[0] - bernoulli(drop) * u[1])
    return u, float(flux)


def run(settings: Goldman, report: Report) -> Simulation:
    """Currents by the closed form, and the membrane solved on a grid at each voltage."""
    ions, T = settings.ions(), settings.temperature
    passing = [ion for ion in ions if ion.permeability > 0]
    rest, root = goldman_voltage(ions, T), reversal_voltage(ions, T)
    v = torch.linspace(-0.1, 0.06, settings.frames, dtype=torch.float64)
    inside, errors = [], []
    for done, voltage in enumerate(v.tolist(), start=1):
        found = [steady(ion, voltage, settings.cells, T) for ion in passing]
        inside.append(torch.stack([u for u, _ in found]))
        for ion, (_, flux) in zip(passing, found, strict=True):
            exact = float(goldman_flux(voltage, ion.inside, ion.outside, ion.permeability, ion.valence, T))
            errors.append(abs(flux - exact) / (ion.permeability * max(ion.inside, ion.outside)))
        report(done, len(v))
    currents = torch.stack([goldman_current(v, [ion], T) for ion in ions])
    outside = torch.logspace(0.0, 2.7, 60, dtype=torch.float64)
    course = torch.tensor(
        [goldman_voltage([replace(ions[0], outside=c), *ions[1:]], T) for c in outside.tolist()]
    )
    equilibrium = nernst_potential(settings.K_inside, outside, 1, T)
    depth = (torch.arange(settings.cells) + 0.5) * _THICKNESS * 1e9 / settings.cells

    def draw(figure: Figure, frame: int) -> None:
        left, middle, right = figure.subplots(1, 3)
        for ion, current in zip(ions, currents, strict=True):
            left.plot(v * 1e3, current, label=ion.name)
        left.plot(v * 1e3, currents.sum(0), color=INK, label="sum")
        left.axhline(0, color=QUIET, lw=0.8)
        left.axvline(rest * 1e3, color=QUIET, lw=0.8, ls="--")
        left.plot(float(v[frame]) * 1e3, float(currents[:, frame].sum()), "o", color=INK)
        left.set(xlabel="voltage (mV)", ylabel="outward current (A/m²)", title=f"at rest {rest * 1e3:.1f} mV")
        left.legend(loc="upper left")
        middle.semilogx(outside, equilibrium * 1e3, "--", color=QUIET, label="Nernst, K⁺ alone")
        middle.semilogx(outside, course * 1e3, label="resting voltage")
        middle.plot(settings.K_outside, rest * 1e3, "o", color=INK)
        middle.set(xlabel="potassium outside (mol/m³)", ylabel="voltage (mV)")
        middle.legend(loc="upper left")
        for ion, u in zip(passing, inside[frame], strict=True):
            right.plot(depth, u, label=ion.name)
        right.set(xlabel="depth, inside to outside (nm)", ylabel="concentration (mol/m³)")
        right.set(title=f"in the membrane at {float(v[frame]) * 1e3:.0f} mV", ylim=(0, None))
        right.legend()

    return Simulation(
        title="A membrane in a constant field",
        arrays={"voltage": v, "currents": currents, "concentration": torch.stack(inside)},
        facts={
            "resting voltage": (
                f"{rest * 1e3:.4f} mV by Goldman-Hodgkin-Katz, {root * 1e3:.4f} mV where the current is 0"
            ),
            "largest deviation of the grid's flux from Goldman's, over P c": f"{max(errors):.1e}",
            **{
                f"{ion.name} in equilibrium at": (
                    f"{float(nernst_potential(ion.inside, ion.outside, ion.valence, T)) * 1e3:.2f} mV"
                )
                for ion in ions
            },
        },
        draw=draw,
        frames=settings.frames,
        size=(11.0, 4.0),
    )


SYSTEM = System("goldman", "a membrane's resting voltage, currents, constant field", Goldman, run)
