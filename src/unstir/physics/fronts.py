"""Fronts of growth and diffusion: Fisher's speed, Bramson's delay, and an exact wave."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def fisher_speed(r: float = 1.0, D: float = 1.0) -> float:
    """Speed of the front that a localised start ends in, 2 sqrt(r D), length / time.

    Source: Kolmogorov, Petrovskii & Piskunov 1937; Murray 2002 (volume I), section 13.2.
    """
    _check(r, D)
    return 2.0 * math.sqrt(r * D)


def lattice_speed(r: float, D: float, dx: float) -> tuple[float, float]:
    r"""(speed, steepness) of the same front on cells of width dx with exact time.

    .. math:: c = \min_q \frac{1}{q} \left(r + \frac{2 D}{dx^2} (\cosh q\,dx - 1)\right)

    Source: van Saarloos 2003, section 2.3, with the dispersion relation of the discrete Laplacian.
    """
    from scipy.optimize import minimize_scalar

    _check(r, D)
    if not dx > 0:
        raise ValueError(f"a cell's width is above 0, got {dx}")

    def speed(q: float) -> float:
        return (r + 2.0 * D / dx**2 * (math.cosh(q * dx) - 1.0)) / q

    guess = math.sqrt(r / D)
    bounds = (0.01 * guess, 2.0 * guess)
    best = minimize_scalar(speed, bounds=bounds, method="bounded", options={"xatol": 1e-12})
    return float(best.fun), float(best.x)


def bramson_position(t: Tensor | float, r: float = 1.0, D: float = 1.0) -> Tensor:
    r"""Place of the front from a step, up to a constant and terms that vanish like 1 / sqrt(t), length.

    .. math:: X(t) = 2 \sqrt{rD}\, t - \frac{3}{2} \sqrt{D/r}\, \log(r t)

    Source: Bramson 1983; the logarithm is 3 / (2 q) log t for any pulled front of steepness q
    (Ebert & van Saarloos 2000).

    Args:
        t: above 0.
        r: growth rate, 1 / time.
        D: diffusivity, length^2 / time.
    """
    _check(r, D)
    s = r * torch.as_tensor(t, dtype=torch.float64)
    if not bool((s > 0).all()):
        raise ValueError("the front's place is known for times above 0")
    return (2.0 * s - 1.5 * s.log()) * math.sqrt(D / r)


def exact_wave(x: Tensor, t: Tensor | float, r: float = 1.0, D: float = 1.0, K: float = 1.0) -> Tensor:
    r"""The wave of speed 5 sqrt(r D / 6), which solves Fisher's equation exactly.

    .. math:: u = K \left[1 + e^{\sqrt{r / 6D}\,(x - c t)}\right]^{-2}, \quad c = 5 \sqrt{rD/6}

    Source: Ablowitz & Zeppetella 1979 (with their free constant 1).

    Args:
        x: place, length.
        t: time, broadcast against x.
        r: growth rate, 1 / time.
        D: diffusivity, length^2 / time.
        K: capacity.
    """
    _check(r, D)
    t = torch.as_tensor(t, dtype=torch.float64)
    z = math.sqrt(r / (6.0 * D)) * (x - 5.0 * math.sqrt(r * D / 6.0) * t)
    return K * torch.exp(-2.0 * torch.nn.functional.softplus(z))


def front_position(u: Tensor, x: Tensor, level: float) -> Tensor:
    """The last place where u falls through a level, by linear interpolation.

    Args:
        u: (..., n).
        x: (n,) increasing.
        level: of u.

    Returns:
        (...), NaN where u is nowhere above the level.
    """
    above = u >= level
    n = u.shape[-1]
    last = torch.where(above, torch.arange(n, device=u.device), -1).amax(-1)
    i = last.clamp(0, n - 2)
    left, right = (u.gather(-1, k[..., None])[..., 0] for k in (i, i + 1))
    fall = left - right
    share = torch.where(fall > 0, (left - level) / torch.where(fall > 0, fall, 1.0), 0.0).clamp(0.0, 1.0)
    place = torch.lerp(x[i].to(u), x[i + 1].to(u), share)
    return torch.where(last >= 0, torch.where(last == n - 1, x[-1].to(u), place), math.nan)


def _check(r: float, D: float) -> None:
    if not (r > 0 and D > 0 and math.isfinite(r * D)):
        raise ValueError(f"a front needs a growth rate and a diffusivity above 0, got r={r} and D={D}")
