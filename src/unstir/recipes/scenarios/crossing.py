"""A street that pedestrians cross while vehicles come from both sides, and who goes first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unstir.recipes.scenarios import pedestrians, vehicles
from unstir.recipes.scenarios.crowds import FLUCTUATION, desired_speeds
from unstir.recipes.scenarios.frames import AGENTS, INNER, SEGMENTS, WARM_UP, Array, Made, Rng, recorded
from unstir.recipes.scenarios.lanes import FLUCTUATION as THROTTLE
from unstir.recipes.scenarios.lanes import LANE, drivers
from unstir.recipes.scenarios.pedestrians import SocialForce
from unstir.recipes.scenarios.vehicles import HARDEST, LENGTH

VEHICLES = 3
"""Places for vehicles; the others are the pedestrians'."""
HALF = 2.0
"""Half the width of the crossing, metres."""
WAIT = 0.8
"""Metres before the kerb within which a pedestrian looks and may wait."""
COURTEOUS = 0.5
"""Share of the drivers who stop for someone who waits."""
GAP = 1.0
"""Seconds that a pedestrian wants between leaving a lane and a vehicle's arrival, with a spread of 0.7: some
take less, and the vehicle has to brake."""
HESITANT, LATE = 0.15, (1.5, 3.5)
"""Share of the pedestrians who hesitate and then step out late: before a vehicle that can stop if it brakes
by this much, m/s^2."""

Flags = NDArray[np.bool_]


class Crossing:
    """The state of many crossings and the rules by which they go on.

    Traffic keeps to the right: on the lower lane (y < 0) to the right, on the upper to the left. ``q`` is a
    vehicle's place along its own lane, 0 in the middle of the crossing; ``u`` a pedestrian's way across,
    -LANE at its kerb and LANE at the other.

    Args:
        n: scenes.
        rng: random numbers.
    """

    def __init__(self, n: int, rng: Rng) -> None:
        people = AGENTS - VEHICLES
        self.rng, self.model = rng, SocialForce()
        self.drives = np.arange(VEHICLES) < rng.integers(1, VEHICLES + 1, n)[:, None]
        self.walks: Flags = np.arange(people) < rng.integers(1, people + 1, n)[:, None]
        self.driver = drivers((n, VEHICLES), rng)
        self.courteous = rng.random((n, VEHICLES)) < COURTEOUS
        self.side = rng.choice([-1.0, 1.0], (n, VEHICLES))
        self.speed = np.asarray(self.driver.speed) * rng.uniform(0.75, 1.0, (n, VEHICLES))
        first = WARM_UP + rng.uniform(2.0, 6.5, (n, 1))
        when = first + np.cumsum(rng.uniform(0.0, 3.5, (n, VEHICLES)), 1)
        spread = np.cumsum(np.full((n, VEHICLES), LENGTH + 3.0), 1)
        self.q = -self.speed * when - spread
        self.q = np.where(self.drives, self.q, -1e4 - 1e3 * np.arange(VEHICLES))
        self.offset = rng.normal(0.0, 0.15, (n, VEHICLES))
        self.jitter = np.zeros((n, VEHICLES))
        self.crosses = rng.random((n, people)) < 0.8
        self.way = rng.choice([-1.0, 1.0], (n, people))
        self.wish = desired_speeds((n, people), rng)
        self.margin = rng.normal(GAP, 0.7, (n, people))
        self.hesitant = rng.random((n, people)) < HESITANT
        self.going: Flags = np.zeros((n, people), dtype=bool)
        self._place(n, people)
        self.entered = np.full((n, people, 2), np.inf)
        self.passed = np.full((n, VEHICLES), np.inf)
        self.time = 0.0

    def _place(self, n: int, people: int) -> None:
        """Those who cross come to the kerb; the others walk along the pavement."""
        rng = self.rng
        when = WARM_UP + rng.uniform(0.0, 5.0, (n, people))
        x = rng.uniform(-0.8 * HALF, 0.8 * HALF, (n, people))
        across = np.stack([x, self.way * (-LANE - self.wish * when)], -1)
        along = np.stack(
            [
                -self.way * self.wish * (when + 1.0),
                np.sign(rng.random((n, people)) - 0.5) * (LANE + rng.uniform(0.8, 2.0, (n, people))),
            ],
            -1,
        )
        self.position = np.where(self.crosses[..., None], across, along)
        aim = x + rng.normal(0.0, 0.5, x.shape)
        over = np.stack([aim, self.way * 12.0], -1)
        ahead = np.stack([self.way * 30.0, along[..., 1]], -1)
        self.goal = np.where(self.crosses[..., None], over, ahead)
        self.velocity = self.wish[..., None] * pedestrians.unit(self.goal - self.position)

    def step(self) -> Array:
        """Advance by `INNER` seconds; positions (n, AGENTS, 2), vehicles first."""
        self.time += INNER
        u = self.way * self.position[..., 1]
        waiting = self.walks & self.crosses & ~self.going & (u > -LANE - WAIT) & (u < -LANE + 0.5)
        stop = -HALF - (self.q + 0.5 * LENGTH)
        needed = np.where(stop > 0.0, 0.5 * self.speed**2 / np.maximum(stop, 1e-3), np.inf)
        self._decide(u, waiting, stop, needed)
        self._drive(u, waiting, stop, needed)
        self._walk(waiting)
        self._remember()
        return np.concatenate([np.stack([self.side * self.q, self._y()], -1), self.position], axis=1)

    def _y(self) -> Array:
        return -0.5 * LANE * self.side + self.offset

    def _decide(self, u: Array, waiting: Flags, stop: Array, needed: Array) -> None:
        """Who waits goes if every vehicle is past, comes late enough, stops, or just can."""
        coming = self.drives & (self.q - 0.5 * LENGTH < HALF)
        arrives = np.maximum(stop, 0.0) / np.maximum(self.speed, 0.3)
        far = self.way[..., None] * (-0.5 * LANE * self.side)[:, None] + 0.5 * LANE
        clear = (far - u[..., None]) / self.wish[..., None]
        late = arrives[:, None] > clear + self.margin[..., None]
        stops = np.logical_and(self.courteous, needed < 2.5)[:, None]
        just = ((needed > LATE[0]) & (needed < LATE[1]))[:, None] & self.hesitant[..., None]
        self.going |= waiting & (late | stops | just | ~coming[:, None]).all(-1)

    def _drive(self, u: Array, waiting: Flags, stop: Array, needed: Array) -> None:
        """Follow the leader, and the line before the crossing while someone has it."""
        far = self.way[..., None] * (-0.5 * LANE * self.side)[:, None] + 0.5 * LANE
        inside: Flags = (self.going & self.walks)[..., None] & (u[..., None] < far + 0.3)
        asked = np.asarray(waiting.any(1))[:, None] & self.courteous & (needed < 2.5)
        holds = (inside.any(1) & (needed < HARDEST)) | asked
        gap, ahead = vehicles.leader(self.q, self.speed, self.side[..., :, None] == self.side[..., None, :])
        push = self.driver(self.speed, gap, self.speed - ahead)
        line = self.driver(self.speed, np.where(holds, stop, np.inf), self.speed)
        draw = THROTTLE * np.sqrt(2.0 * INNER) * self.rng.standard_normal(push.shape)
        self.jitter = self.jitter * (1.0 - INNER) + draw
        total = np.maximum(np.minimum(push, line) + self.jitter * (self.speed > 0.5), -HARDEST)
        self.q, self.speed = vehicles.advance(self.q, self.speed, total, INNER)

    def _walk(self, waiting: Flags) -> None:
        model = self.model
        heading = pedestrians.unit(self.goal - self.position)
        wish = np.where(waiting & ~self.going, 0.0, self.wish)
        force = pedestrians.drive(model, self.velocity, wish[..., None] * heading)
        # Who waits does not let others push it on to the road.
        push = pedestrians.repulsion(model, self.position, self.velocity, heading, self.walks)
        force = force + np.where((waiting & ~self.going)[..., None], 0.0, push)
        noise = FLUCTUATION / np.sqrt(INNER) * self.rng.standard_normal(force.shape)
        force = force + noise * np.where(wish > 0.0, 1.0, 0.2)[..., None]
        self.position, self.velocity = pedestrians.advance(
            model, self.position, self.velocity, force, model.fastest * self.wish, INNER
        )

    def _remember(self) -> None:
        """When each pedestrian entered each lane, and each vehicle the crossing."""
        u = self.way * self.position[..., 1]
        active = (self.walks & self.crosses)[..., None]
        for row, side in enumerate((1.0, -1.0)):
            near = self.way * (-0.5 * LANE * side) - 0.5 * LANE
            inside = active[..., 0] & (u > near)
            self.entered[..., row] = np.where(inside, np.minimum(self.entered[..., row], self.time), np.inf)
        there = self.drives & (self.q + 0.5 * LENGTH > -HALF)
        self.passed = np.where(there, np.minimum(self.passed, self.time), np.inf)

    def order(self) -> Array:
        """1 for a vehicle that was at the crossing first, -1 for one that let a pedestrian, (n, AGENTS).

        Of those who met: the vehicle was there, or would have been at its speed, within 4 seconds of the
        pedestrian's step on to its lane.
        """
        row = np.where(self.side > 0, 0, 1)
        entered = np.take_along_axis(self.entered, row[:, None], axis=2)
        left = np.maximum(-HALF - (self.q + 0.5 * LENGTH), 0.0)
        arrives = np.where(
            np.isfinite(self.passed), self.passed, self.time + left / np.maximum(self.speed, 1.0)
        )
        met = np.isfinite(entered) & (np.abs(entered - arrives[:, None]) < 4.0) & self.drives[:, None]
        met &= np.maximum(entered, arrives[:, None]) > WARM_UP
        passed = self.passed[:, None]
        waits = met & (entered < passed)
        result = np.where(waits.any(1), -1.0, np.where(met.any(1), 1.0, np.nan))
        return np.concatenate([result, np.full((len(result), AGENTS - VEHICLES), np.nan)], axis=1)


def crossing(n: int, rng: Rng) -> Made:
    """One to three vehicles and one to three pedestrians at a crossing without lights.

    Args:
        n: scenes.
        rng: random numbers.
    """
    state = Crossing(n, rng)
    tracks = recorded(state.step)
    kinds = np.concatenate([np.where(state.drives, 1, -1), np.where(state.walks, 0, -1)], axis=1)
    walls = np.full((n, SEGMENTS, 4), np.nan)
    lines = (
        (-100.0, -LANE, 100.0, -LANE),
        (-100.0, LANE, 100.0, LANE),
        (-100.0, 0.0, 100.0, 0.0),
        (-HALF, -LANE, -HALF, LANE),
        (HALF, -LANE, HALF, LANE),
    )
    for row, line in enumerate(lines):
        walls[:, row] = line
    present = kinds >= 0
    return Made(
        np.where(present[..., None, None], tracks, np.nan), kinds.astype(np.int8), walls, state.order()
    )
