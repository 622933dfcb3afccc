"""Demonstrations from files: which format it is, and its reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unstir.recipes.policy.episodes import Episodes, first_ends
from unstir.recipes.policy.keys import ReplaySettings, joined, names_of, need, shortened
from unstir.recipes.policy.lerobot import is_lerobot, read_lerobot
from unstir.recipes.policy.minari import is_minari, read_minari
from unstir.recipes.policy.pictures import as_pictures
from unstir.recipes.policy.zarr_buffer import is_zarr, read_zarr
from unstir.recipes.reading import reading


@dataclass(frozen=True)
class Format:
    """A kind of file or folder.

    Attributes:
        is_it: whether a path looks like one.
        read: its episodes.
    """

    is_it: Callable[[Path], bool]
    read: Callable[[Path, ReplaySettings], Episodes]


def read_episodes(path: str | Path, settings: ReplaySettings | None = None) -> Episodes:
    """Demonstrations from a file or folder, whose format is recognised.

    Args:
        path: a zarr replay buffer, a LeRobot dataset, a Minari dataset, or an ``.npz`` of ``observations``,
            ``actions``, ``ends`` and possibly ``images``.
        settings: names of the arrays, and how much is read.

    Raises:
        FileNotFoundError: if there is nothing.
        ModuleNotFoundError: if the format needs a library that is not installed.
        ValueError: for an unknown format, or a file that lacks something, with the name.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise FileNotFoundError(f"there is no file or folder {place} to read demonstrations from")
    found = next((one for one in FORMATS.values() if one.is_it(place)), None)
    if found is None:
        raise ValueError(
            f"{place} holds no demonstrations in a known format: expected a zarr replay buffer (.zarr or "
            ".zarr.zip), a LeRobot dataset (a folder with meta/info.json), a Minari dataset (main_data.hdf5) "
            "or an .npz with observations, actions and ends"
        )
    return found.read(place, settings or ReplaySettings())


def read_npz(path: Path, settings: ReplaySettings) -> Episodes:
    """The episodes of an ``.npz`` with the arrays of `Episodes` by their names.

    Raises:
        ValueError: if it is damaged, lacks an array, or its lengths do not match.
    """
    with reading(path):
        file = np.load(path, allow_pickle=False)
        known = set(file.files)
    names, action = names_of(settings.state, ["observations"]), settings.action or "actions"
    wanted = {"state": names, "action": [action], "image": [settings.image] if settings.image else []}
    with file:
        for what, some in wanted.items():
            for name in some:
                need(path, name, known, what)
        if "ends" not in known:
            raise ValueError(f"{path} has no array 'ends', which says where each episode ends")
        with reading(path):
            arrays = {name: np.asarray(file[name]) for some in (*wanted.values(), ["ends"]) for name in some}
    ends, steps = first_ends(arrays.pop("ends"), settings.episodes)
    arrays = {name: values[:steps] if values.ndim else values for name, values in arrays.items()}
    states = joined(path, [arrays[name] for name in names], names)
    return Episodes(
        shortened(states, settings.dimensions, path),
        joined(path, [arrays[action]], [action]),
        ends,
        None if settings.image is None else as_pictures(arrays[settings.image], size=settings.image_size),
    )


FORMATS: dict[str, Format] = {
    "lerobot": Format(is_lerobot, read_lerobot),
    "minari": Format(is_minari, read_minari),
    "zarr": Format(is_zarr, read_zarr),
    "npz": Format(lambda path: path.is_file() and path.suffix == ".npz", read_npz),
}
"""By name; the first that recognises a path reads it."""
