"""A spot bleached in a cell: molecules diffuse, bind and let go, and noisy images tell how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from unstir import noise
from unstir.evaluation.figures import ACCENT, INK, SECOND
from unstir.generators import diffusion
from unstir.noise import Stream
from unstir.physics.binding import bound_shares, diffuse_and_bind
from unstir.physics.frap import finite_cell, observed, reaction_diffusion
from unstir.physics.frap_data import make_curve
from unstir.physics.frap_fit import fit_curves
from unstir.physics.frap_result import FrapFit
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Axis, Grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BEFORE = 10
_SHOWN = 200


class Frap(Settings):
    """Settings of the experiment."""

    D: float = Field(0.5, gt=0.0, le=1e3, description="diffusion coefficient of free molecules, um^2/s")
    k_on: float = Field(0.1, gt=0.0, le=1e3, description="pseudo-first-order binding rate k*_on, 1/s")
    k_off: float = Field(0.1, gt=0.0, le=1e3, description="unbinding rate, 1/s")
    spot_radius: float = Field(1.0, gt=0.0, le=100.0, description="radius of the bleached spot, um")
    cell_radius: float = Field(8.0, gt=0.0, le=1000.0, description="radius of the cell, um")
    depth: float = Field(
        0.8, gt=0.0, le=1.0, description="share of the spot's fluorescence bleached, no unit"
    )
    mobile: float = Field(0.9, gt=0.0, le=1.0, description="share of the molecules that move, no unit")
    noise: float = Field(
        0.01, gt=0.0, le=1.0, description="of each image, relative to before the bleach, no unit"
    )
    model: str = Field("reaction-diffusion", description="to fit, or auto for the best by AICc")
    seconds: float = Field(40.0, gt=0.0, le=1e5, description="time to follow after the bleach, s")
    images: int = Field(161, ge=20, le=2000, description="images after the bleach, count")
    cells: int = Field(400, ge=50, le=4000, description="cells of the grid along the radius, count")
    frames: int = Field(32, ge=2, le=400, description="frames of the film, count")
    seed: int = Field(0, description="of the noise, no unit")


def run(settings: Frap, report: Report) -> Simulation:
    """Bleach, let recover, image with noise, and fit the images."""
    o = settings
    if not o.spot_radius < 0.9 * o.cell_radius:
        raise ValueError(f"the spot ({o.spot_radius} um) must be well inside the cell ({o.cell_radius} um)")
    times = torch.linspace(0.0, o.seconds, o.images, dtype=torch.float64)
    grid, spot = _cell(o)
    free, bound = bound_shares((o.k_on,), (o.k_off,))
    report(0, 4)
    start = torch.tensor([[free], [bound[0]]], dtype=torch.float64) * (1.0 - spot)
    u = diffuse_and_bind(start, times, diffusion(grid, o.D), (o.k_on,), (o.k_off,))
    report(1, 4)
    recovery = grid.integrate(u.sum(1) * spot) / grid.integrate(spot)
    exact = finite_cell(times, o.D, o.spot_radius, o.cell_radius, (o.k_on,), (o.k_off,))
    plane = reaction_diffusion(times, o.D, o.spot_radius, (o.k_on,), (o.k_off,))
    fit = _measure_and_fit(o, times, recovery)
    report(3, 4)
    lost = float((grid.integrate(u.sum(1)) / grid.integrate(1.0 - spot) - 1.0).abs().max())
    facts = {
        "recovery against the closed form of the cell": f"largest difference {_gap(recovery, exact):.1e}",
        "same, of a cell without end": f"{_gap(recovery, plane):.1e} (the spot is {_share(o):.1%} of it)",
        "molecules lost or made": f"{lost:.1e}",
        "put in": f"D = {o.D:g}, k_on = {o.k_on:g}, k_off = {o.k_off:g}, mobile = {o.mobile:g}",
        **{f"fitted {e.name}": e.line("95 %") for e in fit.estimates},
        **{f"note {i}": sentence for i, sentence in enumerate(fit.warnings(), 1)},
    }
    shown = torch.linspace(0, o.images - 1, o.frames).round().long()
    image = 1.0 - o.depth * (1.0 - o.mobile * u.sum(1) - (1.0 - o.mobile) * (1.0 - spot))
    arrays = {
        "t": times,
        "r": grid.centers[0],
        "free": u[:, 0],
        "bound": u[:, 1],
        "recovery": recovery,
        "recovery_exact": exact,
        "image_time": torch.from_numpy(fit.curves[0].time),
        "image_intensity": torch.from_numpy(fit.curves[0].intensity),
        "fitted": torch.from_numpy(fit.fitted[0]),
    }
    report(4, 4)
    return Simulation(
        title="Fluorescence recovery after photobleaching",
        arrays=arrays,
        facts=facts,
        draw=lambda figure, frame: _draw(figure, int(shown[frame]), image, arrays, o, fit),
        frames=o.frames,
        size=(9.0, 4.2),
    )


def _cell(o: Frap) -> tuple[Grid, Tensor]:
    """The radius of a round cell with an edge at the spot's, and which cells the spot holds."""
    inner = max(8, round(o.cells * o.spot_radius / o.cell_radius))
    outer = max(8, o.cells - inner)
    edges = torch.cat(
        [
            torch.linspace(0.0, o.spot_radius, inner + 1, dtype=torch.float64),
            torch.linspace(o.spot_radius, o.cell_radius, outer + 1, dtype=torch.float64)[1:],
        ]
    )
    grid = Grid(Axis.from_edges(edges, metric="cylindrical"))
    return grid, (grid.centers[0] < o.spot_radius).double()


def _measure_and_fit(o: Frap, times: Tensor, recovery: Tensor) -> FrapFit:
    """Images with noise, and a fit as if the cell had no end, which is quick and near enough."""
    step = o.seconds / (o.images - 1)
    before = torch.arange(-_BEFORE, 0, dtype=torch.float64) * step
    clean = torch.cat(
        [torch.ones(_BEFORE, dtype=torch.float64), observed(recovery, depth=o.depth, mobile=o.mobile)]
    )
    index = torch.zeros(1, dtype=torch.int64)
    draws = noise.normal((len(clean),), seed=o.seed, index=index, stream=Stream.FRAP, dtype=torch.float64)
    seen = (clean + o.noise * draws[0]).numpy()
    curve = make_curve(torch.cat([before, times]).numpy(), seen, bleach=_BEFORE, name="simulated images")
    return fit_curves([curve], spot_radius=o.spot_radius, model=o.model)


def _gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def _share(o: Frap) -> float:
    return (o.spot_radius / o.cell_radius) ** 2


def _draw(figure: Figure, k: int, image: Tensor, arrays: dict[str, Tensor], o: Frap, fit: FrapFit) -> None:
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.0, 1.4]})
    _draw_cell(left, image[k], arrays["r"], o)
    left.set_title(f"{float(arrays['t'][k]):.1f} s after the bleach", loc="left", fontsize=10)
    figure.colorbar(left.images[0], ax=left, label="fluorescence / before", location="bottom", shrink=0.8)
    time, seen = arrays["image_time"].numpy(), arrays["image_intensity"].numpy()
    done = time <= float(arrays["t"][k]) + 1e-9
    bleach = fit.curves[0].bleach
    right.plot(time[done], seen[done], ".", color=INK, ms=4, label="images")
    right.plot(
        time[bleach:], arrays["fitted"].numpy()[bleach:], color=ACCENT, lw=2, label=f"fit: {fit.model}"
    )
    right.axvline(0.0, color=SECOND, lw=1, ls=":", label="bleach")
    right.set(xlabel="time after the bleach (s)", ylabel="intensity of the spot / before")
    right.set(xlim=(time[0], time[-1]), ylim=(min(0.0, seen.min()), 1.05 * seen.max()))
    right.legend(frameon=False, loc="lower right")
    right.spines[["top", "right"]].set_visible(False)


def _draw_cell(axes: Axes, profile: Tensor, r: Tensor, o: Frap) -> None:
    import numpy as np
    from matplotlib.patches import Circle

    half = min(o.cell_radius, 4.0 * o.spot_radius)
    side = np.linspace(-half, half, _SHOWN)
    distance = np.hypot(side[:, None], side)
    shown = np.where(distance <= o.cell_radius, np.interp(distance, r.numpy(), profile.numpy()), np.nan)
    extent = (-half, half, -half, half)
    axes.imshow(shown, extent=extent, cmap="viridis", vmin=0.0, vmax=1.0, origin="lower")
    axes.add_patch(Circle((0.0, 0.0), o.spot_radius, fill=False, ec=SECOND, lw=1, ls="--"))
    axes.set(xlabel="x (µm)", ylabel="y (µm)")
    axes.spines[["top", "right"]].set_visible(False)


SYSTEM = System(
    name="frap",
    summary="fluorescence recovery: diffusion, binding, and a fit",
    settings=Frap,
    run=run,
)
