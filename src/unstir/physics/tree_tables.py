"""What is known about the tips of a tree: tables of places or regions, or the tree's own annotations."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from unstir.physics.phylo_sphere import check_places
from unstir.spaces import Tree

TIP = ("tip", "name", "taxon", "taxa", "id", "label", "sequence", "strain", "tiplabel")
LATITUDE = ("latitude", "lat")
LONGITUDE = ("longitude", "long", "lon", "lng")
REGION = ("region", "location", "state", "area", "country", "deme", "host", "trait")
UNKNOWN = "?"


def table_places(tree: Tree, path: Path) -> Tensor:
    """Latitude and longitude of every tip, from a table with a header.

    Columns are found by name (tip, latitude, longitude and the usual short forms), in any order; they are
    separated by commas, semicolons or tabs.

    Returns:
        (tips, 2) float64 degrees, in the order of ``tree.tips``.

    Raises:
        ValueError: naming the line or tip: a missing column, an empty cell, a value that is no number, a tip
            that is repeated, missing, or not in the tree, a latitude that cannot be.
        OSError: if the file cannot be read.
    """
    rows = _rows(tree, path, [LATITUDE, LONGITUDE])
    result = []
    for name in tree.tip_names:
        line, cells = rows[name]
        try:
            result.append([float(cell) for cell in cells])
        except ValueError:
            raise ValueError(
                f"{path}, line {line}: latitude and longitude of {name!r} are {cells}, expected two numbers "
                "in degrees"
            ) from None
    places = torch.tensor(result, dtype=torch.float64)
    check_places(tree, places)
    return places


def table_regions(tree: Tree, path: Path) -> tuple[Tensor, list[str]]:
    """The region of every tip, from a table with a header; "?" is unknown.

    Returns:
        (tips,) int64 in the order of ``tree.tips``, -1 where unknown, and the names of the regions, sorted.

    Raises:
        ValueError: as in `table_places`.
        OSError: if the file cannot be read.
    """
    rows = _rows(tree, path, [REGION])
    return _numbered([rows[name][1][0] for name in tree.tip_names])


def annotated_places(tree: Tree) -> Tensor:
    """Latitude and longitude of every tip from BEAST's annotations location1 and location2 (or lat and long).

    Returns:
        (tips, 2) float64 degrees.

    Raises:
        ValueError: naming a tip without them, or whose latitude cannot be.
    """
    result = []
    for i in tree.tips.tolist():
        notes = {key.lower(): value for key, value in (tree.annotations or [])[i].items()}
        pairs = (("location1", "location2"), ("latitude", "longitude"), ("lat", "long"), ("lat", "lon"))
        found = next(([notes[a], notes[b]] for a, b in pairs if a in notes and b in notes), None)
        if found is None or not all(isinstance(value, float) for value in found):
            raise ValueError(
                f"tip {_name(tree, i)!r} has no annotations location1 and location2 in the tree file; give a "
                "table of locations"
            )
        result.append(found)
    places = torch.tensor(result, dtype=torch.float64)
    check_places(tree, places)
    return places


def annotated_regions(tree: Tree, key: str) -> tuple[Tensor, list[str]]:
    """The region of every tip from one of the tree file's annotations; as `table_regions`.

    Raises:
        ValueError: naming a tip without it, with the annotations that it has.
    """
    found = []
    for i in tree.tips.tolist():
        notes = (tree.annotations or [])[i]
        if key not in notes:
            known = ", ".join(sorted(k for k, value in notes.items() if isinstance(value, str)))
            raise ValueError(
                f"tip {_name(tree, i)!r} has no annotation {key!r}; it has {known or 'none of text'}"
            )
        found.append(str(notes[key]))
    return _numbered(found)


def _name(tree: Tree, node: int) -> str:
    assert tree.names is not None
    return tree.names[node]


def _numbered(found: list[str]) -> tuple[Tensor, list[str]]:
    names = sorted({name for name in found if name != UNKNOWN})
    number = {name: i for i, name in enumerate(names)} | {UNKNOWN: -1}
    return torch.tensor([number[name] for name in found]), names


def _rows(tree: Tree, path: Path, wanted: Sequence[tuple[str, ...]]) -> dict[str, tuple[int, list[str]]]:
    """Line and cells of the wanted columns for every tip."""
    text = path.read_text(encoding="utf-8-sig")
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    lines = list(csv.reader(text.splitlines(), delimiter=separator))
    if len(lines) < 2:
        raise ValueError(f"{path} holds no table: expected a header and a line for each tip")
    header = [cell.strip().lower() for cell in lines[0]]
    columns = [_column(header, names, path) for names in (TIP, *wanted)]
    known = set(tree.tip_names)
    rows: dict[str, tuple[int, list[str]]] = {}
    for number, row in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        cells = [row[k].strip() if k < len(row) else "" for k in columns]
        if not all(cells):
            gap = header[columns[cells.index("")]]
            raise ValueError(f"{path}, line {number}: the column {gap!r} is empty")
        name = cells[0]
        if name not in known:
            raise ValueError(f"{path}, line {number}: there is no tip {name!r} in the tree")
        if name in rows:
            raise ValueError(
                f"{path}, line {number}: tip {name!r} is there twice, first in line {rows[name][0]}"
            )
        rows[name] = number, cells[1:]
    missing = [name for name in tree.tip_names if name not in rows]
    if missing:
        others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise ValueError(f"{path} has no line for the tip {missing[0]!r}{others}")
    return rows


def _column(header: list[str], names: tuple[str, ...], path: Path) -> int:
    for name in names:
        if name in header:
            return header.index(name)
    raise ValueError(
        f"{path} has no column {names[0]!r} (or {', '.join(names[1:])}); its header is {', '.join(header)}"
    )
