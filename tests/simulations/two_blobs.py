"""A small system for tests: blobs that spread, with all kinds of settings."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from unstir.settings import Settings
from unstir.simulations import Simulation, System


class TwoBlobs(Settings):
    """Settings of the blobs."""

    D: float = Field(1.0, gt=0, description="diffusivity, m^2/s")
    cells: int = Field(16, ge=2, le=64, description="cells")
    kind: Literal["round", "flat"] = Field("round", description="shape")
    frames: int = Field(4, ge=1, description="frames of the film")


def run(settings, report):
    x = torch.linspace(-1, 1, settings.cells, dtype=torch.float64)
    t = torch.arange(1, settings.frames + 1, dtype=torch.float64)
    u = torch.exp(-(x**2) / (4 * settings.D * t[:, None]))
    for n in range(settings.frames):
        report(n + 1, settings.frames)

    def draw(figure, frame):
        axes = figure.subplots()
        axes.plot(x, u[frame])
        axes.set(title=f"frame {frame}", ylim=(0, 1))

    return Simulation(
        "Two blobs", {"x": x, "u": u}, {"mass": "1.0; closed form 1.0"}, draw, settings.frames, (4, 3)
    )


SYSTEM = System(name="two-blobs", summary="blobs", settings=TwoBlobs, run=run)
