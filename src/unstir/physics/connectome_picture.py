"""The picture of a fit to a connectome: prediction and measurement, correlation over time, best seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from unstir.physics.connectome_result import ConnectomeFit

INK, ACCENT, SECOND, QUIET = "#22303c", "#1f6feb", "#d9480f", "#adb5bd"
_NAMED, _SHOWN, _LONG = 4, 8, 26


def draw_fit(fit: ConnectomeFit, figure: Figure) -> None:
    """Draw a fit into an empty figure of about 9 x 5 inches."""
    figure.set_layout_engine("constrained")
    halves = figure.add_gridspec(1, 2, width_ratios=(1.15, 1.0))
    _draw_regions(fit, figure.add_subplot(halves[0]))
    right = halves[1].subgridspec(2, 1)
    _draw_times(fit, figure.add_subplot(right[0]))
    _draw_seeds(fit, figure.add_subplot(right[1]))
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)


def _draw_regions(fit: ConnectomeFit, axes: Any) -> None:
    x, y = fit.predicted, fit.measured
    axes.scatter(x.numpy(), y.numpy(), s=14, color=INK, alpha=0.75, lw=0)
    ends = [float(x.min()), float(x.max())]
    axes.plot(ends, ends, color=ACCENT, lw=1.5)
    middle = 0.5 * (ends[0] + ends[1])
    for i in torch.argsort((y - y.mean()).abs(), descending=True)[:_NAMED].tolist():
        side = "right" if float(x[i]) > middle else "left"
        gap = -5 if side == "right" else 5
        spot = (float(x[i]), float(y[i]))
        axes.annotate(
            _short(fit.regions[i]),
            spot,
            xytext=(gap, 0),
            textcoords="offset points",
            ha=side,
            va="center",
            fontsize=7,
        )
    axes.set_xlabel("network diffusion, scaled to the measurements")
    axes.set_ylabel(f"{fit.column}, {len(fit.regions)} regions")
    axes.set_title(
        f"r = {fit.pearson:.2f}, p = {fit.p_shuffled:.2g} (shuffled regions)", loc="left", fontsize=10
    )


def _draw_times(fit: ConnectomeFit, axes: Any) -> None:
    times, r = fit.curve.numpy()
    low = times[0] if fit.profile[0] is None else fit.profile[0]
    high = times[-1] if fit.profile[1] is None else fit.profile[1]
    axes.axvspan(low, high, color=ACCENT, alpha=0.15, lw=0, label=f"{100 * fit.level:g} % interval")
    axes.plot(times, r, color=ACCENT, lw=1.8)
    axes.axvline(fit.beta_t, color=INK, lw=1, label=f"best, {fit.beta_t:.3g}")
    axes.set_xscale("log")
    axes.set_xlim(times[0], times[-1])
    unit = " (1 / strength)" if fit.kind == "combinatorial" else ""
    axes.set_xlabel(f"rate times time, βt{unit}")
    axes.set_ylabel("correlation r")
    axes.set_title(f"seed {_short(fit.seed.name)}", loc="left", fontsize=9)
    axes.legend(frameon=False, fontsize=8, loc="best")


def _draw_seeds(fit: ConnectomeFit, axes: Any) -> None:
    shown = list(fit.seeds[:_SHOWN])
    if fit.seed not in shown:
        shown[-1] = fit.seed
    places = range(len(shown))
    colors = [ACCENT if seed == fit.seed else QUIET for seed in shown]
    axes.barh(places, [seed.correlation for seed in shown], color=colors, height=0.7)
    axes.set_yticks(places, [_short(seed.name) for seed in shown], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("largest correlation r")
    for place, seed in zip(places, shown, strict=True):
        axes.text(max(seed.correlation, 0.0), place, f" {seed.share:.0%}", va="center", fontsize=7, color=INK)
    axes.set_title("best seeds, and how often best", loc="left", fontsize=9)
    axes.margins(x=0.12)


def _short(name: str) -> str:
    """A name that fits beside a bar; of the two sides of one region, one and a mark."""
    first, *others = name.split(" + ")
    text = first if len(first) <= _LONG else first[: _LONG - 1] + "…"
    return f"{text} +{len(others)}" if others else text
