"""Pictures of samples of any kind: images, signals, volumes, points, tables."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from unstir.files import write_aside

Pixels = NDArray[np.uint8]


def is_image(event: Sequence[int]) -> bool:
    """Whether events are images of one or three channels."""
    return len(event) == 3 and event[0] in (1, 3)


def to_pixels(x: Tensor, bounds: tuple[float, float] | None = None) -> Pixels:
    """Images (n, 1 or 3, H, W) in data units as bytes (n, H, W, 3).

    Args:
        x: images.
        bounds: values shown as black and white; the smallest and largest by default.
    """
    low, high = bounds or (float(x.min()), float(x.max()))
    scaled = ((x.double() - low) / max(high - low, 1e-12)).clamp(0.0, 1.0)
    pixels = (scaled * 255.0).round().byte().movedim(1, -1)
    return np.ascontiguousarray(pixels.expand(*pixels.shape[:-1], 3).numpy())


def tile(pixels: Pixels, columns: int, *, gap: int = 1, zoom: int = 1, background: int = 255) -> Pixels:
    """Images (n, H, W, 3) side by side as one (H', W', 3), each pixel enlarged ``zoom`` times."""
    n, height, width, _ = pixels.shape
    rows = math.ceil(n / columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    sheet = np.full(shape, background, np.uint8)
    for index, picture in enumerate(pixels):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet.repeat(zoom, axis=0).repeat(zoom, axis=1)


def picture_of(
    x: Tensor,
    bounds: tuple[float, float] | None = None,
    *,
    columns: int | None = None,
    beside: Tensor | None = None,
    reach: float | None = None,
) -> Image.Image:
    """A picture of samples: tiled images, lines of signals, a scatter of points, slices of volumes.

    Args:
        x: (n, *event) in data units.
        bounds: range of values, for images.
        columns: images a row; about a square by default.
        beside: other samples to show behind points, (m, *event).
        reach: points are shown from -reach to reach on both axes; as far as they go by default.
    """
    event = tuple(x.shape[1:])
    if len(event) == 4:
        x = x[:, :, event[1] // 2]
        event = tuple(x.shape[1:])
    if len(event) == 3:
        if event[0] not in (1, 3):
            x = x[:, :1]
        pixels = to_pixels(x, bounds)
        across = columns or math.ceil(math.sqrt(len(x)))
        zoom = max(1, round(640 / (across * (event[2] + 1))))
        return Image.fromarray(tile(pixels, across, zoom=min(zoom, 16)))
    return _plot(x, beside, reach)


def _plot(x: Tensor, beside: Tensor | None, reach: float | None) -> Image.Image:
    figure, axes = new_figure(6.4, 5.2 if x.ndim == 2 else 4.0)
    if x.ndim == 2:
        draw_points(axes, x, beside)
        if reach is not None and x.shape[1] == 2:
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
    else:
        draw_signals(axes, x)
    return figure_to_image(figure)


def new_figure(width: float, height: float) -> tuple[Any, Any]:
    """A matplotlib figure with one pair of axes, free of global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def draw_points(axes: Any, x: Tensor, beside: Tensor | None = None) -> None:
    """The first two entries of vectors as points; a histogram if there is only one."""
    if x.shape[1] == 1:
        for values, name in ((beside, "data"), (x, "samples")):
            if values is not None:
                axes.hist(values[:, 0].numpy(), bins=60, density=True, alpha=0.6, label=name)
        axes.legend(frameon=False)
        return
    if beside is not None:
        axes.scatter(*beside[:, :2].T.numpy(), s=5, c="#c9c9c9", linewidths=0, label="data")
    axes.scatter(*x[:, :2].T.numpy(), s=5, c="#1f5fbf", linewidths=0, label="samples")
    if beside is not None:
        axes.legend(frameon=False, loc="upper right", markerscale=3)
    if x.shape[1] == 2:
        axes.set_aspect("equal")
    else:
        axes.set_xlabel("feature 0")
        axes.set_ylabel("feature 1")


def draw_signals(axes: Any, x: Tensor) -> None:
    """The first channel of up to eight signals, one above the other."""
    shown = x[:8, 0].numpy()
    step = float(np.abs(shown).max()) * 2.0 or 1.0
    for row, signal in enumerate(shown):
        axes.plot(signal - row * step, lw=1.0)
    axes.set_yticks([])
    axes.set_xlabel("position")


def figure_to_image(figure: Any) -> Image.Image:
    """A matplotlib figure as an image."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")


def save_image(image: Image.Image, path: Path) -> None:
    """Write an image whole; the suffix decides the format."""
    write_aside(path, lambda aside: image.save(aside))


def _strip(images: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one size one below the other."""
    width, height = images[0].size
    strip = Image.new("RGB", (width, height * len(images)))
    for row, image in enumerate(images):
        strip.paste(image, (0, row * height))
    return strip


def save_gif(
    images: Sequence[Image.Image], path: Path, *, milliseconds: int, hold: int = 0, colours: int | None = None
) -> None:
    """Write an animated GIF whole, which repeats for ever.

    Args:
        images: at least one, all of one size.
        path: of the file.
        milliseconds: of a picture.
        hold: of the last one, if that is longer.
        colours: of the whole film, 2 to 256, chosen for a few of its pictures and not dithered: flat colours
            stay flat and the same, and the file small. None leaves the pictures as they are.
    """
    if colours is not None:
        strip = _strip([images[0], images[len(images) // 2], images[-1]])
        # Not the median cut, which gives the rare colours of thin lines up.
        palette = strip.quantize(colours, Image.Quantize.MAXCOVERAGE)
        images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    durations = [milliseconds] * (len(images) - 1) + [max(milliseconds, hold)]

    def write(aside: Path) -> None:
        images[0].save(
            aside, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0
        )

    write_aside(path, write)
