"""The maze from above: walls, goal, obstacles, paths and the ball."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from unstir.recipes.policy.maze import BALL, GOAL, LAYOUT, REACHED

CELL = 28
"""Pixels for a cell."""
_FINE = 3
"""Drawn so many times larger, then averaged."""
PAPER, WALL, AIM, DISC = "#fbfaf7", "#474b55", "#cfe8cf", "#c9642f"
UPPER, LOWER, FAILED, PLAN, BODY = "#2f6fb0", "#2c9c7d", "#c23b3b", "#e0a21b", "#1d1f24"

Points = NDArray[np.floating]


class Scene:
    """A picture that is being drawn, in the maze's own coordinates."""

    def __init__(self, obstacles: Sequence[tuple[float, float, float]] = (), *, cell: int = CELL) -> None:
        self.cell = cell * _FINE
        self.size = (len(LAYOUT[0]) * self.cell, len(LAYOUT) * self.cell)
        self.image = Image.new("RGB", self.size, PAPER)
        self.draw = ImageDraw.Draw(self.image)
        for i, line in enumerate(LAYOUT):
            for j, cell_ in enumerate(line):
                if cell_ == "#":
                    corner = (j * self.cell, i * self.cell)
                    self.draw.rectangle((*corner, corner[0] + self.cell, corner[1] + self.cell), fill=WALL)
        self.disc(np.array(GOAL), REACHED, AIM)
        for x, y, radius in obstacles:
            self.disc(np.array((x, y)), radius, DISC)

    def at(self, point: Points) -> tuple[float, float]:
        """Pixels of a point."""
        x = (float(point[0]) + len(LAYOUT[0]) / 2) * self.cell
        return x, (len(LAYOUT) / 2 - float(point[1])) * self.cell

    def disc(self, middle: Points, radius: float, colour: str) -> None:
        """A filled disc."""
        (x, y), r = self.at(middle), radius * self.cell
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def path(self, points: Points, colour: str, width: float = 0.05) -> None:
        """A line through points (n, 2)."""
        if len(points) > 1:
            pixels = [self.at(p) for p in points]
            self.draw.line(pixels, fill=colour, width=max(1, round(width * self.cell)), joint="curve")

    def finish(self) -> Image.Image:
        """The picture in its final size."""
        size = (self.size[0] // _FINE, self.size[1] // _FINE)
        return self.image.resize(size, Image.Resampling.BOX)


def scene(obstacles: Sequence[tuple[float, float, float]] = (), *, ball: Points | None = None) -> Image.Image:
    """The maze, and the ball if there is one."""
    result = Scene(obstacles)
    if ball is not None:
        result.disc(ball, BALL, BODY)
    return result.finish()


def beside(images: Sequence[Image.Image], titles: Sequence[str], gap: int = 10) -> Image.Image:
    """Pictures of one size side by side, each with a title above it."""
    from PIL import ImageFont

    width, height = images[0].size
    top = 24
    canvas = Image.new("RGB", (len(images) * (width + gap) - gap, height + top), PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    for k, (image, title) in enumerate(zip(images, titles, strict=True)):
        canvas.paste(image, (k * (width + gap), top))
        draw.text((k * (width + gap) + 4, 4), title, fill=BODY, font=font)
    return canvas
