"""Physical constants in SI units, and checks of quantities that only make sense in a range."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FARADAY = 96485.33212331001
"""Charge of a mole of elementary charges, C/mol (exact by the SI of 2019; CODATA 2018)."""
GAS = 8.31446261815324
"""Molar gas constant, J/(mol K) (exact)."""
BOLTZMANN = 1.380649e-23
"""J/K (exact)."""
CHARGE = 1.602176634e-19
"""Elementary charge, C (exact)."""
AVOGADRO = 6.02214076e23
"""1/mol (exact)."""
VACUUM = 8.8541878128e-12
"""Permittivity of the vacuum, F/m (CODATA 2018)."""
ROOM = 298.15
"""25 degrees Celsius, K."""
BODY = 310.15
"""37 degrees Celsius, K."""


def float64(value: Tensor | float) -> Tensor:
    """A number or tensor as float64, gradient and device kept."""
    return torch.as_tensor(value, dtype=torch.float64)


def check_positive(**values: Tensor | float) -> None:
    """Every value is finite and above 0.

    Raises:
        ValueError: naming the first that is not.
    """
    for name, value in values.items():
        tensor = float64(value).detach()
        if not bool((torch.isfinite(tensor) & (tensor > 0)).all()):
            raise ValueError(f"{_words(name)} must be finite and above 0, got {_worst(tensor)}")


def check_not_negative(**values: Tensor | float) -> None:
    """Every value is finite and at least 0.

    Raises:
        ValueError: naming the first that is not.
    """
    for name, value in values.items():
        tensor = float64(value).detach()
        if not bool((torch.isfinite(tensor) & (tensor >= 0)).all()):
            raise ValueError(f"{_words(name)} must be finite and at least 0, got {_worst(tensor)}")


def check_temperature(kelvin: float) -> None:
    """A temperature in kelvin is finite and above 0.

    Raises:
        ValueError: otherwise.
    """
    if not (math.isfinite(kelvin) and kelvin > 0):
        raise ValueError(
            f"a temperature is in kelvin and above 0, got {kelvin:g}; add 273.15 to degrees Celsius"
        )


def check_valence(valence: int) -> None:
    """The charge number of an ion is a whole number other than 0.

    Raises:
        ValueError: otherwise.
    """
    if valence == 0 or int(valence) != valence:
        raise ValueError(f"an ion's valence is a whole number other than 0, such as 1 or -2, got {valence}")


def thermal_voltage(temperature: float) -> float:
    """R T / F in volts: 25.7 mV at 25 degrees Celsius.

    Args:
        temperature: K.

    Raises:
        ValueError: for a temperature that is not above 0.
    """
    check_temperature(temperature)
    return GAS * temperature / FARADAY


def _words(name: str) -> str:
    return "the " + name.replace("_", " ") if len(name) > 2 else name


def _worst(tensor: Tensor) -> str:
    finite = torch.isfinite(tensor)
    return f"{float(tensor[~finite][0]) if not bool(finite.all()) else float(tensor.min()):g}"
