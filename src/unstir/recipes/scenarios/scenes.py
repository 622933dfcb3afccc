"""Scenes: the tracks of several agents together, what kind they are, their map and their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

ABSENT, PEDESTRIAN, VEHICLE = -1, 0, 1
"""Kinds of agents; an absent one fills a row of a scene that has fewer agents than the largest."""

KINDS = ("pedestrian", "vehicle")
"""Names of the kinds by number."""

TOKENS = ("ahead", "left", "speed", "order")
"""Names of the entries of tokens, see `tokens`."""


@dataclass(frozen=True)
class Scenes:
    """Scenes of the same number of frames, each with the same number of rows for agents.

    Attributes:
        tracks: (n, agents, frames, 2) positions in metres, NaN in all frames of an absent agent.
        kinds: (n, agents) int8: -1 absent, 0 pedestrian, 1 vehicle.
        dt: seconds from frame to frame, above 0.
        past: frames that are given, at least 2; the others are the future. Scenes that are to be forecast
            have no more frames than these.
        map: (n, segments, 4) line segments x0 y0 x1 y1 in metres, NaN for rows that are not used; or None.
        tokens: (n, agents, length) what is asked of chosen agents, NaN for what is not; or None.
        start: (n,) frame of a recording at which each scene begins; None for scenes on their own.

    Raises:
        ValueError: for arrays that do not fit together, a present agent with a gap, or an absent one with a
            position.
    """

    tracks: Floats
    kinds: NDArray[np.int8]
    dt: float
    past: int
    map: Floats | None = None
    tokens: Floats | None = None
    start: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.tracks.ndim != 4 or self.tracks.shape[3] != 2 or 0 in self.tracks.shape:
            raise ValueError(f"tracks have shape (scenes, agents, frames, 2), got {self.tracks.shape}")
        if self.kinds.shape != self.tracks.shape[:2]:
            raise ValueError(
                f"kinds have a number for each agent of each scene, {self.tracks.shape[:2]}, "
                f"got {self.kinds.shape}"
            )
        if not self.dt > 0:
            raise ValueError(f"the time from frame to frame is above 0 s, got {self.dt}")
        if not 2 <= self.past <= self.frames:
            raise ValueError(
                f"at least 2 frames and at most all {self.frames} are the given past, got {self.past}"
            )
        if not np.isin(self.kinds, (ABSENT, PEDESTRIAN, VEHICLE)).all():
            raise ValueError("kinds are -1 (absent), 0 (pedestrian) or 1 (vehicle)")
        if self.start is not None and self.start.shape != (len(self),):
            raise ValueError(f"there is a start for each of {len(self)} scenes, got shape {self.start.shape}")
        self._check_gaps()
        for name, shape in (("map", (len(self), -1, 4)), ("tokens", (*self.kinds.shape, -1))):
            value = getattr(self, name)
            fits = value is None or (
                value.ndim == 3 and all(b in (-1, a) for a, b in zip(value.shape, shape, strict=True))
            )
            if not fits:
                wanted = str(shape).replace("-1", "any")
                raise ValueError(f"the {name} of these scenes has shape {wanted}, got {value.shape}")

    def _check_gaps(self) -> None:
        known: NDArray[np.bool_] = np.asarray(np.isfinite(self.tracks).all(axis=3))
        bad = np.argwhere(~known & self.present[:, :, None])
        if len(bad):
            scene, agent, frame = bad[0]
            raise ValueError(
                f"agent {agent} of scene {scene} has no position in frame {frame}; fill the gap, or mark the "
                "agent as absent (kind -1)"
            )
        if bool(np.any(~self.present & known.any(axis=2))):
            raise ValueError("an absent agent (kind -1) has a position; give NaN in all of its frames")

    def __len__(self) -> int:
        return len(self.tracks)

    @property
    def agents(self) -> int:
        """Rows for agents in each scene."""
        return int(self.tracks.shape[1])

    @property
    def frames(self) -> int:
        """Past and future frames."""
        return int(self.tracks.shape[2])

    @property
    def future(self) -> int:
        """Frames that are to be forecast."""
        return self.frames - self.past

    @property
    def stretches(self) -> NDArray[np.int64]:
        """(n,) the stretch of a recording, as long as a scene, in which each begins.

        Windows of one stretch show the same people: they are not independent.
        """
        return np.arange(len(self)) if self.start is None else self.start // self.frames

    @property
    def present(self) -> NDArray[np.bool_]:
        """(n, agents) which rows hold an agent."""
        return np.asarray(self.kinds >= 0)

    @property
    def given(self) -> Floats:
        """(n, agents, past, 2) the past."""
        return self.tracks[:, :, : self.past]

    @property
    def followed(self) -> Floats:
        """(n, agents, future, 2) what really came."""
        return self.tracks[:, :, self.past :]

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Scenes:
        """Some of the scenes."""
        return replace(
            self,
            tracks=self.tracks[rows],
            kinds=self.kinds[rows],
            map=None if self.map is None else self.map[rows],
            tokens=None if self.tokens is None else self.tokens[rows],
            start=None if self.start is None else self.start[rows],
        )

    def mirrored(self) -> Scenes:
        """The same scenes in a mirror (y is -y), as if people kept to the other side.

        Raises:
            ValueError: for tokens other than those of `tokens.TOKENS`, of which it is not known what becomes.
        """
        flip = np.array([1.0, -1.0], dtype=np.float32)
        mirror = None if self.map is None else self.map * np.tile(flip, 2)
        tokens = self.tokens
        if tokens is not None:
            if tokens.shape[2] != len(TOKENS):
                raise ValueError(f"only scenes with the tokens {', '.join(TOKENS)} can be mirrored")
            signs = [-1.0 if name == "left" else 1.0 for name in TOKENS]
            tokens = tokens * np.array(signs, dtype=np.float32)
        return replace(self, tracks=self.tracks * flip, map=mirror, tokens=tokens)


def join(parts: Sequence[Scenes]) -> Scenes:
    """Scenes of several sources as one; rows for agents and segments are padded to the largest.

    Starts are shifted, so that scenes of different sources are in different stretches.

    Raises:
        ValueError: if there is none, or their frames, past or time steps differ.
    """
    if not parts:
        raise ValueError("there are no scenes to join")
    first = parts[0]
    for part in parts:
        same = (part.frames, part.past, part.dt) == (first.frames, first.past, first.dt)
        if not same or any(
            (getattr(part, f) is None) != (getattr(first, f) is None) for f in ("map", "tokens")
        ):
            raise ValueError(
                "scenes are joined only if they have the same frames, past and time step, and all or none of "
                "them have a map and tokens"
            )
    agents = max(part.agents for part in parts)

    def joined(arrays: list[NDArray[np.generic]], rows: int, blank: float) -> NDArray[np.generic]:
        padded = []
        for array in arrays:
            widths = [(0, 0), (0, rows - array.shape[1])] + [(0, 0)] * (array.ndim - 2)
            padded.append(np.pad(array, widths, constant_values=blank))
        return np.concatenate(padded)

    starts, shift = [], 0
    for part in parts:
        if part.start is not None:
            starts.append(part.start + shift)
            shift = (int(starts[-1].max()) // first.frames + 1) * first.frames
    maps = [part.map for part in parts if part.map is not None]
    tokens = [part.tokens for part in parts if part.tokens is not None]
    nan = float("nan")
    return Scenes(
        joined([part.tracks for part in parts], agents, nan),  # type: ignore[arg-type]
        joined([part.kinds for part in parts], agents, ABSENT),  # type: ignore[arg-type]
        first.dt,
        first.past,
        joined(list(maps), max(m.shape[1] for m in maps), nan) if maps else None,  # type: ignore[arg-type]
        joined(list(tokens), agents, nan) if tokens else None,  # type: ignore[arg-type]
        np.concatenate(starts) if len(starts) == len(parts) else None,
    )
