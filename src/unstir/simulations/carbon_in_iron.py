"""Carbon atoms that hop through bcc iron: the cloud, its mean square, and the Arrhenius law of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field, model_validator
from torch import Tensor

from unstir.evaluation.figures import ACCENT, INK, SECOND
from unstir.physics.constants import BOLTZMANN, CHARGE
from unstir.physics.hopping import (
    IRON,
    Diffusivity,
    carbon_in_iron,
    fit_arrhenius,
    fit_diffusivity,
    hop,
)
from unstir.physics.lattices import octahedral_bcc
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class CarbonInIron(Settings):
    """Settings of hopping carbon."""

    energy: float = Field(0.86, gt=0.0, le=5.0, description="barrier between octahedral sites, eV")
    d_0: float = Field(2e-6, gt=0.0, le=1.0, description="prefactor of the diffusivity, m^2/s")
    coldest: float = Field(400.0, gt=50.0, le=1800.0, description="lowest temperature, K")
    hottest: float = Field(1000.0, gt=50.0, le=1800.0, description="highest temperature, K")
    temperatures: int = Field(7, ge=2, le=50, description="number of temperatures")
    walkers: int = Field(4000, ge=10, le=1_000_000, description="carbon atoms, which do not meet")
    hops: int = Field(1000, ge=10, le=100_000, description="hops of an atom on average, at each temperature")
    frames: int = Field(40, ge=2, le=400, description="frames of the film, at the middle temperature")
    seed: int = Field(0, description="of the random numbers")

    @model_validator(mode="after")
    def _warmer(self) -> CarbonInIron:
        if self.coldest >= self.hottest:
            raise ValueError("the highest temperature must be above the lowest")
        return self


def run(settings: CarbonInIron, report: Report) -> Simulation:
    """Hop at every temperature, and fit barrier and prefactor to the diffusivities."""
    o = settings
    law = carbon_in_iron(o.d_0, o.energy)
    kelvin = (1.0 / torch.linspace(1.0 / o.coldest, 1.0 / o.hottest, o.temperatures).double()).tolist()
    middle = len(kelvin) // 2
    fits, events = [], 0
    for number, temperature in enumerate(kelvin):
        rate = law.rate(temperature)
        times = torch.linspace(0.0, o.hops / rate, o.frames, dtype=torch.float64)
        hops = hop(rate=rate, times=times, walkers=o.walkers, seed=o.seed + number)
        fits.append(fit_diffusivity(hops))
        events += int(hops.hops.sum())
        if number == middle:
            seen = hops
        report(number + 1, len(kelvin))
    fit = fit_arrhenius(kelvin, fits)
    exact = float(octahedral_bcc(IRON).diffusivity(law.rate(kelvin[middle]))[0, 0])
    here = fits[middle]
    facts = {
        f"D at {kelvin[middle]:.0f} K": f"({here.value:.4e} ± {here.error:.1e}) m²/s; a²Γ/24 = {exact:.4e}",
        "barrier of the Arrhenius fit": f"({fit.energy:.5f} ± {fit.energy_error:.5f}) eV; true {o.energy:g}",
        "prefactor of the fit": f"{fit.d_0:.4e} m²/s ± {100 * fit.relative_error:.1f} %; true {o.d_0:.4e}",
        "hops": f"{events:,}",
    }
    arrays = {
        "t": seen.times,
        "positions": seen.positions,
        "mean_square": seen.positions.square().sum(-1).mean(1),
        "temperature": torch.tensor(kelvin),
        "diffusivity": torch.tensor([one.value for one in fits]),
        "diffusivity_error": torch.tensor([one.error for one in fits]),
    }
    return Simulation(
        title=f"Carbon in iron at {kelvin[middle]:.0f} K",
        arrays=arrays,
        facts=facts,
        draw=lambda figure, frame: _draw(figure, frame, arrays, fits, exact, o),
        frames=o.frames,
        size=(12.0, 4.0),
    )


def _draw(
    figure: Figure, frame: int, arrays: dict[str, Tensor], fits: list[Diffusivity], d: float, o: CarbonInIron
) -> None:
    cloud, line, law = figure.subplots(1, 3)
    _draw_cloud(cloud, arrays["positions"][frame], float(arrays["t"][frame]), d, float(arrays["t"][-1]))
    unit, name = _unit(float(arrays["t"][-1]))
    t, square = arrays["t"] / unit, arrays["mean_square"] * 1e18
    line.plot(t, 6.0 * d * arrays["t"] * 1e18, color=INK, ls=":", lw=1.4, label="6 D t,  D = a²Γ/24")
    line.plot(t[: frame + 1], square[: frame + 1], color=ACCENT, label=f"{o.walkers:,} atoms")
    line.set(xlabel=f"time, {name}", ylabel="mean square displacement, nm²", xlim=(0.0, float(t[-1])))
    line.set_ylim(0.0, 1.05 * float(square.max()))
    line.legend(loc="upper left")
    kelvin = arrays["temperature"]
    fine = torch.linspace(float(kelvin.min()), float(kelvin.max()), 200, dtype=torch.float64)
    law.plot(1000.0 / fine, o.d_0 * torch.exp(-o.energy * CHARGE / (BOLTZMANN * fine)), color=INK, ls=":",
             lw=1.4, label=f"D₀ exp(−E/kT),  E = {o.energy:g} eV")  # fmt: skip
    law.plot(1000.0 / kelvin, arrays["diffusivity"], "o", color=SECOND, label="hopping (errors are smaller)")
    law.set(xlabel="1000 K / temperature", ylabel="diffusivity, m²/s", yscale="log")
    law.legend(loc="lower left")


def _draw_cloud(axes: Axes, x: Tensor, t: float, d: float, end: float) -> None:
    shown = x[:4000, :2] * 1e9
    axes.plot(shown[:, 0], shown[:, 1], ".", color=ACCENT, ms=2.5, alpha=0.5, mew=0.0)
    angle = torch.linspace(0.0, 2.0 * math.pi, 100)
    radius = math.sqrt(2.0 * d * t * 2.0 * math.log(10.0)) * 1e9
    axes.plot(radius * angle.cos(), radius * angle.sin(), color=SECOND, lw=1.4)
    half = 4.0 * math.sqrt(2.0 * d * end) * 1e9
    unit, name = _unit(end)
    axes.set(xlim=(-half, half), ylim=(-half, half), aspect="equal", xlabel="x, nm", ylabel="y, nm")
    axes.set_title(f"after {t / unit:.2f} {name}; 90 % within the circle", loc="left", fontsize=10)


def _unit(end: float) -> tuple[float, str]:
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")):
        if end >= unit:
            return unit, name
    return 1e-12, "ps"


SYSTEM = System(
    name="carbon-in-iron",
    summary="carbon hops through iron: kinetic Monte Carlo, Arrhenius",
    settings=CarbonInIron,
    run=run,
)
