"""Replay buffers as Diffusion Policy keeps them: a zarr store, folder or zip.

``data/`` holds arrays with one row a step (``state``, ``action``, ``img``, ...), and ``meta/episode_ends``
where each episode ends, exclusive (Chi et al. 2023 and their published code, ``ReplayBuffer``). Stores of
versions 2 and 3 of the format are read alike.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unstir.extras import needed
from unstir.recipes.policy.episodes import Episodes, first_ends
from unstir.recipes.policy.keys import ReplaySettings, joined, names_of, need, shortened
from unstir.recipes.policy.pictures import Part, gathered
from unstir.recipes.reading import damaged, reading
from unstir.recipes.zarr_store import Headers, array_headers, check_header, say_what_is_missing

_ROWS = 256
"""Pictures converted at once."""


def is_zarr(path: Path) -> bool:
    """Whether it looks like a zarr store: by the file in its root, or by the name of a zip."""
    if path.is_dir():
        return any((path / name).is_file() for name in (".zgroup", "zarr.json"))
    return path.is_file() and path.suffix == ".zip"


def read_zarr(path: Path, settings: ReplaySettings) -> Episodes:
    """The episodes of a replay buffer; chunks that are not stored are said with a `Notice`.

    Raises:
        ModuleNotFoundError: if zarr is not installed.
        ValueError: if the store is damaged, lacks an array, holds other than numbers, or its lengths do not
            match.
    """
    try:
        import zarr
        from zarr.storage import ZipStore
    except ModuleNotFoundError:
        raise needed("zarr", "formats") from None
    if path.is_dir():
        with reading(path):
            headers = array_headers(path)
            group = zarr.open_group(path, mode="r", use_consolidated=False)
        return _read(path, group, headers, settings)
    if not zipfile.is_zipfile(path):
        raise damaged(path, zipfile.BadZipFile("it is no zip file"))
    with reading(path):
        headers = array_headers(path)
        store = ZipStore(path, mode="r")
    with store:
        with reading(path):
            group = zarr.open_group(store, mode="r", use_consolidated=False)
        return _read(path, group, headers, settings)


def _read(path: Path, group: Any, headers: Headers, settings: ReplaySettings) -> Episodes:
    for name in ("data", "meta"):
        if not any(array.startswith(f"{name}/") for array in headers):
            raise ValueError(
                f"{path} is a zarr store but no replay buffer: it has no group {name!r} with arrays; "
                "expected data/state, data/action and meta/episode_ends"
            )
    if "meta/episode_ends" not in headers:
        raise ValueError(f"{path} has no array meta/episode_ends, which says where each episode ends")
    known = {array.removeprefix("data/") for array in headers if array.startswith("data/")}
    names, action = names_of(settings.state, ["state"]), settings.action or "action"
    for name in names:
        need(path, name, known, "state")
    need(path, action, known, "action")
    ends, steps = first_ends(
        _rows(path, _array(path, group, headers, "meta/episode_ends")), settings.episodes
    )
    states = [_rows(path, _array(path, group, headers, f"data/{name}"), steps) for name in names]
    actions = _rows(path, _array(path, group, headers, f"data/{action}"), steps)
    pictures = None
    if settings.image is not None:
        need(path, settings.image, known, "image")
        pictures = _pictures(path, _array(path, group, headers, f"data/{settings.image}"), steps, settings)
    return Episodes(
        shortened(joined(path, states, names), settings.dimensions, path),
        joined(path, [actions], [action]),
        ends,
        pictures,
    )


def _array(path: Path, group: Any, headers: Headers, name: str) -> Any:
    """An array, not read yet; its header is checked first."""
    check_header(path, name, headers[name])
    with reading(path):
        array = group[name]
        say_what_is_missing(path, name, array)
    return array


def _rows(path: Path, array: Any, steps: int | None = None) -> NDArray[np.generic]:
    with reading(path):
        return np.asarray(array[:steps] if array.ndim else array[()])


def _pictures(path: Path, array: Any, steps: int | None, settings: ReplaySettings) -> NDArray[np.uint8]:
    """Converted a few at a time: stores keep them as float32, four times their size as bytes."""
    stored = array.shape[0] if array.ndim else 0
    count = stored if steps is None else min(steps, stored)

    def part(start: int) -> Part:
        def read() -> NDArray[np.generic]:
            with reading(path):
                return np.asarray(array[start : min(start + _ROWS, count)])

        return Part(array.dtype, read)

    return gathered([part(start) for start in range(0, count, _ROWS)], size=settings.image_size)
