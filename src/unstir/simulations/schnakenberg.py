"""Schnakenberg's model: an activator that feeds on a substrate, and the spots it makes."""

from __future__ import annotations

from pydantic import Field

from unstir.physics.reaction import Schnakenberg
from unstir.simulations.simulation import Report, Simulation, System
from unstir.simulations.turing import PatternSettings, run_pattern


class SchnakenbergSettings(PatternSettings):
    """Settings of Schnakenberg's model."""

    a: float = Field(0.1, ge=0, description="supply of the activator, 1/time")
    b: float = Field(0.9, gt=0, description="supply of the substrate, 1/time")


def run(settings: SchnakenbergSettings, report: Report) -> Simulation:
    """The pattern from noise."""
    return run_pattern(settings, Schnakenberg(settings.a, settings.b), "Schnakenberg", report)


SYSTEM = System("schnakenberg", "spots of an activator that feeds on a substrate", SchnakenbergSettings, run)
