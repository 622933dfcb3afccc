"""Thin, exponential and fat tails of dispersal: two fronts of constant speed and one that accelerates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from unstir.evaluation.figures import ACCENT, INK, SECOND, THIRD
from unstir.physics.dispersal import acceleration, beverton_holt, fitted_speed, front, spread, spread_speed
from unstir.physics.dispersal_kernels import GaussianKernel, Kernel, LaplaceKernel, StudentKernel
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {"Gaussian": ACCENT, "Laplace": THIRD, "Student": SECOND}
_FROM = 24
"""The generation from which speeds are fitted and the closed forms drawn."""


class Integrodifference(Settings):
    """Settings of the spread by three kernels."""

    R: float = Field(1.5, gt=1.0, le=20.0, description="offspring of one individual where it is alone")
    scale: float = Field(10.0, gt=0.0, description="scale of the kernels (a Gaussian's deviation), m")
    freedom: float = Field(2.0, ge=0.5, le=50.0, description="tail of Student's kernel, degrees of freedom")
    generations: int = Field(45, ge=35, le=400, description="generations to follow")
    length: float = Field(40000.0, gt=0.0, description="length of the landscape, m")
    cells: int = Field(16000, ge=200, le=100000, description="cells of the landscape")


def run(settings: Integrodifference, report: Report) -> Simulation:
    """Spread by every kernel from the middle of a line, and measure the fronts."""
    o = settings
    half = 0.5 * o.length
    axis = Axis(-half, half, o.cells)
    start = (axis.centers.abs() < 2.0 * o.scale).to(torch.float64)
    kernels: dict[str, Kernel] = {
        "Gaussian": GaussianKernel(o.scale),
        "Laplace": LaplaceKernel(o.scale),
        "Student": StudentKernel(o.scale, o.freedom),
    }
    arrays: dict[str, Tensor] = {"x": axis.centers}
    facts: dict[str, str] = {}
    for number, (name, kernel) in enumerate(kernels.items()):
        done = number * o.generations
        u = spread(
            start, o.generations, axis, kernel, beverton_holt(o.R),
            report=lambda n, total, done=done: report(done + n, 3 * total),  # type: ignore[misc]
        )  # fmt: skip
        arrays |= {f"u_{name.lower()}": u, f"front_{name.lower()}": front(u, axis, 0.5)}
        facts |= _facts(name, kernel, arrays[f"front_{name.lower()}"], o)
    return Simulation(
        title=f"Spread in generations, R = {o.R:g}: tails decide",
        arrays=arrays,
        facts=facts,
        draw=lambda figure, frame: _draw(figure, frame, arrays, kernels, o),
        frames=o.generations + 1,
        size=(9.0, 4.2),
    )


def _facts(name: str, kernel: Kernel, x: Tensor, o: Integrodifference) -> dict[str, str]:
    """The measured spread beside its closed form."""
    arrived = x > 0.5 * o.length - 10.0 * o.scale
    if bool(arrived.any()):
        first = int(arrived.nonzero()[0])
        return {f"{name} kernel": f"reached the end in generation {first}; give a greater length"}
    if isinstance(kernel, StudentKernel):
        measured = float(x[-1].log() - x[-4].log()) / 3.0
        return {
            f"{name} kernel": f"log x grows by {measured:.4f} a generation at the end; "
            f"closed form log(R) / (freedom + 1) = {acceleration(o.R, kernel):.4f}"
        }
    speed, decay = spread_speed(o.R, kernel)
    lattice = spread_speed(o.R, kernel, width=o.length / o.cells).speed
    measured = fitted_speed(x, decay, first=_FROM)
    return {
        f"{name} kernel": f"front at {measured:.4f} m a generation; closed form {speed:.4f} "
        f"({lattice:.4f} on these cells)"
    }


def _draw(
    figure: Figure, frame: int, arrays: dict[str, Tensor], kernels: dict[str, Kernel], o: Integrodifference
) -> None:
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.2, 1.0]})
    x = arrays["x"].clamp(min=0.0).numpy()
    fronts = {name: arrays[f"front_{name.lower()}"] for name in kernels}
    furthest = max(float(at.max()) for at in fronts.values())
    reach = min(1.3 * furthest, 0.5 * o.length)
    for name in kernels:
        u = arrays[f"u_{name.lower()}"][frame].clamp(min=1e-30)
        left.loglog(x, u.numpy(), color=_COLOURS[name], label=name)
    left.set(xlim=(o.scale, reach), ylim=(1e-9, 3.0), xlabel="distance x, m", ylabel="density / capacity")
    left.set_title(f"generation {frame}", loc="left")
    left.legend(loc="lower left", title="kernel")
    for name, kernel in kernels.items():
        at = fronts[name].numpy()
        right.semilogy(range(frame + 1), at[: frame + 1], color=_COLOURS[name], lw=2.4)
        _law(right, name, kernel, fronts[name], o)
    right.set(xlim=(0, o.generations), ylim=(o.scale, 1.5 * furthest))
    right.set(xlabel="generation", ylabel="front (half the capacity), m")
    right.plot([], [], color=INK, ls=":", lw=1.2, label="closed forms")
    right.legend(loc="upper left")


def _law(axes: Axes, name: str, kernel: Kernel, x: Tensor, o: Integrodifference) -> None:
    """The closed form as a dotted line through the front's last position."""
    last = float(x[-1])
    n = torch.arange(_FROM, o.generations + 1, dtype=torch.float64)
    if isinstance(kernel, StudentKernel):
        line = last * torch.exp(acceleration(o.R, kernel) * (n - o.generations))
    else:
        speed, decay = spread_speed(o.R, kernel)
        line = last + speed * (n - o.generations) - 1.5 / decay * (n / o.generations).log()
    shown = line > 0
    if math.isfinite(last):
        axes.plot(n[shown].numpy(), line[shown].numpy(), color=_COLOURS[name], ls=":", lw=1.2)


SYSTEM = System(
    name="integrodifference",
    summary="dispersal in generations: thin and fat tails",
    settings=Integrodifference,
    run=run,
)
