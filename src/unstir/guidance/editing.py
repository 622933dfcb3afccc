r"""Editing given data: redraw them from a chosen noise level, or move between their latents.

`edit` adds noise up to a level and samples back (SDEdit): what is coarser than the noise stays. `encode` and
`decode` follow the probability flow to the noise that stands for a sample, and back; `spherical` walks
between two of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from unstir import noise
from unstir.denoisers import Denoiser
from unstir.processes import Schedule, expand
from unstir.samplers import Progress, Solution, Solver, find_grid, find_solver, make_grid, sample
from unstir.samplers.adaptive import Adaptive, mean_at_angle
from unstir.samplers.coefficients import hypot
from unstir.samplers.grids import GridFunction, check_grid
from unstir.samplers.modal import problem_for
from unstir.samplers.runge_kutta import integrate

_TOLERANCE = {torch.float64: 1e-7}
_FIRST_LEVEL = {torch.float64: 1e-4}


def start_time(schedule: Schedule, strength: float, sigma_data: float = 1.0) -> float:
    r"""The time from which an edit of some strength starts.

    .. math:: \frac{\sigma(t_0)}{\alpha(t_0)} = s_{data} \tan\left(\frac{\pi}{2}\, strength\right)

    The strength is a share of the angle between data and noise, so it means the same under every schedule:
    at 0.5 the noise is as large as the data's own deviation, at 0.2 a third of it, at 0.8 three times it, and
    1 is the schedule's last time. It is the time of the cosine schedule (Nichol & Dhariwal 2021, eq. 17).

    Args:
        schedule: the forward process.
        strength: above 0, at most 1.
        sigma_data: standard deviation of the data.

    Raises:
        ValueError: for a strength out of its range.
    """
    if not 0.0 < strength <= 1.0:
        raise ValueError(
            f"the strength of an edit lies above 0 (nothing changes) and at most at 1 (all is drawn anew), "
            f"got {strength}"
        )
    if strength == 1.0:
        return 1.0
    ratio = sigma_data * math.tan(0.5 * math.pi * strength)
    return float(schedule.time(-2.0 * math.log(ratio)))


@torch.no_grad()
def edit(
    denoiser: Denoiser,
    x_0: Tensor,
    strength: float,
    *,
    solver: str | Solver = "multistep",
    steps: int = 20,
    grid: str | GridFunction | Tensor | None = None,
    seed: int = 0,
    first_index: int = 0,
    condition: Mapping[str, Tensor] | None = None,
    on_step: Callable[[Progress], None] | None = None,
    path: bool = False,
) -> Solution:
    r"""Redraw given data from a noise level: x_{t_0} = alpha x_0 + sigma eps, then the way back to data.

    Source: Meng et al. 2022, "SDEdit", algorithm 1, for any schedule and solver. ``denoiser`` may be guided.

    Args:
        denoiser: any denoiser.
        x_0: (batch, *event) in the denoiser's units.
        strength: above 0 and at most 1, see `start_time`. Under the default solver, seed and index decide the
            noise as in `sample`, so at strength 1 an edit is nearly the sample of that seed.
        solver: a solver or its name.
        steps: intervals of the whole grid, of which the part below the first time is run.
        grid: of the whole way, as in `sample`.
        seed: sample i of a seed has the same noise whatever the batch.
        first_index: number of the first sample within the seed.
        condition: (batch, ...) tensors that the denoiser takes by name.
        on_step: called after every step.
        path: keep all states.

    Raises:
        ValueError: for data that are not finite real numbers, a strength out of its range, or as in `sample`.
        FloatingPointError: if a state is not finite.
    """
    _check_data(x_0)
    schedule = denoiser.schedule
    first = start_time(schedule, strength, denoiser.sigma_data)
    method = find_solver(solver) if isinstance(solver, str) else solver
    if not isinstance(grid, Tensor):
        function = find_grid(grid) if isinstance(grid, str) else grid or method.default_grid
        grid = make_grid(function, schedule, steps, denoiser.sigma_data)
    index = torch.arange(first_index, first_index + len(x_0), device=x_0.device)
    z = noise.normal(x_0.shape[1:], seed=seed, index=index, stream=noise.Stream.START, dtype=x_0.dtype)
    mean, deviation = schedule.marginal(x_0, first)
    return sample(
        denoiser,
        x_T=(mean + deviation * z).to(x_0.dtype),
        solver=method,
        grid=_below(check_grid(grid), first),
        seed=seed,
        first_index=first_index,
        condition=condition,
        on_step=on_step,
        path=path,
    )


def _below(grid: Tensor, first: float) -> Tensor:
    """The part of a grid below a time, begun at it."""
    rest = grid[grid < first * (1.0 - 1e-9)]
    return torch.cat([grid.new_tensor([first]), rest])


@torch.no_grad()
def encode(
    denoiser: Denoiser,
    x_0: Tensor,
    *,
    tolerance: float | None = None,
    level: float | None = None,
    condition: Mapping[str, Tensor] | None = None,
) -> Tensor:
    r"""The noise x_1 from which the probability flow leads to given data, (batch, *event).

    The flow is followed upward in the angle phi = arctan(sigma / alpha), as in `samplers.Adaptive`. Its slope
    is odd in phi, so below the angle of ``level`` it is the slope there times the share of the angle.

    Source: Song et al. 2021, section 4.3 and appendix D.2 (encoding by the probability flow), in the
    variables of Salimans & Ho 2022, appendix D.

    Args:
        denoiser: any denoiser; a guided one has a flow of its own.
        x_0: (batch, *event) in the denoiser's units.
        tolerance: of a step, relative and absolute; 1e-7 for float64, else 1e-5.
        level: sigma / alpha, above 0, from which the denoiser is asked; 1e-4 of ``denoiser.sigma_data`` for
            float64, else 1e-2 of it, because round-off divided by the level is an error of the slope.
        condition: (batch, ...) tensors that the denoiser takes by name.

    Raises:
        ValueError: for data that are not finite real numbers, or a tolerance or level out of its range.
        FloatingPointError: if the denoiser's answer is not finite.
        RuntimeError: if the tolerance is not reached within 10,000 evaluations.
    """
    _check_data(x_0)
    tolerance = _tolerance(x_0, tolerance)
    if level is None:
        level = _FIRST_LEVEL.get(x_0.dtype, 1e-2) * denoiser.sigma_data
    if not 0 < level < math.inf:
        raise ValueError(f"the level sigma/alpha from which to ask the denoiser is above 0, got {level}")
    ends = torch.tensor([1.0, 0.0], dtype=torch.float64)
    index = torch.arange(len(x_0), device=x_0.device)
    problem = problem_for(denoiser, ends, index, 0, condition or {}, x_0)
    top, lowest = problem.level(1.0), math.atan(level)

    def slope(y: Tensor, phi: Tensor) -> Tensor:
        asked = phi.clamp(min=lowest)
        angle = problem.process.at_angle(asked)
        flow = y * expand(angle.cosine, y) - mean_at_angle(problem, y, angle)
        return flow / expand(angle.divisor, y) * expand(phi / asked, y)

    alpha, sigma, _ = top.plain
    y, _ = integrate(
        slope,
        problem.enter(x_0),
        0.0,
        math.atan2(sigma, alpha),
        rtol=tolerance,
        atol=tolerance,
        first_step=0.01 * min(1.0, denoiser.sigma_data),
    )
    return problem.leave(y * hypot(top.alpha, top.sigma))


def decode(
    denoiser: Denoiser,
    x_1: Tensor,
    *,
    tolerance: float | None = None,
    condition: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """The data to which the probability flow leads from noise: the inverse of `encode`, to the tolerance.

    Args:
        denoiser: any denoiser.
        x_1: (batch, *event), the state at t = 1.
        tolerance: of a step, relative and absolute; 1e-7 for float64, else 1e-5.
        condition: (batch, ...) tensors that the denoiser takes by name.

    Raises:
        ValueError: for noise that is not finite, or a tolerance out of its range.
        FloatingPointError: if the denoiser's answer is not finite.
        RuntimeError: if the tolerance is not reached within 10,000 evaluations.
    """
    _check_data(x_1)
    tolerance = _tolerance(x_1, tolerance)
    return sample(denoiser, x_T=x_1, solver=Adaptive(tolerance, tolerance), condition=condition).x


def spherical(z_0: Tensor, z_1: Tensor, share: Tensor) -> Tensor:
    r"""Spherical interpolation between two latents.

    .. math:: z_a = \frac{\sin((1 - a)\theta)}{\sin\theta} z_0 + \frac{\sin(a \theta)}{\sin\theta} z_1,\qquad
              \cos\theta = \frac{\langle z_0, z_1\rangle}{\|z_0\| \|z_1\|}

    Gaussian noise lies near a sphere, and so does what lies between; a straight line would pass through
    states that are too small. Latents of one direction are joined by a line.

    Source: Shoemake 1985, "Animating rotation with quaternion curves", section 3.3; Song, Meng & Ermon 2021,
    "Denoising diffusion implicit models", section 5.3.

    Args:
        z_0: (*event), where the share is 0.
        z_1: (*event), where it is 1.
        share: (frames,), usually from 0 to 1.

    Returns:
        (frames, *event) of the type of ``z_0``.

    Raises:
        ValueError: for latents of different shapes, a latent that is 0, or two in opposite directions,
            between which no way is the shortest.
    """
    if z_0.shape != z_1.shape:
        raise ValueError(f"latents have one shape, got {tuple(z_0.shape)} and {tuple(z_1.shape)}")
    a, b = z_0.double().flatten(), z_1.double().flatten()
    if float(a.norm()) == 0.0 or float(b.norm()) == 0.0:
        raise ValueError("a latent that is 0 has no direction; interpolate between other ones")
    u, v = a / a.norm(), b / b.norm()
    # By its half, an angle keeps its digits where the cosine is near 1 or -1.
    theta = 2.0 * torch.atan2((u - v).norm(), (u + v).norm())
    if float(math.pi - theta) < 1e-6:
        raise ValueError("the latents have opposite directions, so no way between them is the shortest")
    share = share.to(theta)
    if float(theta) < 1e-6:
        weights = torch.stack([1.0 - share, share], dim=1)
    else:
        weights = torch.stack([((1.0 - share) * theta).sin(), (share * theta).sin()], dim=1) / theta.sin()
    between: Any = weights @ torch.stack([a, b])
    return between.reshape(len(share), *z_0.shape).to(z_0.dtype)  # type: ignore[no-any-return]


def _tolerance(x: Tensor, tolerance: float | None) -> float:
    if tolerance is None:
        return _TOLERANCE.get(x.dtype, 1e-5)
    if not 0 < tolerance < 1:
        raise ValueError(f"the tolerance lies between 0 and 1, got {tolerance}")
    return tolerance


def _check_data(x: Tensor) -> None:
    if x.ndim < 2 or not x.is_floating_point():
        raise ValueError(
            f"data to edit are real numbers (batch, *event), got {x.dtype} of shape {tuple(x.shape)}"
        )
    if not bool(torch.isfinite(x).all()):
        raise ValueError("the data hold a value that is not finite; remove or fill such values first")
