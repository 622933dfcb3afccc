"""Diffusion through a packing of grains: the flux found voxel by voxel, and the mixing laws for it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from unstir.evaluation.figures import INK, QUIET
from unstir.noise import Stream, uniform
from unstir.physics.porous import bruggeman, effective_diffusivity, maxwell
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 4000


class Porous(Settings):
    """Settings of the packing."""

    porosity: float = Field(0.6, gt=0.3, lt=1, description="share of the pores in the most filled sample, 1")
    radius: float = Field(0.05, gt=0.01, le=0.2, description="radius of the disks over the sample's width, 1")
    cells: int = Field(120, ge=20, le=400, description="voxels along each side, 1")
    samples: int = Field(8, ge=1, le=40, description="porosities from 1 down, one a frame, 1")
    seed: int = Field(0, description="seed of the disks' places, 1")


def packing(cells: int, radius: float, porosity: float, seed: int) -> Tensor:
    """Disks that may overlap, dropped on a periodic square until the pores are so few; True in pores."""
    spots = uniform((_MOST, 2), seed=seed, index=torch.tensor([0]), stream=Stream.SIMULATE)[0]
    x = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    pores = torch.ones(cells, cells, dtype=torch.bool)
    for spot in spots:
        if float(pores.double().mean()) <= porosity:
            break
        gap = (x[:, None] - spot).abs()
        gap = torch.minimum(gap, 1.0 - gap) ** 2
        pores &= gap[:, 0, None] + gap[:, 1] > radius**2
    return pores


def run(settings: Porous, report: Report) -> Simulation:
    """Solve the samples one after the other."""
    aims = torch.linspace(1.0, settings.porosity, settings.samples + 1, dtype=torch.float64)[1:].tolist()
    found, images = [], []
    for done, aim in enumerate(aims, start=1):
        images.append(packing(settings.cells, settings.radius, aim, settings.seed))
        found.append(effective_diffusivity(images[-1], axis=1, spacing=1.0 / settings.cells))
        report(done, len(aims))
    porosity = torch.tensor([each.porosity for each in found], dtype=torch.float64)
    value = torch.tensor([each.value for each in found], dtype=torch.float64)
    line = torch.linspace(min(0.3, float(porosity.min())), 1.0, 200, dtype=torch.float64)

    def draw(figure: Figure, frame: int) -> None:
        left, right = figure.subplots(1, 2)
        shown = torch.where(images[frame], found[frame].concentration, torch.nan)
        left.set_facecolor(INK)
        image = left.imshow(shown.numpy(), extent=(0, 1, 0, 1), vmin=0, vmax=1)
        left.set(xlabel="x / width", ylabel="y / width", title=f"porosity {found[frame].porosity:.3f}")
        figure.colorbar(image, ax=left, label="concentration (grains dark)", shrink=0.8)
        right.plot(line, line, color=QUIET, lw=1, label="porosity alone")
        right.plot(
            line, maxwell(1.0, 0.0, 1.0 - line, 2), "--", color=INK, lw=1.2, label="Maxwell–Rayleigh, disks"
        )
        right.plot(line, bruggeman(line, 2.0), ":", color=INK, lw=1.2, label="Bruggeman, disks of all sizes")
        right.plot(porosity[: frame + 1], value[: frame + 1], "o", label="solved voxel by voxel")
        right.set(xlabel="porosity", ylabel="D effective / D", xlim=(float(line[0]), 1), ylim=(0, 1))
        right.legend(loc="upper left")

    dilute = float(maxwell(1.0, 0.0, 1.0 - porosity[0], 2))
    tortuosity = "infinite" if math.isinf(found[-1].tortuosity) else f"{found[-1].tortuosity:.3f}"
    return Simulation(
        title="Diffusion through a packing of grains",
        arrays={"porosity": porosity, "D_effective": value, "concentration": found[-1].concentration},
        facts={
            "most dilute sample, D effective / D": f"{float(value[0]):.4f}, Maxwell-Rayleigh {dilute:.4f}",
            "most filled sample, D effective / D": (
                f"{float(value[-1]):.4f}, Bruggeman {float(bruggeman(porosity[-1], 2.0)):.4f}"
            ),
            "its tortuosity": tortuosity,
            "flux in minus what it dissipates, at most": f"{max(each.imbalance for each in found):.1e}",
        },
        draw=draw,
        frames=len(found),
        size=(9.5, 4.4),
    )


SYSTEM = System("porous", "diffusion through a packing of grains, and its tortuosity", Porous, run)
