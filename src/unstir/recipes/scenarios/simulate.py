"""Scenes made on the spot: pedestrians in corridors and squares, a crossing street, vehicles on two lanes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unstir.recipes.scenarios.crossing import crossing
from unstir.recipes.scenarios.crowds import corridor, square
from unstir.recipes.scenarios.frames import AGENTS, DT, PAST, Made, Rng
from unstir.recipes.scenarios.lanes import overtaking
from unstir.recipes.scenarios.scenes import Scenes, join
from unstir.recipes.scenarios.tokens import chosen, tokens_of
from unstir.settings import nearest

PLACES: dict[str, tuple[Callable[[int, Rng], Made], float]] = {
    "corridor": (corridor, 0.2),
    "square": (square, 0.2),
    "crossing": (crossing, 0.35),
    "overtaking": (overtaking, 0.25),
}
"""How each kind of scene is made, and its share of the default."""


def simulate(n: int, *, seed: int = 0, place: str | None = None, tokens: float = 1.0) -> Scenes:
    """Simulated scenes of 2 to 6 agents, 8 past and 12 future frames, 0.4 s apart.

    Pedestrians follow the social force model, vehicles the intelligent driver model and MOBIL; desired
    speeds, manners, entries and goals differ. Each scene is turned by a random angle, and its agents are in
    random order.

    Args:
        n: scenes, at least 1.
        seed: of all that is random.
        place: one of `PLACES`; a mixture of all by default.
        tokens: share of the agents whose tokens are given (`tokens.chosen`); 1 gives all that there are.

    Raises:
        ValueError: for no scene or an unknown place.
    """
    if n < 1:
        raise ValueError(f"the number of scenes is at least 1, got {n}")
    if place is not None and place not in PLACES:
        raise ValueError(f"unknown place {place!r}; {nearest(place, list(PLACES))}")
    rng = np.random.default_rng(seed)
    counts = {place: n} if place else _counts(n)
    parts = [_scenes(PLACES[name][0](count, rng), tokens, rng) for name, count in counts.items() if count]
    return join(parts).take(rng.permutation(n))


def _counts(n: int) -> dict[str, int]:
    """Scenes of each place by its share, n in all."""
    ends = np.round(np.cumsum([share for _, share in PLACES.values()]) * n).astype(int)
    return dict(zip(PLACES, np.diff(ends, prepend=0).tolist(), strict=True))


def _scenes(made: Made, share: float, rng: Rng) -> Scenes:
    n = len(made.kinds)
    order = made.order if made.order is not None else np.full(made.kinds.shape, np.nan)
    # Present agents first, in random order.
    rank = np.where(made.kinds >= 0, 0.0, 1.0) + rng.random((n, AGENTS)) * 0.5
    rows, places = np.arange(n)[:, None], rank.argsort(axis=1)
    angle = rng.uniform(0.0, 2.0 * np.pi, n)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1).reshape(n, 2, 2)
    tracks = np.einsum("nij,natj->nati", turn, made.tracks[rows, places])
    lines = np.einsum("nij,nskj->nski", turn, made.map.reshape(n, -1, 2, 2)).reshape(made.map.shape)
    scenes = Scenes(
        tracks.astype(np.float32), made.kinds[rows, places], DT, PAST, lines.astype(np.float32), None
    )
    known = tokens_of(scenes, order[rows, places])
    given = known if share >= 1.0 else chosen(known, share, rng)
    return Scenes(scenes.tracks, scenes.kinds, DT, PAST, scenes.map, given)
