"""What is read off the paths of an SDE: first passages, quadratic variation, mean squared displacement."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from unstir import noise
from unstir.processes.sde import SDE
from unstir.processes.sde_steps import apply_noise
from unstir.processes.shapes import as_float64

Level = Callable[[Tensor], Tensor]
"""x -> (batch,), above zero until the passage: 1 - x[:, 0] for passing 1 from below, R - |x| for a sphere."""


def first_passage(
    sde: SDE,
    x: Tensor,
    level: Level,
    grid: Tensor,
    *,
    bridge: bool = True,
    seed: int = 0,
    first_index: int = 0,
    method: str = "euler-maruyama",
) -> Tensor:
    r"""When ``level`` first reaches zero along each path.

    Between two points a step apart the path is taken as a Brownian bridge across a flat boundary. From level
    h_0 > 0 to h_1 > 0 it has touched zero with probability

    .. math:: \exp(-2 h_0 h_1 / (|g^T \nabla h|^2 \Delta t)),

    and the share of the step before the touch is u / (1 + u), u inverse Gaussian with mean h_0 / |h_1| and
    shape h_0^2 / (|g^T \nabla h|^2 \Delta t). The error in law is of order dt, and none for Brownian motion
    with constant drift across a flat boundary; looking at the points only misses passages, an error of order
    sqrt(dt).

    Source: Gobet 2000, "Weak approximation of killed diffusion using Euler schemes"; the time within the
    step follows from the reflection principle and is drawn as by Michael, Schucany & Haas 1976.

    Args:
        sde: its drift and diffusion.
        x: (batch, *event), where the paths start.
        level: differentiable, see `Level`.
        grid: (steps + 1,) monotone times.
        bridge: correct for passages between the points.
        seed: sample i of a seed follows the path that it follows in `SDE.simulate`.
        first_index: number of the first sample within the seed.
        method: as in `SDE.simulate`.

    Returns:
        (batch,) float64 times; infinity for a path that does not pass within the grid.

    Raises:
        FloatingPointError: if a path stops being finite before it has passed.
        ValueError: for an unknown method, or one that this SDE does not allow.
    """
    step, times = sde.stepper(x, grid, method), as_float64(grid)
    index = torch.arange(first_index, first_index + len(x), device=x.device)
    passed_at = torch.full((len(x),), math.inf, dtype=torch.float64, device=x.device)
    h_0, rate = _level_and_rate(sde, x, level, times[0])
    passed_at[h_0 <= 0] = float(times[0])
    for k in range(len(times) - 1):
        t, s = times[k], times[k + 1]
        with torch.no_grad():
            ahead = step(sde, x, t, s, sde.draw(x, t, seed, index, k))
        waiting = torch.isinf(passed_at)
        x = torch.where(waiting.reshape(-1, *[1] * (x.ndim - 1)), ahead, x)
        if not bool(torch.isfinite(x).all()):
            raise FloatingPointError(f"a path is not finite at t = {float(s):.6g}; take smaller steps")
        h_1, rate_1 = _level_and_rate(sde, x, level, s)
        if bridge:
            u = noise.uniform((4,), seed=seed, index=index, stream=noise.Stream.PASSAGE, step=k)
            share = bridge_touch(h_0, h_1, rate * float((s - t).abs()), u)
        else:
            share = torch.where(h_1 <= 0, 1.0, math.inf).to(torch.float64)
        passing = waiting & torch.isfinite(share)
        passed_at = torch.where(passing, t + share * (s - t), passed_at)
        if bool(torch.isfinite(passed_at).all()):
            break
        h_0, rate = h_1, rate_1
    return passed_at


def _level_and_rate(sde: SDE, x: Tensor, level: Level, t: Tensor) -> tuple[Tensor, Tensor]:
    """The level, and the variance that the noise adds to it in unit time; (batch,) float64 both."""
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        h = level(point)
        if h.shape != x.shape[:1]:
            raise ValueError(f"a level is one number a sample, ({len(x)},), got shape {tuple(h.shape)}")
        (gradient,) = torch.autograd.grad(h.sum(), point)
    with torch.no_grad():
        g = sde.amplitude(x, t)
        along = apply_noise(g.mT, gradient) if g.ndim == 3 and x.ndim == 2 else g * gradient
    return h.detach().double(), along.double().reshape(len(x), -1).square().sum(1)


def bridge_touch(h_0: Tensor, h_1: Tensor, variance: Tensor, u: Tensor) -> Tensor:
    """When a Brownian bridge from h_0 to h_1 first touches zero, as a share of its time; infinity if never.

    Exact; the law is that of `first_passage`, of which this is one step.

    Args:
        h_0: (batch,) float64, above 0.
        h_1: (batch,).
        variance: (batch,), that of the free motion over the whole time.
        u: (batch, 4) uniform numbers.
    """
    size = h_1.abs().clamp(min=1e-100)
    moving = variance > 0
    spread = torch.where(moving, variance, 1.0)
    touches = (h_1 <= 0) | (moving & (u[:, 0] < torch.exp(-2.0 * h_0 * h_1 / spread)))
    chi_squared = -2.0 * u[:, 2].log() * (2.0 * math.pi * u[:, 3]).cos().square()
    w = torch.where(moving, chi_squared * spread / (2.0 * h_0.abs() * size), 0.0)
    ratio = 1.0 + w + (w * (w + 2.0)).sqrt()
    root = torch.where(u[:, 1] < ratio / (1.0 + ratio), 1.0 / ratio, ratio)
    return torch.where(touches, 1.0 / (1.0 + size / (h_0.abs() * root)), math.inf)


def quadratic_variation(path: Tensor) -> Tensor:
    r"""The running sum of squared steps, which tends to :math:`\int_0^t g^2 ds` as the steps shrink.

    Source: Karatzas & Shreve 1991, "Brownian motion and stochastic calculus", theorem 1.5.8.

    Args:
        path: (steps + 1, batch, *event), as `SDE.simulate` returns it with ``path``.

    Returns:
        The shape of ``path``, zero at the start.
    """
    squared = path.diff(dim=0).square().cumsum(dim=0)
    return torch.cat([torch.zeros_like(path[:1]), squared])


def mean_squared_displacement(path: Tensor, *, every_start: bool = False) -> Tensor:
    """The mean over paths of the squared distance from the start: 2 d D t for Brownian motion.

    Args:
        path: (times, batch, *event), at equal steps if ``every_start``.
        every_start: average over all starting times too, so that entry k is that of a lag of k steps; for
            motions whose increments do not depend on when they start.

    Returns:
        (times,) in squared units of the path; zero at the start.
    """
    flat = path.reshape(*path.shape[:2], -1)
    if not every_start:
        return (flat - flat[0]).square().sum(-1).mean(-1)
    lags = [(flat[lag:] - flat[: len(flat) - lag]).square().sum(-1).mean() for lag in range(len(flat))]
    return torch.stack(lags)
