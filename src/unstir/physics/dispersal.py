"""Dispersal in generations: an integrodifference equation, and how fast a population spreads by it.

Thin tails make a front of constant speed, fat tails one that accelerates: a few far seeds found new
populations. Distances are in any unit, here called length.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from unstir.physics.constants import check_positive, float64
from unstir.physics.convolution import PositiveConvolution
from unstir.physics.dispersal_kernels import Kernel, StudentKernel
from unstir.spaces import Axis

Growth = Callable[[Tensor], Tensor]
"""The density of offspring, before they disperse, from that of the adults."""


def beverton_holt(R: float, capacity: float = 1.0) -> Growth:
    """Growth that crowding slows: R u / (1 + (R - 1) u / capacity) (Kot, Lewis & van den Driessche 1996).

    Args:
        R: offspring of one individual where it is alone, above 0.
        capacity: the density that reproduces itself, above 0.
    """
    check_positive(R=R, capacity=capacity)
    return lambda u: R * u / (1.0 + (R - 1.0) * u / capacity)


def spread(
    u_0: Tensor,
    generations: int,
    axis: Axis,
    kernel: Kernel,
    growth: Growth,
    *,
    tolerance: float = 1e-6,
    report: Callable[[int, int], None] | None = None,
) -> Tensor:
    r"""The densities of all generations of an integrodifference equation.

    .. math:: u_{n+1}(x) = \int k(x - y)\, g(u_n(y))\, dy

    Second order in the width of the cells. Who lands beyond the ends of the axis is lost.
    Source: Kot & Schaffer 1986; Kot, Lewis & van den Driessche 1996.

    Args:
        u_0: (..., cells) at least 0.
        generations: how many, at least 0.
        axis: cells of one width, not periodic.
        kernel: of one individual's displacement.
        growth: from adults to offspring at one place.
        tolerance: relative, of every density and generation, as in `PositiveConvolution`.
        report: is told (done, total).

    Returns:
        (generations + 1, ..., cells), ``u_0`` first.

    Raises:
        ValueError: for an axis of unequal cells or a periodic one, a state of another length, or negative
            densities.
        FloatingPointError: if growth gives values that are not finite; says in which generation and where.
    """
    if not axis.uniform or axis.periodic:
        raise ValueError("dispersal by a kernel needs an axis of equal cells that is not periodic")
    if u_0.shape[-1] != axis.cells:
        raise ValueError(f"densities on this axis have {axis.cells} cells, got {u_0.shape[-1]}")
    if generations < 0:
        raise ValueError(f"the number of generations is at least 0, got {generations}")
    disperse = PositiveConvolution(
        kernel.masses(axis.length / axis.cells, axis.cells).to(u_0), tolerance=tolerance
    )
    states = [u_0]
    for n in range(generations):
        offspring = growth(states[-1])
        wrong = ~torch.isfinite(offspring)
        if bool(wrong.any()):
            cell = int(wrong.reshape(-1, axis.cells).any(0).nonzero()[0])
            raise FloatingPointError(
                f"growth is not finite in generation {n + 1} at position {float(axis.centers[cell]):g}"
            )
        states.append(disperse(offspring))
        if report is not None:
            report(n + 1, generations)
    return torch.stack(states)


def front(u: Tensor, axis: Axis, level: float) -> Tensor:
    """Where a density last crosses a level, from the left; interpolated in its logarithm.

    Args:
        u: (..., cells), at least 0.
        axis: of the cells.
        level: above 0.

    Returns:
        (...) float64; NaN where u is below the level everywhere.
    """
    check_positive(level=level)
    logs = (u.double().clamp(min=torch.finfo(torch.float64).tiny) / level).log()
    cells = torch.arange(axis.cells, device=u.device)
    last = torch.where(logs >= 0, cells, -1).amax(-1)
    after = (last + 1).clamp(max=axis.cells - 1)
    before = last.clamp(min=0)
    high, low = (logs.gather(-1, at[..., None])[..., 0] for at in (before, after))
    share = torch.where(after > before, high / (high - low), 0.0)
    x = axis.centers.to(u.device)
    return torch.where(last >= 0, x[before] + share * (x[after] - x[before]), math.nan)


class Speed(NamedTuple):
    """The speed of a front, and its steepness.

    Attributes:
        speed: length a generation; infinite for fat tails.
        decay: s of the front's foot exp(-s x), 1 / length.
    """

    speed: float
    decay: float


def spread_speed(R: float, kernel: Kernel, *, width: float | None = None) -> Speed:
    r"""The speed at which a population spreads, by its linearisation (no Allee effect).

    .. math:: c = \min_{0 < s < s_{max}} \frac{1}{s} \log\left(R\, E[e^{s x}]\right)

    A front that started from a bounded place lags behind c n by (3 / 2s) log n (Bramson 1983).
    Source: Weinberger 1982; Kot, Lewis & van den Driessche 1996. For a Gaussian kernel c = scale
    sqrt(2 log R).

    Args:
        R: offspring of one individual where it is alone, above 1.
        kernel: its tails decide: the speed is infinite for `StudentKernel`.
        width: of the cells; the speed is then that of `spread` on them, masses in place of the density.

    Raises:
        ValueError: for an R of at most 1, with which nothing spreads.
    """
    from scipy.optimize import minimize_scalar

    if not (math.isfinite(R) and R > 1):
        raise ValueError(f"a population spreads if R, its growth where it is rare, is above 1, got {R}")
    if kernel.limit == 0:
        return Speed(math.inf, 0.0)
    log_moment = _log_moment(kernel, width)

    def speed(log_s: float) -> float:
        s = math.exp(log_s)
        return (math.log(R) + log_moment(s)) / s

    # In units of the scale the best s lies near sqrt(2 log R) for a Gaussian, below 1 for exponential tails.
    top = math.log(min(kernel.limit * (1.0 - 1e-9), (2.0 + 4.0 * math.sqrt(math.log(R))) / kernel.scale))
    found = minimize_scalar(speed, bounds=(top - 20.0, top), method="bounded", options={"xatol": 1e-10})
    return Speed(float(found.fun), math.exp(found.x))


def _log_moment(kernel: Kernel, width: float | None) -> Callable[[float], float]:
    """s -> log E[exp(s x)], of the density or of the cells' masses."""
    if width is None:
        return lambda s: math.log(float(kernel.moment_generating(float64(s))))
    # Beyond this distance every mass of thin tails is 0 in float64.
    reach = 40.0 if math.isinf(kernel.limit) else 750.0
    cells = math.ceil(reach * kernel.scale / width)
    logs = kernel.masses(width, cells).log()
    x = torch.arange(1 - cells, cells, dtype=torch.float64) * width
    return lambda s: float(torch.logsumexp(logs + s * x, 0))


def fitted_speed(positions: Tensor, decay: float, *, first: int) -> float:
    r"""The speed of a measured front: c of :math:`x_n = c n - \frac{3}{2s} \log n + a + b n^{-1/2} + d / n`.

    Source of the first two corrections: Bramson 1983; Ebert & van Saarloos 2000.

    Args:
        positions: (generations + 1,) of the front, from generation 0.
        decay: s of its foot, as `spread_speed` gives it, 1 / length.
        first: the generation from which to fit, at least 1; five generations or more must follow.

    Returns:
        Length a generation.

    Raises:
        ValueError: if too few generations are left, or a position is not finite.
    """
    x = positions[first:].double()
    if first < 1 or len(x) < 6:
        raise ValueError(f"fit a speed from generation 1 or later to 6 or more positions, got {len(x)}")
    if not bool(torch.isfinite(x).all()):
        raise ValueError("there is no front in some generation: the density is below its level everywhere")
    n = torch.arange(first, first + len(x), dtype=torch.float64)
    columns = torch.stack([n, torch.ones_like(n), n**-0.5, 1.0 / n], dim=1)
    return float(torch.linalg.lstsq(columns, x + 1.5 / decay * n.log()).solution[0])


def acceleration(R: float, kernel: StudentKernel) -> float:
    r"""How fast a front with fat tails accelerates: log x grows by log(R) / (freedom + 1) a generation.

    The front is where :math:`R^n k(x)` stays constant, and k falls as a power of x.
    Source: Kot, Lewis & van den Driessche 1996; Garnier 2011 for integro-differential equations.

    Args:
        R: offspring of one individual where it is alone, above 1.
        kernel: of one individual's displacement.
    """
    if not (math.isfinite(R) and R > 1):
        raise ValueError(f"a population spreads if R, its growth where it is rare, is above 1, got {R}")
    return math.log(R) / (kernel.freedom + 1.0)
