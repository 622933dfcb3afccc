"""A time grid made for one model and one number of evaluations: the least error on noise of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unstir.denoisers import Denoiser
from unstir.processes import Schedule
from unstir.samplers.grids import arctan, make_grid
from unstir.samplers.multistep import WIDTH, Multistep
from unstir.samplers.solve import sample

Array = NDArray[np.float64]

CANDIDATES: tuple[tuple[int, int, int], ...] = ((2, 2, 2), (2, 3, 2), (3, 3, 3), (4, 3, 3))
"""The (order, corrector, last) that are tried; all take one evaluation a step."""


@dataclass(frozen=True)
class TunedGrid:
    """A grid and the member of the multistep family that goes with it.

    Attributes:
        levels: sigma/alpha after the first time and before data, falling, (evaluations - 1,).
        order: as in `Multistep`.
        corrector: as in `Multistep`.
        last: as in `Multistep`.
        sigma_data: as in `Multistep`.
    """

    levels: tuple[float, ...]
    order: int
    corrector: int
    last: int
    sigma_data: float

    @property
    def evaluations(self) -> int:
        """Evaluations of the denoiser, and steps of the grid."""
        return len(self.levels) + 1

    def solver(self) -> Multistep:
        """The solver to use."""
        return Multistep(self.order, self.corrector, last=self.last, sigma_data=self.sigma_data)

    def grid(self, schedule: Schedule) -> Tensor:
        """The times, from 1 to 0, (evaluations + 1,) float64."""
        ratios = torch.tensor(self.levels, dtype=torch.float64)
        inner = schedule.time(-2.0 * ratios.log())
        return torch.cat([inner.new_ones(1), inner, inner.new_zeros(1)])


def fine_reference(
    denoiser: Denoiser, x_T: Tensor, condition: Mapping[str, Tensor] | None = None, *, steps: int = 150
) -> Tensor:
    """The probability flow's end from ``x_T`` by the third-order solver with many steps, (batch, *event)."""
    return sample(denoiser, x_T=x_T, steps=steps, solver=Multistep(3), condition=condition).x


def rms(x: Tensor, reference: Tensor) -> float:
    """Root mean square difference of an entry."""
    return float((x.double() - reference.double()).square().mean().sqrt())


def tune(
    denoiser: Denoiser,
    x_T: Tensor,
    evaluations: int,
    *,
    reference: Tensor | None = None,
    condition: Mapping[str, Tensor] | None = None,
    rounds: int = 12,
    on_round: Callable[[float], None] | None = None,
) -> TunedGrid:
    r"""The levels, order and coordinate with the least error of the final state.

    The error against a fine reference is minimised by the method of Gauss and Newton in a trust region
    (Branch, Coleman & Li 1999, by scipy), with a loss that grows linearly for large errors, so that the few
    samples which end in another mode do not decide, and with derivatives by differences: over the
    logarithm of the first level, those of the gaps in log(sigma/alpha), and that of sigma_data. It
    starts from the default grid for each of `CANDIDATES`, and goes on with the two best.

    Args:
        denoiser: any denoiser.
        x_T: (batch, *event), noise at t = 1 that no one will judge the result by.
        evaluations: at least 2.
        reference: (batch, *event), the exact ends of the flow; by default `fine_reference`.
        condition: (batch, ...) tensors by name.
        rounds: iterations for each candidate.
        on_round: told the error of every run that is an improvement.

    Raises:
        ValueError: for fewer than 2 evaluations or 1 round.
        FloatingPointError: if the reference is not finite.
    """
    if evaluations < 2:
        raise ValueError(f"a grid has something to tune from 2 evaluations on, got {evaluations}")
    if rounds < 1:
        raise ValueError(f"tuning takes at least 1 round, got {rounds}")
    if reference is None:
        reference = fine_reference(denoiser, x_T, condition)
    search = _Search(denoiser, x_T, reference, condition, on_round)
    start = _default_levels(denoiser, evaluations)
    first = [
        TunedGrid(start, order, corrector, last, WIDTH * denoiser.sigma_data)
        for order, corrector, last in CANDIDATES
    ]
    best = sorted(first, key=search.error)[:2]
    return min((*best, *(search.improve(grid, rounds) for grid in best)), key=search.error)


def _default_levels(denoiser: Denoiser, evaluations: int) -> tuple[float, ...]:
    times = make_grid(arctan, denoiser.schedule, evaluations, denoiser.sigma_data)
    ratios = torch.exp(-0.5 * denoiser.schedule.log_snr(times[1:-1]))
    return tuple(ratios.tolist())


class _Search:
    """The error as a function of the parameters of a grid."""

    def __init__(
        self,
        denoiser: Denoiser,
        x_T: Tensor,
        reference: Tensor,
        condition: Mapping[str, Tensor] | None,
        on_round: Callable[[float], None] | None,
    ) -> None:
        self.denoiser, self.x_T, self.condition = denoiser, x_T, condition
        self.reference, self.on_round = reference.double(), on_round
        self.top = -0.5 * float(denoiser.schedule.log_snr(1.0))
        self.least = math.inf

    def residual(self, grid: TunedGrid) -> Array:
        """The errors of all entries; large ones where a run fails."""
        try:
            times = grid.grid(self.denoiser.schedule)
            x = sample(
                self.denoiser, x_T=self.x_T, grid=times, solver=grid.solver(), condition=self.condition
            ).x
        except (FloatingPointError, ValueError):
            return np.full(self.reference.numel(), 1e3)
        difference: Array = (x.double() - self.reference).flatten().cpu().numpy()
        error = float(np.sqrt(np.mean(difference**2)))
        if error < self.least:
            self.least = error
            if self.on_round is not None:
                self.on_round(error)
        return difference

    def error(self, grid: TunedGrid) -> float:
        """Root mean square error of an entry."""
        return float(np.sqrt(np.mean(self.residual(grid) ** 2)))

    def improve(self, grid: TunedGrid, rounds: int) -> TunedGrid:
        from scipy.optimize import least_squares

        start = _to_parameters(grid)
        step = 1e-5 if self.x_T.dtype == torch.float64 else 1e-2
        found = least_squares(
            lambda p: self.residual(self._from_parameters(grid, p)),
            start,
            diff_step=step / np.maximum(1.0, np.abs(start)),
            max_nfev=rounds,
            loss="soft_l1",
            f_scale=max(float(np.median(np.abs(self.residual(grid)))), 1e-12),
            bounds=(start - 2.0, start + 2.0),
        )
        return self._from_parameters(grid, found.x)

    def _from_parameters(self, grid: TunedGrid, p: Sequence[float] | Array) -> TunedGrid:
        first = min(float(p[0]), self.top - 0.02)
        logs = first - np.concatenate([[0.0], np.cumsum(np.exp(p[1:-1]))])
        return replace(grid, levels=tuple(np.exp(logs).tolist()), sigma_data=math.exp(float(p[-1])))


def _to_parameters(grid: TunedGrid) -> Array:
    logs = np.log(grid.levels)
    return np.concatenate([logs[:1], np.log(-np.diff(logs)), [math.log(grid.sigma_data)]])
