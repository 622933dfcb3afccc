"""What a zarr store says of its arrays, checked before a byte of them is decoded.

Python's zarr may decode with codecs that run code of whoever wrote the store (``pickle`` of numcodecs). So
the headers, which are JSON, are read here first, and only arrays of plain numbers go further.
"""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from unstir.notice import Notice

Headers = Mapping[str, Mapping[str, Any]]
"""By the array's path in the store (``data/state``), the content of its ``.zarray`` or ``zarr.json``."""

_NAMES = (".zarray", "zarr.json")


def array_headers(path: Path) -> Headers:
    """The headers of all arrays of a store, of version 2 or 3 of the format.

    Args:
        path: a folder or a zip.

    Raises:
        OSError: if something cannot be read; zipfile.BadZipFile: if it is no zip.
        ValueError: if a header is no JSON, or an array has two headers, of which zarr would follow one.
    """
    found: dict[str, Mapping[str, Any]] = {}
    seen: set[str] = set()
    for name, content in _in_folder(path) if path.is_dir() else _in_zip(path):
        header = json.loads(content)
        if name in seen or not isinstance(header, dict):
            raise ValueError(f"{name!r} has two headers, or one that is no mapping")
        seen.add(name)
        if header.get("node_type", "array") == "array":
            found[name] = header
    return found


def _in_folder(path: Path) -> Iterator[tuple[str, bytes]]:
    for place, folders, files in os.walk(path):
        folders.sort()
        name = Path(place).relative_to(path).as_posix()
        for header in sorted(set(_NAMES) & set(files)):
            yield name, (Path(place) / header).read_bytes()
            if header == ".zarray":
                folders.clear()  # only chunks are below


def _in_zip(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as file:
        for name in sorted(file.namelist()):
            if PurePosixPath(name).name in _NAMES:
                yield PurePosixPath(name).parent.as_posix(), file.read(name)


def refuse_pickle(path: Path, name: str, header: Mapping[str, Any]) -> None:
    """Check that no codec of an array unpickles.

    Raises:
        ValueError: if one does.
    """
    codecs = [header.get(part) for part in ("compressor", "filters", "codecs")]
    if any("pickle" in codec for codec in _codecs(codecs)):
        raise ValueError(
            f"{name!r} in {path} is kept with the codec pickle, which could run any code when it is read; it "
            "is not read"
        )


def check_header(path: Path, name: str, header: Mapping[str, Any]) -> None:
    """Check that an array is of plain numbers, and that no codec of it unpickles.

    Raises:
        ValueError: if not.
    """
    refuse_pickle(path, name, header)
    kind = header.get("dtype", header.get("data_type"))
    try:
        numbers = isinstance(kind, str) and np.dtype(kind).kind in "biuf"
    except TypeError:
        numbers = False
    if not numbers:
        raise ValueError(f"{name!r} in {path} holds {kind!r}; expected real numbers")


def _codecs(value: Any) -> Iterator[str]:
    """The names of all codecs in a header, at any depth: a codec of shards has codecs of its own."""
    if isinstance(value, list):
        for one in value:
            yield from _codecs(one)
    elif isinstance(value, str):  # version 3 may name one without settings
        yield value.lower()
    elif isinstance(value, dict):
        for key, one in value.items():
            if key in ("id", "name"):
                yield str(one).lower()
            elif isinstance(one, (list, dict)):
                yield from _codecs(one)


def say_what_is_missing(path: Path, name: str, array: Any) -> None:
    """Say with a `Notice` how many chunks of a zarr array are not stored: zarr fills them without a word.

    A writer may leave out chunks that hold nothing but the fill value, so this is no error.
    """
    missing = array.nchunks - array.nchunks_initialized
    if missing > 0:
        warnings.warn(
            f"{missing} of the {array.nchunks} chunks of {name!r} in {path} are not stored and are read as "
            f"{array.fill_value}; if nobody left them out as empty, the store is not downloaded whole",
            Notice,
            stacklevel=2,
        )
