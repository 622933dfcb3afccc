"""Recorded tracks as scenes: windows in time, and neighbourhoods of those with many agents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unstir.recipes.scenarios.scenes import Scenes, join
from unstir.recipes.scenarios.tracks import Recording, Rows, Track


def windows(
    recording: Recording,
    *,
    past: int = 8,
    future: int = 12,
    agents: int = 16,
    dt: float = 0.4,
    stride: int = 1,
) -> Scenes | None:
    """Every window of past + future frames with the agents that are seen in all of them.

    A window of more agents than a scene has rows is cut into neighbourhoods of nearly the same size, along
    the axis on which its agents are spread most, so every agent is in exactly one scene.

    Source: the protocol of Alahi et al. 2016, section 5, and Gupta et al. 2018, section 4 (8 + 12 frames,
    every start); windows of one agent alone are kept, too.

    Args:
        recording: tracks.
        past: frames given.
        future: frames to forecast.
        agents: rows of a scene.
        dt: seconds between frames.
        stride: frames between the starts of windows.

    Returns:
        The scenes, or None if nobody is seen for so long.
    """
    length = past + future
    by_start: dict[int, list[Track]] = {}
    for track in recording.tracks:
        for start in range(track.first, track.first + len(track.positions) - length + 1):
            by_start.setdefault(start, []).append(track)
    tracks, kinds, starts = [], [], []
    for start in sorted(by_start):
        if start % stride:
            continue
        seen = by_start[start]
        whole = np.stack([t.positions[start - t.first : start - t.first + length] for t in seen])
        for rows in neighbourhoods(whole[:, past - 1], agents):
            scene = np.full((agents, length, 2), np.nan, dtype=np.float32)
            scene[: len(rows)] = whole[rows]
            kind = np.full(agents, -1, dtype=np.int8)
            kind[: len(rows)] = [seen[row].kind for row in rows]
            tracks.append(scene)
            kinds.append(kind)
            starts.append(start)
    if not tracks:
        return None
    return Scenes(np.stack(tracks), np.stack(kinds), dt, past, start=np.array(starts))


def neighbourhoods(places: Rows, size: int) -> list[NDArray[np.int64]]:
    """Split points (n, 2) into groups of at most ``size``: halved along their widest axis until they fit."""
    groups, waiting = [], [np.arange(len(places))]
    while waiting:
        rows = waiting.pop()
        if len(rows) <= size:
            groups.append(rows)
            continue
        centred = places[rows] - places[rows].mean(axis=0)
        axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
        order = rows[np.argsort(centred @ axis, kind="stable")]
        half = len(order) // 2
        waiting += [order[half:], order[:half]]
    return groups


def scenes_of(recordings: Sequence[Recording], **options: float) -> Scenes:
    """The windows of several recordings together.

    Raises:
        ValueError: if there is not one window in them.
    """
    parts = [w for w in (windows(r, **options) for r in recordings) if w is not None]  # type: ignore[arg-type]
    if not parts:
        raise ValueError(
            "no agent is seen long enough for a single window: give longer tracks, or fewer frames with "
            "data.options.past and data.options.future"
        )
    return join(parts)
