"""Heat: its kernel in any dimension, closed forms on bounded rods, and what happens backward in time."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def heat_kernel(x: Tensor, t: Tensor | float, D: float, *, dimensions: int = 1) -> Tensor:
    r"""The density of heat released at the origin at time 0.

    .. math:: K(r, t) = (4 \pi D t)^{-d/2}\, e^{-r^2 / 4 D t}

    Source: Crank 1975, eq. 2.6 (line) and 3.7 (space); Carslaw & Jaeger 1959, section 10.2.

    Args:
        x: distances from the origin, length.
        t: above 0, time; broadcasts against ``x``.
        D: diffusivity above 0, length^2 / time.
        dimensions: d, 1 or more.

    Returns:
        Of the broadcast shape, 1 / length^d.

    Raises:
        ValueError: for a time or diffusivity that is not positive.
    """
    time = torch.as_tensor(t, dtype=torch.float64)
    if not bool((time > 0).all()) or not D > 0:
        raise ValueError("the heat kernel needs t > 0 and D > 0; at t = 0 all heat is in one point")
    spread = 4.0 * D * time
    density: Tensor = (math.pi * spread) ** (-0.5 * dimensions) * torch.exp(-(x.double() ** 2) / spread)
    return density


def gaussian_spread(x: Tensor, t: float, D: float, width: float, *, dimensions: int = 1) -> Tensor:
    r"""Heat that began as a Gaussian of unit mass: its variance grows by 2 D t in every direction.

    Args:
        x: distances from its centre.
        t: at least 0.
        D: diffusivity, at least 0.
        width: standard deviation at t = 0, above 0.
        dimensions: d.

    Source: Crank 1975, section 2.2 (superposition of the kernel).
    """
    variance = width**2 + 2.0 * D * t
    norm = (2.0 * math.pi * variance) ** (-0.5 * dimensions)
    density: Tensor = norm * torch.exp(-0.5 * x.double() ** 2 / variance)
    return density


def step_profile(x: Tensor, t: float, D: float) -> Tensor:
    """Heat that filled x < 0 with 1 at t = 0: erfc(x / sqrt(4 D t)) / 2 (Crank 1975, eq. 2.14).

    Args:
        x: positions, length.
        t: above 0.
        D: above 0.
    """
    if not (t > 0 and D > 0):
        raise ValueError(f"a step that spreads needs t > 0 and D > 0, got t={t:g} and D={D:g}")
    profile: Tensor = 0.5 * torch.erfc(x.double() / math.sqrt(4.0 * D * t))
    return profile


def rod(x: Tensor, t: float, D: float, length: float, *, terms: int = 200) -> Tensor:
    r"""A rod at 1 whose ends are held at 0 from t = 0 on.

    .. math:: u = \sum_{n\ \mathrm{odd}} \frac{4}{\pi n} \sin\frac{n \pi x}{L}\, e^{-D (n\pi/L)^2 t}

    Source: Carslaw & Jaeger 1959, section 3.3, eq. 7.

    Args:
        x: positions in [0, length].
        t: above 0; for t < 1e-4 length^2 / D take more terms.
        D: diffusivity.
        length: L.
        terms: of the series.
    """
    n = 2.0 * torch.arange(terms, dtype=torch.float64) + 1.0
    wave = n * math.pi / length
    return (4.0 / (math.pi * n) * torch.exp(-D * wave**2 * t) * torch.sin(x.double()[..., None] * wave)).sum(
        -1
    )


def amplification(t: float, D: float, scale: float) -> float:
    r"""By how much undoing heat flow of duration t magnifies a ripple: exp(4 pi^2 D t / scale^2).

    Source: Hadamard 1923, chapter 2 (the ill-posed Cauchy problem); Engl, Hanke & Neubauer 1996, section 1.5.

    Args:
        t: at least 0.
        D: diffusivity.
        scale: wavelength, above 0.
    """
    exponent = D * t * (2.0 * math.pi / scale) ** 2
    return math.exp(exponent) if exponent < 709.0 else math.inf
