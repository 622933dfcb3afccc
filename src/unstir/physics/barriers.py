"""Movement through landscapes with barriers: what a permeable wall lets through, in closed form.

A road, a ridge or a membrane is a `Wall` of a `Grid`; a lake or a built-up area is a hole in its mask.
`unstir.generators.diffusion` moves densities on it, and these formulas say what it must give.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unstir.physics.constants import check_not_negative, check_positive, float64


def wall_flux(
    difference: Tensor | float, D: Tensor | float, distance: Tensor | float, permeability: Tensor | float
) -> Tensor:
    r"""The steady flux between two held densities with a wall between them.

    .. math:: J = \frac{u_1 - u_2}{L / D + 1 / P}

    Resistances in series; where the wall stands does not matter. Source: Crank 1975, on laminates,
    with a layer of resistance 1 / P.

    Args:
        difference: of the two densities.
        D: diffusivity, length^2 / time, above 0.
        distance: L between where they are held, length, above 0.
        permeability: P of the wall, length / time, at least 0; infinity is no wall.

    Returns:
        Flux from the first to the second, density * length / time.
    """
    check_positive(D=D, distance=distance)
    permeability = _permeability(permeability)
    return float64(difference) / (float64(distance) / float64(D) + 1.0 / permeability)


def crossed_share(
    t: Tensor | float, distance: Tensor | float, D: Tensor | float, permeability: Tensor | float
) -> Tensor:
    r"""The share of walkers, released at a distance from a wall on an infinite line, that is behind it.

    .. math:: \frac12\left[\mathrm{erfc}\frac{d}{2\sqrt{Dt}}
        - e^{hd + h^2 Dt}\, \mathrm{erfc}\left(\frac{d}{2\sqrt{Dt}} + h\sqrt{Dt}\right)\right],
        \quad h = 2P / D

    The density is an even part, which the wall only reflects, and an odd one, to which it is a surface that
    radiates with coefficient h: Carslaw & Jaeger 1959, section 14.2, integrated over the half-line.

    Args:
        t: time since the release, at least 0; broadcasts with the others.
        distance: d of the release from the wall, length, at least 0.
        D: diffusivity, length^2 / time, above 0.
        permeability: P, length / time, at least 0 and finite.

    Returns:
        In [0, 1/2].
    """
    t, d = float64(t), float64(distance)
    check_not_negative(t=t, distance=d, permeability=permeability)
    check_positive(D=D)
    later = t > 0
    spread = torch.sqrt(float64(D) * torch.where(later, t, 1.0))
    z, h = d / (2.0 * spread), 2.0 * float64(permeability) / float64(D)
    # The product exp * erfc in one function, or it is infinity times zero behind a thin wall.
    share = 0.5 * (torch.special.erfc(z) - torch.exp(-(z**2)) * torch.special.erfcx(z + h * spread))
    return torch.where(later, share.clamp(min=0.0), 0.0)


def _permeability(value: Tensor | float) -> Tensor:
    permeability = float64(value)
    if bool((permeability.detach() < 0).any()) or bool(permeability.detach().isnan().any()):
        raise ValueError(f"a wall's permeability is at least 0, got {value}")
    return permeability


def permeability_of_gaps(width: float, spacing: float, D: float) -> float:
    r"""The permeability of a thin closed wall with gaps at equal distances, as seen from afar.

    .. math:: P = \frac{\pi D}{2 b \log(1 / \sin(\pi a / 2 b))}

    for gaps of width a every b. In the plane z = x + iy of the wall x = 0 the steady flow has the complex
    potential w with sinh(pi z / b) = sin(pi a / 2b) sinh(pi w / b); far away w = z + (b / pi)
    log(1 / sin(pi a / 2b)), which is as much additional length on either side.

    Args:
        width: a of one gap, length, above 0 and at most ``spacing``.
        spacing: b from the middle of one gap to the next, length.
        D: diffusivity, length^2 / time, above 0.

    Returns:
        length / time; infinite if the gaps leave no wall.
    """
    check_positive(width=width, spacing=spacing, D=D)
    if width > spacing:
        raise ValueError(f"gaps of width {width:g} do not fit at a spacing of {spacing:g}")
    length = -2.0 * spacing / math.pi * math.log(math.sin(0.5 * math.pi * width / spacing))
    return D / length if length > 0 else math.inf
