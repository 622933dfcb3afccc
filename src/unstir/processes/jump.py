r"""Markov jump processes: how discrete structure dissolves, and the rates that bring it back.

Each entry of an event jumps between K states on its own, with rates beta(t) Q(i, j) from i to j, so that

.. math:: P(x_t = j | x_0 = i) = [e^{B(t) Q}]_{ij},\qquad B(t) = \int_0^t \beta .

A denoiser of discrete data gives p(x_0 | x_t) for each entry; `Jump.reverse_step` and `Jump.reverse_rates`
turn it into the way back. For a network that is the softmax of its logits, trained by cross-entropy on
(x_0, `Jump.sample` of x_0): nothing else of it is needed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from unstir import noise
from unstir.generators import rates as chain
from unstir.generators.positive import positive_expm
from unstir.processes.clock import Clock, LogLinear
from unstir.processes.shapes import as_float64


class Jump(ABC):
    """A Markov jump process of independent entries, each with states 0 ... K - 1.

    Times are scalars or (batch,), in [0, 1]. States x are int64 of shape (batch, *event); laws p are float64
    of shape (batch, *event, K), or (batch, ..., K) with any number of axes between.
    """

    states: int
    clock: Clock

    @abstractmethod
    def push(self, p: Tensor, s: Tensor | float, t: Tensor | float) -> Tensor:
        """The law at t > s of an entry with law ``p`` at s: p exp((B(t) - B(s)) Q), the shape of ``p``."""

    @abstractmethod
    def likelihood(self, x_t: Tensor, s: Tensor | float, t: Tensor | float) -> Tensor:
        """P(x_t | x_s = k) for every k, (batch, *event, K)."""

    @abstractmethod
    def rates_into(self, x: Tensor) -> Tensor:
        """Q(y, x) for every y, with 0 at y = x: the rates into the given states, (batch, *event, K)."""

    @abstractmethod
    def rate_matrix(self) -> Tensor:
        """Q, (K, K) float64, entry (i, j) the rate from i to j per unit of B; rows sum to 0."""

    @abstractmethod
    def prior(self) -> Tensor:
        """The law in the limit of large B, (K,), from which the way back starts."""

    @abstractmethod
    def sample(
        self, x_0: Tensor, t: Tensor | float, *, seed: int, index: Tensor, step: int = 0, s: float = 0.0
    ) -> Tensor:
        """Draw x_t given x_s = ``x_0`` (s = 0 unless told), int64 of the shape of ``x_0``.

        Args:
            x_0: (batch, *event) int64.
            t: scalar or (batch,).
            seed: any integer of at most 64 bits.
            index: (batch,) the samples' numbers within the seed.
            step: another number, another draw.
            s: time of the given state.
        """

    def score(self, p_0: Tensor, x_t: Tensor, t: Tensor | float) -> Tensor:
        r"""The concrete score p_t(x with this entry y) / p_t(x) for every y, (batch, *event, K).

        .. math:: \frac{p_t(y)}{p_t(x)} = \sum_{x_0} p(x_0 | x_t) \frac{q_t(y | x_0)}{q_t(x | x_0)}

        Source: Lou et al. 2024, eq. 5 (what their network learns); Campbell et al. 2022, proposition 3
        (several entries need the posterior of each entry only). Right for every y from which a rate leads
        to x; an unmasked token, say, tells nothing of the others. Mass of ``p_0`` on states that x_t rules
        out is dropped; if that is all of it, the states that remain count alike, so a token that is not
        masked stays (the carry-over of Sahoo et al. 2024, section 3.2.3).

        Args:
            p_0: (batch, *event, K) posterior p(x_0 | x_t) of each entry, as a denoiser gives it.
            x_t: (batch, *event).
            t: scalar or (batch,), above 0.
        """
        ratio = self._ratio(p_0, x_t, t)
        return self.push(ratio, 0.0, t)

    def reverse_rates(self, p_0: Tensor, x_t: Tensor, t: Tensor | float) -> Tensor:
        r"""Rates of the reversed process per unit of t, (batch, *event, K), with 0 at y = x_t.

        .. math:: \bar R_t(x \to y) = \beta(t) Q(y, x) \frac{p_t(y)}{p_t(x)}

        Source: Anderson 1982 and Kelly 1979, section 1.7, for chains; Campbell et al. 2022, eq. 8.
        Arguments as in `score`; infinite where the clock's rate is.
        """
        beta = _expand(self.clock.rate(t), x_t)[..., None]
        return beta * self.rates_into(x_t) * self.score(p_0, x_t, t)

    def reverse_step(self, p_0: Tensor, x_t: Tensor, s: Tensor | float, t: Tensor | float) -> Tensor:
        r"""P(x_s | x_t) of each entry for s < t, the posterior of the rest frozen, (batch, *event, K).

        .. math:: p(x_s | x_t) = \sum_{x_0} p(x_0 | x_t) \frac{q(x_t | x_s)\,q(x_s | x_0)}{q(x_t | x_0)}

        Source: Austin et al. 2021, eq. 3 and 4. Exact for one entry; entries are drawn independently.
        Arguments as in `score`.
        """
        p = self.likelihood(x_t, s, t) * self.push(self._ratio(p_0, x_t, t), 0.0, s)
        return p / p.sum(-1, keepdim=True)

    def _ratio(self, p_0: Tensor, x_t: Tensor, t: Tensor | float) -> Tensor:
        """p(x_0 | x_t) / q(x_t | x_0), 0 for the x_0 that cannot have become x_t, for normalised p_0."""
        likelihood = self.likelihood(x_t, 0.0, t)
        possible = torch.where(likelihood > 0.0, p_0.double(), 0.0)
        total = possible.sum(-1, keepdim=True)
        possible = torch.where(total > 0.0, possible, (likelihood > 0.0).double())
        total = possible.sum(-1, keepdim=True)
        return possible / (total * torch.where(likelihood > 0.0, likelihood, 1.0))


class Reset(Jump):
    r"""Jumps to a fresh draw from a fixed law, whatever the state: Q = 1 pi^T - I.

    .. math:: e^{BQ} = e^{-B} I + (1 - e^{-B})\,1 \pi^T

    `uniform` and `absorbing` are the two cases in use. Nothing of size K x K is ever made.
    Source: Austin et al. 2021, appendix A.2 (uniform and absorbing); Sahoo et al. 2024, eq. 3 (any pi).

    Args:
        law: (K,) the law of a reset, at least 0, normalised here.
        clock: the noise clock.

    Raises:
        ValueError: unless the law is one axis of at least two numbers of at least 0 with a positive sum.
    """

    def __init__(self, law: Tensor, clock: Clock | None = None) -> None:
        law = law.double()
        if law.ndim != 1 or len(law) < 2 or bool((law < 0).any()) or not 0.0 < float(law.sum()) < math.inf:
            raise ValueError("the law of a reset is one axis of two or more numbers >= 0 with a positive sum")
        self.law = law / law.sum()
        self.states = len(law)
        self.clock = LogLinear() if clock is None else clock

    def push(self, p: Tensor, s: Tensor | float, t: Tensor | float) -> Tensor:
        kept = _expand(torch.exp(-self.clock.passed(s, t)), p)
        return kept * p + (1.0 - kept) * p.sum(-1, keepdim=True) * self.law.to(p.device)

    def likelihood(self, x_t: Tensor, s: Tensor | float, t: Tensor | float) -> Tensor:
        passed = _expand(self.clock.passed(s, t), x_t).to(x_t.device)
        fresh = -torch.expm1(-passed) * self.law.to(x_t.device)[x_t]
        kept = torch.exp(-passed).expand(x_t.shape)
        full = fresh[..., None].expand(*x_t.shape, self.states).clone()
        return full.scatter_add_(-1, x_t[..., None], kept[..., None])

    def rates_into(self, x: Tensor) -> Tensor:
        full = self.law.to(x.device)[x][..., None].expand(*x.shape, self.states)
        return full.scatter(-1, x[..., None], 0.0)

    def rate_matrix(self) -> Tensor:
        return self.law.expand(self.states, -1) - torch.eye(self.states).to(self.law)

    def prior(self) -> Tensor:
        return self.law

    def sample(
        self, x_0: Tensor, t: Tensor | float, *, seed: int, index: Tensor, step: int = 0, s: float = 0.0
    ) -> Tensor:
        u = noise.uniform((2, *x_0.shape[1:]), seed=seed, index=index, stream=noise.Stream.JUMP, step=step)
        fresh = torch.searchsorted(self.law.cumsum(0).to(u.device), u[:, 1].contiguous(), right=True)
        fresh = fresh.clamp(max=self.states - 1)
        return torch.where(u[:, 0] < _expand(torch.exp(-self.clock.passed(s, t)), u[:, 0]), x_0, fresh)


def uniform(states: int, clock: Clock | None = None) -> Reset:
    """Resets to any of ``states`` alike: multinomial diffusion (Hoogeboom et al. 2021; Austin et al. 2021).

    Raises:
        ValueError: for fewer than 2 states.
    """
    return Reset(torch.ones(max(states, 0), dtype=torch.float64), clock)


def absorbing(states: int, mask: int = -1, clock: Clock | None = None) -> Reset:
    """Resets to one state, the mask, that is never left: masked diffusion (Austin et al. 2021).

    Args:
        states: K, the mask included.
        mask: the number of the mask state; by default the last.
        clock: the noise clock.

    Raises:
        ValueError: for a mask that is not one of the states.
    """
    if not -states <= mask < states or states < 2:
        raise ValueError(f"the mask is one of {states} states (at least 2), got {mask}")
    law = torch.zeros(states, dtype=torch.float64)
    law[mask] = 1.0
    return Reset(law, clock)


class RateMatrix(Jump):
    r"""Jumps with any rate matrix: exp(B Q) by uniformisation, positive and stochastic to round-off.

    .. math:: e^{BQ} = \left(\sum_n e^{-\lambda} \frac{\lambda^n}{n!} (I + Q / q)^n\right)^{2^m},\quad
              \lambda = q B / 2^m \le 1

    Source: Jensen 1953 (uniformisation); see ``generators.positive``.

    Args:
        rates: (K, K), entry (i, j) the rate from i to j; the diagonal is ignored and recomputed.
        clock: the noise clock; of finite B(1) unless the chain forgets where it began.

    Raises:
        ValueError: for a matrix that is not square and finite, or has negative rates.
    """

    def __init__(self, rates: Tensor, clock: Clock | None = None) -> None:
        chain(rates)
        off = rates.double() - rates.double().diagonal().diag()
        self.rates = off - off.sum(1).diag()
        self.states = len(rates)
        self.clock = LogLinear() if clock is None else clock

    def kernel(self, s: Tensor | float, t: Tensor | float) -> Tensor:
        """P(x_t = j | x_s = i), (K, K) or (batch, K, K)."""
        passed, which = torch.unique(self.clock.passed(s, t), return_inverse=True)
        each = [
            positive_expm(self.rates.mT, b).mT if bool(b.isfinite()) else self.prior().expand(self.states, -1)
            for b in passed
        ]
        return torch.stack(each)[which]

    def push(self, p: Tensor, s: Tensor | float, t: Tensor | float) -> Tensor:
        flat = p.reshape(len(p), -1, self.states) if p.ndim > 1 else p.reshape(1, 1, -1)
        return (flat @ self.kernel(s, t)).reshape(p.shape)

    def likelihood(self, x_t: Tensor, s: Tensor | float, t: Tensor | float) -> Tensor:
        columns = self.kernel(s, t).mT
        if columns.ndim == 2:
            return columns[x_t]
        sample = torch.arange(len(x_t), device=x_t.device).reshape(-1, *[1] * (x_t.ndim - 1))
        return columns[sample, x_t]

    def rates_into(self, x: Tensor) -> Tensor:
        return (self.rates - self.rates.diagonal().diag()).mT[x]

    def rate_matrix(self) -> Tensor:
        return self.rates

    def prior(self) -> Tensor:
        return chain(self.rates).stationary()

    def sample(
        self, x_0: Tensor, t: Tensor | float, *, seed: int, index: Tensor, step: int = 0, s: float = 0.0
    ) -> Tensor:
        rows = torch.nn.functional.one_hot(x_0, self.states).double()
        return categorical(self.push(rows, s, t), seed=seed, index=index, stream=noise.Stream.JUMP, step=step)


def categorical(
    p: Tensor, *, seed: int, index: Tensor, stream: noise.Stream, step: int | Tensor = 0
) -> Tensor:
    """One draw from each law by inversion of its cumulative sum, resolved to 2^-32.

    Args:
        p: (batch, *event, K) of at least 0, not necessarily normalised.
        seed: as in `noise.uniform`, like the others.
        index: (batch,).
        stream: what the draw is for.
        step: which draw of that stream.

    Returns:
        (batch, *event) int64.
    """
    u = noise.uniform(p.shape[1:-1], seed=seed, index=index, stream=stream, step=step)
    cumulative = p.double().cumsum(-1).contiguous()
    threshold = (u * cumulative[..., -1])[..., None].contiguous()
    return torch.searchsorted(cumulative, threshold, right=True)[..., 0].clamp(max=p.shape[-1] - 1)


def _expand(coefficient: Tensor, x: Tensor) -> Tensor:
    """A scalar or (batch,) float64 coefficient with as many axes as ``x`` of (batch, ...)."""
    coefficient = as_float64(coefficient).to(x.device)
    return coefficient if coefficient.ndim == 0 else coefficient.reshape(-1, *[1] * (x.ndim - 1))
