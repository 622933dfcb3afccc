"""Pictures of scenes from above: the map, the past, and the futures that a model sees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from unstir.evaluation.pictures import figure_to_image
from unstir.recipes.scenarios.clearance import headings
from unstir.recipes.scenarios.scenes import VEHICLE
from unstir.recipes.scenarios.vehicles import LENGTH, WIDTH

COLORS = ("#1f5fbf", "#d1495b", "#2e8b57", "#e08e0b", "#7b4fa3", "#2a9d9d", "#8c564b", "#555555")
"""One for each agent of a scene, and again from the beginning."""
MARGIN = 3.0
"""Metres round the agents that are shown."""
SMALLEST = 6.0
"""Half the least width of a view, metres."""

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class View:
    """A scene to draw.

    Attributes:
        kinds: (agents,) -1 absent, 0 pedestrian, 1 vehicle.
        past: (agents, past, 2) metres.
        futures: (samples, agents, future, 2) metres; the first is that which the bodies follow.
        map: (segments, 4) metres, NaN for none; or None.
        truth: (agents, future, 2) what really came, or None.
        title: of the picture.
        ring: numbers of agents to mark.
    """

    kinds: Floats
    past: Floats
    futures: Floats
    map: Floats | None = None
    truth: Floats | None = None
    title: str = ""
    ring: tuple[int, ...] = ()

    @property
    def present(self) -> list[int]:
        """Numbers of the agents that are there."""
        return [int(i) for i in np.flatnonzero(np.asarray(self.kinds) >= 0)]

    def window(self) -> tuple[float, float, float]:
        """Middle x, middle y and half the width of a square that shows every agent."""
        seen = [self.past[self.present].reshape(-1, 2), self.futures[:, self.present].reshape(-1, 2)]
        if self.truth is not None:
            seen.append(self.truth[self.present].reshape(-1, 2))
        points = np.concatenate(seen)
        # A rare sample far out does not shrink the rest.
        low, high = np.percentile(points, 1, axis=0), np.percentile(points, 99, axis=0)
        x, y = 0.5 * (low + high)
        return float(x), float(y), max(SMALLEST, 0.5 * float((high - low).max()) + MARGIN)


def draw_scenes(views: Sequence[View], *, columns: int | None = None, size: float = 3.2) -> Image.Image:
    """Scenes side by side: past solid, futures fading, bodies where the past ends, truth dotted.

    Args:
        views: at least one.
        columns: pictures a row; about a square by default.
        size: of a picture, inches.
    """
    figure, panels = _figure(len(views), columns, size)
    for axes, view in zip(panels, views, strict=True):
        _scene(axes, view)
        _futures(axes, view)
        frame = view.past.shape[1] - 1
        _bodies(axes, view, np.concatenate([view.past, view.futures[0]], axis=1), frame)
    key = "solid: the past, to the body; pale: sampled futures"
    truth = "; dotted: what really came" if any(view.truth is not None for view in views) else ""
    figure.supxlabel(key + truth, fontsize=9, color="0.35")
    return figure_to_image(figure)


def film_scenes(views: Sequence[View], *, columns: int | None = None, size: float = 3.0) -> list[Image.Image]:
    """The first future of each scene as pictures frame by frame, past included; the others stay as lines."""
    frames = views[0].past.shape[1] + views[0].futures.shape[2]
    pictures = []
    for frame in range(frames):
        figure, panels = _figure(len(views), columns, size)
        for axes, view in zip(panels, views, strict=True):
            _scene(axes, view, until=frame)
            if frame >= view.past.shape[1] - 1:
                _futures(axes, view, faint=True)
            _bodies(axes, view, np.concatenate([view.past, view.futures[0]], axis=1), frame)
        pictures.append(figure_to_image(figure))
    return pictures


def _figure(count: int, columns: int | None, size: float) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across = min(count, columns or math.ceil(math.sqrt(count)))
    down = math.ceil(count / across)
    figure = Figure(figsize=(size * across, (size + 0.25) * down), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(down, across, squeeze=False).ravel().tolist()
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, panels[:count]


def _scene(axes: Any, view: View, until: int | None = None) -> None:
    """The map, and the past up to a frame."""
    x, y, half = view.window()
    for line in [] if view.map is None else view.map:
        if np.isfinite(line).all():
            axes.plot(line[::2], line[1::2], color="0.75", lw=1.2, zorder=1)
    for i in view.present:
        track = view.past[i] if until is None else view.past[i, : until + 1]
        axes.plot(*track.T, color=_color(i), lw=1.8, solid_capstyle="round", zorder=4)
    axes.set(xlim=(x - half, x + half), ylim=(y - half, y + half), aspect="equal", xticks=[], yticks=[])
    axes.plot([x - 0.9 * half, x - 0.9 * half + 5.0], [y - 0.93 * half] * 2, color="0.2", lw=2)
    axes.text(x - 0.9 * half, y - 0.9 * half, "5 m", fontsize=7, color="0.2")
    if view.title:
        axes.set_title(view.title, fontsize=9)


def _futures(axes: Any, view: View, *, faint: bool = False) -> None:
    """Lines that fade with time, more of them fainter."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgba

    strength = (0.35 if faint else 1.0) * max(0.12, min(0.8, 2.5 / len(view.futures)))
    for i in view.present:
        starts = np.broadcast_to(view.past[i, -1:], (len(view.futures), 1, 2))
        lines = np.concatenate([starts, view.futures[:, i]], axis=1)
        pieces = np.stack([lines[:, :-1], lines[:, 1:]], axis=2)
        fade = strength * (1.0 - 0.6 * np.arange(pieces.shape[1]) / pieces.shape[1])
        colors = np.tile(to_rgba(_color(i)), (len(lines), len(fade), 1))
        colors[..., 3] = fade
        axes.add_collection(
            LineCollection(
                list(pieces.reshape(-1, 2, 2)), colors=colors.reshape(-1, 4), linewidths=1.3, zorder=3
            )
        )
        if view.truth is not None:
            line = np.concatenate([view.past[i, -1:], view.truth[i]])
            axes.plot(*line.T, ":", color="black", lw=1.1, zorder=5)


def _bodies(axes: Any, view: View, tracks: Floats, frame: int) -> None:
    """Vehicles as boxes, pedestrians as discs, of their own sizes."""
    from matplotlib.patches import Circle, Polygon

    ahead = headings(torch.as_tensor(np.nan_to_num(tracks))).numpy()[:, frame]
    for i in view.present:
        place, way = tracks[i, frame], ahead[i]
        if view.kinds[i] == VEHICLE:
            side = np.array([-way[1], way[0]])
            corners = [
                place + 0.5 * (a * LENGTH * way + b * WIDTH * side)
                for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1))
            ]
            shape: Polygon | Circle = Polygon(corners, closed=True)
        else:
            shape = Circle(place, 0.25)
        shape.set(facecolor=_color(i), edgecolor="black" if i in view.ring else "white")
        shape.set(linewidth=1.6 if i in view.ring else 0.6, zorder=6)
        axes.add_patch(shape)


def _color(agent: int) -> str:
    return COLORS[agent % len(COLORS)]
