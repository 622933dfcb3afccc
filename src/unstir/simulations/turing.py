"""Turing patterns of two models, and the linear theory that predicts them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from unstir.evaluation.figures import INK, SECOND
from unstir.generators import Generator, diffusion
from unstir.noise import Stream, normal
from unstir.physics.evolve import evolve
from unstir.physics.reaction import Brusselator, Schnakenberg
from unstir.physics.turing import Turing, pattern_wavenumber
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation
from unstir.spaces import Axis, Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class PatternSettings(Settings):
    """What both models share."""

    D_u: float = Field(1.0, gt=0, description="diffusivity of the activator, length^2/time")
    D_v: float = Field(20.0, gt=0, description="diffusivity of the other species, length^2/time")
    waves: float = Field(6.0, ge=2, le=20, description="fastest waves along an axis of the square, 1")
    cells: int = Field(64, ge=32, le=256, description="cells along each axis, 1")
    last: float = Field(20.0, gt=0, description="last time, in growth times of the fastest wave")
    frames: int = Field(25, ge=4, le=200, description="frames of the film, 1")
    seed: int = Field(0, ge=0, description="seed of the noise at the start, 1")


def run_pattern(
    settings: PatternSettings, model: Brusselator | Schnakenberg, name: str, report: Report
) -> Simulation:
    """Noise of 1e-3 about the homogeneous state, grown to a pattern.

    Raises:
        ValueError: if the state is stable, so that no pattern grows.
    """
    state = model.states()[0]
    D = (settings.D_u, settings.D_v)
    theory = Turing(model.jacobian(state), D)
    if not theory.unstable:
        failed = ", ".join(f"{rule!r}" for rule, holds in theory.conditions().items() if not holds)
        raise ValueError(
            f"no pattern grows from this state, because it fails {failed}; change the rates or D_v / D_u"
        )
    wave, growth = theory.fastest()
    n, length = settings.cells, 2.0 * math.pi * settings.waves / wave
    axis = Axis(0.0, length, n, boundary="periodic")
    grid = Grid(axis, axis)
    noise = normal(
        (2, n, n), seed=settings.seed, index=torch.zeros(1).long(), stream=Stream.PERTURB, dtype=torch.float64
    )[0]
    u_0 = state[:, None, None] * (1.0 + 1e-3 * noise)
    times = torch.linspace(0.0, settings.last / growth, settings.frames, dtype=torch.float64)
    generators = (diffusion(grid, D[0]), diffusion(grid, D[1]))
    result = evolve(u_0, times, generators, model, tolerance=1e-3, method="etdrk4", progress=report)
    measured, expected = measured_growth(model, theory, generators, wave)
    last = pattern_wavenumber(result.u[-1, 0], grid)
    draw = _picture(result.u[:, 0], times, theory, wave, length, grid)
    return Simulation(
        title=f"{name} pattern",
        arrays={"t": times, "u": result.u[:, 0], "v": result.u[:, 1]},
        facts={
            "growth of a small wave": f"{measured:.5f}, theory on the same cells {expected:.5f}",
            "fastest wavelength": f"{2.0 * math.pi / wave:.4g} (growth {growth:.4g}), at the onset "
            f"{2.0 * math.pi / theory.critical():.4g}; mean of the pattern {2.0 * math.pi / last:.4g}",
            "homogeneous state": f"({float(state[0]):.4g}, {float(state[1]):.4g})",
            "method": f"{result.method}, {result.steps} steps, error {result.error:.1e}: {result.why}",
        },
        draw=draw,
        frames=settings.frames,
        size=(9.5, 4.4),
    )


def measured_growth(
    model: Brusselator | Schnakenberg, theory: Turing, generators: tuple[Generator, ...], wave: float
) -> tuple[float, float]:
    """(measured, predicted) growth rate of the grid's own wave nearest to a wavenumber."""
    axis = generators[0].space.axes[0]
    dx = axis.length / axis.cells
    count = max(1, round(wave * axis.length / (2.0 * math.pi)))
    q = 2.0 * math.pi * count / axis.length
    square = (2.0 / dx * math.sin(0.5 * q * dx)) ** 2
    line = Grid(axis)
    state, shape = model.states()[0][:, None], torch.cos(q * axis.centers)[None]
    u_0 = state + 1e-5 * theory.mode(square)[:, None] * shape
    t = 1.0 / max(float(theory.growth(square)), 1e-12)
    end = evolve(u_0, t, tuple(diffusion(line, D) for D in theory.D), model, method="etdrk4", tolerance=1e-10)
    share = ((end.u - state)[0] * shape).sum() / ((u_0 - state)[0] * shape).sum()
    return float(share.log()) / t, float(theory.growth(square))


def _picture(
    u: Tensor, times: Tensor, theory: Turing, wave: float, length: float, grid: Grid
) -> Callable[[Figure, int], None]:
    q = torch.linspace(0.0, 2.5 * wave, 300, dtype=torch.float64)
    rates = theory.growth(q**2)
    low, high = float(u[-1].min()), float(u[-1].max())

    def draw(figure: Figure, frame: int) -> None:
        left, right = figure.subplots(1, 2)
        shown = left.imshow(u[frame].numpy(), vmin=low, vmax=high, extent=(0, length, 0, length))
        left.set(xlabel="place (length)", ylabel="place (length)", title=f"t = {float(times[frame]):.3g}")
        figure.colorbar(shown, ax=left, label="activator u", shrink=0.85)
        right.axhline(0.0, color="#adb5bd", lw=1)
        right.plot(q, rates, label="growth rate, linear theory")
        right.axvline(wave, color=INK, lw=1, ls="--", label="fastest wave")
        mean = pattern_wavenumber(u[frame], grid)
        right.axvline(mean, color=SECOND, lw=1.5, label="pattern, mean wavenumber")
        right.set(xlabel="wavenumber (1/length)", ylabel="growth rate (1/time)")
        top = float(rates.max())
        right.set_ylim(-3.0 * top, 1.6 * top)
        right.legend(loc="lower center", fontsize=8, frameon=True, framealpha=0.9, edgecolor="none")

    return draw
