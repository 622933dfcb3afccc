"""What may be asked of a chosen agent: where it ends, how fast it is then, and whether it goes first.

A token is in the agent's own frame at the end of its past (`networks.poses.own_frame`), so it turns and moves
with the scene: (ahead, left) is the end's place in metres from where a constant velocity would end, as the
event is (`coordinates`), so that a network need not find the small difference of two long ways; ``speed`` is
the mean over the last 1.2 s in m/s, and ``order`` 1 for a vehicle that goes first and -1 for one that lets a
pedestrian go first. NaN is "not asked".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unstir.networks.poses import own_frame
from unstir.recipes.scenarios.coordinates import constant_velocity
from unstir.recipes.scenarios.frames import FUTURE
from unstir.recipes.scenarios.scenes import TOKENS, Floats, Scenes
from unstir.settings import nearest

LAST = 3
"""Frames at the end over which the speed is averaged."""


def tokens_of(scenes: Scenes, order: NDArray[np.floating] | None = None) -> Floats:
    """The tokens that the futures of scenes fulfil, (n, agents, 4); NaN for absent agents.

    Args:
        scenes: with a future of at least 4 frames.
        order: (n, agents) 1, -1 or NaN; all NaN by default.

    Raises:
        ValueError: for a shorter future.
    """
    if scenes.future <= LAST:
        raise ValueError(f"tokens are read from a future of at least {LAST + 1} frames, got {scenes.future}")
    past = torch.from_numpy(scenes.given)
    _, _, rotation = own_frame(past)
    end = torch.from_numpy(scenes.followed[:, :, -1]) - constant_velocity(past, scenes.future)[:, :, -1]
    own = torch.einsum("nac,nacd->nad", end, rotation).numpy()
    way = np.linalg.norm(np.diff(scenes.followed[:, :, -LAST - 1 :], axis=2), axis=3)
    speed = way.mean(2) / scenes.dt
    if order is None:
        order = np.full(scenes.kinds.shape, np.nan)
    return np.concatenate([own, np.stack([speed, order], axis=2)], axis=2).astype(np.float32)


def chosen(tokens: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Tokens of some agents only, for training: each is asked with a probability, and of it some things.

    An agent's place is asked as a whole; place, speed and order are each left out half of the time.

    Args:
        tokens: (n, agents, 4).
        share: of the agents of whom something is asked, 0 to 1.
        rng: random numbers.
    """
    agents = rng.random(tokens.shape[:2]) < share
    place, speed, order = (agents & (rng.random(tokens.shape[:2]) < 0.5) for _ in range(3))
    asked = np.stack([place, place, speed, order], axis=2)
    return np.where(asked, tokens, np.nan).astype(np.float32)


def ask(
    past: Tensor, wishes: Mapping[int, Mapping[str, float | tuple[float, float]]], *, future: int = FUTURE
) -> Tensor:
    """Tokens of one scene, from wishes in the scene's own frame.

    Args:
        past: (agents, frames, 2) metres.
        wishes: by number of the agent: ``end`` a place (x, y) in metres, ``speed`` in m/s, ``order`` 1 or -1.
        future: frames of the future, at whose end the place is.

    Returns:
        (agents, 4).

    Raises:
        ValueError: for an agent that is not there, or an unknown wish.
    """
    result = torch.full((len(past), len(TOKENS)), torch.nan)
    _, _, rotation = own_frame(past.float())
    course = constant_velocity(past.float(), future)[:, -1]
    for agent, wish in wishes.items():
        if not 0 <= agent < len(past) or bool(past[agent].isnan().any()):
            raise ValueError(f"there is no agent {agent} in this scene to ask something of")
        for name, value in wish.items():
            if name == "end":
                place = torch.as_tensor(value, dtype=torch.float32)
                if tuple(place.shape) != (2,):
                    raise ValueError(f"an end is a place (x, y) in metres, got {value!r}")
                result[agent, :2] = rotation[agent].T @ (place - course[agent])
            elif name in ("speed", "order"):
                result[agent, TOKENS.index(name)] = float(value)  # type: ignore[arg-type]
            else:
                raise ValueError(f"unknown wish {name!r}; {nearest(name, ['end', 'speed', 'order'])}")
    return result
