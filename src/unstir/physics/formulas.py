"""Closed forms of diffusion that several systems share: half-space, slab, sphere, membrane, moving front.

Slab and sphere have two series, one quick late and one quick early; each function takes the better one, so a
few terms give full float64 accuracy at all times. Equation numbers are those of Crank 1975, "The Mathematics
of Diffusion", 2nd edition. Times are dimensionless where they are called ``tau``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unstir.physics.constants import check_not_negative, check_positive, float64

_TERMS = 24
_ROOT_PI = math.sqrt(math.pi)


def ierfc(x: Tensor) -> Tensor:
    """The integral of erfc from x to infinity, exp(-x^2)/sqrt(pi) - x erfc(x) (Crank 1975, eq. 3.36)."""
    scaled: Tensor = torch.special.erfcx(x)
    return torch.exp(-(x**2)) * (1.0 / _ROOT_PI - x * scaled)


def half_space(x: Tensor | float, t: Tensor | float, D: Tensor | float) -> Tensor:
    """A half-space at 0 whose surface is held at 1: erfc(x / 2 sqrt(D t)) (Crank 1975, eq. 3.13).

    Args:
        x: depth, m, at least 0; broadcasts against t.
        t: s, at least 0.
        D: m^2/s, above 0.

    Returns:
        Concentration relative to the surface's, in [0, 1]; at t = 0 it is 1 at the surface and 0 within.
    """
    x, t = float64(x), float64(t)
    check_not_negative(x=x, t=t)
    check_positive(D=D)
    later = t > 0
    spread = 2.0 * torch.sqrt(D * torch.where(later, t, 1.0))
    return torch.where(later, torch.special.erfc(x / spread), (x == 0).to(torch.float64))


def slab_uptake(tau: Tensor | float) -> Tensor:
    """Fraction taken up by a slab whose two faces are held at 1 (Crank 1975, eqs. 4.18 and 4.20).

    Args:
        tau: D t / l^2 with half-thickness l, at least 0.

    Returns:
        In [0, 1], of the shape of ``tau``; also the fraction released by a slab into a perfect sink.
    """
    tau = _times(tau)
    n = torch.arange(_TERMS, dtype=torch.float64, device=tau.device)
    rate = ((n + 0.5) * math.pi) ** 2
    late = 1.0 - (2.0 / rate * torch.exp(-rate * tau[..., None])).sum(-1)
    root = _root(tau)[..., None]
    sign = (-1.0) ** (n + 1)
    early = 2.0 * root[..., 0] * (1.0 / _ROOT_PI + 2.0 * (sign * ierfc((n + 1) / root)).sum(-1))
    return torch.where(tau > 0.25, late, torch.where(tau > 0, early, 0.0))


def sphere_uptake(tau: Tensor | float) -> Tensor:
    """Fraction taken up by a sphere whose surface is held at 1 (Crank 1975, eqs. 6.20 and 6.22).

    Args:
        tau: D t / a^2 with radius a, at least 0.

    Returns:
        In [0, 1], of the shape of ``tau``; also the fraction released by a sphere into a perfect sink.
    """
    tau = _times(tau)
    n = torch.arange(1, _TERMS, dtype=torch.float64, device=tau.device)
    rate = (n * math.pi) ** 2
    late = 1.0 - (6.0 / rate * torch.exp(-rate * tau[..., None])).sum(-1)
    root = _root(tau)[..., None]
    early = 6.0 * root[..., 0] * (1.0 / _ROOT_PI + 2.0 * ierfc(n / root).sum(-1)) - 3.0 * tau
    return torch.where(tau > 0.25, late, torch.where(tau > 0, early, 0.0))


def sphere_profile(share: Tensor | float, tau: Tensor | float) -> Tensor:
    """Concentration in a sphere whose surface is held at 1, 0 at first (Crank 1975, eqs. 6.18 and 6.21).

    Args:
        share: r / a in [0, 1]; broadcasts against ``tau``.
        tau: D t / a^2, at least 0.

    Returns:
        In [0, 1], of the broadcast shape.
    """
    tau = _times(tau)
    n = torch.arange(1, _TERMS, dtype=torch.float64, device=tau.device)
    share = float64(share) + torch.zeros_like(tau)
    tau = tau + torch.zeros_like(share)
    rho = share.clamp(min=1e-8)[..., None]
    rate = (n * math.pi) ** 2
    waves = (-1.0) ** n * torch.sin(n * math.pi * rho) / (n * rho)
    late = 1.0 + 2.0 / math.pi * (waves * torch.exp(-rate * tau[..., None])).sum(-1)
    spread = 2.0 * _root(tau)[..., None]
    odd = 2.0 * n - 1.0
    images = torch.special.erfc((odd - rho) / spread) - torch.special.erfc((odd + rho) / spread)
    early = images.sum(-1) / rho[..., 0]
    return torch.where(tau > 0.25, late, torch.where(tau > 0, early, (share >= 1).to(torch.float64)))


def membrane_permeation(tau: Tensor | float) -> Tensor:
    r"""What has come through a membrane, empty at first, with 1 on one side and 0 on the other.

    .. math:: \tau - 1/6 - \frac{2}{\pi^2} \sum_n \frac{(-1)^n}{n^2} e^{-n^2 \pi^2 \tau}

    in units of thickness times concentration. The late line meets 0 at the lag time, l^2 / 6 D. Source:
    Daynes 1920; Crank 1975, eq. 4.24. Early it is the integral over time of eq. 4.25, a sum over images.

    Args:
        tau: D t / l^2 with thickness l, at least 0.

    Returns:
        At least 0, of the shape of ``tau``.
    """
    tau = _times(tau)
    n = torch.arange(1, _TERMS, dtype=torch.float64, device=tau.device)
    rate = (n * math.pi) ** 2
    late = tau - 1.0 / 6.0 - (2.0 * (-1.0) ** n / rate * torch.exp(-rate * tau[..., None])).sum(-1)
    # The flux is 2 / sqrt(pi tau) sum exp(-odd^2 / 4 tau); this is its integral.
    root = _root(tau)[..., None]
    early = 4.0 * root[..., 0] * ierfc((2.0 * n - 1.0) / (2.0 * root)).sum(-1)
    return torch.where(tau > 0.25, late, torch.where(tau > 0, early, 0.0))


def front_constant(supply: float) -> float:
    r"""The lambda of a planar moving front :math:`s = 2 \lambda \sqrt{D t}` that consumes what reaches it.

    .. math:: \sqrt{\pi}\, \lambda\, e^{\lambda^2} \operatorname{erf} \lambda = S

    Source: Neumann's solution, Carslaw & Jaeger 1959, section 11.2; Crank 1984, "Free and Moving Boundary
    Problems", eq. 1.45. For a small supply lambda tends to sqrt(S / 2), the quasi-steady front.

    Args:
        supply: S, concentration at the surface over what a unit of volume consumes at the front, above 0.

    Returns:
        lambda, above 0.

    Raises:
        ValueError: for a supply that is not above 0.
    """
    from scipy.optimize import brentq

    check_positive(supply=supply)

    def residual(log_front: float) -> float:
        front = math.exp(log_front)
        return math.log(_ROOT_PI * front * math.erf(front)) + front**2 - math.log(supply)

    low = min(0.5 * math.log(supply), 0.0) - 2.0
    return math.exp(brentq(residual, low, 1.0 + 0.5 * math.log1p(math.log1p(supply)), xtol=1e-15))


def _times(tau: Tensor | float) -> Tensor:
    tau = float64(tau)
    check_not_negative(tau=tau)
    return tau


def _root(tau: Tensor) -> Tensor:
    """The square root, 1 at 0 so that a gradient there stays finite."""
    return torch.sqrt(torch.where(tau > 0, tau, 1.0))
