"""A favourable gene or a species spreads: the front of Fisher, Kolmogorov, Petrovskii and Piskunov."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from unstir.evaluation.figures import INK
from unstir.generators import diffusion
from unstir.physics.evolve import evolve
from unstir.physics.fronts import fisher_speed, front_position, lattice_speed
from unstir.physics.reaction import Logistic
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Axis, Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class FisherKPP(Settings):
    """Settings of the front."""

    r: float = Field(1.0, gt=0, description="growth rate, 1/time")
    D: float = Field(1.0, gt=0, description="diffusivity, length^2/time")
    last: float = Field(80.0, gt=0, description="last time, in growth times 1/r")
    cells: int = Field(400, ge=50, le=1000, description="cells along the axis, 1")
    frames: int = Field(41, ge=8, le=200, description="frames of the film, 1")


def run(settings: FisherKPP, report: Report) -> Simulation:
    """Start from a step and follow the place where half the capacity is reached."""
    r, D = settings.r, settings.D
    unit, end = math.sqrt(D / r), settings.last / r
    axis = Axis(0.0, (2.0 * settings.last + 30.0) * unit, settings.cells)
    dx = axis.length / axis.cells
    times = torch.linspace(0.0, end, settings.frames, dtype=torch.float64)
    u_0 = (axis.centers < 5.0 * unit).double()
    steps = max(settings.frames, math.ceil(4.0 * settings.last))
    result = evolve(u_0, times, diffusion(Grid(axis), D), Logistic(r), steps=steps, progress=report)
    place = front_position(result.u, axis.centers, 0.5)
    speed, steepness = lattice_speed(r, D, dx)
    last_speed = float((place[-1] - place[-2]) / (times[-1] - times[-2]))
    middle = 0.5 * float(times[-1] + times[-2])
    late = times > 0.3 * end
    lag = (place - speed * times)[late]
    design = torch.stack([torch.ones_like(lag), (r * times[late]).log()], dim=1)
    slope = -float(torch.linalg.lstsq(design, lag[:, None]).solution[1])
    # The delay's own logarithm on these cells; the constant is that of the last frame.
    theory = 1.5 / steepness * (times[1:] / end).log() + (speed * end - place[-1])

    def draw(figure: Figure, frame: int) -> None:
        from matplotlib.ticker import NullFormatter

        left, right = figure.subplots(1, 2)
        for past in range(0, frame + 1, max(1, settings.frames // 8)):
            left.plot(axis.centers, result.u[past], color="#adb5bd", lw=1)
        left.plot(axis.centers, result.u[frame])
        left.set(
            xlabel="place (length)", ylabel="density / capacity", ylim=(-0.02, 1.05), xlim=(0, axis.high)
        )
        left.set_title(f"t = {float(times[frame]):.3g}")
        behind = speed * times[1:] - place[1:]
        right.semilogx(times[1:], behind, "o", ms=4, label="measured")
        right.semilogx(times[1:], theory, "--", color=INK, lw=1.2, label="Bramson: 3/(2q) log t + constant")
        if frame:
            right.semilogx(times[frame], behind[frame - 1], "o", ms=9, mfc="none", color=INK)
        ticks = [tick for power in range(-3, 6) for tick in (10.0**power, 3.0 * 10.0**power)]
        right.set_xticks([tick for tick in ticks if float(times[1]) <= tick <= end], minor=False)
        right.xaxis.set_major_formatter("{x:g}")
        right.xaxis.set_minor_formatter(NullFormatter())
        right.set(xlabel="time", ylabel="lag behind the front's speed × time (length)")
        right.legend(loc="lower right")

    return Simulation(
        title="A front of growth and diffusion",
        arrays={"t": times, "x": axis.centers, "u": result.u, "front": place},
        facts={
            "speed at the end": f"{last_speed:.4f}; 2 sqrt(rD) = {fisher_speed(r, D):.4f}, "
            f"on these cells {speed:.4f}, less the delay 3 / (2 q t) = {1.5 / (steepness * middle):.4f}",
            "delay for each unit of log t": f"{slope:.3f}; Bramson 3 / (2 q) = {1.5 / steepness:.3f}",
            "method": f"{result.method}, {result.steps} steps: {result.why}",
        },
        draw=draw,
        frames=settings.frames,
        size=(9.5, 4.2),
    )


SYSTEM = System("fisher-kpp", "a growing population's front, its speed and its delay", FisherKPP, run)
