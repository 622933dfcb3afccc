"""Fluorescence recovery after photobleaching: the closed forms of the recovery in the bleached spot.

Lengths are in micrometres and times in seconds, from the first image after the bleach. A recovery rises
from 0 just after the bleach to 1 when the bleached molecules have been replaced; `observed` turns it into
an intensity. Fits of these curves to measurements are in `unstir.physics.frap_fit`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unstir.physics.binding import binding_mixture, bound_shares, check_rates
from unstir.physics.laplace import InverseLaplace

_MODES = 1000
_PER_RADIUS = 60


def uniform_spot(t: Tensor, D: float | Tensor, radius: float) -> Tensor:
    r"""Recovery by diffusion alone after a uniform circular bleach, in an infinite plane.

    .. math:: f(t) = e^{-2\tau/t} \left(I_0(2\tau/t) + I_1(2\tau/t)\right), \quad \tau = w^2 / 4D

    Source: Soumpasis 1983, "Theoretical analysis of fluorescence photobleaching recovery experiments".
    Differentiable in t and D.

    Args:
        t: (...) times, at least 0, s.
        D: diffusion coefficient, above 0, um^2/s.
        radius: w of the spot, above 0, um.

    Returns:
        (...) in [0, 1].

    Raises:
        ValueError: for a time below 0, or a coefficient or radius not above 0.
    """
    t = _times(t)
    _positive(D=D, radius=radius)
    later = t > 0
    x = radius**2 / (2.0 * D * torch.where(later, t, 1.0))
    return torch.where(later, torch.special.i0e(x) + torch.special.i1e(x), 0.0)


def gaussian_spot(t: Tensor, D: float | Tensor, radius: float, K: float | Tensor) -> Tensor:
    r"""Recovery by diffusion alone after a bleach with a Gaussian beam that also reads the fluorescence.

    The fluorescence relative to that before the bleach is

    .. math:: F(t) = \sum_n \frac{(-K)^n}{n!\,(1 + n b)}
              = e^{-K} \sum_n \frac{K^n}{(\nu + 1) \dots (\nu + n)},
              \quad b = 1/\nu = 1 + 2t/\tau, \quad \tau = w^2 / 4D

    and the recovery is (F(t) - F(0)) / (1 - F(0)). For K -> 0 it tends to t / (t + tau).

    Source: Axelrod, Koppel, Schlessinger, Elson & Webb 1976, "Mobility measurement by analysis of
    fluorescence photobleaching recovery kinetics" (the series for a Gaussian beam). The second series,
    Kummer's transformation of the first, has positive terms only and so keeps its digits for any K.
    Differentiable.

    Args:
        t: (...) times, at least 0, s.
        D: diffusion coefficient, above 0, um^2/s.
        radius: w, where the beam has 1/e^2 of its peak intensity, um.
        K: the bleach constant, above 0: at the centre exp(-K) of the fluorophores are left.

    Returns:
        (...) in [0, 1].

    Raises:
        ValueError: for a time below 0, or a coefficient, radius or constant not above 0.
    """
    t = _times(t)
    _positive(D=D, radius=radius, K=K)
    slow = 1.0 / (1.0 + 8.0 * t * D / radius**2)
    constant = torch.as_tensor(K, dtype=torch.float64, device=t.device)
    # 1 - F without the cancellation of a small K: the series of (1 - F) e^K is that of e^K minus F's.
    share, power = torch.zeros_like(slow), torch.ones_like(slow)
    whole = torch.ones_like(constant)
    for n in range(1, int(float(constant.detach()) + 12.0 * math.sqrt(float(constant.detach())) + 25)):
        power = power * constant / (slow + n)
        whole = whole * constant / n
        share = share + (whole - power)
    return 1.0 - share * torch.exp(-constant) / gaussian_depth(constant)


def gaussian_depth(K: float | Tensor) -> Tensor:
    """The share of the spot's fluorescence that a Gaussian bleach of constant K takes: 1 - (1 - e^-K) / K.

    Source: Axelrod et al. 1976, the series of `gaussian_spot` at t = 0.
    """
    constant = torch.as_tensor(K, dtype=torch.float64)
    small = constant < 1e-4
    safe = torch.where(small, 1.0, constant)
    return torch.where(small, constant / 2 - constant**2 / 6, 1.0 + torch.expm1(-safe) / safe)


def reaction_dominant(t: Tensor, k_off: float | Tensor, bound: float | Tensor = 1.0) -> Tensor:
    r"""Recovery when diffusion is instant and unbinding is slow: :math:`1 - C_{eq} e^{-k_{off} t}`.

    Source: Sprague, Pego, Stavreva & McNally 2004, "Analysis of binding reactions by fluorescence recovery
    after photobleaching", the reaction-dominant case.

    Args:
        t: (...) times, at least 0, s.
        k_off: unbinding rate, above 0, 1/s.
        bound: C_eq, the share of bound molecules, in (0, 1].

    Returns:
        (...) in [0, 1].
    """
    t = _times(t)
    _positive(k_off=k_off, bound=bound)
    return 1.0 - bound * torch.exp(-k_off * t)


def reaction_diffusion(
    t: Tensor,
    D: float,
    radius: float,
    k_on: Sequence[float] = (),
    k_off: Sequence[float] = (),
    *,
    inverse: InverseLaplace | None = None,
) -> Tensor:
    r"""Recovery by diffusion and binding after a uniform circular bleach, in an infinite plane.

    Molecules diffuse when free and are held when bound, in any number of independent states. In Laplace
    space, with :math:`b(p) = 1 + \sum_i k^*_{on,i} / (p + k_{off,i})` and :math:`q^2 = p\, b(p) / D`,

    .. math:: \tilde f(p) = \frac{1}{p} - \frac{F_{eq}}{p} \left(1 - 2 K_1(qw) I_1(qw)\right) b(p)
              - \sum_i \frac{C_i}{p + k_{off,i}}

    Source: Sprague et al. 2004, the full model with one binding state and, in its appendix, with two.

    Args:
        t: (T,) times, at least 0, s.
        D: diffusion coefficient of free molecules, above 0, um^2/s.
        radius: w of the spot, above 0, um.
        k_on: pseudo-first-order binding rates k*_on, at least 0, 1/s.
        k_off: as many unbinding rates, above 0, 1/s.
        inverse: `InverseLaplace` of the times above 0, in order, to reuse over many calls.

    Returns:
        (T,) in [0, 1]; error about 1e-12. Not differentiable.

    Raises:
        ValueError: for a time below 0, a rate or size out of range, or rates that don't pair up.
    """
    t = _times(t)
    _positive(D=D, radius=radius)
    check_rates(k_on, k_off)
    free, bound = bound_shares(k_on, k_off)

    def transform(nodes: Tensor) -> Tensor:
        p: NDArray[np.complex128] = nodes.cpu().numpy()
        b = 1.0 + sum(on / (p + off) for on, off in zip(k_on, k_off, strict=True))
        spread = (1.0 - 2.0 * _bessel_product(radius * np.sqrt(p * b / D))) * b * (free / p)
        held = sum(c / (p + off) for c, off in zip(bound, k_off, strict=True))
        return torch.from_numpy(1.0 / p - spread - held).to(nodes)

    later = t > 0
    f = torch.zeros_like(t)
    f[later] = (inverse or InverseLaplace(t[later]))(transform)
    return f


def _bessel_product(z: NDArray[Any]) -> NDArray[np.complex128]:
    """I_1(z) K_1(z) for Re z > 0, without overflow."""
    from scipy.special import ive, kve

    # The two scalings, exp(-|Re z|) and exp(z), leave the phase.
    product: NDArray[np.complex128] = ive(1, z) * kve(1, z) * np.exp(-1j * z.imag)
    return product


def finite_cell(
    t: Tensor,
    D: float,
    radius: float,
    cell_radius: float,
    k_on: Sequence[float] = (),
    k_off: Sequence[float] = (),
) -> Tensor:
    r"""Recovery in a spot at the centre of a round cell that nothing leaves, with or without binding.

    .. math:: f(t) = 1 - (w/R)^2 - 4 \sum_k \frac{J_1(\alpha_k w/R)^2}{\alpha_k^2 J_0(\alpha_k)^2}
              g(\alpha_k / R, t), \quad J_1(\alpha_k) = 0

    with g = exp(-D q^2 t) without binding and its mixture of exponentials with. It ends at 1 - (w/R)^2:
    what was bleached does not come back.

    Source: Carrero, McDonald, Crawford, de Vries & Hendzel 2003, "Using FRAP and mathematical modeling to
    determine the in vivo kinetics of nuclear proteins" (the modes are those of Crank 1975, section 5.3).

    Args:
        t: (T,) times, at least 0, s.
        D: diffusion coefficient of free molecules, above 0, um^2/s.
        radius: w of the spot, um.
        cell_radius: R, above the spot's, um.
        k_on: pseudo-first-order binding rates, at least 0, 1/s.
        k_off: as many unbinding rates, above 0, 1/s.

    Returns:
        (T,) in [0, 1); error below 1e-6 for w/R of at least 0.02 and t of at least 1e-3 w^2 / D.

    Raises:
        ValueError: for a time below 0, a rate or size out of range, or a spot that is not inside the cell.
    """
    t = _times(t)
    _positive(D=D, radius=radius)
    check_rates(k_on, k_off)
    if not radius < cell_radius:
        raise ValueError(f"the spot (radius {radius} um) must be inside the cell (radius {cell_radius} um)")
    alpha, weight = _modes(radius / cell_radius)
    rates, shares = binding_mixture(-D * (alpha / cell_radius) ** 2, k_on, k_off)
    decay = torch.exp(t[:, None] * rates.flatten()) @ (weight[:, None] * shares).flatten()
    return 1.0 - (radius / cell_radius) ** 2 - decay


@lru_cache(maxsize=8)
def _modes(ratio: float) -> tuple[Tensor, Tensor]:
    """Zeros of J_1, and the share of each mode in a spot of this radius; the last holds the rest."""
    from scipy.special import j0, j1, jn_zeros

    alpha = jn_zeros(1, min(_MODES, max(200, math.ceil(_PER_RADIUS / ratio))))
    weight = torch.from_numpy(4.0 * (j1(alpha * ratio) / (alpha * j0(alpha))) ** 2)
    weight[-1] += 1.0 - ratio**2 - weight.sum()
    return torch.from_numpy(alpha), weight


def effective_diffusion(D: float, k_on: Sequence[float], k_off: Sequence[float]) -> float:
    """The diffusion coefficient seen when binding is fast: D / (1 + sum k*_on / k_off), um^2/s.

    Source: Crank 1975, "The mathematics of diffusion", section 14.2; Sprague et al. 2004.
    """
    return D * bound_shares(k_on, k_off)[0]


def observed(recovery: Tensor, *, before: float = 1.0, depth: float = 1.0, mobile: float = 1.0) -> Tensor:
    """The intensity of a spot: before * (1 - depth * (1 - mobile * recovery)).

    Args:
        recovery: (...) from 0 to 1.
        before: intensity before the bleach.
        depth: share of the fluorescence that the bleach took, in (0, 1].
        mobile: share of the molecules that move, in [0, 1].
    """
    return before * (1.0 - depth * (1.0 - mobile * recovery))


def _times(t: Tensor) -> Tensor:
    t = torch.as_tensor(t, dtype=torch.float64)
    if not bool((t >= 0).all()):
        raise ValueError("times of a recovery are counted from the bleach: numbers of at least 0")
    return t


def _positive(**values: float | Tensor) -> None:
    for name, value in values.items():
        number = float(value.detach() if isinstance(value, Tensor) else value)
        if not (number > 0 and math.isfinite(number)):
            raise ValueError(f"{name} must be above 0, got {number}")
