"""Vehicles on lanes: the intelligent driver model, when lanes are changed (MOBIL), and how it looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LENGTH, WIDTH = 4.5, 1.8
"""Of a vehicle, metres."""
HARDEST = 8.0
"""Braking that tyres on a dry road allow, m/s^2."""


@dataclass(frozen=True)
class IDM:
    """A driver. Any entry may be an array, one number a vehicle.

    The defaults are those of city traffic in Treiber & Kesting 2013, "Traffic flow dynamics", table 11.2.

    Attributes:
        speed: v0, desired, m/s.
        headway: T, seconds.
        gap: s0, metres to a standing leader.
        acceleration: a, m/s^2.
        braking: b, comfortable, m/s^2.
        exponent: delta.
    """

    speed: Array | float = 15.0
    headway: Array | float = 1.0
    gap: Array | float = 2.0
    acceleration: Array | float = 1.0
    braking: Array | float = 1.5
    exponent: float = 4.0

    def __call__(self, speed: Array, gap: Array, closing: Array) -> Array:
        r"""Acceleration in m/s^2, at least -`HARDEST`.

        .. math:: \dot v = a \left[1 - (v / v_0)^\delta - (s^* / s)^2\right], \qquad
                  s^* = s_0 + \max\left(0, v T + \frac{v \Delta v}{2 \sqrt{a b}}\right)

        Source: Treiber, Hennecke & Helbing 2000, "Congested traffic states in empirical observations and
        microscopic simulations", eq. 2 and 3 with s1 = 0; the maximum is that of Treiber & Kesting 2013,
        eq. 11.15.

        Args:
            speed: v, m/s, at least 0.
            gap: s, metres from bumper to bumper; infinite on a free road.
            closing: Delta v, own speed minus the leader's, m/s.
        """
        root = 2.0 * np.sqrt(np.asarray(self.acceleration * self.braking))
        wanted = self.gap + np.maximum(speed * self.headway + speed * closing / root, 0.0)
        free = 1.0 - (speed / self.speed) ** self.exponent
        result: Array = self.acceleration * (free - (wanted / np.maximum(gap, 1e-3)) ** 2)
        bounded: Array = np.maximum(result, -HARDEST)
        return bounded

    def equilibrium_gap(self, speed: Array | float) -> Array:
        r"""The gap at which a vehicle follows at constant speed.

        .. math:: s_e = (s_0 + v T) / \sqrt{1 - (v / v_0)^\delta}

        Source: Treiber, Hennecke & Helbing 2000, eq. 4.
        """
        free = 1.0 - (np.asarray(speed) / self.speed) ** self.exponent
        return (self.gap + speed * self.headway) / np.sqrt(free)


def advance(place: Array, speed: Array, acceleration: Array, dt: float) -> tuple[Array, Array]:
    """One ballistic step; a vehicle that comes to rest within it stays where it rests.

    Source: Treiber & Kanagaraj 2015, "Comparing numerical integration schemes for time-continuous
    car-following models", eq. 10 and 11.
    """
    ahead = speed + acceleration * dt
    rests = ahead < 0.0
    way = np.where(
        rests, 0.5 * speed**2 / np.maximum(-acceleration, 1e-9), speed * dt + 0.5 * acceleration * dt**2
    )
    return place + way, np.maximum(ahead, 0.0)


def leader(place: Array, speed: Array, here: Array) -> tuple[Array, Array]:
    """Gap to the nearest vehicle ahead on the same lane, and its speed; (inf, own speed) without one.

    Args:
        place: (..., vehicles) metres along the lane, of the centres.
        speed: (..., vehicles) m/s.
        here: (..., vehicles, vehicles) bool: whether the second is on a lane of the first.

    Returns:
        gap (..., vehicles) metres from bumper to bumper, and speed (..., vehicles).
    """
    ahead = place[..., None, :] - place[..., :, None]
    distance = np.where(here & (ahead > 0.0), ahead, np.inf)
    first = distance.argmin(-1)
    gap = np.take_along_axis(distance, first[..., None], -1)[..., 0] - LENGTH
    theirs = np.take_along_axis(speed, first, -1)
    return gap, np.where(np.isfinite(gap), theirs, speed)


def lane_shift(share: Array) -> Array:
    """How far a lane change has come, 0 to 1, by its share of the time: the quintic of least jerk.

    Source: Flash & Hogan 1985, "The coordination of arm movements", eq. 3.
    """
    s = np.clip(share, 0.0, 1.0)
    return s**3 * (10.0 - 15.0 * s + 6.0 * s**2)


@dataclass(frozen=True)
class MOBIL:
    """When a driver changes lanes.

    Source: Kesting, Treiber & Helbing 2007, "General lane-changing model MOBIL for car-following models",
    eq. 2 and 3, table 1.

    Attributes:
        politeness: p, how much the followers' loss counts.
        threshold: m/s^2 to gain at least.
        safe: the hardest that a new follower has to brake, m/s^2.
    """

    politeness: float = 0.2
    threshold: float = 0.1
    safe: float = 4.0

    def __call__(self, gain: Array, follower: Array, loss: Array) -> Array:
        """Whether to change, bool.

        Args:
            gain: own acceleration after minus before, m/s^2.
            follower: acceleration of the new follower after, m/s^2.
            loss: what the new and the old follower lose together, m/s^2.
        """
        return (follower > -self.safe) & (gain - self.politeness * loss > self.threshold)
