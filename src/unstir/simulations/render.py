"""Simulations as files: a picture, a film, or the arrays; all pictures in one style."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import CalledProcessError
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from unstir.evaluation.figures import ACCENT, INK, QUIET, SECOND, THIRD
from unstir.evaluation.pictures import figure_to_image, save_gif, save_image
from unstir.files import write_aside
from unstir.simulations.simulation import Simulation, frame_indices

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".gif", ".mp4", ".npz")
DPI = 110
RATE = 12
"""Frames a second of a film."""

Tell = Callable[[int, int], None]


def check_output(path: Path) -> None:
    """Check before the work that a file of this name can be written.

    Raises:
        ValueError: for a suffix that is not known.
        ImportError: for a .mp4 without ffmpeg.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"a simulation is written as {', '.join(SUFFIXES)}, got {path.name!r}")
    if path.suffix == ".mp4":
        _check_ffmpeg()


def style() -> AbstractContextManager[None]:
    """The style of all pictures, as a context; every drawing of a simulation happens inside it."""
    import matplotlib as mpl
    from cycler import cycler

    colours = [ACCENT, SECOND, THIRD, "#7048e8", "#e6a700", QUIET]
    context: AbstractContextManager[None] = mpl.rc_context(
        {
            "font.size": 10.0,
            "font.family": "sans-serif",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "axes.titlesize": 11.0,
            "axes.prop_cycle": cycler(color=colours),
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "image.cmap": "viridis",
            "image.origin": "lower",
            "figure.facecolor": "white",
        }
    )
    return context


def new_figure(size: tuple[float, float]) -> Figure:
    """An empty figure, free of global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_frame(simulation: Simulation, frame: int = -1) -> Image.Image:
    """One frame as an image.

    Args:
        simulation: what to draw.
        frame: its number; negative ones count from the end.

    Raises:
        ValueError: for a frame that does not exist.
    """
    if not -simulation.frames <= frame < simulation.frames:
        raise ValueError(f"there are frames 0 to {simulation.frames - 1}, got {frame}")
    with style():
        figure = new_figure(simulation.size)
        simulation.draw(figure, frame % simulation.frames)
        return figure_to_image(figure)


def save(
    simulation: Simulation,
    path: Path,
    *,
    frame: int = -1,
    frames: int | None = None,
    settings: Mapping[str, Any] | None = None,
    report: Tell | None = None,
) -> None:
    """Write a simulation whole; the suffix decides: .png, .gif, .mp4 or .npz.

    Args:
        simulation: what to write.
        path: the file.
        frame: which one a .png shows; the last by default.
        frames: at most so many evenly spaced frames make up a film; all by default.
        settings: go into a .npz, as JSON under ``settings``; ``facts`` holds (name, value) as strings.
        report: is told (done, total) of a film's frames.

    Raises:
        ValueError: for an unknown suffix or a frame that does not exist.
        ImportError: for a .mp4 without ffmpeg.
        OSError: if it cannot be written; the old file, if any, is unchanged.
        RuntimeError: if ffmpeg fails.
    """
    check_output(path)
    chosen = frame_indices(simulation.frames, frames)
    if path.suffix == ".png":
        save_image(draw_frame(simulation, frame), path)
    elif path.suffix == ".gif":
        _save_gif(simulation, path, chosen, report)
    elif path.suffix == ".mp4":
        _save_mp4(simulation, path, chosen, report)
    else:
        _save_arrays(simulation, path, settings or {})


def _save_gif(simulation: Simulation, path: Path, chosen: Sequence[int], report: Tell | None) -> None:
    images = []
    for done, frame in enumerate(chosen, start=1):
        image = draw_frame(simulation, frame)
        # Quantised one by one: hundreds of frames in full colour would not fit into memory.
        images.append(image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE))
        if report is not None:
            report(done, len(chosen))
    save_gif(images, path, milliseconds=round(1000 / RATE), hold=2000)


def _check_ffmpeg() -> None:
    from matplotlib.animation import FFMpegWriter

    if not FFMpegWriter.isAvailable():
        raise ImportError("writing .mp4 needs the program ffmpeg, which is not installed; write .gif instead")


def _save_mp4(simulation: Simulation, path: Path, chosen: Sequence[int], report: Tell | None) -> None:
    from matplotlib.animation import FFMpegWriter

    def write(aside: Path) -> None:
        with style():
            figure = new_figure(simulation.size)
            writer = FFMpegWriter(fps=RATE, metadata={"title": simulation.title})
            with writer.saving(figure, str(aside), DPI):
                for done, frame in enumerate(chosen, start=1):
                    figure.clear()
                    simulation.draw(figure, frame)
                    writer.grab_frame()
                    if report is not None:
                        report(done, len(chosen))

    try:
        write_aside(path, write)
    except CalledProcessError as error:
        raise RuntimeError(f"ffmpeg could not write {path} (exit code {error.returncode})") from error


def _save_arrays(simulation: Simulation, path: Path, settings: Mapping[str, Any]) -> None:
    arrays = {name: array.detach().cpu().numpy() for name, array in simulation.arrays.items()}
    taken = sorted({"facts", "settings"} & set(arrays))
    if taken:
        raise ValueError(f"the array name {taken[0]!r} is taken by the file's own; choose another")
    facts = np.array(list(simulation.facts.items()), dtype=np.str_).reshape(-1, 2)
    extra = {"facts": facts, "settings": np.array(json.dumps(dict(settings)))}
    write_aside(path, lambda aside: np.savez_compressed(aside, allow_pickle=False, **arrays, **extra))
