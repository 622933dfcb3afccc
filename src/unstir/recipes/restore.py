"""Restoring measurements with a trained model: posterior samples, and how sure they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.denoisers import Denoiser
from unstir.files import write_aside
from unstir.guidance import DPS, MMPS, LinearOperator, PiGDM
from unstir.guidance.ddrm import DDRM
from unstir.guidance.diffpir import DiffPIR
from unstir.guidance.particles import Twisted
from unstir.guidance.summary import summarise
from unstir.model import Condition, Model
from unstir.recipes.inverses import Prior, classical, prior_of
from unstir.recipes.measured import Measured, check_condition, check_noise, internal
from unstir.samplers import DDIM, Progress, Solver
from unstir.settings import nearest

Guide = Callable[[Denoiser, Tensor, LinearOperator, float], Denoiser]
MakeSolver = Callable[[Tensor, LinearOperator, float, int], Solver]


@dataclass(frozen=True)
class Method:
    """A way to sample from a posterior: a guided denoiser, or a solver that knows the measurement.

    Attributes:
        guide: (denoiser, y, operator, noise) -> the guided denoiser.
        solver: (y, operator, noise, samples of a measurement) -> the solver.
        sampler: what a guided denoiser is sampled with by default; null is the model's own.
        steps: by default; null is the model's own.
    """

    guide: Guide | None = None
    solver: MakeSolver | None = None
    sampler: str | Solver | None = None
    steps: int | None = None


METHODS: dict[str, Method] = {
    # A stochastic solver forgets the errors of guidance at high noise: it fits the measurement more closely
    # than a deterministic one of as many evaluations, and its deviations are right.
    "mmps": Method(MMPS, sampler="stochastic-heun", steps=10),
    "pigdm": Method(PiGDM, sampler="stochastic-heun", steps=10),
    "dps": Method(partial(DPS, weight=0.7), sampler="stochastic-heun", steps=20),
    "diffpir": Method(DiffPIR, sampler=DDIM(0.55)),
    "ddrm": Method(solver=lambda y, operator, noise, n: DDRM(y, operator, noise)),
    "particles": Method(solver=lambda y, operator, noise, n: Twisted(y, operator, noise, particles=n)),
}
"""The methods of ``unstir restore`` by name."""
DEFAULT = "mmps"


def default_method(operator: str) -> str:
    """The method with the best restored digits for an operator of `measured.OPERATORS`.

    For masks and downsampling that is DPS: what is missing has several modes, which the Gaussian of MMPS
    joins.
    """
    return "dps" if operator in ("mask", "downsample") else DEFAULT


def find_method(name: str) -> Method:
    """The method of that name.

    Raises:
        ValueError: for an unknown name, with the nearest one.
    """
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}; {nearest(name, list(METHODS))}")
    return METHODS[name]


@dataclass(frozen=True, eq=False)
class Restoration:
    """Restored measurements, all in data units.

    Attributes:
        shown: (m, *shape), the measurements as they were given, NaN where nothing was measured.
        samples: (m, n, *event), drawn from the posterior.
        mean: (m, *event).
        std: deviation of every entry, (m, *event).
        low: lower end of the interval of every entry, (m, *event).
        high: its upper end.
        covers: the share of the posterior that lies between them, see `guidance.summary.summarise`.
        residual: root mean square of y - A x over entries and samples, (m,).
        noise: what it should be near.
        inverses: classical inverses by name, (m, *event).
        nfe: evaluations of the network a sample.
        seconds: that the sampling took.
    """

    shown: Tensor
    samples: Tensor
    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor
    covers: float
    residual: Tensor
    noise: float
    inverses: dict[str, Tensor] = field(default_factory=dict)
    nfe: int = 0
    seconds: float = 0.0

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything as numpy arrays by name."""
        names = ("mean", "std", "low", "high", "samples", "residual")
        tensors = {name: getattr(self, name) for name in names} | {"measured": self.shown} | self.inverses
        arrays = {name: tensor.float().numpy() for name, tensor in tensors.items()}
        return arrays | {"noise": np.array(self.noise), "covers": np.array(self.covers)}

    def save(self, path: Path) -> None:
        """Write the arrays as .npz, whole.

        Raises:
            OSError: if it cannot be written.
        """
        write_aside(path, lambda aside: np.savez_compressed(aside, allow_pickle=False, **self.arrays()))


def restore(
    model: Model,
    parts: Sequence[Measured],
    noise: float,
    *,
    n: int = 39,
    method: str | Method | None = None,
    steps: int | None = None,
    solver: str | Solver | None = None,
    condition: Condition | None = None,
    level: float = 0.9,
    seed: int = 0,
    batch: int = 256,
    prior: Prior | None = None,
    heat_time: float | None = None,
    on_step: Callable[[Progress], None] | None = None,
) -> Restoration:
    """Sample from the posterior of every measurement, without other guidance.

    Args:
        model: of the data.
        parts: the measurements, those of one operator together.
        noise: their deviation in data units, above 0.
        n: samples of each, at least 2; from 19 on, intervals can cover 90 %.
        method: a name of `METHODS`, or a method; by default `default_method`.
        steps: of the solver; by default what suits the method.
        solver: likewise.
        condition: one for all, as in `Model.solve`; by default the unconditional model.
        level: the share of the posterior within the intervals.
        seed: sample j of measurement i is sample i * n + j of the seed.
        batch: samples at once; those of one measurement are not divided.
        prior: for the classical inverses; by default `prior_of` the model.
        heat_time: of heat flow, for its classical inverses.
        on_step: called after every step of every batch.

    Raises:
        ValueError: for noise that is not above 0, fewer than 2 samples, an unknown method, a solver for a
            method that is one itself, or as in `Model.solve`.
        FloatingPointError: if a state is not finite.
    """
    check_noise(noise)
    if not parts:
        raise ValueError("there is no measurement to restore")
    check_condition(model, condition)
    if n < 2:
        raise ValueError(f"a measurement takes at least 2 samples (a single one has no deviation), got {n}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"the level of an interval lies between 0 and 1, got {level}")
    way = method if isinstance(method, Method) else find_method(method or default_method(parts[0].name))
    if way.solver is not None and solver is not None:
        raise ValueError("this method is a solver itself and takes no other one; leave the solver out")
    if heat_time is None and parts[0].name == "heat":
        raise ValueError("the classical inverses of heat flow take its time; give heat_time")
    prior = prior or prior_of(model)
    started = time.monotonic()
    drawn: list[Tensor] = []
    residuals: list[Tensor] = []
    nfe, row = 0, 0
    for part in parts:
        y, operator, deviation = internal(model, part.y, part.operator, noise)
        at_once = max(1, batch // n)
        for some, given in zip(torch.split(y, at_once), torch.split(part.y, at_once), strict=True):
            guide, chosen = _ready(way, some.repeat_interleave(n, 0), operator, deviation, n)
            solution = model.solve(
                len(some) * n,
                steps=(None if solver else way.steps) if steps is None else steps,
                solver=chosen or solver or way.sampler,
                guide=guide,
                guidance=0.0,
                condition=condition,
                seed=seed,
                first_index=row * n,
                batch=len(some) * n,
                on_step=on_step,
            )
            x = solution.x.reshape(len(some), n, *operator.event)
            drawn.append(x)
            again = part.operator(solution.x).reshape(len(some), n, *part.operator.measured)
            residuals.append((again - given[:, None]).flatten(1).square().mean(1).sqrt())
            nfe, row = solution.nfe, row + len(some)
    seconds = time.monotonic() - started
    samples = torch.cat(drawn)
    summary = summarise(samples, level, groups=True)
    found = [classical(part, noise, prior, time=heat_time) for part in parts]
    return Restoration(
        shown=torch.cat([part.shown for part in parts]),
        samples=samples,
        mean=summary.mean,
        std=summary.std,
        low=summary.low,
        high=summary.high,
        covers=summary.covers,
        residual=torch.cat(residuals),
        noise=noise,
        inverses={name: torch.cat([inverse[name] for inverse in found]) for name in found[0]},
        nfe=nfe,
        seconds=seconds,
    )


def _ready(
    method: Method, y: Tensor, operator: LinearOperator, noise: float, n: int
) -> tuple[Callable[[Denoiser], Denoiser] | None, Solver | None]:
    """What `Model.solve` needs of a method: a guide or a solver."""
    guide = None if method.guide is None else partial(_guided, method.guide, y, operator, noise)
    solver = None if method.solver is None else method.solver(y, operator, noise, n)
    return guide, solver


def _guided(guide: Guide, y: Tensor, operator: LinearOperator, noise: float, denoiser: Denoiser) -> Denoiser:
    return guide(denoiser, y, operator, noise)


def outputs(out: Path | None, folder: Path, file: Path) -> list[Path]:
    """The files to write: a .png, an .npz, or both if no suffix is given.

    Args:
        out: as asked for; by default "restored-FILE" among the run's samples.
        folder: of the run.
        file: the first measurement.

    Raises:
        ValueError: for another suffix.
    """
    home = folder / "samples" if folder.is_dir() else Path()  # a model of the Hub has no folder here
    if out is None:
        out = home / f"restored-{file.stem.replace('.', '-')}"
    if out.suffix in (".png", ".npz"):
        return [out]
    if out.suffix:
        raise ValueError(
            f"a restoration is written as .png, .npz, or without a suffix as both, got {out.name!r}"
        )
    return [out.with_suffix(".npz"), out.with_suffix(".png")]
