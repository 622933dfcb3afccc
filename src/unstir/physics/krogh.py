"""Oxygen from a capillary into the tissue round it: Krogh's cylinder, its reach, the fall along it.

Partial pressures in Pa (1 mmHg is 133.322 Pa). Consumption M is in mol/(m^3 s), and K, the Krogh
coefficient, is diffusivity times solubility, mol/(m s Pa).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.physics.constants import check_not_negative, check_positive, float64

MMHG = 133.322387415
"""Pa."""
_POINTS = 4000


@dataclass(frozen=True)
class Cylinder:
    r"""A capillary and the tissue that it alone supplies.

    Attributes:
        capillary: radius R_c, m.
        tissue: radius R_t of the cylinder, above R_c, m.
        consumption: M, mol/(m^3 s), above 0.
        krogh: K, mol/(m s Pa).
        transfer: conductance of blood and wall per area, mol/(m^2 s Pa); infinite without resistance.

    Raises:
        ValueError: for a value that is not above 0, or a tissue not wider than its capillary.
    """

    capillary: float
    tissue: float
    consumption: float
    krogh: float
    transfer: float = math.inf

    def __post_init__(self) -> None:
        check_positive(
            capillary=self.capillary, tissue=self.tissue, consumption=self.consumption, krogh=self.krogh
        )
        if self.tissue <= self.capillary:
            raise ValueError(
                f"the tissue's radius ({self.tissue:g} m) must be larger than the capillary's "
                f"({self.capillary:g} m)"
            )
        if not self.transfer > 0:
            raise ValueError(f"the transfer is above 0 (infinite without resistance), got {self.transfer:g}")

    def drop(self, r: Tensor | float, reach: Tensor | float | None = None) -> Tensor:
        r"""Fall of the pressure from the blood to r when the tissue within ``reach`` consumes.

        .. math:: \frac{M}{2 K} R^2 \ln\frac{r}{R_c} - \frac{M}{4 K} (r^2 - R_c^2)
                  + \frac{M (R^2 - R_c^2)}{2 R_c k}

        Source: Krogh 1919, with the equation of Erlang; the last term, the wall's, Hellums 1977.

        Args:
            r: (...) from R_c on, m.
            reach: R, `tissue` by default; (...) broadcasts.

        Returns:
            (...) Pa.
        """
        r, R = float64(r), float64(self.tissue if reach is None else reach)
        a, share = self.capillary, self.consumption / self.krogh
        inside = 0.5 * share * R**2 * torch.log(r / a) - 0.25 * share * (r**2 - a**2)
        return inside + self.consumption * (R**2 - a**2) / (2.0 * a * self.transfer)

    def profile(self, r: Tensor | float, blood: Tensor | float) -> Tensor:
        """Pressure in the tissue; where oxygen does not reach the whole cylinder, 0 beyond the `reach`.

        Args:
            r: (...) in [R_c, R_t], m; broadcasts against ``blood``.
            blood: (...) pressure in the blood, above 0, Pa.

        Returns:
            (...) Pa, at least 0.

        Raises:
            ValueError: for a point outside the tissue.
        """
        r = float64(r)
        edge = 1e-9 * self.tissue
        if bool(((r < self.capillary - edge) | (r > self.tissue + edge)).any()):
            raise ValueError(f"the tissue is from {self.capillary:g} to {self.tissue:g} m, got {_range(r)}")
        reach = self.reach(blood)
        inside = r <= reach
        fall = self.drop(torch.minimum(r, reach), reach)
        return torch.where(inside, (float64(blood) - fall).clamp(min=0.0), 0.0)

    def reach(self, blood: Tensor | float) -> Tensor:
        """How far oxygen reaches, at most `tissue`: beyond it the tissue has none. (...) m."""
        return critical_radius(blood, self.capillary, self.consumption, self.krogh, self.transfer).clamp(
            max=self.tissue
        )


def critical_radius(
    blood: Tensor | float, capillary: float, consumption: float, krogh: float, transfer: float = math.inf
) -> Tensor:
    r"""The widest cylinder that a capillary can supply: pressure and its slope are both 0 at its edge.

    .. math:: x^2 \ln x - \frac{x^2 - 1}{2} + \frac{K}{R_c k} (x^2 - 1) = \frac{2 K P}{M R_c^2}, \quad x = R
    / R_c

    Source: Krogh 1919, as in `Cylinder.drop` at r = R.

    Args:
        blood: (...) pressure in the blood, at least 0, Pa.
        capillary: R_c, m.
        consumption: mol/(m^3 s).
        krogh: K, mol/(m s Pa).
        transfer: of blood and wall, mol/(m^2 s Pa).

    Returns:
        (...) m, at least R_c. Differentiable in ``blood``.

    Raises:
        ValueError: for a value out of range.
    """
    blood = float64(blood)
    check_not_negative(blood_pressure=blood)
    check_positive(capillary=capillary, consumption=consumption, krogh=krogh)
    wall = krogh / (capillary * transfer)
    aim = 2.0 * krogh * blood / (consumption * capillary**2)

    def residual(x: Tensor) -> Tensor:
        return x**2 * torch.log(x) + (wall - 0.5) * (x**2 - 1.0) - aim

    with torch.no_grad():
        low = torch.ones_like(aim)
        high = 2.0 + torch.sqrt(2.0 * aim)
        for _ in range(60):
            middle = 0.5 * (low + high)
            past = residual(middle) > 0
            low, high = torch.where(past, low, middle), torch.where(past, middle, high)
        x = 0.5 * (low + high)
        slope = 2.0 * x * (torch.log(x) + wall)
    # One Newton step carries the gradient.
    x = x - torch.where(slope > 1e-9, residual(x) / slope.clamp(min=1e-9), 0.0)
    return capillary * x.clamp(min=1.0)


@dataclass(frozen=True)
class Blood:
    """How blood carries oxygen: dissolved, and bound to haemoglobin by Hill's curve.

    Attributes:
        capacity: of haemoglobin, mol/m^3 of blood (8.8 in healthy adults).
        half: pressure at half saturation, Pa (27 mmHg).
        hill: exponent, at least 1 (2.7; Hill 1910).
        solubility: of the dissolved oxygen, mol/(m^3 Pa) (1.0e-5 at 37 degrees Celsius).

    Raises:
        ValueError: for a value out of range.
    """

    capacity: float = 8.8
    half: float = 27.0 * MMHG
    hill: float = 2.7
    solubility: float = 1.0e-5

    def __post_init__(self) -> None:
        check_not_negative(capacity=self.capacity)
        check_positive(half=self.half, solubility=self.solubility)
        if self.hill < 1:
            raise ValueError(f"Hill's exponent is at least 1, got {self.hill:g}")

    def content(self, pressure: Tensor | float) -> Tensor:
        """Oxygen in blood, (...) mol/m^3, at a pressure (...) of at least 0 Pa."""
        P = float64(pressure)
        check_not_negative(pressure=P)
        bound = (P / self.half) ** self.hill
        return self.capacity * bound / (1.0 + bound) + self.solubility * P

    def pressure(self, content: Tensor | float) -> Tensor:
        """The inverse of `content` by bisection: (...) Pa from (...) mol/m^3 of at least 0."""
        C = float64(content)
        check_not_negative(content=C)
        low, high = torch.zeros_like(C), C / self.solubility
        for _ in range(100):
            middle = 0.5 * (low + high)
            past = self.content(middle) > C
            low, high = torch.where(past, low, middle), torch.where(past, middle, high)
        return 0.5 * (low + high)


def along_capillary(z: Tensor, cylinder: Cylinder, inlet: float, speed: float, blood: Blood) -> Tensor:
    r"""Pressure in the blood along a capillary: what the tissue takes is missing downstream.

    .. math:: v \pi R_c^2 \frac{dC}{dz} = - M \pi (R(P)^2 - R_c^2)

    with R the `reach`; as long as the whole cylinder is supplied, C falls linearly, exactly. Diffusion along
    the capillary is left out. Source: Krogh 1919; Popel 1989, "Theory of oxygen transport to tissue",
    section II.

    Args:
        z: (n,) increasing from 0, m.
        cylinder: the tissue.
        inlet: pressure at z = 0, above 0, Pa.
        speed: v of the blood, m/s.
        blood: how it carries oxygen.

    Returns:
        (n,) Pa, at least 0.

    Raises:
        ValueError: unless z increases from 0, and for values out of range.
    """
    check_positive(inlet=inlet, speed=speed)
    z = float64(z)
    if z.ndim != 1 or float(z[0]) != 0.0 or not bool((z.diff() > 0).all()):
        raise ValueError("positions along a capillary increase from 0")
    rate = cylinder.consumption / speed
    start = blood.content(inlet)
    full = rate * ((cylinder.tissue / cylinder.capillary) ** 2 - 1.0)
    # From here on some tissue goes without: the pressure that just reaches the edge.
    short = float(cylinder.drop(cylinder.tissue).clamp(max=inlet))
    begin = float((start - blood.content(short)) / full)
    pressure = blood.pressure((start - full * z).clamp(min=0.0))
    if float(z[-1]) <= begin:
        return pressure
    return torch.where(z <= begin, pressure, _short(z - begin, cylinder, short, rate, blood))


def _short(z: Tensor, cylinder: Cylinder, short: float, rate: float, blood: Blood) -> Tensor:
    """Pressure beyond the point where it is ``short``: z as an integral over the pressure, turned round."""
    import numpy as np

    # Squares of equal steps: the reach leaves the capillary as a root of the pressure.
    share = torch.linspace(1.0, 0.0, _POINTS + 1, dtype=torch.float64)
    edges, middles = short * share**2, short * (0.5 * (share[1:] + share[:-1])) ** 2
    used = rate * ((cylinder.reach(middles) / cylinder.capillary) ** 2 - 1.0)
    place = torch.cat([torch.zeros(1, dtype=torch.float64), (-blood.content(edges).diff() / used).cumsum(0)])
    return torch.from_numpy(np.interp(z.clamp(min=0.0).numpy(), place.numpy(), edges.numpy(), right=0.0))


def _range(r: Tensor) -> str:
    return f"{float(r.min()):g} to {float(r.max()):g}"
