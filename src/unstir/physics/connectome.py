"""Fits of the network diffusion model to regional values: where it began, how far it went, or chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unstir.physics.connectome_data import (
    canonical,
    match_regions,
    read_connectome,
    read_values,
    side_and_rest,
)
from unstir.physics.connectome_null import resample, rewire, shuffle, shuffle_strengths
from unstir.physics.connectome_result import ConnectomeFit, Seed
from unstir.physics.connectome_statistics import bootstrap_times, correlations, largest, p_value, ranks_of
from unstir.physics.network_diffusion import NetworkDiffusion
from unstir.settings import nearest
from unstir.spaces import Graph

_TIMES = 50
_FINE = 600
_LEAST = 6
_FRESH = 0.5
"""Share of new edges from which a rewired network counts as another one."""


def fit_connectome(
    matrix: Path,
    values: Path,
    *,
    column: str | None = None,
    seed_region: str | None = None,
    labels: Path | None = None,
    laplacian: str = "normalised",
    lowered: bool = False,
    bilateral: bool = False,
    level: float = 0.95,
    seed: int = 0,
) -> ConnectomeFit:
    """Fit the network diffusion model to a table of regional values.

    Regions are matched by name where both tables have names, in any order and spelling
    (`connectome_data.canonical`); otherwise the order must be the same.

    Args:
        matrix: square table of connection strengths, see `read_connectome`.
        values: table with a number for each region, see `read_values`.
        column: of ``values``.
        seed_region: a region, or several joined by '+'; without it all are tried.
        labels: names of the matrix's regions, if it has none.
        laplacian: 'normalised', 'combinatorial' or 'random-walk'.
        lowered: whether low values mean more disease, as cortical thickness and its effect sizes do.
        bilateral: try pairs of the same region on both sides instead of single regions.
        level: of the intervals.
        seed: of the random numbers.

    Raises:
        ValueError: in one sentence for tables or settings that cannot be used.
        OSError: if a file cannot be read.
    """
    graph = read_connectome(Path(matrix), labels)
    table = read_values(Path(values), column)
    named = labels is not None or graph.names != [str(i) for i in range(graph.shape[0])]
    if table.regions is not None and named:
        place, unmatched = match_regions(graph.names, table.regions)
    elif len(table.values) == graph.shape[0]:
        place, unmatched = list(range(graph.shape[0])), []
    else:
        raise ValueError(
            f"{values} has {len(table.values)} values for the {graph.shape[0]} regions of {matrix}; give "
            "both tables the regions' names (--labels for the matrix) so that they can be matched"
        )
    measured = torch.full(graph.shape, torch.nan, dtype=torch.float64)
    for index, value in zip(place, table.values.tolist(), strict=True):
        if index >= 0:
            measured[index] = -value if lowered else value
    return fit_values(
        graph,
        measured,
        seed_region=seed_region,
        laplacian=laplacian,
        bilateral=bilateral,
        level=level,
        seed=seed,
        column=f"-{table.name}" if lowered else table.name,
        unmatched=unmatched,
    )


def fit_values(
    graph: Graph,
    measured: Tensor,
    *,
    seed_region: str | None = None,
    laplacian: str = "normalised",
    bilateral: bool = False,
    level: float = 0.95,
    seed: int = 0,
    column: str = "value",
    unmatched: Sequence[str] = (),
    shuffles: int = 1000,
    networks: int = 100,
    bootstraps: int = 500,
) -> ConnectomeFit:
    """`fit_connectome` for a graph and a number for each node, (n,), NaN where nothing was measured.

    Args beyond those of `fit_connectome`:
        unmatched: measured regions without a node, to report.
        shuffles: relabellings of the values, at least 1.
        networks: rewired networks, at least 1.
        bootstraps: samples of the regions, at least 1.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"the level of an interval is between 0 and 1 (0.95), got {level}")
    known = measured.isfinite()
    if int(known.sum()) < _LEAST:
        raise ValueError(
            f"{int(known.sum())} regions have both a place in the network and a value, but at least "
            f"{_LEAST} are needed; check the names of the regions"
        )
    model, y = NetworkDiffusion(graph, laplacian), measured[known].double()
    if float(y.std()) == 0.0:
        raise ValueError(f"{column} is the same in every region, so no pattern can be fitted")
    every = _candidates(graph.names, bilateral)
    chosen = _named_seed(graph.names, seed_region) if seed_region is not None else None
    if chosen is not None and chosen not in every:
        every = [*every, chosen]
    times = model.times(_TIMES)
    states = model.seeded(every, times)[..., known]
    r = correlations(states, y)
    which = every.index(chosen) if chosen is not None else int(r.amax(0).argmax())
    mine = slice(which, which + 1) if chosen is not None else slice(None)

    counts = torch.nn.functional.one_hot(resample(len(y), bootstraps, seed), len(y)).sum(1).double()
    boot_times, shares = bootstrap_times(states, y, counts, times, which, level)
    seeds = _ranked(graph.names, every, r, times, shares)
    name = _seed_name(graph.names, every[which])
    best, profile, curve = best_time(model, every[which], y, known, level)
    state = model.seeded([every[which]], torch.tensor([best], dtype=torch.float64))[0, 0, known]
    elsewhere = torch.tensor([i not in every[which] for i in known.nonzero()[:, 0].tolist()])
    chance = _against_chance(
        graph, laplacian, every[mine], states[:, mine], y, known, seed, shuffles, networks
    )
    component = graph.component
    return ConnectomeFit(
        column=column,
        kind=laplacian,
        level=level,
        seed=next(s for s in seeds if s.name == name),
        given=chosen is not None,
        rank=1 + [s.name for s in seeds].index(name),
        seeds=tuple(seeds),
        beta_t=best,
        profile=profile,
        bootstrap=boot_times,
        pearson=float(correlations(state[None], y)),
        pearson_elsewhere=float(correlations(state[None, elsewhere], y[elsewhere])),
        spearman=float(correlations(ranks_of(state)[None], ranks_of(y))),
        **chance,
        regions=tuple(name for name, has in zip(graph.names, known.tolist(), strict=True) if has),
        predicted=_scaled(state, y),
        measured=y,
        curve=curve,
        components=graph.components,
        unreached=int((component != component[every[which][0]]).sum()),
        unmatched=tuple(unmatched),
    )


def _against_chance(
    graph: Graph,
    kind: str,
    seeds: Sequence[tuple[int, ...]],
    states: Tensor,
    y: Tensor,
    known: Tensor,
    seed: int,
    shuffles: int,
    networks: int,
) -> dict[str, Any]:
    """The fields of the result that compare the largest correlations with those of chance."""
    ranks, rank_y = ranks_of(states), ranks_of(y)
    observed, observed_ranks = float(correlations(states, y).max()), float(correlations(ranks, rank_y).max())
    how, others = _other_networks(graph, networks, seed)
    rewired = []
    for other in others:
        model = NetworkDiffusion(other, kind)
        rewired.append(correlations(model.seeded(seeds, model.times(_TIMES))[..., known], y).max())
    return {
        "spearman_largest": observed_ranks,
        "p_shuffled": p_value(largest(states, shuffle(y, shuffles, seed)), observed),
        "p_shuffled_spearman": p_value(largest(ranks, shuffle(rank_y, shuffles, seed)), observed_ranks),
        "p_rewired": p_value(torch.stack(rewired), observed),
        "rewired": how,
    }


def _other_networks(graph: Graph, count: int, seed: int) -> tuple[str, Iterator[Graph]]:
    """How random networks are made from this one, and ``count`` of them."""
    adjacency = graph.adjacency.to_dense()
    if rewire(adjacency, seed=seed, index=0)[1] > _FRESH:
        made = (rewire(adjacency, seed=seed, index=index)[0] for index in range(count))
        return "networks rewired with every degree kept", map(Graph, made)
    shuffled = (shuffle_strengths(adjacency, seed=seed, index=index) for index in range(count))
    return "networks with shuffled strengths (this one is too full to be rewired)", map(Graph, shuffled)


def best_time(
    model: NetworkDiffusion, seed: tuple[int, ...], y: Tensor, known: Tensor, level: float
) -> tuple[float, tuple[float | None, float | None], Tensor]:
    """Best beta t, the times at which an F test does not reject, and the correlation over time.

    Prediction and measurement are joined by a line, so the residual sum of squares is (1 - r^2) of the
    total one, and three numbers are fitted. Source: Seber & Wild 2003, "Nonlinear regression", section 5.3.

    Args:
        model: of the spreading.
        seed: nodes that hold one unit together.
        y: measurements of the nodes in ``known``.
        known: (n,) bool.
        level: of the interval.

    Returns:
        beta t; the ends of its interval, None where it is open; (2, T) times and correlations.
    """
    from scipy.stats import f

    times = model.times(_FINE)
    r = correlations(model.seeded([seed], times)[:, 0, known], y)
    best, free = int(r.argmax()), len(y) - 3
    rest = 1.0 - r.clamp(min=0.0) ** 2
    limit = float(rest[best]) * (1.0 + float(f.ppf(level, 1, free)) / free)
    ends = [_crossing(times, rest, best, limit, step) for step in (-1, 1)]
    return float(times[best]), (ends[0], ends[1]), torch.stack([times, r])


def _crossing(times: Tensor, rest: Tensor, start: int, limit: float, step: int) -> float | None:
    k = start
    while 0 <= k + step < len(times):
        k += step
        if float(rest[k]) > limit:
            inside, outside = float(rest[k - step]), float(rest[k])
            share = (limit - inside) / max(outside - inside, 1e-300)
            return float(torch.lerp(times[k - step].log(), times[k].log(), share).exp())
    return None


def _scaled(state: Tensor, y: Tensor) -> Tensor:
    """The state on the measurements' scale, by a straight line."""
    centred = state - state.mean()
    slope = (centred @ (y - y.mean())) / (centred @ centred).clamp(min=1e-300)
    return y.mean() + slope * centred


def _candidates(names: Sequence[str], bilateral: bool) -> list[tuple[int, ...]]:
    if not bilateral:
        return [(i,) for i in range(len(names))]
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        side, rest = side_and_rest(name)
        groups.setdefault(rest if side else canonical(name), []).append(i)
    return [tuple(group) for group in groups.values()]


def _named_seed(names: Sequence[str], text: str) -> tuple[int, ...]:
    known = {canonical(name): i for i, name in enumerate(names)}
    found = []
    for part in text.split("+"):
        if canonical(part) not in known:
            near = nearest(canonical(part), list(known)).replace("there are ", "it has ")
            raise ValueError(f"the network has no region {part.strip()!r}; {near}")
        found.append(known[canonical(part)])
    return tuple(sorted(set(found)))


def _seed_name(names: Sequence[str], seed: tuple[int, ...]) -> str:
    return " + ".join(names[i] for i in seed)


def _ranked(
    names: Sequence[str], every: list[tuple[int, ...]], r: Tensor, times: Tensor, shares: Tensor
) -> list[Seed]:
    best, when = r.max(0)
    found = [
        Seed(_seed_name(names, seed), float(best[i]), float(times[when[i]]), float(shares[i]))
        for i, seed in enumerate(every)
    ]
    return sorted(found, key=lambda seed: -seed.correlation)
