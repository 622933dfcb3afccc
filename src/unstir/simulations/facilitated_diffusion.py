"""A protein that looks for its site on DNA: slides and excursions, and how long to slide is best."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from unstir.evaluation.figures import ACCENT, INK, QUIET, SECOND
from unstir.physics.search import FacilitatedSearch, Searches
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor


class Facilitated(Settings):
    """Settings of the search."""

    length: float = Field(5000.0, gt=0, description="length of the DNA ring, bp")
    D: float = Field(4e5, gt=0, description="diffusivity along the DNA, bp^2/s")
    off_rate: float = Field(200.0, gt=0, description="rate of coming off in the trace, 1/s")
    tau_3d: float = Field(0.002, gt=0, description="mean time of an excursion, s")
    searchers: int = Field(400, ge=10, le=100000, description="searchers for each rate, 1")
    rates: int = Field(5, ge=3, le=25, description="rates of coming off that are simulated, 1")
    seed: int = Field(0, description="seed of the random numbers, 1")


def run(settings: Facilitated, report: Report) -> Simulation:
    """Simulate searches at rates around the best one."""
    search = FacilitatedSearch(settings.length, settings.D, settings.off_rate, settings.tau_3d)
    best = search.optimum()
    spread = torch.linspace(-2.5, 2.5, settings.rates, dtype=torch.float64).exp()
    rates = best.off_rate * spread
    means, errors = [], []
    for done, rate in enumerate(rates.tolist(), start=1):
        times = replace(search, off_rate=rate).simulate(settings.searchers, seed=settings.seed + done).times
        means.append(float(times.mean()))
        errors.append(float(times.std()) / settings.searchers**0.5)
        report(done, settings.rates + 1)
    measured, error = torch.tensor(means).double(), torch.tensor(errors).double()
    exact = torch.tensor([replace(search, off_rate=rate).mean_time() for rate in rates.tolist()]).double()
    traced = search.simulate(1, trace=True, longest_step=0.05 / settings.off_rate, seed=settings.seed)
    crowd = search.simulate(settings.searchers, seed=settings.seed)
    report(settings.rates + 1, settings.rates + 1)

    def draw(figure: Figure, frame: int) -> None:
        places = figure.add_gridspec(2, 2)
        curve, times = figure.add_subplot(places[1, 0]), figure.add_subplot(places[1, 1])
        _draw_trace(figure.add_subplot(places[0, :]), traced, search)
        _draw_curve(curve, search, best, rates, measured, error)
        _draw_times(times, crowd.times, search.mean_time())

    worst = float(((measured - exact) / error).abs().max())
    facts = {
        "sliding length, length scanned by a slide": f"{search.sliding_length:.1f}, {search.scanned:.1f} bp",
        "mean search time": f"{float(crowd.times.mean()):.4f} ± "
        f"{float(crowd.times.std()) / settings.searchers**0.5:.4f} s (exact {search.mean_time():.4f} s, "
        f"(L/λ)(τ1 + τ3) = {search.long_mean_time():.4f} s)",
        "simulated against exact over all rates": f"at most {worst:.1f} standard errors",
        "best time of a slide": f"{1e3 * best.tau_1d:.4f} ms (an excursion: {1e3 * settings.tau_3d:.4f} ms)",
        "sliding only": f"{settings.length**2 / (12.0 * settings.D):.3f} s, "
        f"{settings.length**2 / (12.0 * settings.D) / best.mean_time():.0f} times the best",
    }
    return Simulation(
        title="Facilitated diffusion",
        arrays={"rates": rates, "mean": measured, "error": error, "exact": exact, "times": crowd.times},
        facts=facts,
        draw=draw,
        size=(10.0, 6.5),
    )


def _draw_trace(axes: Axes, traced: Searches, search: FacilitatedSearch) -> None:
    """Where the first searcher was: sliding in colour, gaps where it was in solution."""
    assert traced.trace is not None
    time, place = traced.trace.T
    axes.plot(1e3 * time, place / 1e3, color=ACCENT, lw=1.0)
    axes.plot(1e3 * time[-1], place[-1] / 1e3, "o", ms=6, color=SECOND, label="site found")
    for end in (0.0, search.length / 1e3):
        axes.axhline(end, color=SECOND, lw=0.8, ls=":")
    axes.set(xlabel="time (ms)", ylabel="place on the DNA (kbp)", xlim=(0, 1.02e3 * float(time[-1])))
    axes.set_title(
        f"one search: {int(traced.rounds[0])} slides, gaps are excursions; the site is at both ends"
    )
    axes.legend(loc="upper right", frameon=True, framealpha=0.9, edgecolor="none")


def _draw_curve(
    axes: Axes,
    search: FacilitatedSearch,
    best: FacilitatedSearch,
    rates: Tensor,
    measured: Tensor,
    error: Tensor,
) -> None:
    """The mean time over the time of a slide."""
    fine = torch.linspace(float(rates[0].log()) - 0.3, float(rates[-1].log()) + 0.3, 200).double().exp()
    exact = [replace(search, off_rate=rate).mean_time() for rate in fine.tolist()]
    axes.plot(1e3 / fine, exact, color=INK, lw=1.2, label="exact")
    axes.errorbar(
        (1e3 / rates).numpy(),
        measured.numpy(),
        2.0 * error.numpy(),
        fmt="o",
        ms=4,
        color=SECOND,
        label="simulated",
    )
    axes.axvline(1e3 * best.tau_1d, color=QUIET, ls="--", lw=1.2, label="best slide")
    axes.axvline(1e3 * search.tau_3d, color=ACCENT, ls=":", lw=1.2, label="excursion")
    axes.set(xscale="log", xlabel="mean time of a slide τ1 (ms)", ylabel="mean search time (s)")
    axes.set_ylim(0.0, 1.5 * max(exact))
    axes.legend(loc="upper center")


def _draw_times(axes: Axes, times: Tensor, mean: float) -> None:
    """The share still searching, beside the exponential of the exact mean."""
    ordered = times.sort().values
    left = 1.0 - torch.arange(1, len(ordered) + 1, dtype=torch.float64) / len(ordered)
    axes.step(ordered[:-1], left[:-1], where="post", color=SECOND, label="simulated")
    axes.plot(ordered, (-ordered / mean).exp(), "--", color=INK, lw=1.2, label="exponential")
    axes.set(xlabel="time (s)", ylabel="share still searching", yscale="log")
    axes.legend(loc="upper right")


SYSTEM = System(
    "facilitated-diffusion", "a protein finding its site by sliding and excursions", Facilitated, run
)
