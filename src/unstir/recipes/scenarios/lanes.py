"""Vehicles alone: a road with two lanes of one direction, where slower ones are overtaken."""

from __future__ import annotations

import numpy as np

from unstir.recipes.scenarios import vehicles
from unstir.recipes.scenarios.frames import (
    AGENTS,
    DT,
    INNER,
    PAST,
    SEGMENTS,
    WARM_UP,
    Array,
    Made,
    Rng,
    recorded,
)
from unstir.recipes.scenarios.vehicles import IDM, MOBIL

LANE = 3.5
"""Width of a lane, metres."""
CENTRES = np.array([-0.5 * LANE, 0.5 * LANE])
"""Where the middles of the two lanes are, metres to the left of the road's."""
FLUCTUATION = 0.3
"""Of the acceleration, m/s^2, with a memory of one second."""


def drivers(shape: tuple[int, ...], rng: Rng) -> IDM:
    """City drivers who differ: the values of Treiber & Kesting 2013, table 11.2, with a spread of a fifth."""

    def about(value: float) -> Array:
        return value * np.exp(rng.normal(0.0, 0.2, shape))

    return IDM(about(11.0), about(1.0), 2.0, about(1.2), about(1.5))


def overtaking(n: int, rng: Rng) -> Made:
    """Two to six vehicles on two lanes that follow (IDM) and change lanes (MOBIL) in 3 to 4 seconds.

    Args:
        n: scenes.
        rng: random numbers.
    """
    shape = (n, AGENTS)
    present = np.arange(AGENTS) < rng.integers(2, AGENTS + 1, n)[:, None]
    driver, rule = drivers(shape, rng), MOBIL()
    lane = rng.integers(0, 2, shape)
    speed = np.asarray(driver.speed) * rng.uniform(0.7, 1.0, shape)
    # One behind the other over both lanes, so that nobody starts inside another.
    spread = rng.uniform(0.5, 1.6, shape) * (vehicles.LENGTH + 2.0 + 0.5 * speed)
    place = -np.cumsum(spread, axis=1)
    # The middle of the road's map is about where they are when the past ends.
    way = speed.mean(1, keepdims=True) * (WARM_UP + (PAST - 1) * DT)
    place = place - place.mean(1, keepdims=True) - way
    place = np.where(present, place, -1e4 - 1e3 * np.arange(AGENTS))
    before, since, lasts = lane.copy(), np.full(shape, 1e3), rng.uniform(3.0, 4.0, shape)
    offset, jitter = rng.normal(0.0, 0.15, shape), np.zeros(shape)
    turn = 0

    def step() -> Array:
        nonlocal place, speed, lane, before, since, jitter, turn
        if turn % 5 == 0:  # drivers look to the side twice a second
            lane, before, since = _changes(driver, rule, place, speed, lane, before, since, lasts, present)
        turn += 1
        jitter = jitter + INNER * (-jitter) + FLUCTUATION * np.sqrt(2.0 * INNER) * rng.standard_normal(shape)
        changing = since < lasts
        push = _following(driver, place, speed, _shares(lane, before, changing, lane))
        # Until half of it has left its lane, the leader there counts, too.
        leaving = since < 0.5 * lasts
        still = _following(driver, place, speed, _shares(lane, before, changing, before))
        push = np.where(leaving, np.minimum(push, still), push)
        place, speed = vehicles.advance(
            place, speed, np.maximum(push + jitter * (speed > 0.5), -vehicles.HARDEST), INNER
        )
        since = since + INNER
        share = vehicles.lane_shift(since / lasts)
        side = CENTRES[before] + share * (CENTRES[lane] - CENTRES[before]) + offset
        return np.stack([place, side], -1)

    tracks = recorded(step)
    kinds = np.where(present, 1, -1).astype(np.int8)
    return Made(np.where(present[..., None, None], tracks, np.nan), kinds, road(n))


def road(n: int) -> Array:
    """The map of a straight road: two edges, and the line between its lanes, (n, SEGMENTS, 4)."""
    result = np.full((n, SEGMENTS, 4), np.nan)
    for row, side in enumerate((-LANE, 0.0, LANE)):
        result[:, row] = (-150.0, side, 150.0, side)
    return result


def _shares(lane: Array, before: Array, changing: Array, of: Array) -> Array:
    """Whether the second vehicle is on the lane ``of`` the first: one that changes is on both lanes."""
    own = of[..., :, None]
    shares: Array = (lane[..., None, :] == own) | ((before[..., None, :] == own) & changing[..., None, :])
    return shares


def _following(driver: IDM, place: Array, speed: Array, here: Array) -> Array:
    gap, ahead = vehicles.leader(place, speed, here)
    return driver(speed, gap, speed - ahead)


def _changes(
    driver: IDM,
    rule: MOBIL,
    place: Array,
    speed: Array,
    lane: Array,
    before: Array,
    since: Array,
    lasts: Array,
    present: Array,
) -> tuple[Array, Array, Array]:
    """Begin the lane changes that MOBIL wants; at most one in a scene at a time."""
    n, agents = place.shape
    changing, other = since < lasts, 1 - lane
    here = _shares(lane, before, changing, lane)
    there = _shares(lane, before, changing, other)
    now, then = _following(driver, place, speed, here), _following(driver, place, speed, there)
    gain = then - now
    rows = np.arange(n)
    wanted = np.zeros((n, agents), dtype=bool)
    for i in range(agents):
        moved, left = lane.copy(), before.copy()
        moved[:, i], left[:, i] = other[:, i], other[:, i]
        after = _following(driver, place, speed, _shares(moved, left, changing, moved))
        behind = place[:, i, None] - place
        new = _nearest(np.where((lane == other[:, i, None]) & (behind > 0), behind, np.inf))
        old = _nearest(np.where((lane == lane[:, i, None]) & (behind > 0), behind, np.inf))
        has_new, has_old = np.isfinite(new[1]), np.isfinite(old[1])
        beside = ((lane == other[:, i, None]) & (np.abs(behind) < vehicles.LENGTH + 2.0)).any(1)
        brakes = np.where(has_new, after[rows, new[0]], 0.0)
        loss = np.where(has_new, now[rows, new[0]] - brakes, 0.0)
        loss = loss + np.where(has_old, now[rows, old[0]] - after[rows, old[0]], 0.0)
        wanted[:, i] = rule(gain[:, i], brakes, loss) & ~beside & present[:, i]
    wanted &= ~changing.any(1, keepdims=True)
    chosen = np.where(wanted, gain, -np.inf).argmax(1)
    begins = wanted & (np.arange(agents) == chosen[:, None])
    return np.where(begins, other, lane), np.where(begins, lane, before), np.where(begins, 0.0, since)


def _nearest(distance: Array) -> tuple[Array, Array]:
    first = distance.argmin(1)
    return first, distance[np.arange(len(distance)), first]
