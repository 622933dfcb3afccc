"""Blurring diffusion of digits: heat flow and noise forward, and the way back with the exact denoiser."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from unstir import noise
from unstir.denoisers import Dataset, Gaussian
from unstir.generators import diffusion
from unstir.processes import Heat, schedule_from_dict
from unstir.samplers import sample
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System
from unstir.spaces import Axis, Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 1.0)


class Blurring(Settings):
    """Settings of the process and of the way back."""

    base: Literal["vp", "cosine", "flow"] = Field("vp", description="schedule of the noise")
    blur: float = Field(
        0.5, ge=0, le=5, description="heat kernel's deviation at t = 1, widths of the picture"
    )
    d_min: float = Field(0.001, ge=0, le=1, description="share that no blur takes away, 1; 1 for no blur")
    digit: int = Field(3, ge=0, le=9, description="which digit goes forward, 1")
    steps: int = Field(60, ge=8, le=500, description="steps back, 1")
    seed: int = Field(0, description="of the noise")


def run(settings: Blurring, report: Report) -> Simulation:
    """One digit forward, and one from pure noise back to the 1,797 digits of scikit-learn."""
    schedule = Heat(schedule_from_dict(settings.base), settings.blur, settings.d_min)
    data, labels = _digits()
    x_0 = data[labels == settings.digit][:1]
    z = noise.normal(
        x_0.shape[1:],
        seed=settings.seed,
        index=torch.zeros(1, dtype=torch.int64),
        stream=noise.Stream.BLUR,
        dtype=torch.float64,
    )
    pairs = [schedule.marginal(x_0, t) for t in _SHOWN]
    signals = torch.cat([mean for mean, _ in pairs])
    forward = torch.cat([mean + std * z for mean, std in pairs])
    report(1, 3)

    denoiser = Dataset(schedule, data)
    solution = sample(denoiser, x_T=schedule.sigma(1.0) * z, steps=settings.steps, path=True)
    assert solution.path is not None
    places = [int((solution.grid - t).abs().argmin()) for t in reversed(_SHOWN)]
    back = torch.cat([solution.path[place] for place in places])
    seen = torch.cat([denoiser(solution.path[p], float(solution.grid[p])).mean for p in places[:-1]])
    report(2, 3)
    nearest = float((solution.x - data).flatten(1).square().mean(1).min().sqrt())
    facts = {
        "blur against the heat equation": f"{_against_heat(schedule, x_0):.1e} at most, at t = 0.5",
        "end of the way back": f"{nearest:.1e} from the nearest digit, root mean square (0 in the limit)",
        f"default solver, {settings.steps} steps": _against_gaussian(schedule, data, z, settings.steps),
    }
    report(3, 3)

    def draw(figure: Figure, frame: int) -> None:
        parts: Any = figure.subfigures(1, 2, width_ratios=(2.0, 1.0))
        _strip(parts[0], forward, signals, back, seen)
        _levels(parts[1], schedule, tuple(x_0.shape[1:]))

    return Simulation(
        title=f"Blurring diffusion: heat flow and noise ({settings.base})",
        arrays={
            "t": torch.tensor(_SHOWN),
            "forward": forward,
            "signals": signals,
            "back": back,
            "seen": seen,
        },
        facts=facts,
        draw=draw,
        size=(12.0, 4.8),
    )


def _digits() -> tuple[Tensor, Tensor]:
    """1,797 digits of 8 x 8 pixels, -1 to 1, (n, 1, 8, 8), and their classes."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return torch.from_numpy(bunch.images / 8.0 - 1.0)[:, None], torch.from_numpy(bunch.target)


def _against_heat(schedule: Heat, x_0: Tensor) -> float:
    """The largest difference of the blurred digit from a heat equation solved on the same pixels."""
    height, width = x_0.shape[-2:]
    space = Grid(*(Axis(0.0, n / max(height, width), n) for n in (height, width)))
    flowed = diffusion(space, scheme="spectral").exp(float(schedule.clock(0.5)), x_0)
    kept = schedule.d_min * x_0 + (1.0 - schedule.d_min) * flowed
    return float((schedule.marginal(x_0, 0.5)[0] - schedule.alpha(0.5) * kept).abs().max())


def _against_gaussian(schedule: Heat, data: Tensor, z: Tensor, steps: int) -> str:
    """The solver's error on Gaussian data of the digits' mean and variance of each mode, in closed form."""
    event = tuple(data.shape[1:])
    modes, size = schedule.modes(event), math.prod(event)
    u = modes.analyse(data)
    mean, variance = u.mean(0, keepdim=True), u.var(0)
    basis = modes.synthesise(torch.eye(size, dtype=torch.float64).reshape(size, *event)).reshape(size, size)
    covariance = basis.T @ (variance.reshape(size, 1) * basis)
    exact = Gaussian(schedule, modes.synthesise(mean)[0], covariance=covariance)
    x_T = schedule.sigma(1.0) * z
    alpha, sigma = modes.alpha(1.0), modes.sigma(1.0)
    width = (alpha**2 * variance + sigma**2).sqrt()
    end = modes.synthesise(mean + (modes.analyse(x_T) - alpha * mean) * variance.sqrt() / width)
    error = float((sample(exact, x_T=x_T, steps=steps).x - end).abs().max())
    return f"{error:.1e} from the closed form for Gaussian data of the same mean and spectrum"


def _strip(figure: Figure, forward: Tensor, signals: Tensor, back: Tensor, seen: Tensor) -> None:
    """Rows of pictures over time, noise on the right in all of them."""
    rows = (
        ("state", forward),
        ("without\nits noise", signals),
        ("way back", back.flip(0)),
        ("what is seen\nthrough it", torch.cat([torch.full_like(seen[:1], torch.nan), seen.flip(0)])),
    )
    axes = figure.subplots(len(rows), len(_SHOWN))
    for place, t in zip(axes[0], _SHOWN, strict=True):
        place.set_title(f"t = {t:g}", fontsize=9)
    for row, (name, pictures) in zip(axes, rows, strict=True):
        for place, picture in zip(row, pictures, strict=True):
            place.imshow(picture[0].numpy(), cmap="gray_r", vmin=-1.3, vmax=1.3)
            place.set(xticks=[], yticks=[])
            for spine in place.spines.values():
                spine.set_visible(False)
        row[0].set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center")


def _levels(figure: Figure, schedule: Heat, event: tuple[int, ...]) -> None:
    """The log-SNR of some modes over time."""
    from matplotlib import colormaps

    modes = schedule.modes(event)
    t = torch.linspace(0.005, 1.0, 200, dtype=torch.float64)
    log_snr = modes.log_snr(t)
    axes = figure.subplots()
    last = event[-1] - 1
    shown = sorted({0, 1, 2, (1 + last) // 2, last})
    for number, k in enumerate(shown):
        colour = colormaps["viridis"](0.9 * number / max(1, len(shown) - 1))
        label = "mean" if k == 0 else f"{k / 2:g} waves across"
        axes.plot(t.numpy(), log_snr[:, 0, 0, k].numpy(), color=colour, lw=1.6, label=label)
    axes.axhline(0.0, color="0.8", lw=0.8, zorder=0)
    axes.set(
        xlabel="time t", ylabel="log signal-to-noise ratio", title="each mode has its own", ylim=(-26, 12)
    )
    axes.legend(frameon=False, fontsize=8, loc="lower left")


SYSTEM = System("blurring", "digits dissolve by heat and noise, and come back", Blurring, run)
