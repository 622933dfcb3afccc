"""A double well: particles that jiggle, the density that the operator moves, and where both settle."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from unstir.evaluation.figures import INK, QUIET, SECOND
from unstir.generators import Generator, diffusion
from unstir.processes import SDE
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Axis, Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class FokkerPlanck(Settings):
    """Settings of the well."""

    barrier: float = Field(3.0, gt=0, le=12, description="height of the barrier between the wells, kT")
    D: float = Field(1.0, gt=0, description="diffusivity, µm^2/s; the wells are at -1 and 1 µm")
    time: float = Field(6.0, gt=0, description="how long, s")
    particles: int = Field(5000, ge=100, le=1000000, description="number of particles, 1")
    steps: int = Field(1000, ge=10, le=100000, description="steps of the particles, 1")
    frames: int = Field(40, ge=1, le=200, description="frames of the film, 1")
    seed: int = Field(0, description="seed of the random numbers, 1")


def run(settings: FokkerPlanck, report: Report) -> Simulation:
    """Start everything in the left well; V = b (x^2 - 1)^2 in kT, dx = -D V' dt + sqrt(2 D) dw."""
    b, D = settings.barrier, settings.D
    noise = torch.tensor(math.sqrt(2.0 * D), dtype=torch.float64)
    sde = SDE(lambda x, t: -4.0 * D * b * x * (x**2 - 1.0), lambda t: noise)
    grid = Grid(Axis(-2.2, 2.2, 220))
    (x,) = grid.centers
    V = b * (x**2 - 1.0) ** 2
    operator = diffusion(grid, D, potential=V)
    stationary = operator.stationary()
    start = torch.where((x - x[60]).abs() < 1e-9, 1.0 / float(grid.volumes[60]), 0.0).double()
    per_frame = max(1, settings.steps // settings.frames)
    times = torch.linspace(0.0, settings.time, settings.frames + 1, dtype=torch.float64)
    density = operator.exp(times, start)
    particles = torch.full((settings.particles, 1), float(x[60]), dtype=torch.float64)
    histograms = [_histogram(particles, grid)]
    for k in range(settings.frames):
        fine = torch.linspace(float(times[k]), float(times[k + 1]), per_frame + 1, dtype=torch.float64)
        particles = sde.simulate(particles, fine, seed=settings.seed, first_step=k * per_frame, method="heun")
        histograms.append(_histogram(particles, grid))
        report(k + 1, settings.frames)
    counted = torch.stack(histograms)
    left_share = (density * (x < 0)).sum(-1) * float(grid.volumes[0])
    left_counted = counted[:, : counted.shape[1] // 2].sum(-1)

    def draw(figure: Figure, frame: int) -> None:
        k = frame + 1
        left, right = figure.subplots(1, 2, width_ratios=[1.7, 1.0])
        coarse = grid.axes[0].edges[::5]
        width = float(coarse[1] - coarse[0])
        left.bar(
            (coarse[:-1] + width / 2).numpy(),
            (counted[k] / width).numpy(),
            width,
            color=QUIET,
            label="particles",
        )
        left.plot(x, density[k], color=SECOND, label="density on the grid")
        left.plot(x, stationary, "--", color=INK, lw=1.2, label="stationary, exp(-V/kT)")
        left.set(xlabel="x (µm)", ylabel="density (1/µm)", xlim=(-2, 2), title=f"t = {float(times[k]):.2f} s")
        left.set_ylim(0, 2.2 * float(stationary.max()))
        left.legend(loc="upper right")
        right.plot(times[: k + 1], left_counted[: k + 1], "o", ms=3.5, color=QUIET, label="particles")
        right.plot(times[: k + 1], left_share[: k + 1], color=SECOND, label="grid")
        right.axhline(0.5, ls="--", color=INK, lw=1.0)
        right.set(
            xlim=(0, settings.time), ylim=(0.4, 1.02), xlabel="time (s)", title="share in the left well"
        )
        right.legend(loc="upper right")

    gap = _histogram_of(density[-1], grid) - counted[-1]
    chance = math.sqrt(float((counted[-1] * (1 - counted[-1])).sum()) / settings.particles)
    rate = _relaxation(operator, grid, D, b)
    kramers = D * b * math.sqrt(32.0) / math.pi * math.exp(-b)
    boltzmann = (-V).exp() / grid.integrate((-V).exp())
    facts = {
        "particles against grid at the end": f"{float(gap.norm()):.4f} ({chance:.4f} by chance)",
        "stationary density against exp(-V/kT)": f"{float((stationary - boltzmann).abs().max()):.1e}",
        "mass on the grid at the end": f"{float(grid.integrate(density[-1])):.12f}",
        "rate of equilibration": f"{rate:.4f} /s (Kramers, for high barriers: {kramers:.4f} /s)",
    }
    return Simulation(
        title="A double well",
        arrays={"x": x, "t": times, "density": density, "stationary": stationary, "particles": counted},
        facts=facts,
        draw=draw,
        frames=settings.frames,
        size=(10.0, 4.2),
    )


def _histogram(particles: Tensor, grid: Grid) -> Tensor:
    """Shares of the particles in groups of five cells; the few beyond the ends count in the last."""
    edges = grid.axes[0].edges[::5]
    place = torch.bucketize(particles[:, 0].contiguous(), edges[1:-1].contiguous())
    return torch.bincount(place, minlength=len(edges) - 1).double() / len(particles)


def _histogram_of(density: Tensor, grid: Grid) -> Tensor:
    return (density * grid.volumes).reshape(-1, 5).sum(1)


def _relaxation(operator: Generator, grid: Grid, D: float, barrier: float) -> float:
    """The slowest rate, 1 / s: how the imbalance between the wells decays once each well is in balance."""
    (x,) = grid.centers
    settled = 8.0 / (8.0 * barrier * D)
    imbalance = (
        operator.exp(torch.tensor([settled, 2.0 * settled]), -x.sign() * operator.stationary()) * -x.sign()
    ).sum(-1)
    return float((imbalance[0] / imbalance[1]).log()) / settled


SYSTEM = System("fokker-planck", "a double well: particles, density on a grid, exp(-V)", FokkerPlanck, run)
