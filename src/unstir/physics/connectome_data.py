"""Connectomes and regional values from tables, matched by the names of their regions in any order."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unstir.settings import nearest
from unstir.spaces import Graph

Values = NDArray[np.float64]

_SIDES = {"l": "left", "lh": "left", "left": "left", "r": "right", "rh": "right", "right": "right"}
_IDLE = {"ctx", "cortex", "cortical", "proper", "area"}


@dataclass(frozen=True)
class RegionValues:
    """A column of numbers and, if the table has them, the regions' names.

    Attributes:
        name: of the column.
        values: (n,).
        regions: (n,) names, or None.
    """

    name: str
    values: Values
    regions: tuple[str, ...] | None


def canonical(name: str) -> str:
    """One spelling for a region's name: 'ctx-lh-bankssts', 'L_bankssts' and 'Bankssts_L' are the same.

    Lower case, words without punctuation, the side (l, lh, left; r, rh, right) first; 'ctx', 'cortex',
    'proper' and 'area' are left out.
    """
    words = [word for word in re.split(r"[^a-z0-9]+", name.strip().lower()) if word]
    at = next((i for i, word in enumerate(words) if word in _SIDES), None)
    rest = [word for i, word in enumerate(words) if i != at and word not in _IDLE]
    return " ".join(rest if at is None else [_SIDES[words[at]], *rest])


def side_and_rest(name: str) -> tuple[str, str]:
    """('left' or 'right' or '', the name without it), of a name in any spelling."""
    words = canonical(name).split(" ", 1)
    return (
        (words[0], words[-1]) if words[0] in ("left", "right") and len(words) > 1 else ("", " ".join(words))
    )


def read_connectome(path: Path, labels: Path | None = None) -> Graph:
    """Read a square table of connection strengths, with or without a header and a column of names.

    Args:
        path: values separated by commas, semicolons, tabs or spaces.
        labels: a file with the regions' names, in a row or a column, in the matrix's order.

    Raises:
        ValueError: in one sentence if it is not square, asymmetric, or has a value that is no number or
            below 0; or for a number of names that is not that of the regions.
        OSError: if a file cannot be read.
    """
    rows = _cells(path)
    header = _number(rows[0][-1]) is None
    names = [cell for cell in rows[0] if cell] if header else None
    body = rows[header:]
    indexed = bool(body) and _number(body[0][0]) is None
    if indexed:
        names = [row[0] for row in body]
        body = [row[1:] for row in body]
    n = len(body)
    matrix = np.empty((n, n))
    for i, row in enumerate(body):
        if len(row) != n:
            raise ValueError(
                f"{path}: a connectome is a square table, but row {i + 1} of {n} has {len(row)} values"
            )
        matrix[i] = [_strength(path, cell, i, j) for j, cell in enumerate(row)]
    if labels is not None:
        names = [cell for row in _cells(labels) for cell in row if cell]
    if names is not None and len(names) != n:
        where = labels or path
        raise ValueError(f"{where}: {len(names)} names for the {n} regions of the matrix")
    if not np.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-9 * float(np.abs(matrix).max() or 1.0)):
        i, j = divmod(int(np.abs(matrix - matrix.T).argmax()), n)
        raise ValueError(
            f"{path}: the connectome is asymmetric (row {i + 1}, column {j + 1} is {matrix[i, j]:g}, the "
            f"other way {matrix[j, i]:g}); the model needs undirected strengths, so symmetrise it"
        )
    return Graph(0.5 * (matrix + matrix.T), names)


def read_values(path: Path, column: str | None = None) -> RegionValues:
    """Read a number for each region from a table.

    Args:
        path: a table with or without a header; the first column whose cells are unlike each other and are
            no numbers holds the regions' names.
        column: which column of numbers; by default the only one.

    Raises:
        ValueError: in one sentence for an unknown column, none or several to choose from, or a value that
            is no number.
        OSError: if the file cannot be read.
    """
    rows = _cells(path)
    if len(rows) == 1 and len(rows[0]) > 1 and all(_number(cell) is not None for cell in rows[0]):
        rows = [[cell] for cell in rows[0]]
    header = all(_number(cell) is None for cell in rows[0]) and len(rows) > 1
    titles = rows[0] if header else [f"column {i + 1}" for i in range(len(rows[0]))]
    body = rows[header:]
    columns = [[row[i] if i < len(row) else "" for row in body] for i in range(len(titles))]
    words = [
        all(_number(cell) is None for cell in cells) and len(set(cells)) == len(cells) for cells in columns
    ]
    regions = tuple(columns[words.index(True)]) if True in words else None
    which = _choose(path, titles, columns, column)
    numbers = [_number(cell) for cell in columns[which]]
    for i, number in enumerate(numbers):
        if number is None or not math.isfinite(number):
            place = f"{regions[i]!r}" if regions else f"row {i + 1}"
            raise ValueError(
                f"{path}: the {titles[which]} of {place} is {columns[which][i]!r}, which is no number; "
                "leave that region out"
            )
    return RegionValues(titles[which], np.array(numbers, dtype=np.float64), regions)


def match_regions(names: Sequence[str], regions: Sequence[str]) -> tuple[list[int], list[str]]:
    """Index in ``names`` of each region, -1 for one that has none, and the regions that have none.

    Raises:
        ValueError: for a name that stands twice.
    """
    known = {canonical(name): i for i, name in enumerate(names)}
    asked = [canonical(region) for region in regions]
    for spelled, original in ((list(map(canonical, names)), names), (asked, regions)):
        twice = next((i for i, name in enumerate(spelled) if name in spelled[:i]), None)
        if twice is not None:
            raise ValueError(f"the region {original[twice]!r} stands twice; region names must differ")
    found = [known.get(name, -1) for name in asked]
    return found, [region for region, index in zip(regions, found, strict=True) if index < 0]


def _choose(path: Path, titles: list[str], columns: list[list[str]], column: str | None) -> int:
    numeric = [i for i, cells in enumerate(columns) if any(_number(cell) is not None for cell in cells)]
    if column is not None:
        if column in titles:
            return titles.index(column)
        raise ValueError(f"{path} has no column {column!r}; {nearest(column, [titles[i] for i in numeric])}")
    if len(numeric) == 1:
        return numeric[0]
    if not numeric:
        raise ValueError(f"{path} has no column of numbers")
    raise ValueError(
        f"{path} has several columns of numbers; name one of {', '.join(titles[i] for i in numeric)}"
    )


def _cells(path: Path) -> list[list[str]]:
    """Rows of stripped cells; a row of nothing is left out."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text table; export it as CSV") from None
    lines = [line for line in text.splitlines() if line.strip(" \t,;")]
    if not lines:
        raise ValueError(f"{path} is empty")
    mark = next((mark for mark in (";", "\t", ",") if mark in lines[0]), None)
    if mark is None:
        return [line.split() for line in lines]
    return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=mark)]


def _strength(path: Path, cell: str, i: int, j: int) -> float:
    number = _number(cell)
    if number is None or not (math.isfinite(number) and number >= 0):
        raise ValueError(
            f"{path}: row {i + 1}, column {j + 1} of the connectome is {cell!r}; strengths are numbers of "
            "at least 0"
        )
    return number


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
