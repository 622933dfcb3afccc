"""A band of active RhoA: made in a zone, spread, inactivated everywhere; slower inactivation widens it."""

import sys

from matplotlib.figure import Figure

from unstir.generators import diffusion
from unstir.physics.gradients import decay_length, source_zone, zone_width
from unstir.spaces import Axis, Grid

D, width, supply = 0.28, 4.0, 1.0
axis = Axis(-30.0, 30.0, 1200)
x = axis.centers
source = supply * (x.abs() < 0.5 * width).double()

figure = Figure(figsize=(7, 4), layout="constrained")
axes = figure.subplots()
for k in (0.1, 0.05, 0.025):
    steady = diffusion(Grid(axis), D, sink=k).solve(0.0, source)
    exact = source_zone(x, D, k, supply, width)
    flank = (x > 4.0) & (x < 7.0)
    slope = -float((x[flank][-1] - x[flank][0]) / (steady[flank][-1] / steady[flank][0]).log())
    print(
        f"k = {k:5.3f} /s: decay length {slope:.3f} µm, sqrt(D/k) = {decay_length(D, k):.3f} µm; "
        f"full width at half maximum {zone_width(D, k, width):.2f} µm; "
        f"largest deviation {float((steady - exact).abs().max() / exact.max()):.0e}"
    )
    assert float((steady - exact).abs().max() / exact.max()) < 1e-3
    axes.plot(x, steady, label=f"k = {k:g} /s")
    axes.plot(x, exact, "k--", lw=0.8)
axes.set(xlabel="distance from the equator (µm)", ylabel="active RhoA (molecules/µm²)")
axes.set_title("dashed: closed form")
axes.legend(frameon=False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "rhoa_band.png", dpi=110)
