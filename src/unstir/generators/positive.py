"""The positive path: exponentials from sums and products of numbers that are at least 0, never a difference.

Small entries then keep their relative accuracy, so densities far out in their tails, pulled fronts and scores
are right where a spectral sum has nothing but round-off.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

_DEGREE = 24


def positive_expm(generator: Tensor, t: Tensor) -> Tensor:
    r"""exp(tA) of a rate matrix in mass form, by Taylor, squaring, and columns that sum to one.

    .. math:: e^{tA} = \left(e^{-ch} \sum_k \frac{(h (A + c))^k}{k!}\right)^{2^s},\quad h = t / 2^s

    with c h at most 1. What leaves the system goes to one more state, so that every column sums to 1 and is
    made to after each squaring: round-off neither creates nor destroys mass. The series ends with degree 24
    (relative 1e-25).

    Source: uniformisation, Jensen 1953; scaling and squaring of a nonnegative matrix: Xue & Ye 2013, sect. 3.

    Args:
        generator: (n, n), off the diagonal at least 0, columns that sum to at most 0.
        t: scalar, at least 0.

    Returns:
        (n, n), entries at least 0, columns that sum to at most 1.
    """
    n = len(generator)
    leak = (-generator.sum(0)).clamp(min=0.0)
    leak = torch.where(leak > 1e-13 * generator.diagonal().abs(), leak, 0.0 * leak)
    whole = torch.cat([torch.cat([generator, leak[None]]), torch.zeros(n + 1, 1).to(generator)], dim=1)
    rate = float(-generator.detach().diagonal().min())
    squarings = max(0, math.ceil(math.log2(max(rate * float(t.detach()), 1e-300))))
    h = t / 2.0**squarings
    eye = torch.eye(n + 1).to(generator)
    step = h * (whole + rate * eye)
    power = eye
    for k in range(_DEGREE, 0, -1):
        power = eye + step @ power / k
    power = power / power.sum(0)
    for _ in range(squarings):
        power = power @ power
        power = power / power.sum(0)
    return power[:n, :n]


def poisson_terms(rate: float, tolerance: float) -> int:
    """How many terms of the Poisson distribution leave less than ``tolerance`` in its tail."""
    from scipy.stats import poisson

    return int(poisson.isf(min(tolerance, 0.5), rate)) + 2


def uniformise(
    step: Callable[[Tensor], Tensor], rate: float, times: Tensor, u: Tensor, tolerance: float
) -> Tensor:
    r"""exp(tA) u for several times as a Poisson mixture of powers of the stochastic matrix I + A / rate.

    .. math:: e^{tA} u = \sum_k e^{-ct} \frac{(ct)^k}{k!} (I + A/c)^k u

    Source: Jensen 1953; Grassmann 1977, eq. 4. All terms are at least 0 where u is; the terms beyond
    ``tolerance`` are given back by normalising the weights, so mass is conserved.

    Args:
        step: u -> (I + A / rate) u, for u (N, B).
        rate: c, at least the largest exit rate.
        times: (T,) increasing or not, at least 0, float64.
        u: (N, B).
        tolerance: of the Poisson tails.

    Returns:
        (T, N, B).
    """
    from scipy.stats import poisson

    longest = float(times.detach().max()) * rate
    count = poisson_terms(longest, tolerance)
    k = torch.arange(count, dtype=torch.float64)
    if times.requires_grad:
        mean = (times * rate)[:, None]
        logs = torch.special.xlogy(k, mean) - mean - torch.lgamma(k + 1.0)
        weights = logs.exp()
    else:
        weights = torch.as_tensor(poisson.pmf(k.numpy(), (times.cpu().numpy() * rate)[:, None]))
    weights = weights / weights.sum(1, keepdim=True)
    weights = weights.to(u)
    track = weights.requires_grad or u.requires_grad
    result: Tensor = weights[:, 0, None, None] * u
    # Weights below 1e-30 add nothing; skipping them spares a pass over the result for each time.
    alive = (weights.detach() > 1e-30).cpu()
    for index in range(1, count):
        u = step(u)
        track = track or u.requires_grad
        now = alive[:, index]
        if track:
            result = result + weights[:, index, None, None] * u
        elif bool(now.all()):
            result += weights[:, index, None, None] * u
        elif bool(now.any()):
            result[now.to(result.device)] += weights[now.to(weights.device), index, None, None] * u
    return result
