"""Runs the schedulers of diffusers on exact problems; `diffusers_settings` says which of their settings.

What is done in their favour:

- The denoiser is asked at exactly the noise level that the scheduler's coefficients mean, never at a rounded
  timestep, and answers in the parametrisation in which the scheduler loses nothing (x_0 where it is taken).
- The step counter is started by `set_begin_index(0)`, so that equal rounded timesteps cannot mislead it.
- Where a grid holds its last level twice (DEIS and SA-Solver off their default grids, and `sigma_min` ends on
  Karras-like grids), nothing happens in the empty last interval, or a NaN: it is not run and costs nothing.
- Budgets are counted in denoiser calls; the largest number of steps that fits is taken.
- Every schedule is given as a table of 1,000 betas, so each scheduler runs under all four; "flow" as the
  table up to t = 0.999, scaled to variance preserving, besides the samplers that know flows.

Their coefficients are float32, and several cast the state to float32 in each step: about 1e-6 of the error.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from typing import Any

import diffusers
import torch
from torch import Tensor

from peer_solvers.contract import Configuration, Oracle, Unsupported
from unstir.evaluation.problems import benchmark_schedules


@dataclass(frozen=True)
class Setting:
    """A scheduler with its options.

    Attributes:
        name: for the tables.
        kind: class name in diffusers.
        options: of its constructor, besides the table of betas.
        space: what its states are: "scaled" (x / alpha, sigma is the ratio), "preserving" (alpha^2 + sigma^2
            is 1, levels by sigmas), "table" (the same, levels by integer steps), "flow" (alpha = 1 - sigma)
            or "ipndm" (its own levels).
        output: what it is told: "x0", "epsilon", "v", "velocity" or "edm" (a network inside EDM's scaling).
        step: options of each step.
        table: whether it takes a table of betas.
    """

    name: str
    kind: str
    options: dict[str, Any]
    space: str
    output: str = "x0"
    step: dict[str, Any] = field(default_factory=dict)
    table: bool = True


@dataclass
class Plan:
    """A scheduler set up for a number of steps, and the level of each call as plain floats."""

    scheduler: Any
    timesteps: list[Any]
    levels: list[tuple[float, float]]  # (alpha, sigma) of each call
    end: float  # alpha of the final state

    def start(self) -> Any:
        """A scheduler as after `set_timesteps`: its lists are its only state that is changed in place."""
        fresh = copy.copy(self.scheduler)
        for name, value in vars(fresh).items():
            if isinstance(value, list):
                setattr(fresh, name, list(value))
        return fresh


@cache
def betas(schedule_name: str) -> tuple[float, ...] | None:
    """The table of a schedule that diffusers does not have by name."""
    if schedule_name in ("vp", "cosine"):
        return None
    if schedule_name == "ve":  # geometric between EDM's ends; below 0.002 a float32 product of alphas is 1
        ratio = torch.logspace(0, 1, 1000, base=80.0 / 0.002, dtype=torch.float64) * 0.002
    else:
        schedule = benchmark_schedules()[schedule_name]
        t = torch.arange(1, 1001, dtype=torch.float64) * 0.999e-3
        ratio = schedule.sigma(t) / schedule.alpha(t)
    alpha_squared = torch.cat([torch.ones(1, dtype=torch.float64), 1.0 / (1.0 + ratio**2)])
    return tuple((1.0 - alpha_squared[1:] / alpha_squared[:-1]).tolist())


def options(setting: Setting, schedule_name: str) -> dict[str, Any]:
    if not setting.table:
        return setting.options
    table = betas(schedule_name)
    if table is not None:
        return {**setting.options, "trained_betas": list(table)}
    return {**setting.options, "beta_schedule": "linear" if schedule_name == "vp" else "squaredcos_cap_v2"}


_TABLES: dict[tuple[str, str], Tensor] = {}


def plan(setting: Setting, schedule_name: str, steps: int) -> Plan:
    """Set a scheduler up for a number of its own steps."""
    scheduler = getattr(diffusers, setting.kind)(**options(setting, schedule_name))
    scheduler.set_timesteps(steps)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    if hasattr(scheduler, "is_scale_input_called"):
        scheduler.is_scale_input_called = True  # the denoiser takes the state as it is
    if hasattr(scheduler, "get_lms_coefficient"):  # integrals by quadrature, equal in every run
        scheduler.get_lms_coefficient = lru_cache(None)(scheduler.get_lms_coefficient)
    for name, value in vars(scheduler).items():  # thousands of schedulers share one table
        if isinstance(value, torch.Tensor) and value.shape == (1000,):
            key = (schedule_name, name)
            if torch.equal(_TABLES.setdefault(key, value), value):
                setattr(scheduler, name, _TABLES[key])
    timesteps = list(scheduler.timesteps)
    if setting.space == "table":
        squares = [float(scheduler.alphas_cumprod[t]) for t in timesteps]
        levels = [(square**0.5, (1.0 - square) ** 0.5) for square in squares]
        return Plan(
            scheduler, [int(t) for t in timesteps], levels, float(scheduler.final_alpha_cumprod) ** 0.5
        )
    if setting.space == "ipndm":
        levels = list(zip(scheduler.alphas.tolist(), scheduler.betas.tolist(), strict=True))
        return Plan(scheduler, timesteps, levels[:-1], 1.0)
    sigmas = scheduler.sigmas.tolist()
    convert = partial(level, space=setting.space)
    if setting.kind == "KDPM2DiscreteScheduler":  # every second call is at the middle of a step
        middles = scheduler.sigmas_interpol.tolist()
        called = [middles[i] if i % 2 else sigmas[i] for i in range(len(timesteps))]
        return Plan(scheduler, timesteps, [convert(sigma) for sigma in called], 1.0)
    if len(sigmas) == len(timesteps) + 1 and sigmas[-1] > (1 - 1e-5) * sigmas[-2]:
        timesteps = timesteps[:-1]
    return Plan(
        scheduler, timesteps, [convert(sigma) for sigma in sigmas[: len(timesteps)]], convert(sigmas[-1])[0]
    )


def level(sigma: float, space: str) -> tuple[float, float]:
    """(alpha, sigma) of the state at a scheduler's sigma."""
    if space == "scaled":
        return 1.0, sigma
    if space == "flow":
        return 1.0 - sigma, sigma
    alpha = (1.0 + sigma**2) ** -0.5
    return alpha, sigma * alpha


@lru_cache(maxsize=20_000)
def _fitted(key: tuple[int, str, int]) -> Plan | str:
    setting, (_, schedule_name, evaluations) = _SETTINGS[key[0]], key
    steps, calls = most_steps(setting, evaluations), evaluations + 1
    try:
        while steps > 0:
            found = plan(setting, schedule_name, steps)
            calls = len(found.timesteps)
            if calls <= evaluations:
                return found if calls else "no step fits"
            steps -= max(1, (calls - evaluations) // 2)
    # As in `Configuration.run`: the reason is kept, the comparison goes on.
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return f"the fewest calls are {calls}, more than {evaluations}"


_SETTINGS: list[Setting] = []


def most_steps(setting: Setting, evaluations: int) -> int:
    """The largest number of steps that could fit into a number of calls."""
    if setting.kind in ("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "FlowMatchHeunDiscreteScheduler"):
        return (evaluations + 1) // 2
    if setting.kind == "PNDMScheduler":
        return evaluations - (1 if setting.options["skip_prk_steps"] else 9)
    repeats = setting.kind in ("DEISMultistepScheduler", "SASolverScheduler")
    repeats |= setting.options.get("final_sigmas_type") == "sigma_min"
    return evaluations + (1 if repeats and "timestep_spacing" not in setting.options else 0)


def tell(output: str, scheduler: Any, x: Tensor, mean: Tensor, alpha: float, sigma: float) -> Tensor:
    """The posterior mean in the form that the scheduler takes."""
    if output == "x0":
        return mean
    epsilon = (x - alpha * mean) / sigma
    if output == "epsilon":
        return epsilon
    if output == "velocity":
        return epsilon - mean
    if output == "v":
        return alpha * epsilon - sigma * mean
    data = float(scheduler.config.sigma_data)
    skip = data**2 / (sigma**2 + data**2)
    return (mean - skip * x) * (math.hypot(sigma, data) / (sigma * data))


@torch.no_grad()
def solve(oracle: Oracle, number: int, setting: Setting) -> Tensor:
    """Run a scheduler from the noise at its first level to its last one."""
    found = _fitted((number, oracle.problem.schedule_name, oracle.budget))
    if isinstance(found, str):
        raise Unsupported(found)
    scheduler = found.start()
    x = oracle.z * found.levels[0][1]
    for t, (alpha, sigma) in zip(found.timesteps, found.levels, strict=True):
        output = tell(setting.output, scheduler, x, oracle(x, alpha, sigma), alpha, sigma)
        x = scheduler.step(output, t, x, return_dict=False, **setting.step)[0]
    end: Tensor = x / found.end
    return end


def configuration(setting: Setting) -> Configuration:
    """A setting as a peer; its schedulers are set up once for each schedule and budget."""
    _SETTINGS.append(setting)
    run = partial(solve, number=len(_SETTINGS) - 1, setting=setting)
    return Configuration("diffusers", f"diffusers {setting.name}", run)
