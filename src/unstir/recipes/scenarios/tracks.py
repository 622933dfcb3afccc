"""Reading recorded tracks: ETH/UCY text files, and CSV files of (scene, frame, id, x, y)."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unstir.recipes.scenarios.scenes import KINDS, PEDESTRIAN

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
            with _as_csv(file):
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
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
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


@contextmanager
def _as_csv(file: Path) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise ValueError(f"{file} cannot be read as CSV ({error})") from error


def _read_csv(file: Path, gap: int) -> list[Recording]:
    """The recordings of a CSV file, one for each value of its column ``scene``."""
    scenes: dict[str, list[list[float]]] = {}
    with file.open(encoding="utf-8-sig", newline="", errors="replace") as text:
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
            if any(row[name] is None for name in names.values()):
                raise ValueError(f"{place}: the row has fewer values than the header has columns")
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
    exact = (rows[:, 0] - rows[:, 0].min()) / step
    number = np.round(exact).astype(np.int64)
    off = np.abs(exact - number) > 1e-3
    if off.any():
        raise ValueError(
            f"{name}: frames are {step:g} apart, but frame {rows[np.argmax(off), 0]:g} lies between two; "
            "bring all positions to the same times first"
        )
    tracks, filled, cut = [], 0, 0
    for start, stop in _runs(rows[:, 1]):
        frames, places, kind = number[start:stop], rows[start:stop, 2:4], int(rows[start, 4])
        if (rows[start:stop, 4] != kind).any():
            raise ValueError(f"{name}: an agent is {' and '.join(KINDS)} at once; an id has one kind")
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


def gaps_sentence(recordings: Sequence[Recording]) -> str | None:
    """What was done about gaps, or None if there were none."""
    filled, cut = sum(r.filled for r in recordings), sum(r.cut for r in recordings)
    if not filled and not cut:
        return None
    return f"tracks had gaps: {filled} positions were interpolated, and tracks were cut at {cut} longer gaps"
