"""Currents that diffusion allows at electrodes: after a step, at rest, under rotation, and in voltammetry.

Currents are in ampere and positive for the species that reacts; c is the concentration far away, mol/m^3
(1 mol/m^3 is 1 mmol/L), and ``electrons`` those transferred for each molecule. Chapters are those of Bard &
Faulkner 2001, "Electrochemical Methods", 2nd edition.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unstir.physics.constants import (
    FARADAY,
    ROOM,
    check_not_negative,
    check_positive,
    float64,
    thermal_voltage,
)
from unstir.physics.formulas import half_space

_KARMAN = 0.5102326189
"""v_z = -0.51023 w^(3/2) nu^(-1/2) z^2 near a rotating disk (von Karman 1921; Cochran 1934)."""


def cottrell(t: Tensor | float, D: float, c: float, area: float, electrons: float = 1.0) -> Tensor:
    r"""Current at a plane after a step to zero surface concentration: :math:`n F A c \sqrt{D / \pi t}`.

    Source: Cottrell 1903; Bard & Faulkner, section 5.2.1.

    Args:
        t: (...) times after the step, above 0, s.
        D: m^2/s.
        c: mol/m^3.
        area: m^2.
        electrons: n, above 0.

    Returns:
        (...) A. Differentiable in all arguments, as all of this file.

    Raises:
        ValueError: for a quantity that is not above 0.
    """
    check_positive(t=t, D=D, c=c, area=area, electrons=electrons)
    return electrons * FARADAY * area * c * torch.sqrt(float64(D) / (math.pi * float64(t)))


def cottrell_charge(t: Tensor | float, D: float, c: float, area: float, electrons: float = 1.0) -> Tensor:
    r"""Charge that has passed since the step, :math:`2 n F A c \sqrt{D t / \pi}`, C (Anson 1966).

    Arguments as in `cottrell`; t may be 0.
    """
    check_not_negative(t=t)
    check_positive(D=D, c=c, area=area, electrons=electrons)
    return 2.0 * electrons * FARADAY * area * c * torch.sqrt(float64(D) * float64(t) / math.pi)


def sphere_current(t: Tensor | float, D: float, c: float, radius: float, electrons: float = 1.0) -> Tensor:
    r"""Current at a sphere after a step: :math:`4 \pi n F D c r (1 + r / \sqrt{\pi D t})`.

    Exact at all times; for t = infinity the limiting current of a microelectrode. A hemisphere on an
    insulating plane has half of it. Source: Bard & Faulkner, section 5.2.2.

    Args:
        t: (...) above 0, infinity allowed, s.
        D: m^2/s.
        c: mol/m^3.
        radius: m.
        electrons: above 0.

    Returns:
        (...) A.
    """
    t = _times(t)
    check_positive(D=D, c=c, radius=radius, electrons=electrons)
    return 4.0 * math.pi * electrons * FARADAY * D * c * radius * (1.0 + radius / torch.sqrt(math.pi * D * t))


def sphere_depletion(r: Tensor | float, t: Tensor | float, D: float, radius: float) -> Tensor:
    """Concentration round a sphere after a step, over that far away: 1 - (a / r) erfc((r - a) / 2 sqrt(D t)).

    Args:
        r: (...) distance from the centre, at least ``radius``, m; broadcasts against t.
        t: (...) at least 0, s.
        D: m^2/s.
        radius: a, m.

    Returns:
        (...) in [0, 1].

    Raises:
        ValueError: for a point inside the sphere, or a quantity out of range.
    """
    r = float64(r)
    check_positive(radius=radius)
    if bool((r < radius).any()):
        raise ValueError(
            f"the concentration is outside the sphere: r is at least {radius:g} m, got {float(r.min()):g}"
        )
    return 1.0 - radius / r * half_space(r - radius, t, D)


def disk_current(t: Tensor | float, D: float, c: float, radius: float, electrons: float = 1.0) -> Tensor:
    r"""Current at a disk in an insulating plane after a step.

    .. math:: 4 n F D c r \left(\tfrac{\pi}{4} + \tfrac{\sqrt\pi}{2} \tau^{-1/2} + (1 - \tfrac{\pi}{4})
              e^{-0.7823 \tau^{-1/2}}\right), \quad \tau = 4 D t / r^2

    Within 0.6 % at all times, and exact at both ends (Cottrell; 4 n F D c r). Source: Shoup & Szabo 1982;
    Bard & Faulkner, section 5.3.2.

    Args:
        t: (...) above 0, infinity allowed, s.
        D: m^2/s.
        c: mol/m^3.
        radius: m.
        electrons: above 0.

    Returns:
        (...) A.
    """
    t = _times(t)
    check_positive(D=D, c=c, radius=radius, electrons=electrons)
    root = radius / torch.sqrt(4.0 * D * t)
    shape = (
        math.pi / 4.0 + math.sqrt(math.pi) / 2.0 * root + (1.0 - math.pi / 4.0) * torch.exp(-0.7823 * root)
    )
    return 4.0 * electrons * FARADAY * D * c * radius * shape


def layer_current(D: float, c: float, thickness: float, area: float, electrons: float = 1.0) -> Tensor:
    """Limiting current through a stagnant (Nernst) layer: n F A D c / thickness, A (Nernst 1904).

    Args:
        D: m^2/s.
        c: mol/m^3.
        thickness: of the layer, m.
        area: m^2.
        electrons: above 0.
    """
    check_positive(D=D, c=c, thickness=thickness, area=area, electrons=electrons)
    return electrons * FARADAY * area * c * float64(D) / thickness


def levich_layer(D: float, viscosity: float, rotation: float) -> Tensor:
    r"""Thickness of the Nernst layer at a rotating disk: :math:`1.6117\, D^{1/3} \nu^{1/6} \omega^{-1/2}`, m.

    The number is :math:`\Gamma(4/3) (3 / 0.51023)^{1/3}`; exact for large Schmidt
    numbers nu / D (the current is 1 % less at 30,000, 3 % at 1,000). Source: Levich 1962, "Physicochemical
    Hydrodynamics", section 11.

    Args:
        D: m^2/s.
        viscosity: kinematic, nu, m^2/s (1e-6 for water).
        rotation: omega, rad/s (2 pi / 60 times revolutions a minute).
    """
    check_positive(D=D, viscosity=viscosity, rotation=rotation)
    number: float = math.gamma(4.0 / 3.0) * (3.0 / _KARMAN) ** (1.0 / 3.0)
    root: Tensor = torch.pow(float64(D), 1.0 / 3.0) * torch.pow(float64(viscosity), 1.0 / 6.0)
    return number * root / torch.sqrt(float64(rotation))


def levich(
    D: float, viscosity: float, rotation: float, c: float, area: float, electrons: float = 1.0
) -> Tensor:
    r"""Limiting current at a rotating disk: :math:`0.6205\, n F A D^{2/3} \nu^{-1/6} \omega^{1/2} c`, A.

    Args:
        D: m^2/s.
        viscosity: kinematic, m^2/s.
        rotation: rad/s.
        c: mol/m^3.
        area: m^2.
        electrons: above 0.
    """
    thickness = levich_layer(D, viscosity, rotation)
    check_positive(c=c, area=area, electrons=electrons)
    return electrons * FARADAY * area * c * D / thickness


def surface_share(
    potential: Tensor | float, standard: float, electrons: float = 1.0, temperature: float = ROOM
) -> Tensor:
    """Share of the oxidised form at the surface of an electrode in equilibrium (Nernst), equal diffusivities.

    Args:
        potential: (...) V.
        standard: formal potential of the couple, V.
        electrons: above 0.
        temperature: K.

    Returns:
        (...) in (0, 1): 1 / (1 + exp(-n F (E - E0) / R T)).
    """
    check_positive(electrons=electrons)
    return torch.sigmoid(electrons * (float64(potential) - standard) / thermal_voltage(temperature))


def semi_infinite_current(
    t: Tensor, surface: Tensor, D: float, c: float, area: float, electrons: float = 1.0
) -> Tensor:
    r"""Current at a plane whose surface concentration follows any course: steps, staircases, sweeps, cycles.

    .. math:: i(t) = n F A \sqrt{D / \pi} \int_0^t \frac{-dc_s}{\sqrt{t - s}}

    The course is taken as linear between its points, for which the integral is exact, so a smooth course is
    met with order 3/2 or better; a first value below c is the step at 0. Source: Duhamel's theorem on
    `cottrell`; Oldham & Spanier 1974, "The Fractional Calculus", section 11.2, as a semi-derivative.

    Args:
        t: (T,) increasing from 0, s.
        surface: (T,) surface concentrations, mol/m^3.
        D: m^2/s.
        c: mol/m^3.
        area: m^2.
        electrons: above 0.

    Returns:
        (T,) A, positive for consumption; at a jump at t = 0 the current is infinite, and the first entry
        is given as 0.

    Raises:
        ValueError: unless t increases from 0 and both have one shape.
    """
    t, surface = float64(t), float64(surface)
    check_positive(D=D, c=c, area=area, electrons=electrons)
    if t.ndim != 1 or t.shape != surface.shape or len(t) < 2:
        raise ValueError(
            f"times and surface concentrations are (T,) each, got {list(t.shape)} and {list(surface.shape)}"
        )
    if float(t[0]) != 0.0 or not bool((t.diff() > 0).all()):
        raise ValueError("times increase from 0")
    slope = -surface.diff() / t.diff()
    elapsed = torch.sqrt((t[1:, None] - t).clamp(min=0.0))
    past = 2.0 * ((elapsed[:, :-1] - elapsed[:, 1:]) @ slope) + (c - surface[0]) / t[1:].sqrt()
    scale = electrons * FARADAY * area * math.sqrt(D / math.pi)
    return scale * torch.cat([past.new_zeros(1), past])


def voltammogram(
    t: Tensor,
    potential: Tensor,
    standard: float,
    D: float,
    c: float,
    area: float,
    electrons: float = 1.0,
    temperature: float = ROOM,
) -> Tensor:
    """Reversible voltammogram of a species that is oxidised far away: current (T,) along a potential (T,).

    A linear sweep peaks at 0.4463 n F A c sqrt(n F v D / R T), 1.109 R T / n F beyond the standard potential
    (Randles 1948; Sevcik 1948; Nicholson & Shain 1964).

    Args:
        t: (T,) increasing from 0, s.
        potential: (T,) V; start where the surface share is about 1, some 0.3 V above the standard potential.
        standard: V.
        D: m^2/s, of both forms.
        c: mol/m^3.
        area: m^2.
        electrons: above 0.
        temperature: K.

    Returns:
        (T,) A, positive for reduction.
    """
    surface = c * surface_share(potential, standard, electrons, temperature)
    return semi_infinite_current(t, surface, D, c, area, electrons)


def sweep_peak(
    rate: float, D: float, c: float, area: float, electrons: float = 1.0, temperature: float = ROOM
) -> Tensor:
    """The peak current of a reversible linear sweep, A: 0.4463 n F A c sqrt(n F v D / R T).

    Source: Randles 1948; Sevcik 1948. The rate v is in V/s, the other arguments are as in `voltammogram`.
    """
    check_positive(rate=rate, D=D, c=c, area=area, electrons=electrons)
    slope = electrons * rate / thermal_voltage(temperature)
    return 0.446295 * electrons * FARADAY * area * c * torch.sqrt(float64(slope * D))


def _times(t: Tensor | float) -> Tensor:
    t = float64(t)
    if not bool((t > 0).all()):
        raise ValueError(
            f"t must be above 0 (the current is infinite at the step itself), got {float(t.min()):g}"
        )
    return t
