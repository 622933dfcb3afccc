"""Drugs out of capsules, matrices and membranes: permeability in series, lag times, release over time.

Concentrations may be in any one unit (mol/m^3, kg/m^3); times in s, lengths in m.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.physics.constants import check_not_negative, check_positive, float64
from unstir.physics.formulas import front_constant, membrane_permeation, sphere_uptake

_ROOTS = 200


@dataclass(frozen=True)
class Layer:
    """A layer that a solute crosses.

    Attributes:
        thickness: m.
        D: m^2/s in the layer.
        partition: concentration in the layer over that in water beside it.

    Raises:
        ValueError: for a value that is not above 0.
    """

    thickness: float
    D: float
    partition: float = 1.0

    def __post_init__(self) -> None:
        check_positive(thickness=self.thickness, D=self.D, partition=self.partition)

    @property
    def permeability(self) -> float:
        """D * partition / thickness, m/s."""
        return self.D * self.partition / self.thickness

    @property
    def lag(self) -> float:
        """thickness^2 / 6 D, s: where the late line of permeation meets 0 (Daynes 1920; Barrer 1939)."""
        return self.thickness**2 / (6.0 * self.D)

    def permeated(self, t: Tensor | float, concentration: float) -> Tensor:
        """What has come through per area into a perfect sink, the layer empty at first (Crank, eq. 4.24).

        Args:
            t: (...) at least 0, s.
            concentration: on the other side, in the water, at least 0.

        Returns:
            (...) concentration times m.
        """
        check_not_negative(concentration=concentration)
        amount = membrane_permeation(float64(t) * self.D / self.thickness**2)
        return self.thickness * self.partition * concentration * amount


def permeability(layers: Sequence[Layer]) -> float:
    """Permeability of layers in series, m/s: resistances 1 / P add (Zwolinski, Eyring & Reese 1949).

    Args:
        layers: at least one.

    Raises:
        ValueError: without a layer.
    """
    if not layers:
        raise ValueError("a barrier needs at least one layer")
    return 1.0 / sum(1.0 / layer.permeability for layer in layers)


def spherical_permeability(layers: Sequence[Layer], inner_radius: float) -> float:
    r"""Permeability of concentric shells, per area of the innermost surface, m/s.

    .. math:: 1/P = a^2 \sum \frac{1}{D K} \left(\frac1{r_{in}} - \frac1{r_{out}}\right)

    Source: Crank 1975, section 6.3.1, in series.

    Args:
        layers: from the inside outward, at least one.
        inner_radius: a, of the innermost surface, m.
    """
    check_positive(inner_radius=inner_radius)
    if not layers:
        raise ValueError("a barrier needs at least one layer")
    resistance, r = 0.0, inner_radius
    for layer in layers:
        outer = r + layer.thickness
        resistance += (1.0 / r - 1.0 / outer) / (layer.D * layer.partition)
        r = outer
    return 1.0 / (inner_radius**2 * resistance)


def capsule_release(t: Tensor | float, permeability: float, radius: float) -> Tensor:
    r"""Fraction released from a stirred spherical core through a thin wall: :math:`1 - e^{-3 P t / a}`.

    The wall's own content is left out, so it holds once the lag of the wall is over.

    Args:
        t: (...) at least 0, s.
        permeability: P per area of the core's surface, m/s.
        radius: a, of the core, m.

    Returns:
        (...) in [0, 1].
    """
    check_not_negative(t=t)
    check_positive(permeability=permeability, radius=radius)
    return -torch.expm1(-3.0 * permeability / radius * float64(t))


def matrix_release(t: Tensor | float, D: float, radius: float, transfer: float = math.inf) -> Tensor:
    r"""Fraction released from a sphere in which the drug is dissolved, through a film of water or freely.

    .. math:: 1 - \sum_n \frac{6 L^2 e^{-\beta_n^2 D t / a^2}}{\beta_n^2 (\beta_n^2 + L^2 - L)},
              \quad \beta_n \cot \beta_n = 1 - L, \quad L = k a / D

    Source: Crank 1975, eqs. 6.20 and 6.22 for a perfect sink, 6.43 with a film, for which 200 terms serve
    from 1e-5 a^2 / D on (earlier it is off by at most 0.003).

    Args:
        t: (...) at least 0, s.
        D: in the sphere, m^2/s.
        radius: a, m.
        transfer: k of the film, m/s; infinite for a perfect sink.

    Returns:
        (...) in [0, 1].
    """
    check_not_negative(t=t)
    check_positive(D=D, radius=radius)
    tau = float64(t) * D / radius**2
    if transfer == math.inf:
        return sphere_uptake(tau)
    check_positive(transfer=transfer)
    L = transfer * radius / D
    beta = sphere_roots(L).to(tau.device)
    weight = 6.0 * L**2 / (beta**2 * (beta**2 + L**2 - L))
    # The terms left out sum to what the weights lack of 1; they are gone before the last one that is kept.
    weight = torch.cat([weight[:-1], 1.0 - weight[:-1].sum(0, keepdim=True)])
    return 1.0 - (weight * torch.exp(-(beta**2) * tau[..., None])).sum(-1)


def sphere_roots(biot: float, count: int = _ROOTS) -> Tensor:
    """The positive roots of beta cot(beta) = 1 - L, one in each ((n - 1) pi, n pi), (count,).

    Args:
        biot: L, above 0.
        count: how many.
    """
    check_positive(biot=biot)
    n = torch.arange(count, dtype=torch.float64)
    low, high = n * math.pi, (n + 1.0) * math.pi
    for _ in range(80):
        middle = 0.5 * (low + high)
        # sin is of one sign within the interval; times it, the poles of cot are gone.
        above = (middle * torch.cos(middle) + (biot - 1.0) * torch.sin(middle)) * torch.cos(n * math.pi) > 0
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return 0.5 * (low + high)


def higuchi(t: Tensor | float, D: float, load: float, solubility: float) -> Tensor:
    r"""Release per area from an ointment or matrix with undissolved drug: :math:`\sqrt{D (2A - C_s) C_s t}`.

    Takes the dissolved layer as steady. Source: Higuchi 1961, eq. 9.

    Args:
        t: (...) at least 0, s.
        D: m^2/s.
        load: A, total drug per volume, at least the solubility.
        solubility: C_s, in the same unit.

    Returns:
        (...) amount per area, unit of A times m.

    Raises:
        ValueError: for a load below the solubility.
    """
    _check_load(load, solubility)
    check_not_negative(t=t)
    check_positive(D=D)
    return torch.sqrt(D * (2.0 * load - solubility) * solubility * float64(t))


def exact_slab_release(t: Tensor | float, D: float, load: float, solubility: float) -> Tensor:
    r"""`higuchi` with the moving front solved exactly: :math:`2 C_s \sqrt{D t / \pi} / \operatorname{erf}
    \lambda`.

    Higuchi's is at most 11 % below it, where the load is hardly above the solubility. Source: Paul &
    McSpadden 1976, eqs. 9 and 10; lambda solves sqrt(pi) lambda exp(lambda^2) erf(lambda) = C_s / (A - C_s).
    Arguments and result as in `higuchi`.
    """
    _check_load(load, solubility)
    check_not_negative(t=t)
    check_positive(D=D)
    share = 1.0 if load == solubility else math.erf(front_constant(solubility / (load - solubility)))
    return 2.0 * solubility / share * torch.sqrt(D * float64(t) / math.pi)


def _check_load(load: float, solubility: float) -> None:
    check_positive(load=load, solubility=solubility)
    if load < solubility:
        raise ValueError(
            f"with a load of {load:g} below the solubility of {solubility:g} all is dissolved; use "
            "matrix_release"
        )
