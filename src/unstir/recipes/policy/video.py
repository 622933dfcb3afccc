"""Pictures and films of episodes, policy and baseline side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from unstir.evaluation.pictures import save_gif
from unstir.extras import needed
from unstir.files import write_aside
from unstir.recipes.policy.drawing import BODY, FAILED, LOWER, UPPER, Scene, beside
from unstir.recipes.policy.maze import BALL
from unstir.recipes.policy.metrics import route_of
from unstir.recipes.policy.task import Rollout

_EVERY = 3
"""Actions from frame to frame."""
_TRAIL = 14
"""Actions that a ball's trail lasts."""
_HOLD = 8
"""Frames that the end stays."""
FRAMES_A_SECOND = 12

Named = Sequence[tuple[str, Sequence[Rollout]]]
Discs = Sequence[tuple[float, float, float]]


def routes_picture(groups: Named, obstacles: Discs = (), *, cell: int = 28) -> Image.Image:
    """All ways of several groups of episodes: the two routes in two colours, failures in red."""
    pictures, titles = [], []
    for title, runs in groups:
        drawn = Scene(obstacles, cell=cell)
        for run in runs:
            drawn.path(run.observations[:, :2], _colour(run))
        pictures.append(drawn.finish())
        titles.append(f"{title}: {sum(r.success for r in runs)} of {len(runs)} reach the goal")
    return beside(pictures, titles)


def _colour(run: Rollout) -> str:
    if not run.success:
        return FAILED
    return UPPER if route_of(run) == "upper" else LOWER


def frames(groups: Named, obstacles: Discs = (), *, cell: int = 22) -> Iterator[Image.Image]:
    """The pictures of a film: all balls of a group in one maze, each with the last of its way."""
    longest = max(len(run.actions) for _, runs in groups for run in runs)
    moments = [*range(0, longest + 1, _EVERY), *[longest] * _HOLD]
    for moment in moments:
        pictures, titles = [], []
        for title, runs in groups:
            drawn, arrived = Scene(obstacles, cell=cell), 0
            for run in runs:
                last = min(moment, len(run.actions))
                way = run.observations[max(0, last - _TRAIL) : last + 1, :2]
                drawn.path(way, _colour(run))
                drawn.disc(way[-1], BALL, BODY)
                arrived += run.success and moment >= len(run.actions)
            pictures.append(drawn.finish())
            titles.append(f"{title}: {arrived} of {len(runs)}")
        yield beside(pictures, titles)


def write_gif(file: Path, groups: Named, obstacles: Discs = ()) -> None:
    """A film as an animated GIF.

    Raises:
        OSError: if the file cannot be written.
    """
    pictures = list(frames(groups, obstacles))
    save_gif(pictures, file, milliseconds=1000 // FRAMES_A_SECOND, colours=24)


def write_mp4(file: Path, groups: Named, obstacles: Discs = ()) -> None:
    """A film as MP4 (H.264).

    Raises:
        ModuleNotFoundError: if imageio-ffmpeg is not installed.
        OSError: if the file cannot be written.
    """
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise needed("imageio-ffmpeg", "robotics") from None
    pictures = frames(groups, obstacles, cell=32)
    first = next(pictures)
    size = (first.width // 2 * 2, first.height // 2 * 2)  # H.264 takes even sizes only

    def write(aside: Path) -> None:
        writer = imageio_ffmpeg.write_frames(
            str(aside), size, fps=FRAMES_A_SECOND, macro_block_size=2, output_params=["-loglevel", "error"]
        )
        writer.send(None)
        try:
            for image in (first, *pictures):
                writer.send(np.ascontiguousarray(np.asarray(image.crop((0, 0, *size)))).tobytes())
        finally:
            writer.close()

    write_aside(file, write)
