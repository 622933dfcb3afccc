r"""A Markov chain seen backward in time: its time-dependent rates, and the master equation that they solve.

Started from the law at the end, it leads back to the law at the beginning, whatever that was.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from unstir.generators.positive import positive_expm


class Reversal(NamedTuple):
    """The way back of a law.

    Attributes:
        times: (steps + 1,) from the end down to 0.
        laws: (steps + 1, K) the laws at those times, each at least 0 with sum 1.
        error: estimate of the total variation between the last law and the exact one, from half the steps.
    """

    times: Tensor
    laws: Tensor
    error: float


def reversed_rates(rates: Tensor, p: Tensor) -> Tensor:
    r"""Rates of the reversed chain at the moment when the law is p, (..., K, K), rows summing to 0.

    .. math:: \bar Q(x, y) = Q(y, x)\, p(y) / p(x)

    Source: Kelly 1979, theorem 1.12, for the stationary law; Anderson 1982 for diffusions and Conforti &
    Léonard 2022, theorem 5.7, for any law. States of probability 0 are never left.

    Args:
        rates: (K, K) entry (i, j) the rate from i to j.
        p: (..., K) at least 0.
    """
    flow = rates.mT * p[..., None, :]
    back = flow / torch.where(p > 0.0, p, torch.inf)[..., :, None]
    back = back - torch.diag_embed(back.diagonal(dim1=-2, dim2=-1))
    return back - torch.diag_embed(back.sum(-1))


def reverse_master(
    rates: Tensor, p_0: Tensor, t: float, *, steps: int = 200, start: Tensor | None = None
) -> Reversal:
    r"""Carry a law back from time t to 0 by the reversed chain of the process that began as ``p_0``.

    .. math:: \frac{dq}{d\tau} = q\, \bar Q(t - \tau),\qquad q(0) = p_t

    Each step is the exact exponential of the rates at its middle (Magnus of order 2: Iserles & Nørsett 1999),
    so q stays positive and of mass 1. Steps shrink towards 0 as its square, because rates into the support
    of ``p_0`` grow like 1 / time there. Order 2 in the number of steps.

    Args:
        rates: (K, K).
        p_0: (K,) the law at 0, at least 0, sum 1.
        t: above 0, in units of 1 / rate.
        steps: even, at least 2.
        start: (K,) a law to start from in place of p_t: any law goes where the data are, up to what the
            forward chain had forgotten.

    Raises:
        ValueError: for a time, steps or laws out of range.
    """
    if not t > 0.0 or steps < 2 or steps % 2:
        raise ValueError(f"reversal needs a time above 0 and an even number of steps, got {t} and {steps}")
    if p_0.shape != rates.shape[:1] or bool((p_0 < 0).any()) or abs(float(p_0.sum()) - 1.0) > 1e-6:
        raise ValueError(f"the law at 0 holds {len(rates)} numbers of at least 0 with sum 1")
    rates, p_0 = rates.double(), p_0.double() / p_0.double().sum()
    off = rates - rates.diagonal().diag()
    rates = off - off.sum(1).diag()
    fine = _march(rates, p_0, t, steps, start)
    coarse = _march(rates, p_0, t, steps // 2, start)
    error = float((fine[-1] - coarse[-1]).abs().sum()) / 2.0 / 3.0
    return Reversal(_grid(t, steps), fine, error)


def _grid(t: float, steps: int) -> Tensor:
    return t * (torch.arange(steps, -1, -1, dtype=torch.float64) / steps) ** 2


def _march(rates: Tensor, p_0: Tensor, t: float, steps: int, start: Tensor | None) -> Tensor:
    times = _grid(t, steps).tolist()
    middles = [(a + b) / 2.0 for a, b in pairwise(times)]
    forward = _forward(rates, p_0, [t, *middles])
    q = forward[0] if start is None else start.double()
    laws = [q]
    for (now, then), p in zip(pairwise(times), forward[1:], strict=True):
        q = positive_expm(reversed_rates(rates, p).mT, torch.tensor(now - then, dtype=torch.float64)) @ q
        laws.append(q)
    return torch.stack(laws)


def _forward(rates: Tensor, p_0: Tensor, times: list[float]) -> list[Tensor]:
    """p_0 exp(t Q) for each time, exactly and positive."""
    clock = torch.tensor(times, dtype=torch.float64)
    return [positive_expm(rates.mT, moment) @ p_0 for moment in clock]
