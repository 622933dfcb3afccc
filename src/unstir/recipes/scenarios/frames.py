"""What all simulated scenes share: how long they last, and how a simulation becomes frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rng = np.random.Generator

AGENTS = 6
"""Places for agents in a scene; not all are taken."""
SEGMENTS = 6
"""Places for line segments of the map."""
PAST, FUTURE = 8, 12
"""Frames that are given and frames that are to come: 3.2 s and 4.8 s, as in Alahi et al. 2016, section 5."""
DT = 0.4
"""Seconds between frames."""
INNER = 0.1
"""Seconds of a step of the simulation."""
WARM_UP = 1.6
"""Seconds that are simulated before the first frame."""


class Made(NamedTuple):
    """Simulated scenes.

    Attributes:
        tracks: (n, AGENTS, PAST + FUTURE, 2) metres, NaN for absent agents.
        kinds: (n, AGENTS) int8: -1 absent, 0 pedestrian, 1 vehicle.
        map: (n, SEGMENTS, 4) line segments x0 y0 x1 y1, NaN for none.
        order: (n, AGENTS) 1 for a vehicle that goes before the pedestrians, -1 for one that lets them go
            first, NaN where the question does not arise; or None.
    """

    tracks: Array
    kinds: NDArray[np.int8]
    map: Array
    order: Array | None = None


def recorded(step: Callable[[], Array], inner: float = INNER) -> Array:
    """Run a simulation and keep every frame, (n, agents, PAST + FUTURE, 2).

    Args:
        step: advances by ``inner`` seconds and gives the positions (n, agents, 2).
        inner: a whole fraction of `DT`.
    """
    every = round(DT / inner)
    for _ in range(round(WARM_UP / inner)):
        position = step()
    frames = [position]
    for _ in range(PAST + FUTURE - 1):
        for _ in range(every):
            position = step()
        frames.append(position)
    return np.stack(frames, axis=2)
