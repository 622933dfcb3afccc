"""Solutes in solvents and in pores of their own size: Stokes & Einstein, partition, hindrance.

The ratio of radii lambda = solute / pore decides everything; a solute as large as its pore is refused.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unstir.physics.constants import BOLTZMANN, check_not_negative, check_positive, check_temperature, float64

_KD = (-1.56034, 0.528155, 1.91521, -2.81903, 0.270788, 1.10115, -0.435933)
_KT_SERIES, _KT_POWERS = (-73.0 / 60.0, 77293.0 / 50400.0), (-22.5083, -5.6117, -0.3363, -1.216, 1.647)
_KS_SERIES, _KS_POWERS = (7.0 / 60.0, -2227.0 / 50400.0), (4.0180, -3.9788, -1.9215, 4.392, 5.006)


def stokes_einstein(radius: float, temperature: float, viscosity: float) -> float:
    r"""Diffusivity of a sphere in a liquid: :math:`k_B T / 6 \pi \eta r`, m^2/s.

    Source: Einstein 1905; Sutherland 1905. For radii well above those of the solvent's molecules.

    Args:
        radius: hydrodynamic, m.
        temperature: K.
        viscosity: dynamic, Pa s (8.9e-4 for water at 25 degrees Celsius).

    Raises:
        ValueError: for a value out of range.
    """
    check_temperature(temperature)
    check_positive(radius=radius, viscosity=viscosity)
    return BOLTZMANN * temperature / (6.0 * math.pi * viscosity * radius)


def stokes_radius(D: float, temperature: float, viscosity: float) -> float:
    """The inverse of `stokes_einstein`: radius in m of the sphere of diffusivity D in m^2/s."""
    check_positive(D=D)
    return stokes_einstein(D, temperature, viscosity)


def radius_ratio(solute: Tensor | float, pore: float) -> Tensor:
    """lambda = solute / pore.

    Args:
        solute: (...) radius, at least 0, m.
        pore: radius, above 0, m.

    Raises:
        ValueError: for a solute that does not fit in.
    """
    solute = float64(solute)
    check_not_negative(solute_radius=solute)
    check_positive(pore_radius=pore)
    if bool((solute >= pore).any()):
        raise ValueError(
            f"the solute (radius {float(solute.max()):g} m) does not fit into the pore (radius {pore:g} m); "
            "it must be smaller"
        )
    return solute / pore


def partition(ratio: Tensor | float) -> Tensor:
    """Steric partition coefficient of a sphere in a cylindrical pore, (1 - lambda)^2 (Ferry 1936).

    Args:
        ratio: (...) lambda in [0, 1).
    """
    return (1.0 - _ratio(ratio)) ** 2


def renkin(ratio: Tensor | float) -> Tensor:
    r"""Hindered over free diffusivity in a cylindrical pore, partition included.

    .. math:: (1 - \lambda)^2 (1 - 2.104 \lambda + 2.09 \lambda^3 - 0.95 \lambda^5)

    On the pore's axis only, so up to 9 % too large at 0.1; meant for lambda up to 0.4. Source: Renkin 1954,
    eq. 11; the drag is Faxen's 1922.

    Args:
        ratio: (...) lambda in [0, 1).
    """
    x = _ratio(ratio)
    return (1.0 - x) ** 2 * (1.0 - 2.104 * x + 2.09 * x**3 - 0.95 * x**5)


def bungay_brenner(ratio: Tensor | float) -> tuple[Tensor, Tensor]:
    """Hindrance of diffusion and of convection on the axis of a cylindrical pore, at any lambda.

    Both with the partition coefficient, as in `hindrance`. Source: Bungay & Brenner 1973, "The motion of a
    closely-fitting sphere in a fluid-filled tube"; Deen 1987, eqs. 14 to 17 and table 4.

    Args:
        ratio: (...) lambda in [0, 1).

    Returns:
        (diffusive, convective), (...) each.
    """
    x = _ratio(ratio)
    gap = 1.0 - x
    lead = 2.25 * math.pi**2 * math.sqrt(2.0) * gap**-2.5

    def drag(series: tuple[float, ...], powers: tuple[float, ...]) -> Tensor:
        near = lead * (1.0 + sum(a * gap ** (n + 1) for n, a in enumerate(series)))
        return torch.as_tensor(near + sum(a * x**n for n, a in enumerate(powers)))

    K_t, K_s = drag(_KT_SERIES, _KT_POWERS), drag(_KS_SERIES, _KS_POWERS)
    phi = gap**2
    return phi * 6.0 * math.pi / K_t, phi * (2.0 - phi) * K_s / (2.0 * K_t)


def hindrance(ratio: Tensor | float) -> tuple[Tensor, Tensor]:
    r"""Hindrance of diffusion and of convection, averaged over the cross-section of a cylindrical pore.

    .. math:: H = 1 + \tfrac98 \lambda \ln \lambda - 1.56034 \lambda + 0.528155 \lambda^2 + 1.91521 \lambda^3
              - 2.81903 \lambda^4 + 0.270788 \lambda^5 + 1.10115 \lambda^6 - 0.435933 \lambda^7

    up to 0.95, beyond it the closely fitting sphere, (1 - lambda)^2 0.984 ((1 - lambda) / lambda)^(5/2); and

    .. math:: W = (1 - \lambda)^2 \frac{1 + 3.867 \lambda - 1.907 \lambda^2 - 0.834 \lambda^3}
              {1 + 1.867 \lambda - 0.741 \lambda^2}

    Source: Dechadilok & Deen 2006, "Hindrance factors for diffusion and convection in pores", eqs. 16 and 18;
    Mavrovouniotis & Brenner 1988.

    Args:
        ratio: (...) lambda in [0, 1).

    Returns:
        (diffusive, convective): the flux over that without walls, partition included; (...) each, in [0, 1].
    """
    x = _ratio(ratio)
    safe = x.clamp(min=1e-300)
    H = 1.0 + 1.125 * x * safe.log() + sum(a * x ** (n + 1) for n, a in enumerate(_KD))
    tight = (1.0 - x) ** 2 * 0.984 * ((1.0 - x) / torch.where(x > 0.95, x, 1.0)) ** 2.5
    W = (1.0 + 3.867 * x - 1.907 * x**2 - 0.834 * x**3) / (1.0 + 1.867 * x - 0.741 * x**2)
    return torch.where(x > 0.95, tight, H), (1.0 - x) ** 2 * W


def _ratio(ratio: Tensor | float) -> Tensor:
    x = float64(ratio)
    if not bool(((x >= 0) & (x < 1)).all()):
        raise ValueError(
            "the solute's radius over the pore's is from 0 to below 1 (a solute as large as the pore does "
            f"not enter), got {float(x.min() if bool((x < 0).any()) else x.max()):g}"
        )
    return x
