"""diffusers' RePaint on exact denoisers: the loop of its (archived) pipeline, without clipping.

The denoiser is asked at the level of each integer timestep, in float64. The most steps whose jumps fit the
budget are taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

import numpy as np
import torch
from diffusers import RePaintScheduler
from torch import Tensor

from inverse_problems.contract import Method, Task, Unsupported


def methods() -> list[Method]:
    """RePaint with its default jumps and shorter ones."""
    return list(_repaint())


def _repaint() -> Iterator[Method]:
    for eta in (0.0, 1.0):
        for length, times in ((10, 10), (10, 3), (5, 5), (1, 3), (1, 10), (10, 1)):
            name = f"jump={length} x{times} eta={eta:g}"
            yield Method("diffusers", "RePaint", name, partial(run, length=length, times=times, eta=eta))


def run(task: Task, length: int, times: int, eta: float) -> Tensor:
    """Samples by RePaint with jumps of ``length`` steps, each part walked ``times`` times."""
    if task.problem.mask is None or task.problem.schedule_name != "vp":
        raise Unsupported("RePaint fills masks, and its scheduler knows tables of betas")
    # The default table of `from_betas(linear_betas())`, which the problem's schedule interpolates.
    betas = np.linspace(1e-4, 0.02, 1000, dtype=np.float64)
    scheduler = RePaintScheduler(trained_betas=betas, eta=eta, clip_sample=False)
    steps = _most_steps(task.evaluations, length, times)
    scheduler.set_timesteps(steps, length, times)
    prior = task.problem.prior
    shape = (-1, *prior.event)
    y = (task.rows @ task.problem.matrix).reshape(shape)
    mask = task.problem.mask.double().reshape(1, *prior.event)
    generator = torch.Generator().manual_seed(task.seed)
    x, last = task.z(), int(scheduler.timesteps[0]) + 1
    for t in scheduler.timesteps.tolist():
        if t < last:
            alpha, sigma = scheduler.alphas_cumprod[t].sqrt(), (1 - scheduler.alphas_cumprod[t]).sqrt()
            mean = prior.posterior_at(x, alpha.reshape(1, 1, 1), sigma.reshape(1, 1, 1)).mean
            epsilon = (x - alpha * task.watch(mean)) / sigma
            x = scheduler.step(epsilon, t, x, y, mask, generator).prev_sample
        else:
            x = scheduler.undo_step(x, last, generator)
        last = t
    return x


@cache
def _most_steps(budget: int, length: int, times: int) -> int:
    """The most steps whose denoiser calls fit."""
    fitting = [steps for steps in range(2, min(budget, 1000) + 1) if _calls(steps, length, times) <= budget]
    # Timesteps are 0, 1000 // steps, ...: where much is left above the last one, noise is taken for data.
    fitting = [steps for steps in fitting if steps * (1000 // steps) >= 900]
    if not fitting:
        raise Unsupported("no number of steps fits")
    return fitting[-1]


def _calls(steps: int, length: int, times: int) -> int:
    """Denoiser calls of the scheduler's walk: each step down, and again as often as jumps go back over it."""
    return steps + length * (times - 1) * len(range(0, steps - length, length))
