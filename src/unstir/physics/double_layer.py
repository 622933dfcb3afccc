"""Closed forms of the charged layer at a wall in an electrolyte: Debye & Hueckel, Gouy & Chapman, charging.

Potentials in volts against the bulk, charges of a wall in C/m^2, concentrations in mol/m^3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unstir.physics.constants import (
    FARADAY,
    ROOM,
    VACUUM,
    check_not_negative,
    check_positive,
    check_valence,
    float64,
    thermal_voltage,
)

WATER = 78.4 * VACUUM
"""Permittivity of water at 25 degrees Celsius, F/m."""


def debye_length(
    concentrations: Sequence[float],
    valences: Sequence[int],
    temperature: float = ROOM,
    permittivity: float = WATER,
) -> float:
    r""":math:`\sqrt{\epsilon R T / F^2 \sum z^2 c}`, m: 0.96 nm for 0.1 mol/L of a 1:1 salt in water.

    Source: Debye & Hueckel 1923; Israelachvili 2011, "Intermolecular and Surface Forces", eq. 14.36.

    Args:
        concentrations: in the bulk, one for each ion, mol/m^3.
        valences: one for each ion.
        temperature: K.
        permittivity: F/m.

    Raises:
        ValueError: for a value out of range, or lists of different lengths.
    """
    if len(concentrations) != len(valences):
        raise ValueError(
            f"each ion has a concentration and a valence, got {len(concentrations)} and {len(valences)}"
        )
    for c, z in zip(concentrations, valences, strict=True):
        check_not_negative(concentration=c)
        check_valence(z)
    check_positive(permittivity=permittivity)
    strength = sum(z**2 * c for c, z in zip(concentrations, valences, strict=True))
    if strength == 0:
        raise ValueError("without ions there is no Debye length: at least one concentration must be above 0")
    return math.sqrt(permittivity * thermal_voltage(temperature) / (FARADAY * strength))


def debye_hueckel(x: Tensor | float, wall: Tensor | float, length: float) -> Tensor:
    """Potential at a wall when it is small against R T / F: wall exp(-x / length), V.

    Args:
        x: (...) distance from the wall, at least 0, m.
        wall: potential of the wall, V.
        length: Debye length, m.
    """
    check_not_negative(x=x)
    check_positive(length=length)
    return float64(wall) * torch.exp(-float64(x) / length)


def gouy_chapman(
    x: Tensor | float, wall: Tensor | float, length: float, valence: int = 1, temperature: float = ROOM
) -> Tensor:
    r"""Potential at a wall of any potential in a z:z electrolyte, V.

    .. math:: \tanh(z \psi(x) / 4) = \tanh(z \psi_0 / 4)\, e^{-x / \lambda}, \quad \psi = \phi F / R T

    Source: Gouy 1910; Chapman 1913; Israelachvili 2011, eq. 14.41.

    Args:
        x: (...) distance from the wall, at least 0, m.
        wall: potential of the wall, V.
        length: Debye length, m.
        valence: z, not 0.
        temperature: K.
    """
    check_not_negative(x=x)
    check_positive(length=length)
    check_valence(valence)
    scale = 4.0 * thermal_voltage(temperature) / abs(valence)
    return scale * torch.atanh(torch.tanh(float64(wall) / scale) * torch.exp(-float64(x) / length))


def grahame(
    wall: Tensor | float,
    c: float,
    valence: int = 1,
    temperature: float = ROOM,
    permittivity: float = WATER,
) -> Tensor:
    r"""Charge of a wall from its potential: :math:`\sqrt{8 \epsilon R T c} \sinh(z \psi_0 / 2)` in a z:z
    salt.

    Source: Grahame 1947; Israelachvili 2011, eq. 14.31.

    Args:
        wall: (...) V.
        c: concentration of the salt, mol/m^3.
        valence: z, not 0.
        temperature: K.
        permittivity: F/m.

    Returns:
        (...) C/m^2.
    """
    check_positive(c=c, permittivity=permittivity)
    check_valence(valence)
    V = thermal_voltage(temperature)
    return math.sqrt(8.0 * permittivity * V * FARADAY * c) * torch.sinh(
        abs(valence) * float64(wall) / (2.0 * V)
    )


def grahame_potential(
    charge: Tensor | float,
    c: float,
    valence: int = 1,
    temperature: float = ROOM,
    permittivity: float = WATER,
) -> Tensor:
    """The inverse of `grahame`: potential (...) of a wall in V from its charge (...) in C/m^2."""
    check_positive(c=c, permittivity=permittivity)
    check_valence(valence)
    V = thermal_voltage(temperature)
    return (
        2.0
        * V
        / abs(valence)
        * torch.asinh(float64(charge) / math.sqrt(8.0 * permittivity * V * FARADAY * c))
    )


def charging_rate(half_width: float, D: float, length: float) -> float:
    r"""The rate at which a cell between two blocking electrodes charges after a small step of the voltage.

    The slowest q > 0 of exp(-q t) solves, with :math:`k^2 = 1/\lambda^2 - q / D`,

    .. math:: \tanh(k L) = q k L \lambda^2 / D

    for a z:z electrolyte of equal diffusivities; for thin layers q tends to D / (lambda L). Source: the pole
    of Bazant, Thornton & Ajdari 2004, "Diffuse-charge dynamics in electrochemical systems", section III.

    Args:
        half_width: L, half the distance of the electrodes, m; at least the Debye length.
        D: m^2/s.
        length: lambda, the Debye length, m.

    Returns:
        q, 1/s.

    Raises:
        ValueError: for a quantity that is not above 0, or a cell thinner than its layers.
    """
    from scipy.optimize import brentq

    check_positive(half_width=half_width, D=D, length=length)
    ratio = half_width / length
    if ratio < 2.0:
        raise ValueError(
            f"the layers overlap: half the width must be at least 2 Debye lengths, got {ratio:.3g}"
        )

    def residual(share: float) -> float:
        k = math.sqrt(1.0 - share)
        return math.tanh(k * ratio) - share * k * ratio

    # share = q lambda^2 / D; the root k = 0 at share 1 is not a mode.
    return float(brentq(residual, 1e-3 / ratio, 1.0 - 1e-6, xtol=1e-15)) * D / length**2
