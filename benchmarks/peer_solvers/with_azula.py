"""All deterministic samplers of azula, on every schedule that it can use as a time grid.

azula's grids are uniform in the time of a schedule, so the schedule is its choice of grid: the problem's own
one, or one of the library's, which the exact denoiser serves as well, level by level. azula's schedules end
at a noise level sigma_min, the sampler's final level; 0.001 is its default.

Left out, for their final state is not the probability flow's: DDPM, DDIM and Ito with eta > 0, and the
predictor-corrector sampler, all of which add noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import azula.denoise
import azula.noise
import azula.sample
import torch
from torch import Tensor

from peer_solvers.contract import Configuration, Oracle, Unsupported
from unstir.evaluation.problems import benchmark_schedules
from unstir.processes import Schedule

ENDS = (1e-2, 1e-3)


class Own(azula.noise.Schedule):
    """Our schedule in azula's form, with its floor of the noise: sigma^2 + sigma_min^2, as its VPSchedule."""

    def __init__(self, schedule: Schedule, sigma_min: float) -> None:
        self.schedule = schedule
        self.sigma_min = sigma_min

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        # A little signal at t = 1, as in all of azula's schedules, where ours has none.
        alpha = self.schedule.alpha(t) if float(self.schedule.alpha(1.0)) > 0 else 1.0 - 0.999 * t
        return alpha, (self.schedule.sigma(t) ** 2 + self.sigma_min**2).sqrt()


class Cached(azula.noise.Schedule):
    """A schedule that remembers single times: samplers ask for each several times in every run."""

    def __init__(self, schedule: azula.noise.Schedule) -> None:
        self.schedule = schedule
        self.known: dict[float, tuple[Tensor, Tensor]] = {}

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        if t.ndim:
            return self.schedule(t)
        key = float(t)
        if key not in self.known:
            self.known[key] = self.schedule(t.double())
        return self.known[key]


class Exact(azula.denoise.Denoiser):
    """The oracle in azula's form."""

    def __init__(self, oracle: Oracle, schedule: azula.noise.Schedule) -> None:
        super().__init__()
        self.oracle = oracle
        self.schedule = schedule

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: Any) -> azula.denoise.Posterior:
        alpha, sigma = self.schedule(t)
        return azula.denoise.DiracPosterior(self.oracle(x_t, float(alpha), float(sigma)))


def samplers() -> Iterator[tuple[str, type[azula.sample.Sampler], dict[str, Any], int]]:
    """Name, class, settings and denoiser calls a step."""
    # DDIM, Euler and Ito at eta = 0 are one method, as azula says itself; each is its own code.
    yield "DDIM", azula.sample.DDIMSampler, {"eta": 0.0}, 1
    yield "Euler", azula.sample.EulerSampler, {}, 1
    yield "Ito eta=0", azula.sample.ItoSampler, {"eta": 0.0}, 1
    yield "Heun", azula.sample.HeunSampler, {}, 2
    for name in ("zAB", "vAB", "zEAB", "xEAB", "REAB"):
        for order in (2, 3, 4):
            yield f"{name}-{order}", getattr(azula.sample, f"{name}Sampler"), {"order": order}, 1


@cache
def schedules(schedule_name: str) -> dict[str, azula.noise.Schedule]:
    """The schedules that can serve as a grid, by name."""
    own = benchmark_schedules()[schedule_name]
    # All begin at our first noise level, as far as their signal does not vanish: so x_T is exactly theirs.
    first = min(1e3, math.exp(-0.5 * float(own.log_snr(1.0))) if float(own.alpha(1.0)) > 0 else 1e3)
    found: dict[str, azula.noise.Schedule] = {}
    for end in ENDS:
        found[f"own {end:g}"] = Own(own, end)
        found[f"VE {end:g}"] = azula.noise.VESchedule(sigma_min=end, sigma_max=first)
        for name in ("VP", "Cosine", "Rectified", "Decay"):
            kind = getattr(azula.noise, f"{name}Schedule")
            found[f"{name} {end:g}"] = kind(alpha_min=1.0 / first, sigma_min=end)
    return {name: Cached(schedule) for name, schedule in found.items()}


def solve(
    oracle: Oracle, build: Callable[..., azula.sample.Sampler], schedule: azula.noise.Schedule, cost: int
) -> Tensor:
    """Run a sampler of ``cost`` calls a step from the noise at the schedule's first level."""
    steps = oracle.budget // cost
    if steps < 1:
        raise Unsupported(f"needs at least {cost} evaluations")
    sampler = build(Exact(oracle, schedule), steps=steps, silent=True, dtype=torch.float64)
    _, sigma = schedule(torch.ones((), dtype=torch.float64))
    alpha, _ = schedule(torch.zeros((), dtype=torch.float64))
    x: Tensor = sampler(oracle.z * float(sigma))
    return x / float(alpha)


def configurations(schedule_name: str) -> list[Configuration]:
    """Every sampler on every grid for problems of one schedule."""
    found = []
    for name, kind, settings, cost in samplers():
        for grid, schedule in schedules(schedule_name).items():
            run = partial(solve, build=partial(kind, **settings), schedule=schedule, cost=cost)
            found.append(Configuration("azula", f"azula {name} {grid}", run))
    return found
