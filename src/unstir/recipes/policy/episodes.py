"""Demonstrations as one table of steps, and the windows of them that a policy learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unstir.recipes.splits import Rows
from unstir.training import ArrayData, ConditionArray, Scaling
from unstir.training.data import Array


@dataclass(frozen=True)
class Episodes:
    """Demonstrations, one after another in the same arrays.

    Attributes:
        observations: (steps, obs_dim), what is known before each action.
        actions: (steps, action_dim), what was done then.
        ends: (episodes,) where each episode ends, exclusive; the last is the number of steps.
        images: (steps, channels, height, width) uint8 of what was seen before each action, or None.
        success: (episodes,) bool, whether each reached its goal, or None where that is not known.

    Raises:
        ValueError: if lengths do not match, a value is not finite, an episode is empty, or pictures are not
            uint8.
    """

    observations: NDArray[np.floating]
    actions: NDArray[np.floating]
    ends: NDArray[np.int64]
    images: NDArray[np.uint8] | None = None
    success: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        for name, values in (("observations", self.observations), ("actions", self.actions)):
            if values.ndim != 2 or values.shape[1] == 0 or not np.issubdtype(values.dtype, np.number):
                raise ValueError(
                    f"{name} are numbers of shape (steps, dimensions), got {values.dtype} of shape "
                    f"{values.shape}"
                )
        steps = len(self.actions)
        for name, known in (("observations", self.observations), ("images", self.images)):
            if known is not None and len(known) != steps:
                raise ValueError(
                    f"there are {steps} actions but {len(known)} {name}; each step has one of both"
                )
        self._check_ends(steps)
        for name, values in (("observations", self.observations), ("actions", self.actions)):
            bad = ~np.isfinite(values).all(axis=1)
            if bad.any():
                step = int(bad.argmax())
                raise ValueError(
                    f"the {name} hold a value that is not finite (NaN or infinity) at step {step}, in "
                    f"episode {int(np.searchsorted(self.ends, step, side='right'))}"
                )
        if self.images is not None and (self.images.ndim != 4 or self.images.dtype != np.uint8):
            raise ValueError(
                "images are uint8 of shape (steps, channels, height, width), got "
                f"{self.images.dtype} of shape {self.images.shape}"
            )

    def _check_ends(self, steps: int) -> None:
        ends = self.ends
        check_ends(ends)
        if ends[-1] != steps:
            raise ValueError(f"the last episode ends at step {ends[-1]}, but there are {steps} steps")
        if self.success is not None and len(self.success) != len(ends):
            raise ValueError(f"there are {len(ends)} episodes but {len(self.success)} marks of success")

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def starts(self) -> NDArray[np.int64]:
        """(episodes,) the first step of each episode."""
        return np.concatenate([[0], self.ends[:-1]]).astype(np.int64)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(episodes,) steps of each episode."""
        return self.ends - self.starts

    def take(self, episodes: NDArray[np.int64]) -> Episodes:
        """Some whole episodes, in the order asked for; pictures are not copied but looked up.

        Args:
            episodes: (m,) their numbers, at least one.
        """
        starts, ends = self.starts[episodes], self.ends[episodes]
        rows = np.concatenate([np.arange(a, b) for a, b in zip(starts, ends, strict=True)])
        return Episodes(
            self.observations[rows],
            self.actions[rows],
            np.cumsum(ends - starts),
            None if self.images is None else Rows(self.images, rows),  # type: ignore[arg-type]
            None if self.success is None else self.success[episodes],
        )


def check_ends(ends: NDArray[np.generic]) -> None:
    """Check where episodes end, before anything is cut by it.

    Args:
        ends: (episodes,) as read from a file.

    Raises:
        ValueError: if they are no rising whole numbers from 1 on, or none.
    """
    if ends.ndim != 1 or len(ends) == 0 or not np.issubdtype(ends.dtype, np.integer):
        raise ValueError(
            "ends are whole numbers, one for each episode, and there is at least one episode, got "
            f"{ends.dtype} of shape {ends.shape}"
        )
    numbers = ends.astype(np.int64)  # differences of unsigned numbers would never be negative
    if numbers[0] < 1 or (np.diff(numbers) < 1).any():
        raise ValueError("the ends of the episodes rise: every episode has at least one step")


def first_ends(ends: NDArray[np.generic], episodes: int | None) -> tuple[NDArray[np.int64], int | None]:
    """Where the first episodes end, and their steps together; None for all of them.

    Args:
        ends: as read from a file.
        episodes: how many at most, at least 1; None for all.

    Raises:
        ValueError: if they are no ends, see `check_ends`.
    """
    check_ends(ends)
    kept = ends.astype(np.int64)[:episodes]
    return kept, None if episodes is None else int(kept[-1])


def split_episodes(episodes: Episodes, share: float, *, seed: int = 0) -> tuple[Episodes, Episodes]:
    """Training and held-out demonstrations; the windows of one episode overlap, so episodes stay whole.

    Args:
        episodes: all of them.
        share: of the held-out episodes, in (0, 1); at least one is held out.
        seed: of the split.

    Raises:
        ValueError: if no episode would be left to train on.
    """
    n = len(episodes)
    held = max(round(n * share), 1)
    if held >= n:
        raise ValueError(
            f"{n} demonstrations cannot be split: a held-out share of {share} leaves none to train on"
        )
    order = np.random.default_rng(seed).permutation(n)
    return episodes.take(np.sort(order[held:])), episodes.take(np.sort(order[:held]))


class Frames:
    """Pictures of the last few steps, cut out of all pictures when asked for.

    It is enough of an array for training, and keeps each picture once, not once for each window.

    Args:
        base: (steps, channels, height, width).
        rows: (n, observed) the steps of each window, oldest first.
    """

    def __init__(self, base: Array, rows: NDArray[np.int64]) -> None:
        self.base, self.rows = base, rows
        self.shape = (len(rows), rows.shape[1] * base.shape[1], *base.shape[2:])
        self.ndim, self.dtype = 4, base.dtype

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: slice | NDArray[np.int64]) -> Array:
        rows = self.rows[key]
        return np.asarray(self.base[rows.reshape(-1)]).reshape(len(rows), *self.shape[1:])


def window_rows(
    episodes: Episodes, *, observed: int = 2, horizon: int = 16, executed: int = 8
) -> NDArray[np.int64]:
    r"""The steps of every window, (n, horizon); beyond an episode's ends its first or last step is repeated.

    A window begins at the oldest of its observations, so the action for the newest observation is entry
    ``observed - 1``, and those that a policy executes are entries ``observed - 1`` to
    ``observed - 1 + executed``. With :math:`L` steps an episode, windows begin at

    .. math:: -(\text{observed} - 1), \dots, L - \text{horizon} + (\text{executed} - 1)

    The last executed action of the last window is step :math:`L - \text{horizon} + 2\,\text{executed} +
    \text{observed} - 3`. So with ``horizon >= 2 * executed + observed - 2`` (as with 16, 8 and 2) every
    executed action was demonstrated, and only what follows is padding; with a shorter horizon the last
    windows repeat an episode's last action among the executed ones. An episode that is too short for that has
    the one window that begins first, whose executed actions were demonstrated if there are ``executed``
    steps. ``executed = horizon - observed + 1`` gives a window whose newest observation is each step.

    Source: Chi et al. 2023, "Diffusion Policy", "closed-loop action-sequence prediction", for the three
    horizons; the padding is that of their published code (``SequenceSampler`` with ``pad_before = observed -
    1`` and ``pad_after = executed - 1``).

    Raises:
        ValueError: for lengths below 1, or more observed and executed steps than the window has.
    """
    if min(observed, executed) < 1 or observed - 1 + executed > horizon:
        raise ValueError(
            f"a window of {horizon} steps has no room for {observed} observed and {executed} executed ones: "
            "observed - 1 + executed is at most horizon, and both are at least 1"
        )
    parts = []
    for start, end in zip(episodes.starts, episodes.ends, strict=True):
        first = -(observed - 1)
        last = max(end - start - horizon + executed - 1, first)
        steps = np.arange(first, last + 1)[:, None] + np.arange(horizon)
        parts.append(start + steps.clip(0, end - start - 1))
    return np.concatenate(parts)


def windows(
    episodes: Episodes,
    *,
    observed: int = 2,
    horizon: int = 16,
    executed: int = 8,
    like: ArrayData | None = None,
) -> ArrayData:
    """What a policy learns from: the next actions, given the last observations.

    Actions and observations are scaled to [-1, 1] in each dimension (Chi et al. 2023, appendix,
    "Normalization": an action in the range is what their sampler may clip to); pictures from 0 ... 255.

    Args:
        episodes: demonstrations.
        observed: observations in a window, at least 1.
        horizon: actions in a window; see `window_rows`.
        executed: of them, those that a policy executes before it plans anew.
        like: take the scaling of these data (the training part's, for what is held out).

    Returns:
        Events (action_dim, horizon) with the condition ``observation`` (obs_dim, observed) and, where there
        are pictures, ``image`` (observed * channels, height, width), cut out when asked for.

    Raises:
        ValueError: for lengths that do not fit together.
    """
    rows = window_rows(episodes, observed=observed, horizon=horizon, executed=executed)
    seen = rows[:, :observed]
    scaling = range_of(episodes.actions) if like is None else like.scaling
    known = range_of(episodes.observations) if like is None else like.conditions["observation"].scaling
    conditions = {"observation": ConditionArray(_cut(episodes.observations, seen), "embed", known)}
    if episodes.images is not None:
        frames: Array = Frames(episodes.images, seen)  # type: ignore[assignment]
        conditions["image"] = ConditionArray(frames, "image", Scaling((127.5,), (127.5,)))
    return ArrayData(_cut(episodes.actions, rows), scaling=scaling, conditions=conditions)


def _cut(values: NDArray[np.floating], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(steps, dimensions) at (n, length) as (n, dimensions, length)."""
    return np.ascontiguousarray(values.astype(np.float32)[rows].transpose(0, 2, 1))


def range_of(values: NDArray[np.floating]) -> Scaling:
    """The scaling that maps each column of (steps, dimensions) to [-1, 1]; a constant one to 0."""
    low, high = values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64)
    half = (high - low) / 2.0
    moves = half > 1e-6 * np.maximum(np.abs(low), np.abs(high))
    return Scaling(tuple(((low + high) / 2.0).tolist()), tuple(np.where(moves, half, 1.0).tolist()))
