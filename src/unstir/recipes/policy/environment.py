"""What a policy meets: an environment that shows observations by name and takes actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Observation = Mapping[str, NDArray[np.generic]]
"""What is seen at one step, by the names of the model's conditions: ``observation`` (obs_dim,), the state or
what is known of it, and for policies that see pictures ``image`` (channels, height, width) uint8."""


class Environment(Protocol):
    """One episode after another; everything random in an episode is decided by the seed of its `reset`.

    Attributes:
        limit: an episode has at most so many steps.
        score: how well this episode went so far, 0 to 1; 1 is success. It never falls within an episode.
    """

    limit: int

    @property
    def score(self) -> float: ...

    def reset(self, seed: int) -> Observation:
        """Start an episode."""
        ...

    def step(self, action: NDArray[np.floating]) -> tuple[Observation, bool, bool]:
        """Do an action (action_dim,), in the units of the demonstrations.

        Returns:
            What is seen next, whether the episode is over, and whether it succeeded.
        """
        ...

    def image(self) -> NDArray[np.uint8]:
        """A picture of the scene for people, (height, width, 3)."""
        ...


def stack(history: Sequence[Observation], observed: int) -> dict[str, NDArray[np.float32]]:
    """The last observations as the conditions that a model of `episodes.windows` takes.

    A history shorter than ``observed`` is padded in front by its first entry, as the windows are.

    Args:
        history: at least one observation, oldest first.
        observed: how many the model takes.

    Returns:
        ``observation`` (obs_dim, observed) and, if there are pictures, ``image`` (observed * channels,
        height, width), in their own units.

    Raises:
        ValueError: for an empty history, or one without the name ``observation``.
    """
    if not history:
        raise ValueError("a policy acts on what it has seen, and there is no observation yet")
    last = list(history[-observed:])
    last = [last[0]] * (observed - len(last)) + last
    if any("observation" not in each for each in last):
        raise ValueError(f"an observation has the name 'observation', got {' and '.join(last[0]) or 'none'}")
    conditions = {"observation": np.stack([o["observation"] for o in last], axis=-1).astype(np.float32)}
    if "image" in last[0]:
        conditions["image"] = np.concatenate([o["image"] for o in last], axis=0).astype(np.float32)
    return conditions
