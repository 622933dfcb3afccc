"""Kinetics of solid-state reactions held up by diffusion through their own product: conversion over time.

A grain of radius R reacts from its surface inward. With y = (1 - x)^(1/3) the radius of what is left over R
and k = 2 D V dc / R^2, each law says g(x) = k t, so they are compared with one and the same k. The laws take
the profile in the shell as steady; `unstir.physics.shrinking_shell` solves the moving boundary without that.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.physics.constants import check_not_negative, check_positive, float64

_HALVINGS = 60


def rate_constant(
    D: float, concentration_difference: float, molar_volume: float, radius: float, stoichiometry: float = 1.0
) -> float:
    r"""k = 2 D V \Delta c / (\nu R^2), in which all laws of this file are written.

    Args:
        D: diffusivity of what passes the product layer, m^2/s.
        concentration_difference: between the layer's two faces, mol/m^3.
        molar_volume: V of the reactant of the grain, m^3/mol.
        radius: R of the grain, m.
        stoichiometry: moles that must arrive for a mole of the grain.

    Returns:
        k, 1/s.
    """
    check_positive(
        D=D,
        concentration_difference=concentration_difference,
        molar_volume=molar_volume,
        radius=radius,
        stoichiometry=stoichiometry,
    )
    return 2.0 * D * molar_volume * concentration_difference / (stoichiometry * radius**2)


@dataclass(frozen=True)
class Law:
    """A law g(x) = k t; subclasses answer `progress` on the radius that is left."""

    def of_radius(self, y: Tensor) -> Tensor:
        """g as a function of y = (1 - x)^(1/3), falling from `end` at 0 to 0 at 1."""
        raise NotImplementedError

    def slope(self, y: Tensor) -> Tensor:
        """dg/dy, at most 0."""
        raise NotImplementedError

    def progress(self, conversion: Tensor | float) -> Tensor:
        """g(x), dimensionless.

        Args:
            conversion: x in [0, 1].

        Raises:
            ValueError: for a conversion outside [0, 1].
        """
        x = float64(conversion)
        if not bool(((x >= 0) & (x <= 1)).all()):
            raise ValueError("a conversion is a fraction from 0 to 1; divide percentages by 100")
        return self.of_radius(torch.where(x < 1, 1.0 - x, 1.0) ** (1.0 / 3.0) * (x < 1))

    @property
    def end(self) -> float:
        """k t at which nothing is left."""
        return float(self.of_radius(torch.zeros((), dtype=torch.float64)))

    def conversion(self, progress: Tensor | float) -> Tensor:
        """x at k t, the inverse of `progress`: 1 from `end` on. Differentiable.

        Args:
            progress: k t, at least 0.

        Returns:
            x in [0, 1], of the shape of ``progress``.
        """
        g = float64(progress)
        check_not_negative(progress=g)
        inside = (g > 0) & (g < self.end)
        aim = torch.where(inside, g, 0.5 * self.end)
        low, high = torch.zeros_like(aim), torch.ones_like(aim)
        with torch.no_grad():
            for _ in range(_HALVINGS):
                middle = 0.5 * (low + high)
                past = self.of_radius(middle) < aim
                low, high = torch.where(past, low, middle), torch.where(past, middle, high)
            y = 0.5 * (low + high)
            slope = self.slope(y)
            flat = slope.abs() < 1e-6
            miss = self.of_radius(y)
        # One Newton step on the root carries the gradient with respect to k t, and polishes.
        y = y - torch.where(flat, 0.0, (miss - aim) / torch.where(flat, 1.0, slope))
        return torch.where(inside, 1.0 - y.clamp(0.0, 1.0) ** 3, (g > 0).to(torch.float64))


@dataclass(frozen=True)
class Jander(Law):
    """(1 - (1 - x)^(1/3))^2 = k t: the parabolic law of a plane, bent round a sphere.

    Good for x below about 0.3. Source: Jander 1927.
    """

    def of_radius(self, y: Tensor) -> Tensor:
        return (1.0 - y) ** 2

    def slope(self, y: Tensor) -> Tensor:
        return 2.0 * (y - 1.0)


@dataclass(frozen=True)
class Carter(Law):
    r"""The steady shell of a product that takes up z times the volume of what it replaces.

    .. math:: \frac{z - (1 + (z - 1) x)^{2/3} - (z - 1)(1 - x)^{2/3}}{z - 1} = k t

    Source: Valensi 1936; Carter 1961, eq. 9. At z = 1 it is the law of Ginstling & Brounshtein.

    Args:
        volume_ratio: z, above 0 (2.1 for magnetite on iron).
    """

    volume_ratio: float

    def __post_init__(self) -> None:
        check_positive(volume_ratio=self.volume_ratio)

    def of_radius(self, y: Tensor) -> Tensor:
        x = (1.0 - y) * (1.0 + y + y**2)
        excess = self.volume_ratio - 1.0
        if abs(excess) < 1e-12:
            return 1.0 - y**2 - 2.0 / 3.0 * x
        # log1p and expm1: the two ends of the fraction nearly cancel when z is about 1.
        return 1.0 - y**2 - torch.expm1(2.0 / 3.0 * torch.log1p(excess * x)) / excess

    def slope(self, y: Tensor) -> Tensor:
        return -2.0 * y + 2.0 * y**2 / self.outer(y)

    def outer(self, y: Tensor) -> Tensor:
        """Outer radius of the product over R when y is left: (z + (1 - z) y^3)^(1/3)."""
        return (self.volume_ratio + (1.0 - self.volume_ratio) * y**3) ** (1.0 / 3.0)


@dataclass(frozen=True)
class GinstlingBrounshtein(Carter):
    """1 - 2x/3 - (1 - x)^(2/3) = k t: the steady shell of a product with the volume of the reactant.

    Source: Ginstling & Brounshtein 1950. It ends at k t = 1/3; its inverse is a root of a cubic in closed
    form.
    """

    volume_ratio: float = 1.0

    def conversion(self, progress: Tensor | float) -> Tensor:
        g = float64(progress)
        check_not_negative(progress=g)
        inside = (g > 0) & (g < self.end)
        cosine = 6.0 * torch.where(inside, g, 0.5 * self.end) - 1.0
        y = 0.5 + torch.cos((2.0 * torch.pi - torch.arccos(cosine)) / 3.0)
        return torch.where(inside, 1.0 - y.clamp(0.0, 1.0) ** 3, (g > 0).to(torch.float64))


@dataclass(frozen=True)
class ShrinkingCore(Law):
    """Three resistances in series: film round the grain, product shell, reaction at the core.

    t = film x + shell (1 - 3 (1 - x)^(2/3) + 2 (1 - x)) + reaction (1 - (1 - x)^(1/3)), and here g is t
    itself (k = 1), in the unit of the three times. Source: Yagi & Kunii 1955; Levenspiel 1999, "Chemical
    Reaction Engineering", eqs. 25.11, 25.18 and 25.23.

    Args:
        film: time for full conversion if only the film resisted, at least 0.
        shell: the same for diffusion through the product; 1 / (3 k) of `rate_constant`.
        reaction: the same for the reaction.

    Raises:
        ValueError: for a negative time, or three zeros.
    """

    film: float = 0.0
    shell: float = 1.0
    reaction: float = 0.0

    def __post_init__(self) -> None:
        check_not_negative(film=self.film, shell=self.shell, reaction=self.reaction)
        if self.film + self.shell + self.reaction == 0:
            raise ValueError("a shrinking core needs at least one of film, shell and reaction above 0")

    def of_radius(self, y: Tensor) -> Tensor:
        x = (1.0 - y) * (1.0 + y + y**2)
        return self.film * x + self.shell * (1.0 - y) ** 2 * (1.0 + 2.0 * y) + self.reaction * (1.0 - y)

    def slope(self, y: Tensor) -> Tensor:
        return -3.0 * self.film * y**2 - 6.0 * self.shell * y * (1.0 - y) - self.reaction


@dataclass(frozen=True)
class RateFit:
    """A rate constant from a measured conversion.

    Attributes:
        law: the law.
        k: the rate constant, 1 / unit of time.
        interval: (low, high), its 95 % confidence interval (Student's t on log k, so both are above 0).
        deviation: standard deviation of the measured conversions from the law.
        aicc: corrected information criterion; smaller is better.
    """

    law: Law
    k: float
    interval: tuple[float, float]
    deviation: float
    aicc: float


def fit_rate(t: Tensor, conversion: Tensor, law: Law) -> RateFit:
    """The rate constant by least squares on the conversion (not on g, which would weigh the end too much).

    Args:
        t: (n,) times, at least 0, n >= 3.
        conversion: (n,) measured fractions; noise may take them outside [0, 1].
        law: which law.

    Raises:
        ValueError: for shapes that do not match, fewer than 3 points, or values that are not finite.
    """
    import numpy as np
    from scipy.optimize import least_squares
    from scipy.stats import t as student

    t, x = float64(t).detach().cpu(), float64(conversion).detach().cpu()
    if t.ndim != 1 or t.shape != x.shape or len(t) < 3:
        raise ValueError(
            "a fit needs times and conversions of one shape (n,), n >= 3, got "
            f"{list(t.shape)} and {list(x.shape)}"
        )
    check_not_negative(t=t)
    if not bool(torch.isfinite(x).all()) or not bool((t > 0).any()) or float(x.max()) <= 0:
        raise ValueError("a fit needs finite conversions, one of them above 0, and a time above 0")

    def residual(log_k: np.ndarray) -> np.ndarray:
        miss: np.ndarray = (law.conversion(float(np.exp(log_k[0])) * t) - x).numpy()
        return miss

    # A ladder of starts: past the end of the law the residual is flat and says nothing about k.
    starts = np.log(law.end / float(t.max())) + np.linspace(-12.0, 6.0, 73)
    best = min(starts, key=lambda s: float((residual(np.array([s])) ** 2).sum()))
    done = least_squares(residual, [best], x_scale=1.0, xtol=1e-14, ftol=1e-14, gtol=1e-14)
    n, square = len(t), float(2.0 * done.cost)
    spread = np.sqrt(square / (n - 1) / max(float((done.jac**2).sum()), 1e-300))
    width = float(student.ppf(0.975, n - 1)) * spread
    k = float(np.exp(done.x[0]))
    aicc = n * float(np.log(max(square, 1e-300) / n)) + 4.0 + 12.0 / max(n - 3, 1)
    return RateFit(
        law, k, (k * float(np.exp(-width)), k * float(np.exp(width))), (square / (n - 1)) ** 0.5, aicc
    )
