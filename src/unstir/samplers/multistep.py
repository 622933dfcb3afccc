"""The exponential multistep family: polynomials of past predictions, integrated exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from unstir.samplers.exponential import (
    COORDINATES,
    PREDICTIONS,
    Prediction,
    exponential_weights,
)
from unstir.samplers.solve import Level, Problem, Solver, State
from unstir.settings import nearest

LARGEST_WEIGHTS = 12.0
"""A polynomial whose weights add up to more than this multiple of their sum loses its oldest node."""

WIDTH = 0.66
"""The default scale of the coordinate in units of the deviation of the data."""


@dataclass(frozen=True)
class _Memory:
    """Past predictions, newest first, and the step that the corrector will redo: its start and noise."""

    levels: tuple[Level, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    x: Tensor | None = None
    origin: Level | None = None
    noise: Tensor | None = None


class Multistep(Solver):
    r"""Exponential Adams methods in the log-SNR, from DDIM to stochastic correctors: one family.

    The reverse process is integrated exactly but for the network's prediction, which is replaced by the
    polynomial through its last ``order`` values (`exponential_weights` has the formula). The corrector then
    repeats the step with the newest value among ``corrector`` ones, when that has been computed anyway for
    the next step, so it is free (Zhao et al. 2023, UniPC, algorithm 1).

    Order of convergence (``convergence``): ``order`` without a corrector, else min(order + 1, corrector).
    The start keeps it: the first step is corrected with both predictions, which is enough for order 3;
    order 4 also evaluates its second level again and redoes its first two steps at once, one evaluation
    more in all. Steps from pure noise (alpha = 0) are as any other, but for epsilon of order 1.

    The last step, to data (sigma = 0), uses ``last`` predictions; with 1 it returns the posterior mean.

    The defaults have the least error per evaluation on random mixtures of Gaussians (see `grids.arctan`):
    v in the angle makes the flow of Gaussian data of deviation ``sigma_data`` about zero exact in one step
    (Salimans & Ho 2022, appendix D). x0 in the `correlation` is nearly as good and exact from two
    predictions on, whatever the mean. With x0 or epsilon, order 1 without corrector is DDIM.

    Polynomials whose weights would amplify errors of the predictions more than twelvefold (which happens on
    very uneven grids) lose their oldest nodes.

    With eta > 0 the step adds the exact noise of the interval, taken from a Brownian path indexed by its
    own clock: twice the steps follow the same path. Weak order 1 at least (Xue et al. 2023, theorem 5.1).

    Args:
        order: 1 to 4, predictions in the polynomial of the step.
        corrector: 0 for none, or 2 to 4 predictions in that of the correction; True is ``order`` or 2.
        prediction: what is interpolated, "x0", "epsilon" or "v" (a key of `PREDICTIONS`).
        coordinate: in which variable, a key of `COORDINATES`.
        eta: stochasticity, 0 (probability flow) to 1 (reverse SDE).
        last: 1 to 3, predictions in the step to data; above 1 only without noise.
        sigma_data: scale of the coordinate and of v; by default 0.66 times the deviation of the data that the
            denoiser says (parts of the data are narrower than all of it; see `arctan` for how it was chosen).

    Raises:
        ValueError: for a setting out of range or an unknown name.
    """

    def __init__(
        self,
        order: int = 3,
        corrector: int | bool = True,
        *,
        prediction: str = "v",
        coordinate: str = "angle",
        eta: float = 0.0,
        last: int | None = None,
        sigma_data: float | None = None,
    ) -> None:
        if order not in (1, 2, 3, 4):
            raise ValueError(f"the multistep solver has orders 1 to 4, got {order}")
        if corrector is True:
            corrector = max(order, 2)
        if corrector not in (0, 2, 3, 4):
            raise ValueError(f"the corrector takes 2 to 4 predictions, or 0 for none, got {corrector}")
        if prediction not in PREDICTIONS:
            raise ValueError(f"unknown prediction {prediction!r}; {nearest(prediction, list(PREDICTIONS))}")
        if coordinate not in COORDINATES:
            raise ValueError(f"unknown coordinate {coordinate!r}; {nearest(coordinate, list(COORDINATES))}")
        if not 0.0 <= eta <= 1.0:
            raise ValueError(f"eta lies between 0 (probability flow) and 1 (reverse SDE), got {eta}")
        if last is None:
            last = min(order, 3) if eta == 0 and coordinate != "log-snr" else 1
        if last not in (1, 2, 3) or (last > 1 and eta > 0):
            raise ValueError(f"the last step takes 1 to 3 predictions, and with noise 1, got {last}")
        if sigma_data is not None and not 0 < sigma_data < math.inf:
            raise ValueError(f"sigma_data is the standard deviation of the data, above 0; got {sigma_data}")
        self.order, self.corrector, self.eta, self.last = order, int(corrector), eta, last
        self.prediction: Prediction = PREDICTIONS[prediction]
        self.coordinate = COORDINATES[coordinate]
        self.sigma_data = sigma_data

    @property
    def convergence(self) -> int:
        """The order of convergence without noise."""
        return min(self.order + 1, self.corrector) if self.corrector else self.order

    def init(self, problem: Problem, x: Tensor, t: float) -> State:
        return State(problem, x, t, memory=_Memory())

    def step(self, state: State, s: float) -> State:
        problem, past = state.problem, state.memory
        here, there = problem.level(state.t), problem.level(s)
        x = state.x
        mean = problem.evaluate(x, here.t).mean
        outputs = (self._predict(problem, x, here, mean), *past.outputs)
        levels = (here, *past.levels)
        start = self.eta == 0 and 1 <= state.step < self.convergence - 1
        origin, origin_noise, base = past.origin, past.noise, past.x
        corrects = self.prediction.at_pure_noise or (origin is not None and origin.alpha > 0.0)
        if origin is not None and base is not None and corrects and (self.corrector or start):
            count = max(self.corrector, state.step + 1) if start else self.corrector
            x = self._integrate(problem, base, origin, here, levels[:count], outputs[:count], origin_noise)
            if start and state.step == 1 and self.convergence >= 4:
                mean = problem.evaluate(x, here.t).mean
                outputs = (self._predict(problem, x, here, mean), *past.outputs)
                x = self._integrate(problem, base, origin, here, levels[:2], outputs[:2], origin_noise)
        if there.sigma == 0 and self.last == 1:
            return state.advance(there.alpha * mean, s, past)
        noise = self._noise(problem, x, here, there)
        count = self.last if there.sigma == 0 else self.order
        x_s = self._integrate(problem, x, here, there, levels[:count], outputs[:count], noise)
        keep = max(self.order, self.corrector - 1, self.last)
        if start and state.step < self.convergence - 2 and base is not None:  # redo from the very start
            return state.advance(x_s, s, _Memory(levels[:keep], outputs[:keep], base, origin, origin_noise))
        return state.advance(x_s, s, _Memory(levels[:keep], outputs[:keep], x, here, noise))

    def _predict(self, problem: Problem, x: Tensor, level: Level, mean: Tensor) -> Tensor:
        """What is interpolated, from the state and its posterior mean."""
        from_x, from_mean = self.prediction.mixture(level.alpha, level.sigma, self._scale(problem))
        if from_x == 0.0:
            return mean if from_mean == 1.0 else mean * from_mean
        return (x * from_x).add_(mean, alpha=from_mean)

    def _scale(self, problem: Problem) -> float:
        return self.sigma_data or WIDTH * problem.sigma_data

    def _noise(self, problem: Problem, x: Tensor, here: Level, there: Level) -> Tensor | None:
        """The noise of a step, in units of y: H_s times an increment of the Brownian path."""
        if self.eta == 0.0 or there.sigma == 0.0:
            return None
        c = self._scale(problem)
        clock = [self.prediction.clock(level.half_log_snr, self.eta, c) for level in (here, there)]
        increment = problem.brownian(x).increment(min(clock), max(clock))
        return increment * self._h(there, c)

    def _h(self, level: Level, c: float) -> float:
        import numpy as np

        q = 1.0 + self.eta**2
        return math.exp(float(self.prediction.log_h(np.array([level.half_log_snr]), q, c)[0]))

    def _integrate(
        self,
        problem: Problem,
        x: Tensor,
        start: Level,
        end: Level,
        levels: Sequence[Level],
        outputs: Sequence[Tensor],
        noise: Tensor | None,
    ) -> Tensor:
        """x at ``end`` from x at ``start`` and the predictions, with the noise of the interval."""
        keep, weights = self._weights(start, end, tuple(level.half_log_snr for level in levels), problem)
        result = x * keep
        for weight, output in zip(weights, outputs, strict=False):
            result.add_(output, alpha=weight)  # of a fresh tensor
        if noise is not None:
            result.add_(noise, alpha=end.alpha)
        return result

    def _weights(
        self, start: Level, end: Level, nodes: tuple[float, ...], problem: Problem
    ) -> tuple[float, tuple[float, ...]]:
        """The factor of x at ``start``, and those of the predictions that are used, in x at ``end``."""
        prediction, c = self.prediction, self._scale(problem)
        pure = start.alpha == 0.0
        if pure and not prediction.at_pure_noise:
            prediction, nodes = PREDICTIONS["x0"], nodes[-1:]
        nodes = self._usable(nodes, end)
        while True:
            keep, *weights = exponential_weights(
                prediction, self.coordinate, c, self.eta, start.half_log_snr, end.half_log_snr, nodes
            )
            if len(nodes) == 1 or sum(map(abs, weights)) <= LARGEST_WEIGHTS * abs(sum(weights)):
                break
            nodes = nodes[:-1]
        scaled = tuple(end.alpha * weight for weight in weights)
        if end.sigma == 0.0 and prediction.name == "x0":
            return 0.0, scaled
        if pure:  # H grows like r^q, and y_t / H_t is x_t / sigma_t without noise, nothing with it
            return (end.alpha * self._h(end, c) / start.sigma if self.eta == 0.0 else 0.0), scaled
        return keep * end.alpha / start.alpha, scaled

    def _usable(self, nodes: tuple[float, ...], end: Level) -> tuple[float, ...]:
        """The newest nodes that are finite in the coordinate; one if the step ends where it has no end."""
        if self.coordinate in (COORDINATES["angle"], COORDINATES["correlation"]):
            return nodes
        finite = [node for node in nodes if math.isfinite(node)] or [nodes[0]]
        unending = end.sigma == 0.0 and self.coordinate is COORDINATES["log-snr"]
        return tuple(finite[:1] if unending else finite)
