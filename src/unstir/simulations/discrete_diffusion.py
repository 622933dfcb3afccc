"""Images of few grey levels that dissolve, by masks and by random levels, and come back exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from unstir.denoisers import Sequences
from unstir.evaluation.figures import INK
from unstir.processes import LogLinear, Reset, absorbing, simulate_jumps, uniform
from unstir.samplers import Exact, sample_jumps
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIDE = 8


class DiscreteDiffusion(Settings):
    """Settings of dissolving images."""

    images: int = Field(200, ge=2, le=1797, description="handwritten digits that make up the data")
    levels: int = Field(4, ge=2, le=17, description="grey levels of a pixel")
    samples: int = Field(6, ge=1, le=64, description="images that dissolve, and as many that come back")
    moments: int = Field(20, ge=2, le=200, description="frames of each way")
    seed: int = Field(0, description="of the random numbers")


def run(settings: DiscreteDiffusion, report: Report) -> Simulation:
    """Noise some images by paths of the jump process, then draw new ones by its exact reversal."""
    o = settings
    data = _digits(o)
    times = torch.linspace(0.0, 1.0, o.moments, dtype=torch.float64)
    processes: dict[str, Reset] = {
        "masked": absorbing(o.levels + 1, clock=LogLinear()),
        "uniform": uniform(o.levels, LogLinear(3e-4)),
    }
    arrays: dict[str, Tensor] = {"t": times}
    facts = {}
    for number, (name, process) in enumerate(processes.items()):
        denoiser = Sequences(process, data)
        # Before t = 1 the clock of masks is finite; the last moment is drawn from the limit.
        ahead = simulate_jumps(process, data[: o.samples], times.clamp(max=1.0 - 1e-12), seed=o.seed).states
        report(2 * number + 1, 4)
        back = sample_jumps(
            denoiser, o.samples, solver=Exact(last=1e-4), grid=times.flip(0), seed=o.seed, path=True
        )
        assert back.path is not None
        report(2 * number + 2, 4)
        arrays[f"{name}_forward"], arrays[f"{name}_backward"] = ahead, back.path
        found = (back.x.flatten(1)[:, None] == data.flatten(1)).all(-1).any(1)
        half = o.moments // 2
        kept = float((ahead[half] == data[: o.samples]).double().mean())
        expected = _kept(process, data[: o.samples], float(times[half]))
        facts[f"{name}: images that came back whole"] = f"{int(found.sum())} of {o.samples}"
        facts[f"{name}: pixels as they were at t = {float(times[half]):.2f}"] = (
            f"{kept:.3f}; closed form {expected:.3f}"
        )
        facts[f"{name}: evaluations for an image"] = f"{float(back.nfe.double().mean()):.0f}"
    return Simulation(
        title="Images dissolve and come back, pixel by pixel",
        arrays=arrays,
        facts=facts,
        draw=lambda figure, frame: _draw(figure, frame, arrays, o),
        frames=2 * o.moments,
        size=(8.5, 4.2),
    )


def _digits(o: DiscreteDiffusion) -> Tensor:
    """(images, 8, 8) int64 of few levels."""
    from sklearn.datasets import load_digits

    grey = torch.as_tensor(load_digits().images[: o.images])
    return (grey * (o.levels - 1) / 16.0).round().long()


def _kept(process: Reset, x: Tensor, t: float) -> float:
    """The expected share of pixels that are as they were: exp(-B) + (1 - exp(-B)) pi."""
    left = float(process.clock.survival(t))
    return left + (1.0 - left) * float(process.law[x].mean())


def _draw(figure: Figure, frame: int, arrays: dict[str, Tensor], o: DiscreteDiffusion) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, to_hex

    forward = frame < o.moments
    moment = frame if forward else frame - o.moments
    t = float(arrays["t"][moment if forward else o.moments - 1 - moment])
    greys = [to_hex(colormaps["Greys"](0.95 * k / (o.levels - 1))) for k in range(o.levels)]
    colours = ListedColormap([*greys, "#e6a700"])
    shown = min(o.samples, 8)
    grid = figure.subplots(2, shown, squeeze=False)
    for row, name in enumerate(("masked", "uniform")):
        images = arrays[f"{name}_{'forward' if forward else 'backward'}"][moment]
        for column in range(shown):
            axes = grid[row, column]
            axes.imshow(images[column].numpy(), cmap=colours, vmin=-0.5, vmax=o.levels + 0.5, origin="upper")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(True)
        grid[row, 0].set_ylabel("masks (gold)" if name == "masked" else "random levels")
    way = "forward: data dissolve" if forward else "backward: new data, by the exact posterior"
    figure.suptitle(f"{way},  t = {t:.2f}", color=INK, fontsize=11)


SYSTEM = System(
    name="discrete-diffusion",
    summary="images dissolve into masks or random levels, and return",
    settings=DiscreteDiffusion,
    run=run,
)
