"""The picture of a restoration: measurement, classical inverses, posterior, and how sure it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unstir.evaluation.figures import ACCENT, INK, QUIET, SECOND, THIRD
from unstir.evaluation.pictures import figure_to_image, is_image
from unstir.recipes.restore import Restoration

MOST = 10
"""Measurements that a sheet shows."""
_CELL = 0.85
_LABEL = 1.25
_BAR = 0.75
_UNKNOWN = "#f3c9c0"


def sheet(
    result: Restoration, *, bounds: tuple[float, float] | None = None, truth: Tensor | None = None
) -> Image.Image:
    """A sheet of up to ten restorations: a column for each, for signals and vectors a panel for each.

    Args:
        result: what was restored.
        bounds: values shown as black and white of images; by default the range of the restored ones.
        truth: (m, *event), shown too if it is known.
    """
    event = tuple(result.mean.shape[1:])
    if len(event) >= 3:
        return _images(result, bounds, truth)
    return _signals(result, truth)


def rows_of(result: Restoration, truth: Tensor | None = None) -> list[tuple[str, Tensor, bool]]:
    """(label, (m, *shape), whether it is a deviation) of every row of a sheet, from the top."""
    rows = [("measurement", result.shown, False)]
    rows += [(_named(name), x, False) for name, x in result.inverses.items()]
    rows += [("posterior\nmean", result.mean, False), ("posterior\ndeviation", result.std, True)]
    count = min(3, result.samples.shape[1])
    rows += [(f"sample {k + 1}", result.samples[:, k], False) for k in range(count)]
    if truth is not None:
        rows.append(("truth", truth, False))
    return rows


def _images(result: Restoration, bounds: tuple[float, float] | None, truth: Tensor | None) -> Image.Image:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns, rows = min(MOST, len(result.mean)), rows_of(result, truth)
    low, high = bounds or (float(result.mean.min()), float(result.mean.max()))
    width, height = _LABEL + columns * _CELL + _BAR, len(rows) * _CELL + 0.1
    figure = Figure(figsize=(width, height), dpi=130, facecolor="white")
    FigureCanvasAgg(figure)
    most = max(float(result.std[:columns].max()), 1e-12)
    for place, (label, x, deviation) in enumerate(rows):
        bottom = 1.0 - ((place + 1) * _CELL + 0.05) / height
        centre = bottom + 0.5 * _CELL / height
        figure.text((_LABEL - 0.1) / width, centre, label, ha="right", va="center", fontsize=9, color=INK)
        for column in range(columns):
            left = (_LABEL + column * _CELL) / width
            box = (left, bottom + 0.03 / height, (_CELL - 0.05) / width, (_CELL - 0.05) / height)
            axes = figure.add_axes(box)
            scale = (0.0, most) if deviation else (low, high)
            shown = axes.imshow(**_picture(x[column], scale, coloured=deviation))
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set(color=QUIET, linewidth=0.6)
        if place == 0 or deviation:
            edge = (_LABEL + columns * _CELL + 0.05) / width
            bar = figure.add_axes((edge, bottom + 0.06 / height, 0.1 / width, (_CELL - 0.12) / height))
            if is_image(tuple(result.mean.shape[1:])) and result.mean.shape[1] == 3 and not deviation:
                bar.set_axis_off()
            else:
                figure.colorbar(shown, cax=bar, ticks=[*scale])
                bar.tick_params(labelsize=7, length=2, color=INK, labelcolor=INK)
                bar.set_ylabel("data units", fontsize=7, color=INK)
                bar.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    return figure_to_image(figure)


def _picture(x: Tensor, scale: tuple[float, float], *, coloured: bool) -> dict[str, Any]:
    """What matplotlib's imshow is told of one image or volume (its middle slice)."""
    from matplotlib import colormaps

    if x.ndim == 4:
        x = x[:, x.shape[1] // 2]
    low, high = scale
    options: dict[str, Any] = {"vmin": low, "vmax": high, "interpolation": "nearest", "aspect": "auto"}
    if coloured or x.shape[0] != 3:
        plane = x.mean(0) if coloured else x[0]
        cmap = colormaps["viridis" if coloured else "gray"].with_extremes(bad=_UNKNOWN)
        return {"X": np.ma.masked_invalid(plane.numpy()), "cmap": cmap, **options}
    pixels = ((x - low) / max(high - low, 1e-12)).clamp(0.0, 1.0).movedim(0, -1)
    blank = torch.tensor([int(_UNKNOWN[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return {"X": torch.where(torch.isnan(pixels), blank, pixels).numpy(), **options}


def _signals(result: Restoration, truth: Tensor | None) -> Image.Image:
    """A panel for each measurement: its interval as a band, with the mean, three samples and the inverses."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = min(MOST, len(result.mean))
    across = min(count, 2)
    down = -(-count // across)
    figure = Figure(figsize=(5.2 * across, 2.6 * down + 0.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = np.atleast_1d(figure.subplots(down, across, sharey=True, squeeze=False)).ravel()
    for number, axes in enumerate(panels):
        axes.spines[["top", "right"]].set_visible(False)
        if number >= count:
            axes.set_axis_off()
            continue
        place = np.arange(result.mean.shape[-1])
        low, high, mean = (_line(x[number]) for x in (result.low, result.high, result.mean))
        axes.fill_between(
            place, low, high, color=ACCENT, alpha=0.2, lw=0, label=f"{result.covers:.0%} interval"
        )
        for sample in result.samples[number, :3]:
            axes.plot(place, _line(sample), color=ACCENT, lw=0.6, alpha=0.6)
        axes.plot(place, mean, color=ACCENT, lw=1.6, label="posterior mean")
        for colour, (name, x) in zip((SECOND, QUIET), result.inverses.items(), strict=False):
            axes.plot(place, _line(x[number]), color=colour, lw=1.0, label=_named(name))
        shown = _line(result.shown[number])
        edges = np.linspace(-0.5, len(place) - 0.5, len(shown) + 1)  # measured cells may be coarser
        axes.plot(0.5 * (edges[1:] + edges[:-1]), shown, ".", color=INK, ms=4, label="measurement")
        if truth is not None:
            axes.plot(place, _line(truth[number]), "--", color=THIRD, lw=1.2, label="truth")
        axes.set_title(f"measurement {number}", fontsize=9)
        axes.set_xlabel("entry" if result.mean.ndim == 2 else "position (cells)", fontsize=8)
        axes.set_ylabel("value (data units)", fontsize=8)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(6, len(labels)), frameon=False, fontsize=8
    )
    return figure_to_image(figure)


def _named(inverse: str) -> str:
    """The label of a classical inverse."""
    return "Tikhonov" if inverse == "tikhonov" else inverse


def _line(x: Tensor) -> np.ndarray[Any, Any]:
    """The first channel of a signal, or a vector."""
    line: np.ndarray[Any, Any] = (x[0] if x.ndim > 1 else x).float().numpy()
    return line
