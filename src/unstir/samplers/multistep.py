"""The exponential multistep solver: polynomials of past denoiser outputs, integrated exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

from unstir.samplers.solve import Level, Problem, Solver, State


@dataclass(frozen=True)
class _Memory:
    """Past outputs, newest first, as (half log-SNR, mean); and the step that the corrector will redo."""

    outputs: tuple[tuple[float, Tensor], ...] = ()
    x: Tensor | None = None
    level: Level | None = None


class Multistep(Solver):
    r"""Exponential Adams-Bashforth-Moulton in the half log-SNR l = log(alpha / sigma).

    The probability flow is, exactly,

    .. math:: x_s = \frac{\sigma_s}{\sigma_t} x_t
              + \sigma_s \int_{l_t}^{l_s} e^{l}\, E[x_0 | x_l]\, dl ,

    (Lu et al. 2022b, DPM-Solver++, eq. 8). The posterior mean is replaced by the polynomial through its
    last ``order`` values and integrated exactly on any grid, as DEIS does for epsilon (Zhang & Chen 2023,
    eq. 15). The corrector repeats the step with the newest value included when that has been computed
    anyway, so it is free (Zhao et al. 2023, UniPC, algorithm 1).

    Order of convergence: ``order`` without and, with the corrector, ``order + 1`` but at most 3 (the
    start is of order 1 and always corrected for order 3, which keeps the third order). Order 1 without
    corrector is DDIM. Steps that touch pure noise (alpha = 0) or data (sigma = 0) are of order 1: the
    step to data returns the posterior mean.

    Args:
        order: 1 to 3, number of outputs in the polynomial.
        corrector: use the corrector.

    Raises:
        ValueError: for another order.
    """

    def __init__(self, order: int = 2, corrector: bool = True) -> None:
        if order not in (1, 2, 3):
            raise ValueError(f"the multistep solver has orders 1 to 3, got {order}")
        self.order = order
        self.corrector = corrector

    def init(self, problem: Problem, x: Tensor, t: float) -> State:
        return State(problem, x, t, memory=_Memory())

    def step(self, state: State, s: float) -> State:
        problem, past = state.problem, state.memory
        here, there = problem.level(state.t), problem.level(s)
        mean = problem.evaluate(state.x, state.t).mean
        outputs = ((here.half_log_snr, mean), *past.outputs)
        x = state.x
        redo = self.corrector or (self.order == 3 and state.step == 1)
        if redo and past.x is not None and past.level is not None:
            x = _integrate(past.x, past.level, here, outputs[: self.order + 1])
        x_s = _integrate(x, here, there, outputs[: self.order])
        return state.advance(x_s, s, _Memory(outputs[: self.order], x, here))


def _integrate(x: Tensor, start: Level, end: Level, outputs: tuple[tuple[float, Tensor], ...]) -> Tensor:
    """The exponential integral from ``start`` to ``end`` with the polynomial through ``outputs``."""
    if end.sigma == 0.0:
        return end.alpha * outputs[0][1]
    usable = [pair for pair in outputs if math.isfinite(pair[0])] or [outputs[0]]
    if not math.isfinite(start.half_log_snr):
        usable = usable[:1]
    h = end.half_log_snr - start.half_log_snr
    weights = adams_weights(h, tuple(node - start.half_log_snr for node, _ in usable))
    result = x * (end.sigma / start.sigma)
    for weight, (_, mean) in zip(weights, usable, strict=True):
        result.add_(mean, alpha=end.alpha * weight)  # of a fresh tensor
    return result


@lru_cache(maxsize=4096)
def adams_weights(h: float, nodes: tuple[float, ...]) -> tuple[float, ...]:
    r"""Weights w_j with :math:`\int_0^h e^{u - h} p(u) du = \sum_j w_j p(nodes_j)` for polynomials p.

    Exact for degrees below the number of nodes, up to rounding.

    Args:
        h: length of the step, above 0; inf allowed for a single node.
        nodes: distinct positions relative to the start of the step.
    """
    if len(nodes) == 1:
        return (-math.expm1(-h),)
    moments = _moments(h, len(nodes))
    scaled = [node / h for node in nodes]
    weights = []
    for j, centre in enumerate(scaled):
        # The Lagrange polynomial of node j in powers of u / h, multiplied out factor by factor.
        powers, denominator = [1.0], 1.0
        for i, node in enumerate(scaled):
            if i != j:
                low, high = [-node * p for p in powers], powers
                powers = [a + b for a, b in zip([*low, 0.0], [0.0, *high], strict=True)]
                denominator *= centre - node
        weights.append(sum(p * m for p, m in zip(powers, moments, strict=True)) / denominator)
    return tuple(weights)


def _moments(h: float, count: int) -> list[float]:
    r"""m_k = \int_0^h e^{u - h} (u / h)^k du for k < count, to full precision at any h > 0."""
    moments = [-math.expm1(-h)]
    if h > 2.0:
        for k in range(1, count):
            moments.append(1.0 - k * moments[-1] / h)
        return moments
    for k in range(1, count):
        term = total = h / (k + 1)
        n = 1
        while abs(term) > 1e-17 * total:
            term *= -h / (k + n + 1)
            total += term
            n += 1
        moments.append(total)
    return moments
