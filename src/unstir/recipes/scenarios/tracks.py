"""Recorded tracks as scenes: ETH/UCY text files, and CSV files of (scene, frame, id, x, y)."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unstir.recipes.scenarios.scenes import KINDS, PEDESTRIAN, Scenes, join

SCENE_COLUMNS = ("frame", "id", "x", "y")
"""Columns that a CSV file must have; ``scene`` and ``kind`` (pedestrian or vehicle) are optional."""

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Track:
    """One agent without gaps.

    Attributes:
        first: number of its first frame.
        positions: (frames, 2) metres.
        kind: 0 pedestrian, 1 vehicle.
    """

    first: int
    positions: Rows
    kind: int = PEDESTRIAN


@dataclass(frozen=True)
class Recording:
    """Tracks of one place.

    Attributes:
        name: of the scene.
        tracks: each without gaps.
        filled: positions that were interpolated.
        cut: tracks that were cut in two at a longer gap.
    """

    name: str
    tracks: tuple[Track, ...]
    filled: int = 0
    cut: int = 0


def read_recordings(path: str | Path, *, gap: int = 2) -> list[Recording]:
    """The recordings of a file or of all ``.txt`` and ``.csv`` files of a folder, by name.

    A ``.txt`` file has rows ``frame id x y`` between blanks or tabs (the ETH/UCY files of the field); other
    text, such as a licence, is left out if its first line is not four numbers. A ``.csv`` file has a header.
    The frame step is the most common distance of an agent's neighbouring rows.

    Args:
        path: of the file or folder.
        gap: longest gap, in frames, that is filled by a straight line; at a longer one the track is cut.

    Raises:
        FileNotFoundError: if there is no such path, or no recording in the folder.
        ValueError: if a file cannot be read, with its name and line.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    files = sorted(f for f in path.iterdir() if f.suffix in (".txt", ".csv")) if path.is_dir() else [path]
    recordings: list[Recording] = []
    for file in files:
        if file.suffix == ".csv":
            recordings += _read_csv(file, gap)
        elif not path.is_dir() or _is_table(file):
            recordings.append(_recording(file.stem, _read_text(file), gap))
    if not recordings:
        raise FileNotFoundError(
            f"the folder {path} holds no tracks: .txt files of frame id x y, or .csv files"
        )
    return recordings


def _is_table(file: Path) -> bool:
    with file.open(encoding="utf-8", errors="replace") as lines:
        words = next(lines, "").split()
    try:
        return len([float(word) for word in words]) == 4
    except ValueError:
        return False


def _read_text(file: Path) -> Rows:
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        words = line.split()
        if len(words) != 4:
            raise ValueError(f"{file}, line {number}: a row is frame id x y, but it has {len(words)} values")
        rows.append([*_numbers(words, f"{file}, line {number}"), PEDESTRIAN])
    if not rows:
        raise ValueError(f"{file} holds no tracks")
    return np.array(rows)


def _numbers(words: Sequence[str], place: str) -> list[float]:
    values = []
    for word in words:
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"{place}: {word!r} is not a number")
        values.append(value)
    return values


def _read_csv(file: Path, gap: int) -> list[Recording]:
    """The recordings of a CSV file, one for each value of its column ``scene``."""
    scenes: dict[str, list[list[float]]] = {}
    with file.open(encoding="utf-8-sig", newline="") as text:
        table = csv.DictReader(text, skipinitialspace=True)
        names = {name.strip().lower(): name for name in table.fieldnames or ()}
        missing = [column for column in SCENE_COLUMNS if column not in names]
        if missing:
            raise ValueError(
                f"{file} has no column {missing[0]!r}: the header names frame, id, x and y, and optionally "
                "scene and kind, in any order"
            )
        identities: dict[str, float] = {}
        for row in table:
            place = f"{file}, line {table.line_num}"
            frame, x, y = _numbers([row[names[c]] or "" for c in ("frame", "x", "y")], place)
            identity = identities.setdefault(row[names["id"]], float(len(identities)))
            scene = row[names["scene"]] if "scene" in names else file.stem
            kind = row[names["kind"]].strip().lower() if "kind" in names else KINDS[PEDESTRIAN]
            if kind not in KINDS:
                raise ValueError(f"{place}: the kind of an agent is {' or '.join(KINDS)}, got {kind!r}")
            scenes.setdefault(scene, []).append([frame, identity, x, y, float(KINDS.index(kind))])
    if not scenes:
        raise ValueError(f"{file} holds no tracks")
    return [_recording(name, np.array(rows), gap) for name, rows in scenes.items()]


def _recording(name: str, rows: Rows, gap: int) -> Recording:
    """Tracks without gaps from rows (frame, id, x, y, kind)."""
    rows = rows[np.lexsort((rows[:, 0], rows[:, 1]))]
    same = rows[1:, 1] == rows[:-1, 1]
    distances = np.diff(rows[:, 0])[same]
    if (distances == 0).any():
        row = rows[1:][same][np.argmax(distances == 0)]
        raise ValueError(f"{name}: agent {row[1]:g} has two positions in frame {row[0]:g}")
    values, counts = np.unique(distances, return_counts=True)
    step = float(values[np.argmax(counts)]) if len(values) else 1.0
    number = np.round((rows[:, 0] - rows[:, 0].min()) / step).astype(np.int64)
    tracks, filled, cut = [], 0, 0
    for start, stop in _runs(rows[:, 1]):
        frames, places, kind = number[start:stop], rows[start:stop, 2:4], int(rows[start, 4])
        breaks = np.flatnonzero(np.diff(frames) > gap + 1) + 1
        cut += len(breaks)
        for part in np.split(np.arange(len(frames)), breaks):
            whole = np.arange(frames[part[0]], frames[part[-1]] + 1)
            filled += len(whole) - len(part)
            between = [np.interp(whole, frames[part], places[part, axis]) for axis in (0, 1)]
            tracks.append(Track(int(whole[0]), np.stack(between, axis=1), kind))
    return Recording(name, tuple(tracks), filled, cut)


def _runs(values: Rows) -> list[tuple[int, int]]:
    """Start and stop of each run of equal values."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return [(edges[i], edges[i + 1]) for i in range(len(edges) - 1)]


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
    tracks, kinds = [], []
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
    return Scenes(np.stack(tracks), np.stack(kinds), dt, past) if tracks else None


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


def split_recordings(
    recordings: Sequence[Recording], heldout: str | None, aliases: Mapping[str, str] | None = None
) -> tuple[list[Recording], list[Recording]]:
    """Recordings for training and the held-out one, by name.

    Args:
        recordings: all of them.
        heldout: name of the one that is held out, or what it is also called.
        aliases: short names.

    Raises:
        ValueError: for an unknown name, or if nothing would be left for training.
    """
    from unstir.settings import nearest

    names = [r.name for r in recordings]
    name = (aliases or {}).get(heldout or "", heldout)
    if name not in names:
        raise ValueError(f"there is no recording {heldout!r}; {nearest(str(heldout), names)}")
    rest = [r for r in recordings if r.name != name]
    if not rest:
        raise ValueError(f"{heldout!r} is the only recording, so nothing is left to train on")
    return rest, [r for r in recordings if r.name == name]


def split_in_time(recordings: Sequence[Recording], share: float) -> tuple[list[Recording], list[Recording]]:
    """The beginning and the end of each recording; tracks are cut between the two, so nothing overlaps.

    Args:
        recordings: all of them.
        share: of the frames, at the end, that is held out.
    """
    first, second = [], []
    for recording in recordings:
        end = max(track.first + len(track.positions) for track in recording.tracks)
        at = round((1.0 - share) * end)
        before = [replace(t, positions=t.positions[: at - t.first]) for t in recording.tracks if t.first < at]
        after = [
            replace(t, first=max(t.first, at), positions=t.positions[max(0, at - t.first) :])
            for t in recording.tracks
            if t.first + len(t.positions) > at
        ]
        first.append(replace(recording, tracks=tuple(before)))
        second.append(replace(recording, tracks=tuple(after)))
    return first, second


ALIASES = {
    "eth": "biwi_eth",
    "hotel": "biwi_hotel",
    "zara1": "crowds_zara01",
    "zara2": "crowds_zara02",
    "zara3": "crowds_zara03",
    "univ": "students003",
}
"""What the recordings of ETH/UCY are called for short."""


def gaps_sentence(recordings: Sequence[Recording]) -> str | None:
    """What was done about gaps, or None if there were none."""
    filled, cut = sum(r.filled for r in recordings), sum(r.cut for r in recordings)
    if not filled and not cut:
        return None
    return f"tracks had gaps: {filled} positions were interpolated, and tracks were cut at {cut} longer gaps"
