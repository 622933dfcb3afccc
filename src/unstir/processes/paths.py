"""Exact paths of Markov jump processes, many independent chains at once.

`gillespie` draws every waiting time and every jump; `uniformised` draws the number of candidate jumps first.
Both give chain i of a seed the same path in any batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unstir import noise
from unstir.processes.jump import Jump

_CHUNK = 8192
"""Chains that go together: their numbers stay in the processor's cache."""


class Paths(NamedTuple):
    """Chains observed at given times.

    Attributes:
        times: (T,) float64.
        states: (T, *batch) int64, the state of each chain at each time.
        events: (*batch,) int64, jumps that each chain made until the last time.
    """

    times: Tensor
    states: Tensor
    events: Tensor


class RateTable:
    """The rates of a chain, laid out so that a jump is drawn in a time that does not grow with the degree.

    Rows of unequal rates use the alias method (Walker 1977; Vose 1991).

    Args:
        rates: (n, n) rates, [i, j] from i to j at least 0, the diagonal ignored; a dense or sparse tensor.

    Attributes:
        exit: (n,) total rate out of each state.
        even: whether the rates out of each state are all alike.

    Raises:
        ValueError: for a matrix that is not square, or rates that are negative or not finite.
    """

    def __init__(self, rates: Tensor) -> None:
        if rates.ndim != 2 or rates.shape[0] != rates.shape[1]:
            raise ValueError(f"rates form a square matrix, got shape {tuple(rates.shape)}")
        matrix = rates.detach().cpu().to_sparse().double().coalesce()
        rows, targets = matrix.indices()
        values = matrix.values()
        keep = (rows != targets) & (values != 0.0)
        rows, targets, values = rows[keep], targets[keep], values[keep]
        if not bool((torch.isfinite(values) & (values > 0.0)).all()):
            raise ValueError("rates of jumping are finite and at least 0 (only the diagonal may be negative)")
        n = len(rates)
        self.states = n
        self.degree = torch.bincount(rows, minlength=n)
        self.start = self.degree.cumsum(0) - self.degree
        self.exit = torch.zeros(n, dtype=torch.float64).index_add(0, rows, values)
        share = values * self.degree[rows] / self.exit[rows]
        self.even = bool(((share - 1.0).abs() < 1e-12).all())
        # A state without an exit points one past the end; it never gets there.
        self.target = torch.cat([targets, targets.new_zeros(1)])
        self.keep, self.alias = (self.target, self.target) if self.even else self._aliases(share)

    def _aliases(self, share: Tensor) -> tuple[Tensor, Tensor]:
        keep, alias = share.clone().tolist(), self.target.tolist()
        target = self.target.tolist()
        for first, count in zip(self.start.tolist(), self.degree.tolist(), strict=True):
            slots = range(first, first + count)
            small = [i for i in slots if keep[i] < 1.0]
            large = [i for i in slots if keep[i] >= 1.0]
            while small and large:
                low, high = small.pop(), large[-1]
                alias[low] = target[high]
                keep[high] -= 1.0 - keep[low]
                if keep[high] < 1.0:
                    small.append(large.pop())
            for i in (*small, *large):
                keep[i] = 1.0
        return torch.tensor([*keep, 1.0], dtype=torch.float64), torch.tensor(alias)


def gillespie(
    rates: Tensor | RateTable,
    start: Tensor,
    times: Tensor | Sequence[float],
    *,
    seed: int = 0,
    first_index: int = 0,
    index: Tensor | None = None,
) -> Paths:
    r"""The residence-time algorithm: wait an exponential time of rate q(x), jump to y with Q(x, y) / q(x).

    Every event draws its waiting time and its target; nothing is rejected. Time and target of an event come
    from one random word of 32 bits where the exits of each state are all alike, else from one each, so both
    are resolved to some 2^-30. Waiting times that reach past an observation are drawn anew from there, which
    changes no law (the exponential has no memory).

    Source: Bortz, Kalos & Lebowitz 1975; Gillespie 1977, section 3.

    Args:
        rates: (n, n), [i, j] the rate from i to j, or a prepared `RateTable`.
        start: (batch,) int64 states at time 0.
        times: (T,) increasing, at least 0, in units of 1 / rate: when to look.
        seed: any integer of at most 64 bits.
        first_index: number of the first chain within the seed.
        index: (batch,) numbers of the chains instead.

    Raises:
        ValueError: for times that do not increase from 0, or states that do not exist.
    """
    table = rates if isinstance(rates, RateTable) else RateTable(rates)
    times = checked_times(times)
    number = _number(start, index, first_index, table.states)
    gap = float(times[-1]) / len(times)
    expected = max(2.0, float(table.exit.max()) * gap)
    block = 2 ** min(4, math.ceil(math.log2(expected)))
    states = torch.empty((len(times), len(start)), dtype=torch.int64)
    events = torch.empty(len(start), dtype=torch.int64)
    for first in range(0, len(start), _CHUNK):
        part = slice(first, first + _CHUNK)
        states[:, part], events[part] = _wait_and_jump(
            table, start[part], times.tolist(), seed, number[part], block
        )
    return Paths(times, states, events)


def _wait_and_jump(
    table: RateTable, start: Tensor, times: list[float], seed: int, number: Tensor, block: int
) -> tuple[Tensor, Tensor]:
    """The states (T, batch) and events (batch,) of one chunk of chains."""
    x = start.clone()
    drawn, events = torch.zeros_like(x), torch.zeros_like(x)
    residence, degree = 1.0 / table.exit, table.degree.double()
    states = []
    began = 0.0
    for end in times:
        live = torch.arange(len(x))
        clock = torch.full((len(x),), began, dtype=torch.float64)
        while len(live):
            count = block if table.even else 2 * block
            u = _uniform_rows(count, seed, number[live], drawn[live])
            drawn[live] += 1
            y, made = x[live], torch.zeros_like(live)
            waits = [] if table.even else list(u[block:].log())
            for event in range(block):
                place = u[event] * degree.index_select(0, y)
                slot = place.long()
                share = place - slot
                slot += table.start.index_select(0, y)
                wait = share.log() if table.even else waits[event]
                clock = torch.addcmul(clock, wait, residence.index_select(0, y), value=-1.0)
                inside = clock <= end
                target = table.target.index_select(0, slot)
                if not table.even:
                    kept = share < table.keep.index_select(0, slot)
                    target = torch.where(kept, target, table.alias.index_select(0, slot))
                y = torch.where(inside, target, y)
                made += inside
            x[live] = y
            events[live] += made
            more = clock <= end
            live, clock = live[more], clock[more]
        states.append(x.clone())
        began = end
    return torch.stack(states), events


def _uniform_rows(count: int, seed: int, number: Tensor, step: Tensor) -> Tensor:
    """Uniform numbers with one row for each of ``count`` draws, (count, batch)."""
    drawn = noise.words(count, seed=seed, index=number, stream=noise.Stream.JUMP_PATH, step=step)
    return drawn.T.contiguous().double().add_(0.5).mul_(2.0**-32)


def uniformised(
    rates: Tensor,
    start: Tensor,
    times: Tensor | Sequence[float],
    *,
    seed: int = 0,
    first_index: int = 0,
    index: Tensor | None = None,
) -> Paths:
    r"""Paths by uniformisation: a Poisson number of candidate jumps, each a step of I + Q / q.

    The law of the states at the times is that of `gillespie`; candidates that stay where they are make no
    event. Better where the exit rates are alike, and where the number of jumps matters and not their times.

    Source: Jensen 1953; Hobolth & Stone 2009, section 2.3. Arguments and errors as in `gillespie`.
    """
    table = RateTable(rates)
    times = checked_times(times)
    number = _number(start, index, first_index, table.states)
    q = max(float(table.exit.max()), 1e-300)
    stochastic = rates.to_dense().double() if rates.layout != torch.strided else rates.double()
    stochastic = (stochastic - stochastic.diagonal().diag()) / q
    cumulative = (stochastic + (1.0 - stochastic.sum(1)).diag()).cumsum(1)
    x, events, states, candidate = start.clone(), torch.zeros_like(start), [], torch.zeros_like(start)
    for turn, gap in enumerate(times.diff(prepend=times.new_zeros(1)).tolist()):
        left = poisson_counts(q * gap, seed=seed, index=number, step=turn)
        while bool((left > 0).any()):
            live = (left > 0).nonzero()[:, 0]
            u = noise.uniform(
                (1,), seed=seed, index=number[live], stream=noise.Stream.JUMP_PATH, step=candidate[live]
            )
            row = cumulative[x[live]]
            y = torch.searchsorted(row, u * row[:, -1:], right=True)[:, 0].clamp(max=table.states - 1)
            events[live] += y != x[live]
            x[live] = y
            candidate[live] += 1
            left[live] -= 1
        states.append(x.clone())
    return Paths(times, torch.stack(states), events)


def poisson_counts(
    mean: float,
    *,
    seed: int,
    index: Tensor,
    step: int = 0,
    stream: noise.Stream = noise.Stream.JUMP_COUNT,
) -> Tensor:
    """Poisson numbers of one mean by inversion of the distribution function, resolved to 2^-53.

    Args:
        mean: at least 0; the table of the function grows like its square root.
        seed: as in `noise.uniform`, like the others.
        index: (batch,).
        step: which draw of the stream.
        stream: what the draw is for.

    Returns:
        (batch,) int64.
    """
    from scipy.stats import poisson

    if mean == 0.0:
        return torch.zeros_like(index)
    low = max(0, int(mean - 12.0 * math.sqrt(mean) - 40.0))
    high = int(mean + 12.0 * math.sqrt(mean) + 60.0)
    table = torch.as_tensor(poisson.cdf(range(low, high), mean)).to(index.device)
    word = noise.words(2, seed=seed, index=index, stream=stream, step=step)
    u = ((word[:, 0] << 21) + (word[:, 1] >> 11)).double().add_(0.5).mul_(2.0**-53)
    return low + torch.searchsorted(table, u).clamp(max=high - low - 1)


def simulate_jumps(
    process: Jump, x_0: Tensor, times: Tensor | Sequence[float], *, seed: int = 0, first_index: int = 0
) -> Paths:
    """Paths of a noising process in its own time: every entry of every sample by `gillespie`.

    Args:
        process: any jump process of few enough states for its K x K rates.
        x_0: (batch, *event) int64.
        times: (T,) increasing, in [0, 1], of finite B(t).
        seed: any integer of at most 64 bits.
        first_index: number of the first sample within the seed.

    Returns:
        `Paths` with states (T, batch, *event) and events (batch, *event).
    """
    moments = torch.as_tensor(times, dtype=torch.float64)
    size = math.prod(x_0.shape[1:])
    sample = torch.arange(first_index, first_index + len(x_0))
    index = (sample[:, None] * size + torch.arange(size)).reshape(-1)
    paths = gillespie(
        process.rate_matrix(), x_0.reshape(-1), process.clock.integral(moments), seed=seed, index=index
    )
    return Paths(moments, paths.states.reshape(-1, *x_0.shape), paths.events.reshape(x_0.shape))


def checked_times(times: Any) -> Tensor:
    """Times of observation as float64 (T,), after checking them.

    Raises:
        ValueError: unless they are finite, at least 0 and do not decrease.
    """
    moments: Tensor = torch.as_tensor(times, dtype=torch.float64)
    if moments.ndim != 1 or len(moments) == 0 or not bool(torch.isfinite(moments).all()):
        raise ValueError(f"times of observation are one axis of finite numbers, got {times}")
    if float(moments[0]) < 0.0 or bool((moments.diff() < 0.0).any()):
        raise ValueError("times of observation begin at 0 or later and do not decrease")
    return moments


def _number(start: Tensor, index: Tensor | None, first_index: int, states: int) -> Tensor:
    if start.ndim != 1 or bool((start < 0).any()) or bool((start >= states).any()):
        raise ValueError(f"chains start in states 0 to {states - 1}, one number each")
    return torch.arange(first_index, first_index + len(start)) if index is None else index
