"""The exponential multistep family: polynomials of past predictions, integrated exactly."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from unstir.samplers.coefficients import Coefficient, add_product, combine
from unstir.samplers.exponential import COORDINATES, PREDICTIONS, Prediction, growth
from unstir.samplers.solve import Level, Problem, Solver, State
from unstir.settings import nearest

WIDTH = 0.8
"""The default scale of the coordinate in units of the deviation of the data."""


class Scheme(NamedTuple):
    """How many predictions are used where.

    Attributes:
        order: in the step.
        corrector: in the correction; 0 for none.
        last: in the step to data.
        restart: whether a start of order 4 may take one evaluation more.
    """

    order: int
    corrector: int
    last: int
    restart: bool = True

    @property
    def convergence(self) -> int:
        """The order of convergence without noise."""
        full = min(self.order + 1, self.corrector) if self.corrector else self.order
        return full if self.restart else min(full, 3)

    @property
    def kept(self) -> int:
        """Predictions to remember."""
        return max(self.order, self.corrector - 1, self.last)


def scheme_for(steps: int) -> Scheme:
    """The default for a number of steps: higher orders pay when steps are small.

    Chosen on random mixtures of Gaussians and a network trained on digits (see `grids.arctan`): below 8 steps
    order 2, which learned predictions bear better; below 20 order 3; from 20 on order 4, whose start is of
    order 3 but begins in noise, where that hardly matters, and so takes no further evaluation.
    """
    if steps < 8:
        return Scheme(2, 3, 2)
    return Scheme(3, 3, 3) if steps < 20 else Scheme(4, 4, 3, restart=False)


class _Memory(NamedTuple):
    """Past predictions, newest first, and the step that the corrector will redo: its start and noise."""

    nodes: tuple[Level, ...] = ()
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

    Order of convergence (``convergence``): ``order`` without a corrector, else min(order + 1, corrector); 3
    for the default.
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
        order: 1 to 4, predictions in the polynomial of the step; by default `scheme_for` the number of steps,
            which also decides the corrector.
        corrector: 0 for none, or 2 to 4 predictions in that of the correction; True is ``order`` or 2.
        prediction: what is interpolated, "x0", "epsilon" or "v" (a key of `PREDICTIONS`).
        coordinate: in which variable, a key of `COORDINATES`.
        eta: stochasticity, 0 (probability flow) to 1 (reverse SDE).
        last: 1 to 3, predictions in the step to data; above 1 only without noise.
        sigma_data: scale of the coordinate and of v; by default 0.8 times the deviation of the data that the
            denoiser says (parts of the data are narrower than all of it; see `arctan` for how it was chosen).

    Raises:
        ValueError: for a setting out of range or an unknown name.
    """

    def __init__(
        self,
        order: int | None = None,
        corrector: int | bool = True,
        *,
        prediction: str = "v",
        coordinate: str = "angle",
        eta: float = 0.0,
        last: int | None = None,
        sigma_data: float | None = None,
    ) -> None:
        if order not in (None, 1, 2, 3, 4):
            raise ValueError(f"the multistep solver has orders 1 to 4, got {order}")
        if corrector is True:
            corrector = max(order or 2, 2)
        if corrector not in (0, 2, 3, 4):
            raise ValueError(f"the corrector takes 2 to 4 predictions, or 0 for none, got {corrector}")
        if prediction not in PREDICTIONS:
            raise ValueError(f"unknown prediction {prediction!r}; {nearest(prediction, list(PREDICTIONS))}")
        if coordinate not in COORDINATES:
            raise ValueError(f"unknown coordinate {coordinate!r}; {nearest(coordinate, list(COORDINATES))}")
        if not 0.0 <= eta <= 1.0:
            raise ValueError(f"eta lies between 0 (probability flow) and 1 (reverse SDE), got {eta}")
        if last is None:
            last = min(order or 3, 3) if eta == 0 and coordinate != "log-snr" else 1
        if last not in (1, 2, 3) or (last > 1 and eta > 0):
            raise ValueError(f"the last step takes 1 to 3 predictions, and with noise 1, got {last}")
        if sigma_data is not None and not 0 < sigma_data < math.inf:
            raise ValueError(f"sigma_data is the standard deviation of the data, above 0; got {sigma_data}")
        self.scheme = None if order is None else Scheme(order, int(corrector), last)
        self.eta, self.last = eta, last
        self.prediction: Prediction = PREDICTIONS[prediction]
        self.coordinate = COORDINATES[coordinate]
        self.sigma_data = sigma_data

    @property
    def convergence(self) -> int:
        """The order of convergence without noise."""
        return 3 if self.scheme is None else self.scheme.convergence

    def init(self, problem: Problem, x: Tensor, t: float) -> State:
        return State(problem, x, t, memory=_Memory())

    def step(self, state: State, s: float) -> State:
        problem, past, x = state.problem, state.memory, state.x
        here, there = problem.level(state.t), problem.level(s)
        c = self.sigma_data or WIDTH * problem.sigma_data
        mean = problem.evaluate(x, state.t).mean
        outputs = (self._predict(x, mean, here, c), *past.outputs)
        nodes = (here, *past.nodes)
        scheme = self.scheme or scheme_for(problem.steps)
        start = self.eta == 0.0 and 1 <= state.step < scheme.convergence - 1
        if (scheme.corrector or start) and self._redoes(past.origin):
            count = max(scheme.corrector, state.step + 1) if start else scheme.corrector
            x = self._integrate(problem, past.x, past.origin, here, nodes[:count], outputs, c, past.noise)
            if start and state.step == 1 and scheme.convergence >= 4:
                mean = problem.evaluate(x, state.t).mean
                outputs = (self._predict(x, mean, here, c), *past.outputs)
                x = self._integrate(problem, past.x, past.origin, here, nodes[:2], outputs, c, past.noise)
        last = min(scheme.last, self.last)
        clean = there.clean
        if clean and last == 1:
            return state.advance(there.alpha * mean, s, past)
        noise = None if clean or self.eta == 0.0 else self._noise(problem, x, here, there, c)
        count = last if clean else scheme.order
        x_s = self._integrate(problem, x, here, there, nodes[:count], outputs, c, noise)
        nodes, outputs = nodes[: scheme.kept], outputs[: scheme.kept]
        if start and state.step < scheme.convergence - 2:  # the next correction begins at the very start
            return state.advance(x_s, s, past._replace(nodes=nodes, outputs=outputs))
        return state.advance(x_s, s, _Memory(nodes, outputs, x, here, noise))

    def _redoes(self, origin: Level | None) -> bool:
        """Whether there is a step to redo with the newest prediction."""
        return origin is not None and (self.prediction.at_pure_noise or not origin.pure)

    def _predict(self, x: Tensor, mean: Tensor, here: Level, c: float) -> Tensor:
        """What is interpolated, from the state and its posterior mean."""
        from_x, from_mean = self.prediction.mixture(here.alpha, here.sigma, c)
        if isinstance(from_x, float) and from_x == 0.0:
            return mean if from_mean == 1.0 else mean * from_mean
        return add_product(x * from_x, mean, from_mean)

    def _noise(self, problem: Problem, x: Tensor, here: Level, there: Level, c: float) -> Tensor:
        """The noise of a step: alpha_s H_s times an increment of the Brownian path."""

        def clock(level: Level) -> Coefficient:
            return self.prediction.clock(level.half_log_snr, self.eta, c)

        rise = growth(self.prediction, there.half_log_snr, self.eta, c)
        return problem.increment(x, clock, here, there) * (rise * there.alpha)

    def _integrate(
        self,
        problem: Problem,
        x: Tensor,
        start: Level,
        end: Level,
        nodes: tuple[Level, ...],
        outputs: tuple[Tensor, ...],
        c: float,
        noise: Tensor | None,
    ) -> Tensor:
        """x at ``end`` from x at ``start`` and the predictions, with the noise of the interval."""
        keep, weights = problem.coefficients(self.prediction, self.coordinate, self.eta, c, start, end, nodes)
        result = combine(x, keep, weights, outputs)
        return result if noise is None else result.add_(noise)
