"""The picture of a fit to recovery curves: data with the fit, residuals, intervals of the parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from unstir.physics.frap_result import Estimate, FrapFit

INK, ACCENT, SECOND, QUIET = "#22303c", "#1f6feb", "#d9480f", "#adb5bd"
_UNITS = {"um^2/s": "µm²/s"}
_SYMBOLS = {"k_on": "$k^*_{on}$", "k_off": "$k_{off}$", "mobile": "mobile fraction", "D": "$D$"}


def draw_fit(fit: FrapFit, figure: Figure) -> None:
    """Draw a fit into an empty figure of about 9 x 5 inches; intensities relative to before the bleach."""
    figure.set_layout_engine("constrained")
    rows = len(fit.estimates)
    halves = figure.add_gridspec(1, 2, width_ratios=(2.4, 1.0))
    curves = halves[0].subgridspec(3, 1)
    top = figure.add_subplot(curves[:2])
    _draw_curves(fit, top, figure.add_subplot(curves[2], sharex=top))
    bars = halves[1].subgridspec(rows, 1)
    for i, estimate in enumerate(fit.estimates):
        axes = figure.add_subplot(bars[i])
        _draw_interval(estimate, axes)
        if i == 0:
            axes.set_title(f"{100 * fit.level:g} % intervals", loc="left", fontsize=10)
            axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper left", borderaxespad=0.0)


def _draw_curves(fit: FrapFit, top: Any, bottom: Any) -> None:
    many = len(fit.curves) > 1
    dots = {"s": 4 if many else 9, "lw": 0, "alpha": 0.3 if many else 0.7, "color": INK}
    line = {"color": ACCENT, "lw": 1 if many else 2, "zorder": 3}
    for i, (curve, fitted, rest) in enumerate(zip(fit.curves, fit.fitted, fit.residuals, strict=True)):
        top.scatter(curve.time, curve.intensity, **dots)
        bottom.scatter(curve.time, rest, **dots)
        top.plot(curve.time[: curve.bleach], fitted[: curve.bleach], **line)
        label = f"fit: {fit.model}" if i == 0 else None
        top.plot(curve.time[curve.bleach :], fitted[curve.bleach :], label=label, **line)
    top.axvline(0.0, color=SECOND, lw=1, ls=":", label="bleach")
    bottom.axhline(0.0, color=ACCENT, lw=1)
    bottom.axvline(0.0, color=SECOND, lw=1, ls=":")
    top.set_ylabel("intensity / before")
    bottom.set_ylabel("residual")
    bottom.set_xlabel("time after the bleach (s)")
    top.tick_params(labelbottom=False)
    title = f"{len(fit.curves)} recovery curves" if many else fit.curves[0].name
    top.set_title(title, loc="left", fontsize=10)
    top.legend(frameon=False, loc="lower right", fontsize=9)
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)


def _draw_interval(estimate: Estimate, axes: Any) -> None:
    """Profile interval above, covariance interval below; an open end is an arrow at the edge."""
    low, high = estimate.profile
    ends = [end for end in (low, high) if end is not None] + [estimate.value]
    log = estimate.name != "mobile" and (None in (low, high) or max(ends) > 4 * min(ends))
    if log:
        wider = 1.5 * (max(ends) / min(ends)) ** 0.25
        left, right = min(ends) / wider, max(ends) * wider
        axes.set_xscale("log")
    else:
        margin = 0.35 * (max(ends) - min(ends)) + 1e-3 * abs(estimate.value)
        left, right = min(ends) - margin, max(ends) + margin
    for y, interval, color, label in (
        (1.0, (low, high), ACCENT, "profile"),
        (0.3, estimate.covariance, QUIET, "covariance"),
    ):
        start, stop = (
            left if interval[0] is None else interval[0],
            right if interval[1] is None else interval[1],
        )
        shown = [min(max(start, left), right), max(min(stop, right), left)]
        axes.plot(shown, [y, y], color=color, lw=5, solid_capstyle="butt", label=label)
        for x, edge, mark in ((start, left, "<"), (stop, right, ">")):
            if (x <= edge and mark == "<") or (x >= edge and mark == ">"):
                axes.plot([edge], [y], marker=mark, color=color, ms=8, clip_on=False)
    axes.axvline(estimate.value, ymax=0.7, color=INK, lw=1)
    axes.set_xlim(left, right)
    axes.set_ylim(0.0, 1.9)
    axes.set_yticks([])
    axes.tick_params(axis="x", labelsize=8)
    if not log:
        axes.locator_params(axis="x", nbins=4)
    unit = _UNITS.get(estimate.unit, estimate.unit)
    name = _SYMBOLS.get(estimate.name, estimate.name)
    axes.set_xlabel(f"{name} ({unit})" if unit else name, fontsize=9, labelpad=1)
    axes.spines[["top", "right", "left"]].set_visible(False)
