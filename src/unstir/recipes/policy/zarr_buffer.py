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

from unstir.recipes.policy.episodes import Episodes
from unstir.recipes.policy.keys import (
    ReplaySettings,
    damaged,
    joined,
    missing_library,
    names_of,
    need,
    shortened,
)
from unstir.recipes.policy.pictures import as_pictures

_ROWS = 256
"""Pictures converted at once."""


def is_zarr(path: Path) -> bool:
    """Whether it looks like a zarr store: by the file in its root, or by the name of a zip."""
    if path.is_dir():
        return any((path / name).is_file() for name in (".zgroup", "zarr.json"))
    return path.is_file() and path.suffix == ".zip"


def read_zarr(path: Path, settings: ReplaySettings) -> Episodes:
    """The episodes of a replay buffer.

    Raises:
        ModuleNotFoundError: if zarr is not installed.
        ValueError: if the store is damaged, lacks an array, or its lengths do not match.
    """
    try:
        import zarr
        from zarr.storage import ZipStore
    except ModuleNotFoundError:
        raise missing_library("zarr", "a zarr replay buffer") from None
    try:
        if path.is_dir():
            return _read(path, zarr.open_group(path, mode="r"), settings)
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("it is no zip file")
        with ZipStore(path, mode="r") as store:
            return _read(path, zarr.open_group(store, mode="r"), settings)
    except (OSError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise damaged(path, error) from error


def _read(path: Path, group: Any, settings: ReplaySettings) -> Episodes:
    for name in ("data", "meta"):
        if name not in group:
            raise ValueError(
                f"{path} is a zarr store but no replay buffer: it has no group {name!r}; expected "
                "data/state, data/action and meta/episode_ends"
            )
    data, meta = group["data"], group["meta"]
    if "episode_ends" not in meta:
        raise ValueError(f"{path} has no array meta/episode_ends, which says where each episode ends")
    ends = np.asarray(meta["episode_ends"][:]).astype(np.int64)[: settings.episodes]
    steps = int(ends[-1]) if len(ends) and settings.episodes else None
    known = set(data.array_keys())
    names, action = names_of(settings.state, ["state"]), settings.action or "action"
    for name in names:
        need(path, name, known, "state")
    need(path, action, known, "action")
    states = joined(path, [np.asarray(data[name][:steps]) for name in names], names)
    return Episodes(
        shortened(states, settings.dimensions, path),
        joined(path, [np.asarray(data[action][:steps])], [action]),
        ends,
        _pictures(path, data, known, steps, settings),
    )


def _pictures(
    path: Path, data: Any, known: set[str], steps: int | None, settings: ReplaySettings
) -> NDArray[np.uint8] | None:
    """Converted a few at a time: stores keep them as float32, four times their size as bytes."""
    if settings.image is None:
        return None
    need(path, settings.image, known, "image")
    array = data[settings.image]
    count = array.shape[0] if steps is None else min(steps, array.shape[0])
    unit = np.issubdtype(array.dtype, np.floating) and float(np.max(array[:_ROWS], initial=0.0)) <= 1.0
    parts = [
        as_pictures(np.asarray(array[start : min(start + _ROWS, count)]), unit=unit, size=settings.image_size)
        for start in range(0, count, _ROWS)
    ]
    return np.concatenate(parts)
