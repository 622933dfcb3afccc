"""The Brusselator's Turing pattern: stripes and spots from a chemical clock that does not tick."""

from __future__ import annotations

from pydantic import Field

from unstir.physics.reaction import Brusselator
from unstir.simulations.simulation import Report, Simulation, System
from unstir.simulations.turing import PatternSettings, run_pattern


class BrusselatorSettings(PatternSettings):
    """Settings of the Brusselator."""

    A: float = Field(3.0, gt=0, description="supply, 1/time")
    B: float = Field(4.8, gt=0, description="conversion, 1/time")
    D_u: float = Field(1.0, gt=0, description="diffusivity of the activator, length^2/time")
    D_v: float = Field(8.0, gt=0, description="diffusivity of the other species, length^2/time")


def run(settings: BrusselatorSettings, report: Report) -> Simulation:
    """The pattern, with the closed form of its onset."""
    model = Brusselator(settings.A, settings.B)
    simulation = run_pattern(settings, model, "Brusselator", report)
    onset, wave = model.onset((settings.D_u, settings.D_v))
    simulation.facts["patterns set in"] = (
        f"at B = {onset:.4g} with wavenumber {wave:.4g}; here B = {settings.B:g}"
    )
    return simulation


SYSTEM = System("brusselator", "a Turing pattern and the linear theory of it", BrusselatorSettings, run)
