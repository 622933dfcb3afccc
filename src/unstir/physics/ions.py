"""Ions and membranes: equilibrium potentials, the constant-field theory, and drift in a given potential.

Voltages are inside minus outside, in volts; fluxes are positive outward, from inside to outside. Chapter and
equation numbers are those of Hille 2001, "Ion Channels of Excitable Membranes", 3rd edition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.generators import Generator, diffusion
from unstir.physics.constants import (
    FARADAY,
    ROOM,
    check_not_negative,
    check_positive,
    check_valence,
    float64,
    thermal_voltage,
)
from unstir.spaces import Grid
from unstir.spaces.boundary import bernoulli


@dataclass(frozen=True)
class Ion:
    """One kind of ion on the two sides of a membrane.

    Attributes:
        name: for messages.
        valence: charge number, not 0.
        permeability: m/s, at least 0; for a voltage only ratios matter.
        inside: concentration, above 0, mol/m^3.
        outside: concentration, above 0, mol/m^3.

    Raises:
        ValueError: for a value out of range.
    """

    name: str
    valence: int
    permeability: float
    inside: float
    outside: float

    def __post_init__(self) -> None:
        check_valence(self.valence)
        check_not_negative(permeability=self.permeability)
        check_positive(inside=self.inside, outside=self.outside)


def nernst_potential(
    inside: Tensor | float, outside: Tensor | float, valence: int, temperature: float = ROOM
) -> Tensor:
    """The voltage at which an ion is in equilibrium: (R T / z F) log(outside / inside), V (Hille, eq. 1.11).

    Args:
        inside: (...) concentration, above 0, any unit.
        outside: (...) in the same unit.
        valence: z, not 0.
        temperature: K.

    Raises:
        ValueError: for a value out of range.
    """
    check_positive(inside=inside, outside=outside)
    check_valence(valence)
    return thermal_voltage(temperature) / valence * torch.log(float64(outside) / float64(inside))


def goldman_flux(
    voltage: Tensor | float,
    inside: Tensor | float,
    outside: Tensor | float,
    permeability: float,
    valence: int,
    temperature: float = ROOM,
) -> Tensor:
    r"""Outward flux of an ion through a membrane with a constant field.

    .. math:: \Phi = P u \frac{c_i - c_o e^{-u}}{1 - e^{-u}} = P (B(-u) c_i - B(u) c_o), \quad u = z F V / R T

    with B(x) = x / (e^x - 1), so it is smooth through V = 0, where it is Fick's P (c_i - c_o), and right at
    any voltage. It is the Scharfetter-Gummel flux with one cell. Source: Goldman 1943; Hodgkin & Katz 1949,
    appendix; Hille, eq. 14.5.

    Args:
        voltage: (...) V, inside minus outside.
        inside: (...) at least 0, mol/m^3.
        outside: (...) at least 0, mol/m^3.
        permeability: P, at least 0, m/s.
        valence: z, not 0.
        temperature: K.

    Returns:
        (...) mol/(m^2 s).

    Raises:
        ValueError: for a value out of range.
    """
    check_valence(valence)
    check_not_negative(inside=inside, outside=outside, permeability=permeability)
    u = valence / thermal_voltage(temperature) * float64(voltage)
    return permeability * (bernoulli(-u) * float64(inside) - bernoulli(u) * float64(outside))


def goldman_current(voltage: Tensor | float, ions: Sequence[Ion], temperature: float = ROOM) -> Tensor:
    """Outward current density of all ions, the sum of z F times `goldman_flux`.

    Args:
        voltage: (...) V.
        ions: at least one.
        temperature: K.

    Returns:
        (...) A/m^2, positive for positive charge going out.
    """
    voltage = float64(voltage)
    total = torch.zeros_like(voltage)
    for ion in ions:
        flux = goldman_flux(voltage, ion.inside, ion.outside, ion.permeability, ion.valence, temperature)
        total = total + ion.valence * FARADAY * flux
    return total


def goldman_voltage(ions: Sequence[Ion], temperature: float = ROOM) -> float:
    r"""The resting voltage of a membrane permeable to monovalent ions.

    .. math:: V = \frac{RT}{F} \ln \frac{\sum_+ P c_o + \sum_- P c_i}{\sum_+ P c_i + \sum_- P c_o}

    Source: Goldman 1943; Hodgkin & Katz 1949; Hille, eq. 14.10.

    Args:
        ions: of valence 1 or -1.
        temperature: K.

    Returns:
        V.

    Raises:
        ValueError: for another valence (see `reversal_voltage`), or if no ion passes.
    """
    for ion in ions:
        if abs(ion.valence) != 1:
            raise ValueError(
                f"the Goldman-Hodgkin-Katz voltage is for valences 1 and -1, but {ion.name} has {ion.valence}"
                "; reversal_voltage takes any"
            )
    _check_passes(ions)
    top = sum(ion.permeability * (ion.outside if ion.valence > 0 else ion.inside) for ion in ions)
    bottom = sum(ion.permeability * (ion.inside if ion.valence > 0 else ion.outside) for ion in ions)
    return thermal_voltage(temperature) * float(torch.log(float64(top / bottom)))


def reversal_voltage(ions: Sequence[Ion], temperature: float = ROOM) -> float:
    """The voltage at which all ions together carry no current, for any valences.

    The current rises with the voltage, so there is one root, and it lies between the ions' own equilibria.

    Args:
        ions: at least one with a permeability.
        temperature: K.

    Returns:
        V.

    Raises:
        ValueError: if no ion passes.
    """
    from scipy.optimize import brentq

    _check_passes(ions)
    own = [
        float(nernst_potential(ion.inside, ion.outside, ion.valence, temperature))
        for ion in ions
        if ion.permeability > 0
    ]
    low, high = min(own), max(own)
    if high - low < 1e-15:
        return low
    margin = 1e-9 + 1e-9 * (high - low)
    return float(
        brentq(
            lambda v: float(goldman_current(v, ions, temperature)), low - margin, high + margin, xtol=1e-15
        )
    )


def nernst_planck(
    space: Grid, D: Tensor | float, valence: int, voltage: Tensor, temperature: float = ROOM
) -> Generator:
    r"""Diffusion and migration of one ion in a given electric potential, as a generator.

    .. math:: \partial_t c = \nabla \cdot D \left(\nabla c + \frac{z F}{R T} c \nabla \phi\right)

    The fluxes are Scharfetter & Gummel's, exact for a field that is constant between two centres: with a
    linear potential the steady flux is `goldman_flux` to round-off on any number of cells.

    Args:
        space: a grid; its boundaries are those of the ion.
        D: m^2/s, a number or a field.
        valence: z, not 0.
        voltage: the electric potential at the cells' centres, of the grid's shape, V.
        temperature: K.

    Raises:
        ValueError: for a value out of range.
    """
    check_valence(valence)
    return diffusion(space, D, potential=valence / thermal_voltage(temperature) * float64(voltage))


def _check_passes(ions: Sequence[Ion]) -> None:
    if not any(ion.permeability > 0 for ion in ions):
        raise ValueError("no ion passes this membrane: at least one permeability must be above 0")
