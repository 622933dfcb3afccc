"""Classical inverses of measurements, to set beside what a diffusion model restores.

They know of the data what linear methods can use: a mean and one deviation about it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unstir import noise
from unstir.generators import diffusion
from unstir.guidance import LinearOperator
from unstir.model import Model
from unstir.physics.backward import backward_heat
from unstir.recipes.measured import Measured
from unstir.spaces import Axis, Grid

_DRAWS = 64


@dataclass(frozen=True, eq=False)
class Prior:
    """What is known of the data before a measurement, in data units.

    Attributes:
        mean: (*event).
        std: deviation of entries about that mean.
    """

    mean: Tensor
    std: float


@torch.no_grad()
def prior_of(model: Model) -> Prior:
    """The mean and the deviation about it of a model's data, by its own estimate at pure noise.

    E[x_0 | x_1] is the data's mean where x_1 tells nothing of x_0; it is averaged over 64 draws. The
    deviation about the mean of all entries is ``sigma_data``, so that about the mean event follows.
    """
    event = model.config.event
    index = torch.arange(_DRAWS, device=model.device)
    z = noise.normal(event, seed=0, index=index, stream=noise.Stream.START)
    x_1 = z * float(model.schedule.sigma(1.0))
    inside = model.denoiser(x_1, 1.0).mean.double().mean(0).cpu()
    about = model.config.sigma_data**2 - float(inside.var(correction=0))
    scale = float(np.sqrt(np.mean(np.square(model.config.scale))))
    std = max(about, 0.01 * model.config.sigma_data**2) ** 0.5 * scale
    return Prior(model.scaling.to_data(inside[None])[0], std)


def classical(
    measured: Measured, noise: float, prior: Prior, *, time: float | None = None
) -> dict[str, Tensor]:
    """Classical inverses by name, each (m, *event) float32 in data units.

    Args:
        measured: what was measured.
        noise: its deviation, in data units.
        prior: mean and deviation of the data.
        time: of heat flow, if it is one.
    """
    y = measured.y.double()
    if measured.name == "heat":
        assert time is not None
        names = ("tikhonov", "truncated")
        found = {name: heat_inverse(measured, time, noise, prior, name) for name in names}
    elif measured.name == "mask":
        found = {"nearest": torch.stack([nearest_known(x) for x in measured.shown.double()])}
    elif measured.name == "downsample":
        found = {"nearest": repeated(y, measured.operator.event)}
    else:
        found = {"tikhonov": tikhonov(measured.operator, y, noise, prior)}
    return {name: x.float() for name, x in found.items()}


def tikhonov(operator: LinearOperator, y: Tensor, noise: float, prior: Prior) -> Tensor:
    r"""The posterior mean for white Gaussian data of the prior's mean and deviation, (m, *event).

    .. math:: m + V \frac{s}{s^2 + q} U^T (y - A m),\qquad q = (noise / std)^2

    Source: Engl, Hanke & Neubauer 1996, section 5.1; Kaipio & Somersalo 2005, section 3.4.
    """
    mean = prior.mean.double()[None]
    svd = operator.singular
    q = (noise / prior.std) ** 2
    factor = svd.values / (svd.values**2 + q)
    return mean + svd.from_right(svd.left(y - operator(mean)) * factor)


def heat_inverse(measured: Measured, time: float, noise: float, prior: Prior, method: str) -> Tensor:
    """The backward heat equation for what differs from the prior's mean, (m, *event); see `backward_heat`."""
    mean = prior.mean.double()[None]
    event = measured.operator.event
    sizes = event[1:] if len(event) > 1 else event
    generator = diffusion(Grid(*(Axis(0.0, float(n), n) for n in sizes)), 1.0)
    apart = measured.y.double() - measured.operator(mean)
    return mean + backward_heat(generator, time, apart, noise=noise, signal=prior.std, method=method).u


def nearest_known(x: Tensor) -> Tensor:
    """Each missing (NaN) entry as the nearest known one of its channel, or of any if the channel has none."""
    from scipy.ndimage import distance_transform_edt

    values = x.numpy()
    missing = np.isnan(values)
    # A step between channels is farther than any within one.
    steps = [float(sum(values.shape))] * (values.ndim > 1) + [1.0] * (values.ndim - (values.ndim > 1))
    places = distance_transform_edt(missing, sampling=steps, return_distances=False, return_indices=True)
    return torch.from_numpy(values[tuple(places)])


def repeated(y: Tensor, event: tuple[int, ...]) -> Tensor:
    """Each coarse cell repeated over the cells that it covers, (m, *event)."""
    for axis, size in enumerate(event, start=1):
        y = y.repeat_interleave(size // y.shape[axis], dim=axis)
    return y
