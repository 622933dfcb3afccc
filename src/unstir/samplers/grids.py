"""Time grids: where a sampler evaluates the denoiser.

A grid is a float64 tensor of steps + 1 strictly decreasing times; it ends at t = 0, the data. The last
interval jumps from a small noise level to data, so where that level lies matters as much as the order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import signature

import torch
from torch import Tensor

from unstir.processes import Schedule, as_float64

GridFunction = Callable[..., Tensor]
"""(schedule, steps) -> (steps + 1,) times; one with a parameter ``sigma_data`` is given that of the data."""


def make_grid(function: GridFunction, schedule: Schedule, steps: int, sigma_data: float = 1.0) -> Tensor:
    """The grid of a function for data of standard deviation ``sigma_data``."""
    if "sigma_data" in signature(function).parameters:
        return function(schedule, steps, sigma_data=sigma_data)
    return function(schedule, steps)


def _last_level(steps: int) -> float:
    """The sigma/alpha before the jump to data: 0.05 for the usual budgets, less for large ones."""
    return min(0.05, 1.0 / steps)


def _ratio_times(schedule: Schedule, ratio: Tensor) -> Tensor:
    """Times of the given sigma/alpha (inf is t = 1), closed with t = 0."""
    times = schedule.time(-2.0 * ratio.log())
    return torch.cat([times, times.new_zeros(1)])


def _first_ratio(schedule: Schedule) -> float:
    return math.exp(-0.5 * float(schedule.log_snr(1.0))) if float(schedule.alpha(1.0)) > 0 else math.inf


_NOISE = 160.0
"""The sigma/alpha that stands for pure noise: levels far above it are wasted, and then no longer numbers."""


def arctan(
    schedule: Schedule,
    steps: int,
    *,
    sigma_data: float = 1.0,
    centre: float = -0.17,
    scale: float = 1.3,
    end: float | None = None,
) -> Tensor:
    r"""Dense where data takes shape: uniform in F(log(r / sigma_data)), r = sigma / alpha, the default grid.

    .. math:: F(v) = \arctan((v - centre) / scale)

    so the density of levels falls by half at a distance of ``scale`` from the centre. The numbers are near
    the best ones (least error of `Multistep` in the geometric mean, 5 to 20 steps) over 64 random mixtures of
    Gaussians of 1 to 128 dimensions; the optimum is flat. A schedule that goes beyond 160 sigma_data (about
    where `VP` ends) starts where it starts, and its other levels are as if it started there.

    Args:
        schedule: the forward process.
        steps: number of intervals, at least 1.
        sigma_data: standard deviation of the data.
        centre: the densest place, in log(r / sigma_data).
        scale: half the width of the dense region.
        end: the last level before the jump to data, in units of sigma_data; by default 0.65 / steps.
    """
    _check_steps(steps)
    end = 0.65 / steps if end is None else end
    start = min(-0.5 * float(schedule.log_snr(1.0)) - math.log(sigma_data), math.log(_NOISE))
    stop = min(math.log(end), start - 1.0)  # a schedule of little noise still has room for its steps
    first, last = (math.atan((v - centre) / scale) for v in (start, stop))
    angles = torch.linspace(first, last, max(steps, 2), dtype=torch.float64)[:steps]
    ratio = sigma_data * torch.exp(centre + scale * torch.tan(angles))
    times = _ratio_times(schedule, ratio)
    times[0] = 1.0
    return times


def uniform(schedule: Schedule, steps: int) -> Tensor:
    """Equal steps of time from 1 to 0."""
    _check_steps(steps)
    return torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)


def log_snr(schedule: Schedule, steps: int, *, start: float = 100.0, end: float | None = None) -> Tensor:
    """Equal steps of log-SNR, then the jump to data.

    Args:
        schedule: the forward process.
        steps: number of intervals, at least 1.
        start: sigma/alpha at the first time, if the schedule reaches it.
        end: sigma/alpha before the jump to data; by default min(0.05, 1 / steps).
    """
    _check_steps(steps)
    first = min(_first_ratio(schedule), start)
    last = _last_level(steps) if end is None else end
    levels = torch.linspace(math.log(first), math.log(last), max(steps, 2), dtype=torch.float64)
    return _ratio_times(schedule, levels[:steps].exp())


def karras(
    schedule: Schedule, steps: int, *, rho: float = 7.0, start: float = 80.0, end: float = 0.002
) -> Tensor:
    r"""Equal steps of :math:`(\sigma/\alpha)^{1/\rho}`, then the jump to data.

    Source: Karras et al. 2022, eq. 5.

    Args:
        schedule: the forward process.
        steps: number of intervals, at least 1.
        rho: 1 is uniform in sigma; larger values take smaller steps at low noise.
        start: sigma/alpha at the first time, if the schedule reaches it.
        end: sigma/alpha before the jump to data.
    """
    _check_steps(steps)
    first = min(_first_ratio(schedule), start)
    roots = torch.linspace(first ** (1 / rho), end ** (1 / rho), max(steps, 2), dtype=torch.float64)
    return _ratio_times(schedule, roots[:steps] ** rho)


def quadratic(schedule: Schedule, steps: int) -> Tensor:
    """Squares of equal steps: t = (i / steps)^2, dense near data (Song, Meng & Ermon 2021, appendix D.2)."""
    return uniform(schedule, steps) ** 2


def cosine(schedule: Schedule, steps: int) -> Tensor:
    """Equal steps of the angle arctan(sigma / alpha), from where the schedule starts to 0.

    It is the uniform grid of the cosine schedule, whatever the schedule (Nichol & Dhariwal 2021, eq. 17).
    """
    _check_steps(steps)
    first = math.atan(_first_ratio(schedule))
    angles = torch.linspace(first, 0.0, steps + 1, dtype=torch.float64)
    times = schedule.time(-2.0 * torch.log(torch.tan(angles[:-1])))
    times[0] = 1.0
    return torch.cat([times, times.new_zeros(1)])


def trailing(schedule: Schedule, steps: int, *, table: int = 1000) -> Tensor:
    """A sub-sequence of a discrete schedule's steps that begins with the last one.

    The steps round(i * table / steps), i = steps ... 0, of a table of betas (Lin et al. 2024, table 2),
    as times i / table; with steps = table it is every step of the table.

    Raises:
        ValueError: for more steps than the table has.
    """
    _check_table(steps, table)
    return (torch.linspace(table, 0, steps + 1, dtype=torch.float64)).round() / table


def leading(schedule: Schedule, steps: int, *, table: int = 1000, offset: int = 0) -> Tensor:
    """A sub-sequence of a discrete schedule's steps that ends with the first one, then data.

    The steps i * floor(table / steps) + 1 + offset, i = steps - 1 ... 0 (Lin et al. 2024, table 2). It starts
    below t = 1, where the state is not noise alone: the flaw that they report. For comparisons.

    Raises:
        ValueError: for more steps than the table has, or an offset that leaves it.
    """
    _check_table(steps, table)
    stride = table // steps
    if not 0 <= offset <= table - (steps - 1) * stride - 1:
        raise ValueError(f"an offset of {offset} leaves the table of {table} steps")
    places = torch.arange(steps - 1, -1, -1, dtype=torch.float64) * stride + 1 + offset
    return torch.cat([places, places.new_zeros(1)]) / table


GRIDS: dict[str, GridFunction] = {
    "arctan": arctan,
    "uniform": uniform,
    "log-snr": log_snr,
    "karras": karras,
    "quadratic": quadratic,
    "cosine": cosine,
    "trailing": trailing,
    "leading": leading,
}
"""The grids by the names used in files and on the command line."""


def check_grid(grid: Tensor) -> Tensor:
    """A grid as float64, after checking it.

    Raises:
        ValueError: unless it is one axis of at least two finite, strictly decreasing times in [0, 1].
    """
    grid = as_float64(grid)
    if grid.ndim != 1 or len(grid) < 2:
        raise ValueError(f"a time grid is a list of at least two times, got shape {tuple(grid.shape)}")
    if not bool(torch.isfinite(grid).all()) or float(grid.max()) > 1.0 or float(grid.min()) < 0.0:
        raise ValueError("the times of a grid are finite and lie in [0, 1], from noise (1) to data (0)")
    if not bool((grid[1:] < grid[:-1]).all()):
        raise ValueError("the times of a grid decrease strictly, from noise (1) to data (0)")
    return grid


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"a sampler takes at least 1 step, got {steps}")


def _check_table(steps: int, table: int) -> None:
    _check_steps(steps)
    if steps > table:
        raise ValueError(f"a table of {table} steps has no sub-sequence of {steps} steps")
