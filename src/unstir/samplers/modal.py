"""Runs of processes that blur: the loop and its solvers work in the basis of the modes.

There every mode is a process of its own with its own alpha, so a solver's coefficients are tensors of one
number a mode instead of floats. Only the denoiser sees entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unstir import noise
from unstir.denoisers import Denoiser, Posterior
from unstir.processes import Modes, Schedule
from unstir.samplers.coefficients import Coefficient, check_epsilon
from unstir.samplers.exponential import Coordinate, Points, Prediction, step_coefficients_of
from unstir.samplers.solve import Level, LevelClock, Problem

_TOGETHER = 2048
"""Rates whose weights are computed at once; their quadrature holds some thousand points each."""


def problem_for(
    denoiser: Denoiser,
    grid: Tensor,
    index: Tensor,
    seed: int,
    condition: Mapping[str, Tensor],
    x: Tensor,
) -> Problem:
    """The problem of a denoiser for states like ``x``: in modes if its schedule has any."""
    modes = denoiser.schedule.modes(x.shape[1:])
    if isinstance(modes, Modes):
        return ModalProblem(denoiser, grid, index, seed, condition, modes, x)
    return Problem(denoiser, grid, index, seed, condition)


class ModalProblem(Problem):
    """A problem whose states are modes, in float64 because coefficients of modes span many orders.

    Args:
        denoiser: as in `Problem`, like the next four.
        grid: times.
        index: numbers of the samples.
        seed: of the noise.
        condition: of the denoiser.
        modes: of the denoiser's schedule.
        like: a state, whose type and device the denoiser is given.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        grid: Tensor,
        index: Tensor,
        seed: int,
        condition: Mapping[str, Tensor],
        modes: Modes,
        like: Tensor,
    ) -> None:
        super().__init__(denoiser, grid, index, seed, condition)
        self._modes = modes
        self._dtype, self._device = like.dtype, like.device
        self._modal: dict[float, Level] = {}

    @property
    def process(self) -> Schedule:
        return self._modes

    def enter(self, x: Tensor) -> Tensor:
        return self._modes.analyse(x.double())

    def leave(self, x: Tensor) -> Tensor:
        return self._modes.synthesise(x).to(self._dtype)

    def level(self, t: float) -> Level:
        if t not in self._modal:
            alpha, sigma, log_snr, pace = (value.to(self._device) for value in _values(self._modes, t))
            self._modal[t] = Level(t, alpha, sigma, log_snr, super().level(t), pace)
        return self._modal[t]

    def evaluate(self, x: Tensor, t: float | Tensor) -> Posterior:
        """The posterior mean in modes; the variance of entries says nothing of single modes."""
        return Posterior(self.enter(super().evaluate(self.leave(x), t).mean))

    def normal(self, x: Tensor, step: int, stream: noise.Stream = noise.Stream.STEP) -> Tensor:
        return self._modes.analyse(super().normal(x, step, stream))

    def increment(self, x: Tensor, clock: LevelClock, here: Level, there: Level) -> Tensor:
        """The increment of the base's clock, in every mode as long as its own clock says.

        Its law is that of the step; with more steps the path converges to one that they share.
        """
        increment = super().increment(x, clock, here.reference, there.reference)
        a, b = clock(here), clock(there)
        if isinstance(a, float) or isinstance(b, float):
            return self._modes.analyse(increment)
        base = clock(there.reference) - clock(here.reference)
        return self.stretch(increment, b - a, torch.as_tensor(base, dtype=torch.float64).to(b.device)[None])

    def stretch(self, increment: Tensor, change: Tensor, of: Tensor) -> Tensor:
        of = of.reshape(-1, *[1] * (change.ndim - 1))
        # A sample that has arrived changes by nothing.
        return self._modes.analyse(increment) * torch.where(of != 0, change / of, 0.0).sqrt()

    def coefficients(
        self,
        prediction: Prediction,
        coordinate: Coordinate,
        eta: float,
        sigma_data: float,
        start: Level,
        end: Level,
        nodes: tuple[Level, ...],
    ) -> tuple[Coefficient, Sequence[Coefficient]]:
        times = tuple(node.t for node in nodes)
        step = _Step(prediction, coordinate, eta, sigma_data, start.t, end.t, times)
        keep, weights = _coefficients(self._modes, step)
        if prediction.name == "epsilon":
            check_epsilon(keep)
        return keep.to(self._device), [weight.to(self._device) for weight in weights]


@lru_cache(maxsize=128)
def _values(modes: Modes, t: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """alpha, sigma, log-SNR and its pace of every mode, (1, *event)."""
    return modes.alpha(t), modes.sigma(t), modes.log_snr(t), modes.pace(t)


class _Step(NamedTuple):
    """What an exponential step's coefficients depend on beside the modes."""

    prediction: Prediction
    coordinate: Coordinate
    eta: float
    sigma_data: float
    start: float
    end: float
    nodes: tuple[float, ...]


@lru_cache(maxsize=128)
def _coefficients(modes: Modes, step: _Step) -> tuple[Tensor, list[Tensor]]:
    """The factor of x and those of the predictions, each (1, *event)."""
    start, end, *nodes = (_points(modes, t) for t in (step.start, step.end, *step.nodes))
    anchors = np.stack([node.ell for node in nodes])
    keeps, weights = [], []
    for low in range(0, len(modes.rates), _TOGETHER):
        part = slice(low, low + _TOGETHER)
        keep, weight = step_coefficients_of(
            step.prediction,
            step.coordinate,
            step.eta,
            step.sigma_data,
            Points(start.alpha[part], start.sigma, start.ell[part]),
            Points(end.alpha[part], end.sigma, end.ell[part]),
            anchors[:, part],
        )
        keeps.append(keep)
        weights.append(np.pad(weight, ((0, len(nodes) - len(weight)), (0, 0))))
    rows = np.concatenate(weights, axis=1)
    used = rows[: 1 + max(np.flatnonzero(rows.any(axis=1)), default=-1)]
    return modes.spread(torch.from_numpy(np.concatenate(keeps))), [
        modes.spread(torch.from_numpy(row)) for row in used
    ]


def _points(modes: Modes, t: float) -> Points:
    """The noise levels of all rates at a time."""
    kept, schedule = modes.log_kept(t).numpy(), modes.schedule
    alpha, ell = float(schedule.alpha(t)), 0.5 * float(schedule.log_snr(t))
    return Points(alpha * np.exp(kept), float(schedule.sigma(t)), ell + kept)
