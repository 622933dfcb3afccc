"""Pairs of fields from files: .npz, HDF5 and zarr, on any grid of one to three axes."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unstir.extras import needed
from unstir.recipes.reading import damaged, reading
from unstir.recipes.zarr_store import array_headers, refuse_pickle

PAIRS = (
    ("source", "solution"),
    ("source", "potential"),
    ("x", "y"),
    ("a", "u"),
    ("f", "u"),
    ("coeff", "sol"),
    ("input", "output"),
    ("nu", "tensor"),
)
"""Names of the two fields that are known; the last is PDEBench's, ``coeff`` and ``sol`` are those of the
Fourier neural operator's data."""
_HDF = (".h5", ".hdf5", ".hdf")
_MINIMUM = 2

Fields = NDArray[np.float32]


def read_pairs(
    path: str | Path, first: str | None = None, second: str | None = None
) -> tuple[Fields, Fields, tuple[str, str]]:
    """Two arrays of fields on one grid.

    Layouts are (n, *space), or (n, channels, *space) with at most 16 channels; both arrays have the
    same n and space. Where an array can be read both ways, a first axis of one cell or of less than a
    third of the others' is one of channels.

    Args:
        path: a .npz, .h5, .hdf5 or .zarr file or folder.
        first: name of the first field in it (a path such as ``group/name`` in HDF5 and zarr); by default the
            first known pair of names, see `PAIRS`, or the only two arrays there are, in their order.
        second: name of the second field.

    Returns:
        both as (n, channels, *space) float32, and their names.

    Raises:
        FileNotFoundError: if there is no such file.
        ModuleNotFoundError: if the library for the format is not installed.
        ValueError: if it is damaged or of another kind, the names are not there, or the arrays are no pairs
            of finite fields.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise FileNotFoundError(f"there is no file {path} to read pairs of fields from")
    if place.suffix == ".npz":
        arrays = _read_npz(place)
    elif place.suffix in _HDF:
        arrays = _read_hdf(place)
    elif place.suffix == ".zarr" or (place / "zarr.json").is_file() or (place / ".zgroup").is_file():
        arrays = _read_zarr(place)
    else:
        what = (
            "a folder that holds no zarr" if place.is_dir() else "neither .npz nor HDF5 (.h5, .hdf5) nor zarr"
        )
        raise ValueError(f"{place} is {what}; pairs of fields are one file of two arrays")
    names = _names(place, list(arrays), first, second)
    a, b = (_numbers(place, name, arrays[name]) for name in names)
    a, b = _on_one_grid(place, names, a, b)
    return a, b, names


def _names(place: Path, there: list[str], first: str | None, second: str | None) -> tuple[str, str]:
    for name in (first, second):
        if name is not None and name not in there:
            raise ValueError(f"{place} holds no array {name!r}; it holds {', '.join(there) or 'none'}")
    if first is not None and second is not None:
        return first, second
    if first is None and second is None:
        for pair in PAIRS:
            if all(name in there for name in pair):
                return pair
    rest = [name for name in there if name not in (first, second)]
    if first is None and second is None and len(rest) == 2:
        return rest[0], rest[1]
    if len(rest) == 1 and first is not None:
        return first, rest[0]
    if len(rest) == 1 and second is not None:
        return rest[0], second
    if len(there) < 2:
        raise ValueError(
            f"{place} holds {there[0] if there else 'no array'} where there should be two fields, each of "
            "shape (n, *space) or (n, channels, *space)"
        )
    raise ValueError(
        f"{place} holds {', '.join(there)}, and which two are the fields is not clear; say so "
        "with --set data.options.first=NAME --set data.options.second=NAME"
    )


def _read_npz(place: Path) -> Mapping[str, NDArray[np.generic]]:
    if not zipfile.is_zipfile(place):
        raise damaged(place, ValueError("no zip archive of arrays"))
    with reading(place), np.load(place, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    # Axes' coordinates have one dimension and are no fields.
    return {name: array for name, array in arrays.items() if array.ndim >= _MINIMUM}


def _read_hdf(place: Path) -> Mapping[str, NDArray[np.generic]]:
    try:
        import h5py
    except ModuleNotFoundError:
        raise needed("h5py", "formats") from None
    found: dict[str, NDArray[np.generic]] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim >= _MINIMUM:
            found[name] = item[()]

    with reading(place), h5py.File(place, "r") as file:
        file.visititems(visit)
    return found


def _read_zarr(place: Path) -> Mapping[str, NDArray[np.generic]]:
    try:
        import zarr
    except ModuleNotFoundError:
        raise needed("zarr", "formats") from None
    with reading(place):
        headers = array_headers(place)
    for name, header in headers.items():
        refuse_pickle(place, name, header)
    with reading(place):
        group = zarr.open_group(str(place), mode="r", use_consolidated=False)
        arrays = {
            name: item
            for name, item in sorted(group.members(max_depth=None))
            if isinstance(item, zarr.Array) and name in headers and item.ndim >= _MINIMUM
        }
        return {name: np.asarray(item[:]) for name, item in arrays.items()}


def _numbers(place: Path, name: str, array: NDArray[np.generic]) -> Fields:
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_) or np.iscomplexobj(array):
        raise ValueError(f"{name!r} in {place} holds {array.dtype}; fields are real numbers")
    if array.size == 0:
        raise ValueError(f"{name!r} in {place} is empty, of shape {array.shape}")
    with np.errstate(over="ignore"):  # becomes infinite, and is told below
        values = array.astype(np.float32)
    bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if bool(bad.any()):
        raise ValueError(
            f"{name!r} in {place} holds a value that is not finite (NaN, infinity or too large), in sample "
            f"{int(bad.argmax())}"
        )
    return values


def _on_one_grid(place: Path, names: tuple[str, str], a: Fields, b: Fields) -> tuple[Fields, Fields]:
    """Both with an axis of channels."""
    shapes = f"{names[0]!r} {a.shape} and {names[1]!r} {b.shape}"
    if len(a) != len(b):
        raise ValueError(f"{place} holds {shapes}: as many first fields as second ones make pairs")
    candidates = [(x, y) for x in _layouts(a) for y in _layouts(b) if x.shape[2:] == y.shape[2:]]
    if not candidates:
        raise ValueError(
            f"{place} holds {shapes}; pairs have the layout (n, *space) or (n, channels, *space), one to "
            "three axes of space, the same for both"
        )
    # Where both readings are possible, the one without an axis of channels is meant unless that is flat.
    return max(candidates, key=lambda pair: -_oddness(pair[0]) - _oddness(pair[1]))


def _layouts(x: Fields) -> list[Fields]:
    """(n, channels, *space) in every way that an array can be read."""
    ways = []
    if 2 <= x.ndim <= 4:
        ways.append(x[:, None])
    if 3 <= x.ndim <= 5 and x.shape[1] <= 16:
        ways.append(x)
    return [way for way in ways if min(way.shape) >= 1 and max(way.shape[2:]) >= 2]


def _oddness(x: Fields) -> float:
    """How unlikely a reading is: an axis of space much shorter than the others is rather one of channels."""
    space, channels = x.shape[2:], x.shape[1]
    flat = len(space) > 1 and (min(space) == 1 or max(space) / min(space) > 3)
    return math.log(channels) + (10.0 if flat else 0.0)
