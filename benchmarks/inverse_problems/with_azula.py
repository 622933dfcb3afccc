"""azula's methods for inverse problems on exact denoisers.

What is done in their favour:

- Schedules are azula's contract too, so each is run under the problem's own schedule and on the grid of
  azula's cosine one; the exact denoiser serves both, level by level.
- Settings that a method leaves to the user (DPS's strength, DiffPIR's regularisation, the sampler, the number
  of iterations) are chosen as ours are: on other problems, by the same rule.
- DPS divides by the norm of the residual over the whole batch; its strength is given times the square root of
  the batch, which makes it the strength that a batch of one would see.
- The denoiser is float64.

Evaluations: a forward pass is one, and so is a backward pass: DPS, PGDM and TDS take 2 a step, MMPS 2 and one
for each iteration, TMPD 3, DiffPIR and JFPS 1, RePaint one for each iteration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import azula.denoise
import azula.guidance
import azula.linalg.covariance
import azula.noise
import azula.sample
import torch
from torch import Tensor

from inverse_problems.contract import Method, Task, Unsupported
from peer_solvers.with_azula import Cached, Own

Sampler = Callable[..., azula.sample.Sampler]
Guide = Callable[[azula.denoise.Denoiser, Task], azula.denoise.Denoiser]


class Exact(azula.denoise.Denoiser):
    """The exact denoiser of a task in azula's form, on flattened events, its passes counted."""

    def __init__(self, task: Task, schedule: azula.noise.Schedule) -> None:
        super().__init__()
        self.task = task
        self.schedule = schedule

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: Any) -> azula.denoise.Posterior:
        alpha, sigma = (level.reshape(1, 1, 1) for level in self.schedule(t))
        prior = self.task.problem.prior
        mean = prior.posterior_at(x_t.reshape(-1, *prior.event), alpha, sigma).mean
        return azula.denoise.DiracPosterior(self.task.watch(mean).reshape(x_t.shape))


def methods() -> list[Method]:
    """Every method with all its settings."""
    return [*_denoisers(), *_dps(), *_pgdm(), *_repaint(), *_tds()]


SAMPLERS: dict[str, Sampler] = {
    "DDPM": azula.sample.DDPMSampler,
    "DDIM": azula.sample.DDIMSampler,
    "xEAB-2": partial(azula.sample.xEABSampler, order=2),
}
GRIDS = ("cosine",)


def _denoisers() -> Iterator[Method]:
    """The methods that are a denoiser round a denoiser."""
    for sampler in SAMPLERS:
        for grid in GRIDS:
            where = f"{sampler} {grid}"
            run = partial(_run, sampler=sampler, grid=grid)
            for k in (1, 2, 3, 5, 8, 12):
                for solver in ("gmres", "cg"):
                    guide: Guide = partial(_mmps, iterations=k, solver=solver)
                    name = f"k={k} {solver} {where}"
                    yield Method("azula", "MMPS", name, partial(run, guide=guide, cost=2 + k))
            for weight in (0.3, 1.0, 3.0, 8.0):
                guide = partial(_diffpir, weight=weight, iterations=5)
                yield Method(
                    "azula", "DiffPIR", f"lambda={weight:g} {where}", partial(run, guide=guide, cost=1)
                )
            yield Method("azula", "TMPD", where, partial(run, guide=_tmpd, cost=3))
            for k in (1, 5):
                guide = partial(_jfps, iterations=k)
                yield Method("azula", "JFPS", f"k={k} {where}", partial(run, guide=guide, cost=1))


def _dps() -> Iterator[Method]:
    for grid in GRIDS:
        for zeta in (0.03, 0.1, 0.3, 1.0, 3.0):
            yield Method("azula", "DPS", f"zeta={zeta:g} {grid}", partial(_run_dps, zeta=zeta, grid=grid))


def _pgdm() -> Iterator[Method]:
    for grid in GRIDS:
        for eta in (0.0, 1.0):
            yield Method("azula", "PiGDM", f"eta={eta:g} {grid}", partial(_run_pgdm, eta=eta, grid=grid))


def _repaint() -> Iterator[Method]:
    for grid in GRIDS:
        for eta in (0.0, 1.0):
            for k in (1, 3, 5, 10):
                run = partial(_run_repaint, iterations=k, eta=eta, grid=grid)
                yield Method("azula", "RePaint", f"k={k} eta={eta:g} {grid}", run)


def _tds() -> Iterator[Method]:
    for grid in GRIDS:
        for spread in ("ratio", "posterior"):
            yield Method("azula", "Twisted", f"{spread} {grid}", partial(_run_tds, spread=spread, grid=grid))


def _mmps(
    denoiser: azula.denoise.Denoiser, task: Task, iterations: int, solver: str
) -> azula.denoise.Denoiser:
    cov_y = azula.linalg.covariance.IsotropicCovariance(task.problem.noise**2)
    return azula.guidance.MMPSDenoiser(
        denoiser, task.rows, _forward(task), cov_y, solver=solver, iterations=iterations
    )


def _diffpir(
    denoiser: azula.denoise.Denoiser, task: Task, weight: float, iterations: int
) -> azula.denoise.Denoiser:
    return azula.guidance.DiffPIRDenoiser(
        denoiser, task.rows, _forward(task), task.problem.noise**2, lmbda=weight, iterations=iterations
    )


def _tmpd(denoiser: azula.denoise.Denoiser, task: Task) -> azula.denoise.Denoiser:
    return azula.guidance.TMPDenoiser(denoiser, task.rows, _forward(task), task.problem.noise**2)


def _jfps(denoiser: azula.denoise.Denoiser, task: Task, iterations: int) -> azula.denoise.Denoiser:
    cov_y = azula.linalg.covariance.IsotropicCovariance(task.problem.noise**2)
    prior = task.problem.prior
    share, means = prior.log_weights.exp(), prior.means
    centred = means - share @ means
    covariance = torch.einsum("k,kij->ij", share, prior.covariances) + (share * centred.T) @ centred
    spectrum, basis = torch.linalg.eigh(covariance)
    cov_x = azula.linalg.covariance.FullCovariance(basis, spectrum)
    return azula.guidance.JFPSDenoiser(
        denoiser, task.rows, _forward(task), cov_y, cov_x, iterations=iterations
    )


def _forward(task: Task) -> Callable[[Tensor], Tensor]:
    matrix = task.problem.matrix
    return lambda x: x @ matrix.T


def _run(task: Task, guide: Guide, sampler: str, grid: str, cost: int) -> Tensor:
    schedule = _schedule(task, grid)
    guided = guide(Exact(task, schedule), task)
    return _sample(task, SAMPLERS[sampler](guided, **_steps(task, cost)), schedule)


def _run_dps(task: Task, zeta: float, grid: str) -> Tensor:
    schedule = _schedule(task, grid)
    sampler = azula.guidance.DPSSampler(
        Exact(task, schedule), task.rows, _forward(task), zeta=zeta * math.sqrt(task.batch), **_steps(task, 2)
    )
    return _sample(task, sampler, schedule)


def _run_pgdm(task: Task, eta: float, grid: str) -> Tensor:
    schedule = _schedule(task, grid)
    inverse = torch.linalg.pinv(task.problem.matrix)
    sampler = azula.guidance.PGDMSampler(
        Exact(task, schedule), task.rows, _forward(task), lambda y: y @ inverse.T, eta=eta, **_steps(task, 2)
    )
    return _sample(task, sampler, schedule)


def _run_repaint(task: Task, iterations: int, eta: float, grid: str) -> Tensor:
    if task.problem.mask is None:
        raise Unsupported("RePaint fills masks")
    schedule = _schedule(task, grid)
    y = task.rows @ task.problem.matrix
    sampler = azula.guidance.RePaintSampler(
        Exact(task, schedule),
        y,
        task.problem.mask,
        iterations=iterations,
        eta=eta,
        **_steps(task, iterations),
    )
    return _sample(task, sampler, schedule)


def _run_tds(task: Task, spread: str, grid: str) -> Tensor:
    return torch.cat([_run_particles(part, task, spread, grid) for part in task.each()])


def _run_particles(part: Task, whole: Task, spread: str, grid: str) -> Tensor:
    schedule = _schedule(part, grid)
    s = part.problem.prior.sigma_data

    def twist(x: Tensor, ratio: Tensor) -> Tensor:
        """log N(y; A x, R + r^2), r^2 by the noise level alone or as for white data."""
        r = ratio**2 if spread == "ratio" else ratio**2 * s**2 / (ratio**2 + s**2)
        variance = part.problem.noise**2 + r
        return -0.5 * (part.rows - _forward(part)(x)) ** 2 / variance - 0.5 * variance.log()

    sampler = azula.guidance.TDSSampler(Exact(part, schedule), twist, **_steps(part, 2))
    x = _sample(part, sampler, schedule)
    whole.used = max(whole.used, part.used)
    return x


def _schedule(task: Task, grid: str) -> azula.noise.Schedule:
    own = task.problem.prior.schedule
    if grid == "own":
        return Cached(Own(own, 1e-3))
    signal = float(own.alpha(1.0))
    first = min(1e3, float(own.sigma(1.0)) / signal) if signal > 0 else 1e3
    return Cached(azula.noise.CosineSchedule(alpha_min=1.0 / first, sigma_min=1e-3))


def _steps(task: Task, cost: int) -> dict[str, Any]:
    steps = task.evaluations // cost
    if steps < 2:
        raise Unsupported(f"needs at least {2 * cost} evaluations")
    return {"steps": steps, "silent": True, "dtype": torch.float64}


def _sample(task: Task, sampler: azula.sample.Sampler, schedule: azula.noise.Schedule) -> Tensor:
    _, sigma = schedule(torch.ones((), dtype=torch.float64))
    alpha, _ = schedule(torch.zeros((), dtype=torch.float64))
    # azula draws from torch's global generator.
    with torch.random.fork_rng():
        torch.manual_seed(task.seed)
        x: Tensor = sampler(task.z().flatten(1) * float(sigma))
    return (x / float(alpha)).reshape(-1, *task.problem.prior.event)
