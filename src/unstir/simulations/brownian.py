"""Brownian motion in a plane: tracks, the mean squared displacement and the quadratic variation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field

from unstir.evaluation.figures import INK, QUIET
from unstir.physics.walks import diffusivity_from_tracks
from unstir.processes import brownian_motion, mean_squared_displacement, quadratic_variation
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 8


class Brownian(Settings):
    """Settings of the particles."""

    D: float = Field(0.5, gt=0, description="diffusivity, µm^2/s")
    time: float = Field(10.0, gt=0, description="how long they are watched, s")
    steps: int = Field(400, ge=2, le=20000, description="places recorded after the first, 1")
    particles: int = Field(1000, ge=_SHOWN, le=100000, description="number of particles, 1")
    frames: int = Field(40, ge=1, le=500, description="frames of the film, 1")
    seed: int = Field(0, description="seed of the random numbers, 1")


def run(settings: Brownian, report: Report) -> Simulation:
    """Draw the paths from their exact law and measure them."""
    t = torch.linspace(0.0, settings.time, settings.steps + 1, dtype=torch.float64)
    start = torch.zeros(settings.particles, 2, dtype=torch.float64)
    path = brownian_motion(settings.D).simulate(start, t, path=True, method="exact", seed=settings.seed)
    report(1, 1)
    msd = mean_squared_displacement(path)
    variation = quadratic_variation(path[:, :_SHOWN]).sum(-1)
    estimate = diffusivity_from_tracks(path, float(t[1]))
    expected = 4.0 * settings.D * settings.time
    shown = torch.linspace(0, settings.steps, settings.frames + 1).round().long()[1:]
    edge = 1.05 * float(path[:, :_SHOWN].abs().max())

    def draw(figure: Figure, frame: int) -> None:
        now = int(shown[frame]) + 1
        left, middle, right = figure.subplots(1, 3, width_ratios=[1.2, 1.0, 1.0])
        for k in range(_SHOWN):
            (line,) = left.plot(path[:now, k, 0], path[:now, k, 1], lw=0.7)
            left.plot(path[now - 1, k, 0], path[now - 1, k, 1], "o", ms=4, color=line.get_color())
            right.plot(t[:now], variation[:now, k], lw=0.9)
        left.set(xlim=(-edge, edge), ylim=(-edge, edge), xlabel="x (µm)", ylabel="y (µm)", aspect="equal")
        left.set_title(f"{_SHOWN} of {settings.particles} tracks")
        middle.plot(t, 4.0 * settings.D * t, "--", color=QUIET, label="4 D t")
        middle.plot(t[:now], msd[:now], color=INK, label="measured")
        right.plot(t, 4.0 * settings.D * t, "--", color=INK, lw=1.2, label="4 D t")
        middle.set(xlabel="time (s)", ylabel="µm²", title="mean squared displacement")
        right.set(xlabel="time (s)", ylabel="µm²", title="quadratic variation, each track")
        for axes in (middle, right):
            axes.set(xlim=(0, settings.time), ylim=(0, 1.3 * expected))
            axes.legend(loc="upper left")

    facts = {
        "mean squared displacement at the end": f"{float(msd[-1]):.3f} µm² (4 D t = {expected:.3f} µm²)",
        "quadratic variation of the tracks shown": f"{float(variation[-1].min()):.2f} to "
        f"{float(variation[-1].max()):.2f} µm² (4 D t, standard deviation "
        f"{expected * settings.steps**-0.5:.2f} µm²)",
        "diffusivity from all steps": f"{estimate.value:.4f} ± {estimate.error:.4f} µm²/s "
        f"(set: {settings.D:g})",
    }
    return Simulation(
        title="Brownian motion",
        arrays={"t": t, "paths": path[:, :_SHOWN], "mean_squared_displacement": msd, "variation": variation},
        facts=facts,
        draw=draw,
        frames=settings.frames,
        size=(11.0, 4.0),
    )


SYSTEM = System("brownian", "Brownian motion in a plane: tracks, spread, variation", Brownian, run)
