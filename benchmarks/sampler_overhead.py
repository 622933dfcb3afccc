"""What a step of a third-order sampler costs beyond the network: unstir, diffusers and azula in one run.

Run: python benchmarks/sampler_overhead.py [--rounds 30] [--out FILE.json]

The denoiser returns a constant at once; state (64, 1, 8, 8), 100 steps, one thread, alternating rounds; the
median over rounds of the time a step. unstir's includes its checks for values that are not finite.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import azula.denoise
import azula.noise
import azula.sample
import torch
from diffusers import DEISMultistepScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor

from unstir.denoisers import Denoiser, Posterior
from unstir.processes import VP
from unstir.samplers import Multistep, sample

STEPS, SHAPE = 100, (64, 1, 8, 8)


class Constant(Denoiser):
    """Returns zeros at once."""

    schedule = VP()

    def __init__(self) -> None:
        super().__init__()
        self.zeros = torch.zeros(SHAPE)

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        return Posterior(self.zeros)


class AzulaConstant(azula.denoise.Denoiser):
    """The same for azula."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = azula.noise.VPSchedule()
        self.zeros = torch.zeros(SHAPE)

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: Tensor) -> azula.denoise.Posterior:
        return azula.denoise.DiracPosterior(self.zeros)


def ours(solver: Multistep) -> Callable[[], None]:
    denoiser, grid, x = Constant(), solver.default_grid(VP(), STEPS), torch.randn(SHAPE)
    return lambda: sample(denoiser, x_T=x, solver=solver, grid=grid) and None


def diffusers_loop(kind: type) -> Callable[[], None]:
    scheduler, x, zeros = (
        kind(solver_order=3, prediction_type="sample"),
        torch.randn(SHAPE),
        torch.zeros(SHAPE),
    )

    def run() -> None:
        scheduler.set_timesteps(STEPS)
        state = x
        with torch.no_grad():
            for t in scheduler.timesteps:
                state = scheduler.step(zeros, t, state).prev_sample

    return run


def azula_loop(kind: type) -> Callable[[], None]:
    sampler, x = kind(AzulaConstant(), order=3, steps=STEPS, silent=True), torch.randn(SHAPE)
    return partial(_call, sampler, x)


def _call(sampler: azula.sample.Sampler, x: Tensor) -> None:
    sampler(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    runs = {
        "unstir multistep (order 3, corrector)": ours(Multistep()),
        "unstir dpmpp-3m (order 3)": ours(Multistep(3, 0, prediction="x0", coordinate="log-snr")),
        "diffusers DPM-Solver++ 3M": diffusers_loop(DPMSolverMultistepScheduler),
        "diffusers UniPC-3": diffusers_loop(UniPCMultistepScheduler),
        "diffusers DEIS-3": diffusers_loop(DEISMultistepScheduler),
        "azula vAB-3": azula_loop(azula.sample.vABSampler),
        "azula zEAB-3": azula_loop(azula.sample.zEABSampler),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(options.rounds + 2):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if turn >= 2:
                times[name].append((time.perf_counter() - started) / STEPS * 1e6)
    result = {name: statistics.median(values) for name, values in times.items()}
    for name, value in result.items():
        print(f"{name:40s} {value:8.1f} us a step (least {min(times[name]):.1f})")
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
