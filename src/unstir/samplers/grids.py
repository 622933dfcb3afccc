"""Time grids: where a sampler evaluates the denoiser.

A grid is a float64 tensor of steps + 1 strictly decreasing times; it ends at t = 0, the data. The last
interval jumps from a small noise level to data, so where that level lies matters as much as the order.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from unstir.processes import Schedule, as_float64

GridFunction = Callable[[Schedule, int], Tensor]
"""(schedule, steps) -> (steps + 1,) times."""


def _last_level(steps: int) -> float:
    """The sigma/alpha before the jump to data: 0.05 for the usual budgets, less for large ones."""
    return min(0.05, 1.0 / steps)


def _ratio_times(schedule: Schedule, ratio: Tensor) -> Tensor:
    """Times of the given sigma/alpha (inf is t = 1), closed with t = 0."""
    times = schedule.time(-2.0 * ratio.log())
    return torch.cat([times, times.new_zeros(1)])


def _first_ratio(schedule: Schedule) -> float:
    return math.exp(-0.5 * float(schedule.log_snr(1.0))) if float(schedule.alpha(1.0)) > 0 else math.inf


_AFTER_PURE_NOISE = 160.0
"""The sigma/alpha that stands for pure noise: levels far above it are wasted, and then no longer numbers."""


def arctan(schedule: Schedule, steps: int, *, scale: float = 3.0, end: float | None = None) -> Tensor:
    r"""Uniform in :math:`\arctan(\log(\sigma/\alpha) / scale)`: dense where data takes shape.

    The level log(sigma/alpha) = 0 is passed slowly, both ends fast. A schedule that ends in pure noise
    (alpha = 0) starts there, and its other levels are as if it started at sigma/alpha = 160 (about where
    `VP` does). The default grid of the library.

    Args:
        schedule: the forward process.
        steps: number of intervals, at least 1.
        scale: width of the dense region in log(sigma/alpha).
        end: sigma/alpha before the jump to data; by default min(0.05, 1 / steps).
    """
    _check_steps(steps)
    start = -0.5 * float(schedule.log_snr(1.0))
    start = start if math.isfinite(start) else math.log(_AFTER_PURE_NOISE)
    stop = math.log(_last_level(steps) if end is None else end)
    angles = torch.linspace(
        math.atan(start / scale), math.atan(stop / scale), max(steps, 2), dtype=torch.float64
    )[:steps]
    times = schedule.time(-2.0 * scale * torch.tan(angles))
    times[0] = 1.0
    return torch.cat([times, times.new_zeros(1)])


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


def trailing(schedule: Schedule, steps: int, *, table: int = 1000) -> Tensor:
    """A sub-sequence of a discrete schedule's steps that begins with the last one.

    The steps round(i * table / steps), i = steps ... 0, of a table of betas (Lin et al. 2024, table 2),
    as times i / table; with steps = table it is every step of the table.

    Raises:
        ValueError: for more steps than the table has.
    """
    _check_steps(steps)
    if steps > table:
        raise ValueError(f"a table of {table} steps has no sub-sequence of {steps} steps")
    return (torch.linspace(table, 0, steps + 1, dtype=torch.float64)).round() / table


GRIDS: dict[str, GridFunction] = {
    "arctan": arctan,
    "uniform": uniform,
    "log-snr": log_snr,
    "karras": karras,
    "trailing": trailing,
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
