"""The report's charts, as SVG text: loss, guidance sweep, time grid."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from unstir.evaluation.pictures import new_figure

INK, ACCENT, SECOND, THIRD, QUIET = "#22303c", "#1f6feb", "#d9480f", "#2b8a3e", "#adb5bd"


def to_svg(figure: Any) -> str:
    """A matplotlib figure as an ``<svg>`` element with real text."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "unstir", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def loss_curve(samples: Sequence[float], loss: Sequence[float]) -> str:
    """Loss over samples seen: every value, and a running mean.

    Args:
        samples: samples seen at each value.
        loss: the values.
    """
    figure, axes = new_figure(5.6, 3.2)
    values = np.asarray(loss, dtype=np.float64)
    axes.plot(samples, values, color=QUIET, lw=0.8)
    width = max(1, len(values) // 20)
    smooth = np.convolve(values, np.ones(width) / width, mode="valid")
    axes.plot(samples[len(samples) - len(smooth) :], smooth, color=ACCENT, lw=2)
    axes.set_yscale("log")
    axes.minorticks_off()
    low, high = float(smooth.min()), float(np.percentile(values, 99))
    ticks = np.geomspace(low, max(high, low * 1.01), 5)
    axes.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.set_xlabel("samples seen")
    axes.set_ylabel("loss")
    return to_svg(figure)


def guidance_curve(rows: Sequence[dict[str, float]], heldout_frechet: float) -> str:
    """Accuracy, recall and Fréchet distance over the guidance weight: what is gained, what is paid.

    Args:
        rows: ``weight``, ``accuracy``, ``recall`` and ``frechet`` of each weight.
        heldout_frechet: drawn as a dashed line.
    """
    figure, axes = new_figure(5.6, 3.2)
    weights = [row["weight"] for row in rows]
    axes.plot(weights, [row["accuracy"] for row in rows], "o-", color=ACCENT, label="label accuracy")
    axes.plot(weights, [row["recall"] for row in rows], "s-", color=THIRD, label="recall")
    axes.set_ylim(0.0, 1.03)
    axes.set_xlabel("guidance weight w")
    axes.set_ylabel("share")
    right = axes.twinx()
    right.spines[["top", "left"]].set_visible(False)
    right.plot(weights, [row["frechet"] for row in rows], "^-", color=SECOND, label="Fréchet distance")
    right.axhline(heldout_frechet, color=SECOND, ls="--", lw=1, label="Fréchet of held-out data")
    right.set_ylim(bottom=0.0)
    right.set_ylabel("Fréchet distance", color=SECOND)
    lines = axes.get_legend_handles_labels()
    more = right.get_legend_handles_labels()
    figure.legend(lines[0] + more[0], lines[1] + more[1], loc="outside upper center", ncols=2, frameon=False)
    return to_svg(figure)


def grid_chart(log_snr: Tensor, curve: tuple[Tensor, Tensor], grid: Tensor) -> str:
    """The schedule's log-SNR over time, and where the sampler evaluates the network.

    Args:
        log_snr: at the grid's times but the last, (steps,).
        curve: times and log-SNR of the schedule, to draw.
        grid: (steps + 1,) times.
    """
    figure, axes = new_figure(5.6, 3.2)
    axes.plot(curve[0].numpy(), curve[1].numpy(), color=QUIET, lw=2, label="schedule")
    axes.plot(grid[:-1].numpy(), log_snr.numpy(), "o", color=ACCENT, ms=5, label="evaluations")
    axes.set_xlabel("time t (0 is data, 1 is noise)")
    axes.set_ylabel("log-SNR")
    axes.legend(frameon=False)
    return to_svg(figure)
