"""The band of active RhoA at the equator of a dividing cell: made, spread and inactivated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from unstir.evaluation.figures import INK
from unstir.generators import diffusion
from unstir.physics.evolve import evolve
from unstir.physics.fronts import front_position
from unstir.physics.gradients import decay_length, source_zone, zone_width
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Axis, Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class RhoABand(Settings):
    """Settings of the band."""

    D: float = Field(0.28, gt=0, description="diffusivity of RhoA in the membrane, µm²/s")
    k: float = Field(0.1, gt=0, description="rate of inactivation, 1/s")
    inhibited: float = Field(
        0.25, gt=0, lt=1, description="share of the inactivation left by the inhibitor, 1"
    )
    width: float = Field(4.0, gt=0, description="width of the zone of activation, µm")
    supply: float = Field(1.0, gt=0, description="activation in the zone, molecules/µm²/s")
    length: float = Field(60.0, gt=0, description="pole to pole along the membrane, µm")
    cells: int = Field(600, ge=60, le=1000, description="cells along the membrane, 1")
    frames: int = Field(31, ge=4, le=200, description="frames of the film, 1")


def run(settings: RhoABand, report: Report) -> Simulation:
    """Switch the zone on, let the band settle, then inhibit inactivation."""
    D, half = settings.D, 0.5 * settings.length
    if settings.width >= settings.length:
        raise ValueError(
            f"the zone, {settings.width:g} µm, must be narrower than the membrane, {settings.length:g} µm"
        )
    axis = Axis(-half, half, settings.cells)
    grid, x = Grid(axis), axis.centers
    # The share of each cell that lies in the zone, so that its width is exact.
    ends = torch.minimum(axis.edges[1:], torch.tensor(0.5 * settings.width).double()) - torch.maximum(
        axis.edges[:-1], torch.tensor(-0.5 * settings.width).double()
    )
    source = settings.supply * ends.clamp(min=0.0) / axis.widths
    rates = (settings.k, settings.inhibited * settings.k)
    exact = [source_zone(x, D, k, settings.supply, settings.width) for k in rates]
    states, times, u, start = [], [], torch.zeros_like(x), 0.0
    for stage, k in enumerate(rates):
        share = torch.linspace(0.0, 6.0 / k, settings.frames, dtype=torch.float64)
        result = evolve(
            u, share, diffusion(grid, D, sink=k), lambda w: source.expand(w.shape), tolerance=1e-8
        )
        states.append(result.u)
        times.append(start + share)
        u, start = result.u[-1], start + 6.0 / k
        report(stage + 1, len(rates))
    film, t = torch.cat(states), torch.cat(times)
    steady = [diffusion(grid, D, sink=k).solve(0.0, source) for k in rates]
    widths = [_full_width(profile, x) for profile in steady]
    closed = [zone_width(D, k, settings.width) for k in rates]
    deviations = [float((s - e).abs().max() / e.max()) for s, e in zip(steady, exact, strict=True)]
    lengths = [decay_length(D, k) for k in rates]
    slopes = [
        _flank(profile, x, settings.width, scale) for profile, scale in zip(steady, lengths, strict=True)
    ]

    def draw(figure: Figure, frame: int) -> None:
        axes = figure.subplots()
        axes.axvspan(-0.5 * settings.width, 0.5 * settings.width, color="#f1f3f5", label="zone of activation")
        axes.plot(x, film[frame], label="active RhoA")
        for profile, style, text in zip(exact, ("--", ":"), ("steady", "steady, inhibited"), strict=True):
            axes.plot(x, profile, style, color=INK, lw=1.2, label=f"closed form, {text}")
        axes.set(xlabel="distance from the equator (µm)", ylabel="active RhoA (molecules/µm²)")
        axes.set(ylim=(0, 1.08 * float(exact[1].max())), xlim=(-half, half))
        phase = "inactivation inhibited" if frame >= settings.frames else "zone switched on"
        axes.set_title(f"{float(t[frame]):.0f} s, {phase}")
        axes.legend(loc="upper right")

    def pair(values: list[float], unit: str) -> str:
        return f"{values[0]:.4g} and {values[1]:.4g} {unit}"

    return Simulation(
        title="The band of active RhoA",
        arrays={
            "t": t,
            "x": x,
            "active": film,
            "steady": torch.stack(steady),
            "closed_form": torch.stack(exact),
        },
        facts={
            "decay length of the flanks": f"{pair(slopes, 'µm')}; sqrt(D/k) = {pair(lengths, 'µm')}",
            "full width at half maximum": f"{pair(widths, 'µm')}; "
            f"2 l log(1 + e^(w/2l)) = {pair(closed, 'µm')}",
            "largest deviation of the steady state": f"{max(deviations):.1e} of the maximum",
            "inhibition widens the band": f"{widths[1] / widths[0]:.3f} times",
        },
        draw=draw,
        frames=2 * settings.frames,
        size=(8.0, 4.5),
    )


def _full_width(profile: torch.Tensor, x: torch.Tensor) -> float:
    """Full width at half maximum, by linear interpolation."""
    level = 0.5 * float(profile.max())
    right, left = front_position(profile, x, level), front_position(profile.flip(0), -x.flip(0), level)
    return float(right + left)


def _flank(profile: torch.Tensor, x: torch.Tensor, width: float, scale: float) -> float:
    """Decay length from the logarithm of the flank, between 1 and 3 decay lengths outside the zone."""
    beside = (x > 0.5 * width + scale) & (x < min(0.5 * width + 3.0 * scale, 0.7 * float(x[-1])))
    if int(beside.sum()) < 2:
        return math.nan
    first, last = x[beside][0], x[beside][-1]
    return float((last - first) / torch.log(profile[beside][0] / profile[beside][-1]))


SYSTEM = System("rhoa-band", "the equatorial band of active RhoA and what widens it", RhoABand, run)
