"""The times at which a scheduler of diffusers steps, as a grid of ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unstir.interop.process import read_process
from unstir.samplers import check_grid


def grid_of(scheduler: Any) -> Tensor:
    """The grid of a scheduler of diffusers on which ``set_timesteps`` was called.

    Its timesteps as times: (timestep + 1) / T for a table of betas, timestep / T for flow matching. The end
    is data (t = 0) or, with ``set_alpha_to_one=False``, the first step of the table, where such a scheduler
    stops. Where T is no multiple of the steps, or with "linspace" spacing, DDIMScheduler itself steps
    T // steps timesteps down and then evaluates elsewhere; this grid keeps to where it evaluates.

    Args:
        scheduler: DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler and their like, of one
            evaluation a step.

    Returns:
        (steps + 1,) float64; one fewer if the scheduler's last step would go nowhere.

    Raises:
        ValueError: for a process that is not supported, or timesteps that do not decrease strictly (as
            those of schedulers with two evaluations a step).
    """
    process = read_process(scheduler.config)
    times = process.time(scheduler.timesteps.cpu())
    end = 0.0 if scheduler.config.get("set_alpha_to_one", True) else process.offset / process.steps
    if float(times[-1]) > end:
        times = torch.cat([times, times.new_tensor([end])])
    return check_grid(times)
