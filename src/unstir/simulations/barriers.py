"""Animals that roam a valley with lakes and a road that few cross, but for a passage below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from unstir.evaluation.figures import ACCENT, INK, SECOND
from unstir.generators import diffusion
from unstir.physics.barriers import crossed_share, permeability_of_gaps, wall_flux
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Axis, Grid, Value, Wall

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_HALF, _HEIGHT = 10.0, 10.0
"""The valley, km: the road in the middle, the ends this far away; its breadth."""
_LAKES = ((-3.2, 7.2, 1.3, 0.9), (3.5, 3.0, 1.6, 1.1), (-5.5, 2.0, 1.0, 0.8))
"""Ellipses: middle and half-axes, km."""
_BEHIND = 2.0


class Barriers(Settings):
    """Settings of the valley."""

    D: float = Field(0.5, gt=0.0, le=10.0, description="diffusivity of the animals, km^2/day")
    permeability: float = Field(0.01, ge=0.0, le=10.0, description="of the road, km/day")
    passage: float = Field(0.6, ge=0.0, le=10.0, description="width of the passage below the road, km")
    lakes: bool = Field(True, description="whether there are lakes, which nobody enters")
    days: float = Field(30.0, gt=0.0, le=1000.0, description="time to follow, days")
    cells: int = Field(80, ge=20, le=300, description="cells across the valley; twice as many along")
    frames: int = Field(40, ge=2, le=400, description="frames of the film")


def run(settings: Barriers, report: Report) -> Simulation:
    """Release animals on one side, and count who is on the other."""
    o = settings
    grid = _valley(o)
    x, y = grid.centers
    u_0 = torch.exp(-((x + _BEHIND) ** 2 + (y - 0.5 * _HEIGHT) ** 2) / (2 * 0.3**2))
    if grid.mask is not None:
        u_0 = u_0 * grid.mask
    u_0 = u_0 / grid.integrate(u_0)
    times = torch.linspace(0.0, o.days, o.frames, dtype=torch.float64)
    report(1, 4)
    u = diffusion(grid, o.D).exp(times, u_0)
    report(3, 4)
    share = grid.integrate(u * (x > 0))
    kept = float((grid.integrate(u) - 1.0).abs().max())
    facts = {
        "share behind the road at the end": f"{float(share[-1]):.4f}",
        "same, no passage, lakes or ends": _line_fact(o),
        "steady flux through the road": _flux_fact(o),
        "individuals lost or made": f"{kept:.1e}",
    }
    if 0 < o.passage < _HEIGHT:
        open_ = permeability_of_gaps(o.passage, _HEIGHT, o.D)
        facts["permeability of the passage alone"] = f"{open_:.4f} km/day, as a gap every {_HEIGHT:g} km"
    report(4, 4)
    arrays = {"t": times, "x": x, "y": y, "density": u, "share_behind": share}
    return Simulation(
        title="A valley with lakes and a road",
        arrays=arrays,
        facts=facts,
        draw=lambda figure, frame: _draw(figure, frame, grid, arrays, o),
        frames=o.frames,
        size=(9.5, 4.2),
    )


def _valley(o: Barriers) -> Grid:
    along, across = Axis(-_HALF, _HALF, 2 * o.cells), Axis(0.0, _HEIGHT, o.cells)
    x, y = torch.meshgrid(along.centers, across.centers, indexing="ij")
    land = torch.ones(2 * o.cells, o.cells, dtype=torch.bool)
    if o.lakes:
        for x_0, y_0, a, b in _LAKES:
            land &= ((x - x_0) / a) ** 2 + ((y - y_0) / b) ** 2 > 1.0
    road = (across.centers - 0.5 * _HEIGHT).abs() > 0.5 * o.passage
    return Grid(along, across, mask=land if o.lakes else None, walls=(Wall(0, 0.0, o.permeability, road),))


def _line_fact(o: Barriers) -> str:
    """Who has crossed on a line so long that its ends do not matter, beside the closed form."""
    half = _BEHIND + 8.0 * (2.0 * o.D * o.days) ** 0.5
    axis = Axis(-half, half, 600)
    grid = Grid(axis, walls=(Wall(0, 0.0, o.permeability),))
    face = int((axis.edges + _BEHIND).abs().argmin())
    start = torch.zeros(axis.cells, dtype=torch.float64)
    start[[face - 1, face]] = 0.5 / axis.widths[[face - 1, face]]
    share = grid.integrate(diffusion(grid, o.D).exp(o.days, start) * (axis.centers > 0))
    exact = crossed_share(o.days, -float(axis.edges[face]), o.D, o.permeability)
    return f"{float(share):.5f}; closed form {float(exact):.5f}"


def _flux_fact(o: Barriers) -> str:
    """The flux with a density of 1 held at one end and 0 at the other, beside resistances in series."""
    axis = Axis(-_HALF, _HALF, 200, boundary=(Value(1.0), Value(0.0)))
    grid = Grid(axis, walls=(Wall(0, 0.0, o.permeability),))
    u = diffusion(grid, o.D).solve(0.0, torch.zeros(axis.cells, dtype=torch.float64))
    flux = o.D * float(u[-1]) / (0.5 * float(axis.widths[-1]))
    exact = float(wall_flux(1.0, o.D, 2.0 * _HALF, o.permeability))
    return f"{flux:.6f} km/day; closed form {exact:.6f}"


def _draw(figure: Figure, frame: int, grid: Grid, arrays: dict[str, Tensor], o: Barriers) -> None:
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.7, 1.0]})
    image = _draw_map(left, arrays["density"][frame], grid, o)
    figure.colorbar(image, ax=left, label="share of the animals, 1/km²", location="bottom", shrink=0.8)
    t, share = arrays["t"], arrays["share_behind"]
    left.set_title(f"day {float(t[frame]):.0f}", loc="left")
    line = crossed_share(t, _BEHIND, o.D, o.permeability)
    right.plot(t.numpy(), line.numpy(), color=INK, ls=":", lw=1.4, label="road alone, closed form")
    right.plot(t[: frame + 1].numpy(), share[: frame + 1].numpy(), color=ACCENT, label="this valley")
    right.set(xlabel="time, days", ylabel="share behind the road", xlim=(0.0, o.days))
    right.set_ylim(0.0, 1.1 * max(float(share.max()), float(line.max()), 1e-6))
    right.legend(loc="upper left")


def _draw_map(axes: Axes, u: Tensor, grid: Grid, o: Barriers) -> AxesImage:
    from matplotlib.colors import LogNorm

    shown = u.clamp(min=1e-12)
    if grid.mask is not None:
        shown = torch.where(grid.mask, shown, torch.nan)
    extent = (-_HALF, _HALF, 0.0, _HEIGHT)
    axes.set_facecolor("#c5d3df")
    image = axes.imshow(
        shown.T.numpy(), extent=extent, norm=LogNorm(1e-3, 1e-1), cmap="YlGnBu", interpolation="nearest"
    )
    gap = 0.5 * o.passage
    for low, high in ((0.0, 0.5 * _HEIGHT - gap), (0.5 * _HEIGHT + gap, _HEIGHT)):
        axes.plot([0.0, 0.0], [low, high], color=SECOND, lw=2.5, solid_capstyle="butt")
    axes.plot([-_BEHIND], [0.5 * _HEIGHT], "x", color=INK, ms=6)
    axes.set(xlabel="along the valley, km", ylabel="across, km", xlim=(-_HALF, _HALF), ylim=(0.0, _HEIGHT))
    return image


SYSTEM = System(
    name="barriers",
    summary="animals, lakes, and a road with a passage below it",
    settings=Barriers,
    run=run,
)
