"""The backward heat equation: what noise does to the plain inverse, and what regularised inverses save."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from unstir import noise
from unstir.generators import Generator, diffusion
from unstir.physics.backward import Restored, backward_heat
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Axis, Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Backward(Settings):
    """Settings of the rod and of its noise."""

    D: float = Field(1.0, gt=0, description="thermal diffusivity, mm^2/s")
    time: float = Field(0.05, gt=0, description="how long the heat spread, s")
    noise: float = Field(0.002, gt=0, le=1, description="standard deviation of the measurement, of the peak")
    cells: int = Field(200, ge=20, le=2000, description="cells of the rod of 10 mm, 1")
    seed: int = Field(0, description="of the measurement's noise")


def run(settings: Backward, report: Report) -> Simulation:
    """Blur three blocks by heat flow, measure with noise, and go back in three ways."""
    grid = Grid(Axis(0.0, 10.0, settings.cells))
    (x,) = grid.centers
    truth = ((x > 1.5) & (x < 3.0)).double() + 0.6 * ((x > 4.0) & (x < 4.8)) + 0.9 * ((x > 6.5) & (x < 8.5))
    A = diffusion(grid, settings.D)
    z = noise.normal(
        grid.shape,
        seed=settings.seed,
        index=torch.zeros(1, dtype=torch.int64),
        stream=noise.Stream.SIMULATE,
        dtype=torch.float64,
    )[0]
    data = A.exp(settings.time, truth) + settings.noise * z
    report(1, 2)
    back: dict[str, Restored] = {
        name: backward_heat(A, settings.time, data, noise=settings.noise, method=name)
        for name in ("tikhonov", "truncated")
    }
    report(2, 2)

    def error(u: torch.Tensor) -> float:
        return float((u - truth).norm() / truth.norm())

    facts = {"blurred data, relative error": f"{error(data):.3f}"}
    for name, result in back.items():
        facts[f"{name}, relative error"] = (
            f"{error(result.u):.3f} (noise multiplied by at most {result.amplification:.3g}; "
            f"{100 * result.kept:.0f} % of the modes came back)"
        )
    facts["plain inverse"] = _plain(A, settings, data, error)

    def draw(figure: Figure, frame: int) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        left.plot(x, truth, "--", color="0.6", lw=1.2, label="truth")
        left.plot(x, data, lw=0.9, label=f"after {settings.time:g} s, measured")
        left.set(xlabel="x (mm)", ylabel="temperature (relative)", ylim=(-0.35, 1.5), title="forward")
        right.plot(x, truth, "--", color="0.6", lw=1.2, label="truth")
        for name, result in back.items():
            right.plot(x, result.u, lw=1.4, label=name)
        right.set(xlabel="x (mm)", title="backward, regularised")
        for axes in (left, right):
            axes.legend(frameon=False, loc="upper right")

    return Simulation(
        title="The backward heat equation",
        arrays={"x": x, "truth": truth, "data": data, **{name: result.u for name, result in back.items()}},
        facts=facts,
        draw=draw,
        size=(10.0, 4.2),
    )


def _plain(
    A: Generator, settings: Backward, data: torch.Tensor, error: Callable[[torch.Tensor], float]
) -> str:
    try:
        result = backward_heat(A, settings.time, data, noise=0.0, method="none")
    except ValueError as reason:
        return f"refused: {reason}"
    return f"{error(result.u):.3g} (noise multiplied by up to {result.worst:.3g})"


SYSTEM = System("backward-heat", "undoing heat flow: what can be saved, and what is refused", Backward, run)
