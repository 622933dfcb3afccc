"""Gradients of what is made somewhere and lost everywhere: morphogens, and the zone of active RhoA.

With diffusivity D and loss rate k everything decays over the length sqrt(D / k).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def decay_length(D: float, k: float) -> float:
    """sqrt(D / k), length.

    Raises:
        ValueError: unless both are above 0.
    """
    if not (D > 0 and k > 0 and math.isfinite(D / k)):
        raise ValueError(f"a gradient needs a diffusivity and a loss rate above 0, got D={D} and k={k}")
    return math.sqrt(D / k)


def morphogen(x: Tensor, D: float, k: float, flux: float, length: float = math.inf) -> Tensor:
    r"""Steady concentration of a morphogen that enters at x = 0, amount / length^3 (or per what flux is).

    .. math:: c(x) = \frac{j \lambda}{D} \frac{\cosh((L - x) / \lambda)}{\sinh(L / \lambda)},
              \quad \lambda = \sqrt{D / k}

    and (j lambda / D) exp(-x / lambda) for an endless tissue. Source: Wartlick, Kicheva & Gonzalez-Gaitan
    2009.

    Args:
        x: distance from the source, 0 to ``length``.
        D: diffusivity, length^2 / time.
        k: loss rate, 1 / time.
        flux: j that enters, amount / area / time.
        length: of the tissue, whose far end is closed.
    """
    scale = decay_length(D, k)
    if math.isinf(length):
        shape = torch.exp(-x / scale)
    else:
        # cosh / sinh as decaying exponentials: no overflow in long tissues.
        far = torch.exp(-x / scale) + torch.exp((x - 2.0 * length) / scale)
        shape = far / -math.expm1(-2.0 * length / scale)
    return flux * scale / D * shape


def morphogen_rise(x: Tensor, t: Tensor | float, D: float, k: float, flux: float) -> Tensor:
    r"""The same in an endless tissue at time t after the source was switched on.

    .. math:: c = \frac{j \lambda}{2 D} \left[ e^{-x/\lambda} \mathrm{erfc}(z - \sqrt{kt})
              - e^{x/\lambda} \mathrm{erfc}(z + \sqrt{kt}) \right], \quad z = \frac{x}{2\sqrt{Dt}}

    Source: Danckwerts 1951; Bergmann et al. 2007.

    Args:
        x: at least 0.
        t: above 0, broadcast against x.
        D: diffusivity, length^2 / time.
        k: loss rate, 1 / time.
        flux: that enters, amount / area / time.
    """
    scale = decay_length(D, k)
    t = torch.as_tensor(t, dtype=torch.float64)
    front, age = x / (2.0 * (D * t).sqrt()), (k * t).sqrt()
    # erfc(z) = erfcx(z) exp(-z^2) where e^(x / lambda) would overflow.
    rising = torch.special.erfcx(front + age) * torch.exp(-(front**2) - age**2)
    rise: Tensor = flux * scale / (2.0 * D) * (torch.exp(-x / scale) * torch.erfc(front - age) - rising)
    return rise


def source_zone(x: Tensor, D: float, k: float, supply: float, width: float) -> Tensor:
    r"""Steady amount of what is activated in a zone, diffuses, and is inactivated everywhere.

    .. math:: a(x) = \frac{s}{k} \begin{cases} 1 - e^{-w/2\lambda} \cosh(x/\lambda) & |x| \le w/2 \\
              \sinh(w/2\lambda)\, e^{-|x|/\lambda} & |x| > w/2 \end{cases}

    from D a'' - k a + s = 0 with a and a' continuous at the zone's edges. The model of the band of active
    RhoA at the equator of a dividing cell: Bement, Miller & von Dassow 2006 (GTPase flux).

    Args:
        x: distance from the middle of the zone, length.
        D: diffusivity in the membrane, length^2 / time.
        k: rate of inactivation, 1 / time.
        supply: s, activation in the zone, amount / length^d / time.
        width: w of the zone, length, above 0.
    """
    scale = decay_length(D, k)
    h = _half(width, scale)
    z = x.abs() / scale
    inside = 1.0 - 0.5 * (torch.exp(z - h) + torch.exp(-z - h))
    outside = 0.5 * -math.expm1(-2.0 * h) * torch.exp(h - z)
    return supply / k * torch.where(z <= h, inside, outside)


def zone_width(D: float, k: float, width: float) -> float:
    r"""Full width at half maximum of `source_zone`: :math:`2 \lambda \log(1 + e^{w / 2 \lambda})`, length.

    Always wider than the zone itself: w for short decay lengths, 2 log(2) lambda for narrow zones. From
    sinh(h) e^(-x / lambda) = (1 - e^(-h)) / 2 with h = w / 2 lambda.
    """
    scale = decay_length(D, k)
    h = _half(width, scale)
    return 2.0 * scale * (h + math.log1p(math.exp(-h)))


def _half(width: float, scale: float) -> float:
    if not width > 0:
        raise ValueError(f"a zone has a width above 0, got {width}")
    return width / (2.0 * scale)
