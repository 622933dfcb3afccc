"""Measured recovery curves: read from text, corrected for background and fading, split at the bleach."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_COLUMNS = ("time", "intensity", "reference", "background")
_LEAST_AFTER = 6


@dataclass(frozen=True)
class Curve:
    """One curve, ready to fit.

    Attributes:
        name: of the file.
        time: (n,) s, increasing, 0 at the first image after the bleach.
        intensity: (n,) relative to the mean before the bleach.
        bleach: number of images before the bleach, at least 1.
        scale: intensity before the bleach, in the file's units.
    """

    name: str
    time: Values
    intensity: Values
    bleach: int
    scale: float

    @property
    def noise(self) -> float:
        """Standard deviation of the noise from second differences (which any smooth curve survives).

        Source: Gasser, Sroka & Jennen-Steinmetz 1986, "Residual variance and residual pattern in nonlinear
        regression", for equal steps.
        """
        parts = (self.intensity[: self.bleach], self.intensity[self.bleach + 2 :])
        squares = np.concatenate([np.diff(part, 2) ** 2 for part in parts])
        return math.sqrt(max(float(squares.mean()) / 6.0, 1e-24))


def make_curve(
    time: Values,
    intensity: Values,
    *,
    bleach: int | None = None,
    reference: Values | None = None,
    background: Values | None = None,
    name: str = "curve",
) -> Curve:
    """A curve from numbers: corrected, relative to its mean before the bleach, time 0 at the bleach.

    The background is taken off intensity and reference; then the intensity is divided by the reference
    relative to its mean before the bleach (double normalisation: Phair, Gorski & Misteli 2004,
    "Measurement of dynamic protein binding to chromatin in vivo, using photobleaching microscopy").

    Args:
        time: (n,) s, increasing.
        intensity: (n,) of the spot.
        bleach: index of the first image after the bleach, at least 1; by default after the largest drop.
        reference: (n,) of an unbleached region or the whole cell.
        background: (n,) outside the cell.
        name: to call it by.

    Raises:
        ValueError: for a bleach without an image before or with fewer than 6 after it, no drop at the
            bleach, or a signal that is not above the background.
    """
    base = np.zeros_like(intensity) if background is None else background
    signal = intensity - base
    if bleach is None:
        bleach = int(np.diff(signal).argmin()) + 1 if len(signal) > 1 else 0
    if not 1 <= bleach <= len(signal) - _LEAST_AFTER:
        raise ValueError(
            f"{name}: the first image after the bleach is number {bleach} (from 0) of {len(signal)}, but at "
            f"least 1 image before it and {_LEAST_AFTER} from it on are needed; give the bleach frame"
        )
    if reference is not None:
        fade = reference - base
        if not (fade > 0).all():
            raise ValueError(f"{name}: the reference is not above the background in every image")
        signal = signal / (fade / fade[:bleach].mean())
    scale = float(signal[:bleach].mean())
    if not scale > 0:
        raise ValueError(f"{name}: the intensity before the bleach is not above the background")
    if not signal[bleach] < scale:
        raise ValueError(f"{name}: the intensity does not drop at image {bleach}; give the bleach frame")
    return Curve(name, time - time[bleach], signal / scale, bleach, scale)


def read_curve(path: Path, *, interval: float | None = None, bleach: int | None = None) -> Curve:
    """Read columns time, intensity[, reference[, background]] separated by comma, tab, semicolon or space.

    A header may name the columns in any order ('time' or 'frame' first by default); with semicolons or
    tabs a decimal comma is understood; lines that begin with # are skipped.

    Args:
        path: the file.
        interval: s between frames, needed when the first column counts frames.
        bleach: index (from 0) of the first image after the bleach; by default after the largest drop.

    Raises:
        ValueError: in one sentence with the line number for an empty or missing value, a value that is no
            number, or a time that does not increase; for frames without an interval; or as `make_curve`.
        OSError: if the file cannot be read.
    """
    path = Path(path)
    table = _table(path)
    columns, lines = table.columns, table.lines
    time = columns["time"]
    if (np.diff(time) <= 0).any():
        wrong = int((np.diff(time) <= 0).argmax()) + 1
        raise ValueError(
            f"{path}, line {lines[wrong]}: the time {time[wrong]:g} does not come after {time[wrong - 1]:g}; "
            "times must increase"
        )
    if interval is not None:
        if not (interval > 0 and math.isfinite(interval)):
            raise ValueError(f"the interval between frames is above 0 s, got {interval}")
        if table.timed or not (time == time.round()).all():
            raise ValueError(f"{path}: the first column holds times, not frames, so no interval is needed")
        time = time * interval
    elif table.framed or (_counts_frames(time) and not table.timed):
        raise ValueError(
            f"{path}: the first column counts frames ({time[0]:g}, {time[1]:g}, ...); give the seconds "
            "between two frames as the interval"
        )
    return make_curve(
        time,
        columns["intensity"],
        bleach=bleach,
        reference=columns.get("reference"),
        background=columns.get("background"),
        name=path.name,
    )


@dataclass(frozen=True)
class _Table:
    columns: dict[str, Values]
    lines: list[int]  # of each row
    timed: bool  # the header calls the first column a time
    framed: bool  # or a frame


def _counts_frames(time: Values) -> bool:
    return len(time) > 1 and time[0] in (0.0, 1.0) and bool((np.diff(time) == 1.0).all())


def _table(path: Path) -> _Table:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file of columns time, intensity") from None
    kept = [(number, line) for number, line in enumerate(text.splitlines(), 1) if _holds(line)]
    if not kept:
        raise ValueError(f"{path} is empty; expected columns time, intensity")
    split = _splitter(kept[0][1])
    first = split(kept[0][1])
    header = all(_number(cell) is None for cell in first)
    names = _named(path, first) if header else list(_COLUMNS[: len(first)])
    timed, framed = header and "time" in names, header and "time" not in names
    names = ["time" if name == "frame" and framed else name for name in names]
    if len(first) < 2:
        raise ValueError(f"{path}, line {kept[0][0]}: expected at least the columns time and intensity")
    rows = [_row(path, number, split(line), names) for number, line in kept[header:]]
    if len(rows) < 2:
        raise ValueError(f"{path} holds {len(rows)} measurements; a recovery curve needs many")
    values = np.array(rows, dtype=np.float64)
    columns = {name: values[:, i] for i, name in enumerate(names) if name}
    return _Table(columns, [number for number, _ in kept[header:]], timed, framed)


def _row(path: Path, number: int, cells: list[str], names: list[str]) -> list[float]:
    found = []
    for i, name in enumerate(names):
        if not name:
            found.append(math.nan)
            continue
        value = _number(cells[i]) if i < len(cells) else None
        if value is None or not math.isfinite(value):
            what = "missing" if i >= len(cells) or not cells[i] else f"{cells[i]!r}, which is no number"
            raise ValueError(
                f"{path}, line {number}: the {name} is {what}; leave out or fill gaps before fitting"
            )
        found.append(value)
    return found


def _named(path: Path, cells: list[str]) -> list[str]:
    """Known columns by their header; others are passed over."""
    words = {
        "time": r"^(time|t|sec|seconds)\b",
        "frame": r"^(frame|image|slice)",
        "intensity": r"^(intensity|mean|signal|roi|frap|fluorescence|spot|bleach)",
        "reference": r"^(reference|ref|cell|whole|control)",
        "background": r"^(background|bg|back)",
    }
    names: list[str] = []
    for cell in cells:
        plain = cell.strip('"').lower().replace("_", " ")
        names.append(next((key for key, word in words.items() if re.match(word, plain)), ""))
    for wanted in ("time", "intensity"):
        if wanted not in names and not (wanted == "time" and "frame" in names):
            raise ValueError(
                f"{path}: no column is called {wanted}; the header has {', '.join(cells)}, "
                "expected time, intensity[, reference, background]"
            )
    return names


def _holds(line: str) -> bool:
    return bool(line.strip(" \t,;")) and not line.lstrip().startswith("#")


def _splitter(line: str) -> Callable[[str], list[str]]:
    mark = next((mark for mark in (";", "\t", ",") if mark in line), None)
    if mark is None:
        return str.split

    def split(text: str) -> list[str]:
        cells = [cell.strip() for cell in next(csv.reader([text], delimiter=mark))]
        return cells if mark == "," else [cell.replace(",", ".") for cell in cells]

    return split


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
