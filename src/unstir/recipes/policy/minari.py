"""Minari's HDF5 files: ``main_data.hdf5`` with a group for each episode.

An episode has ``actions`` (steps, ...) and ``observations`` (steps + 1, ...), an array or a group of named
ones, possibly in further groups; the last observation is what came after the last action, and is left out.
Source: Minari, "Dataset standards".
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unstir.extras import needed
from unstir.recipes.policy.episodes import Episodes
from unstir.recipes.policy.keys import ReplaySettings, joined, names_of, need, shortened
from unstir.recipes.policy.pictures import Part, gathered
from unstir.recipes.reading import reading

_PLACES = ("main_data.hdf5", "data/main_data.hdf5")
_GOALS = ("observation", "desired_goal")
"""What a policy of a goal-conditioned environment sees (Plappert et al. 2018, section 1)."""


class _Episode(NamedTuple):
    """What an episode's group holds, each with as many rows as there are actions."""

    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    pictures: Part | None
    success: bool | None


def is_minari(path: Path) -> bool:
    """Whether it looks like Minari's: an HDF5 file, or a folder with one where Minari puts it."""
    return path.suffix in (".hdf5", ".h5") if path.is_file() else _file(path) is not None


def _file(path: Path) -> Path | None:
    return next((path / place for place in _PLACES if (path / place).is_file()), None)


def read_minari(path: Path, settings: ReplaySettings) -> Episodes:
    """The episodes of a Minari dataset.

    ``data.options.state`` names entries of a group of observations (``joints``, or ``arm/joints`` for one in
    a group of its own); by default ``observation`` with ``desired_goal`` where there are both, else all of
    them in the order of their names.

    Raises:
        ModuleNotFoundError: if h5py is not installed.
        ValueError: if the file is damaged, lacks an array, or its lengths do not match.
    """
    try:
        import h5py
    except ModuleNotFoundError:
        raise needed("h5py", "formats") from None
    file = path if path.is_file() else _file(path) or path / _PLACES[0]
    with reading(file):
        opened = h5py.File(file, "r")
    with opened as root:
        with reading(file):
            groups = {
                int(name[8:]): item
                for name, item in root.items()
                if name.startswith("episode_") and name[8:].isdigit() and isinstance(item, h5py.Group)
            }
        if not groups:
            raise ValueError(f"{file} has no groups episode_0, episode_1, ...; it is not a Minari dataset")
        parts = [_episode(file, groups[number], settings) for number in sorted(groups)[: settings.episodes]]
        for what in ("states", "actions"):
            widths = sorted({getattr(part, what).shape[1] for part in parts})
            if len(widths) > 1:
                raise ValueError(f"the episodes of {file} have {what} of different sizes, {widths}")
        shown = [part.pictures for part in parts if part.pictures is not None]
        pictures = gathered(shown, size=settings.image_size) if shown else None
    success = [part.success for part in parts]
    return Episodes(
        np.concatenate([part.states for part in parts]),
        np.concatenate([part.actions for part in parts]),
        np.cumsum([len(part.actions) for part in parts]),
        pictures,
        None if None in success else np.array(success, dtype=np.bool_),
    )


def _episode(file: Path, group: Any, settings: ReplaySettings) -> _Episode:
    place = f"{group.name[1:]} of {file}"
    action = settings.action or "actions"
    with reading(file):
        there = list(group)
        absent = [name for name in ("observations", action) if name not in group]
    if absent:
        raise ValueError(f"{place} has no {absent[0]!r}; it holds {', '.join(there) or 'nothing'}")
    with reading(file):
        named, done = _arrays(group["observations"], "observations"), _arrays(group[action], action)
    if action not in done:
        inside = ", ".join(f"{action}/{name}" for name in done) or "nothing"
        raise ValueError(f"{action!r} in {place} is a group ({inside}); set data.options.action to one of it")
    actions = joined(file, [_values(file, done[action])], [action])
    if len(actions) == 0:
        raise ValueError(f"{place} has no steps")
    usual = [name for name in sorted(named) if name != settings.image and named[name].ndim <= 2]
    if "observation" in named:
        usual = [name for name in _GOALS if name in named]
    names = names_of(settings.state, usual)
    if not names:
        raise ValueError(f"{place} has no observations but pictures; set data.options.state")
    for name in names:
        need(file, name, named, "state")
    states = joined(file, [_values(file, named[name]) for name in names], names)
    if len(states) not in (len(actions), len(actions) + 1):
        raise ValueError(
            f"{place} has {len(actions)} actions and {len(states)} observations; expected one more of these"
        )
    pictures = None
    if settings.image is not None:
        need(file, settings.image, named, "image")
        shown = named[settings.image]
        if shown.ndim == 0 or len(shown) < len(actions):
            raise ValueError(
                f"{place} has {len(actions)} actions, but {settings.image!r} has shape {shown.shape}"
            )
        pictures = Part(shown.dtype, partial(_values, file, shown, len(actions)))
    states = shortened(states[: len(actions)], settings.dimensions, file)
    return _Episode(states, actions, pictures, _success(file, group))


def _arrays(item: Any, name: str) -> dict[str, Any]:
    """The arrays of a group by their paths in it, at any depth; an array of its own by its name."""
    import h5py

    if isinstance(item, h5py.Dataset):
        return {name: item}
    found: dict[str, Any] = {}

    def visit(path: str, inner: Any) -> None:
        if isinstance(inner, h5py.Dataset):
            found[path] = inner

    item.visititems(visit)
    return found


def _values(file: Path, array: Any, rows: int | None = None) -> NDArray[np.generic]:
    """An array of a file, or only its first rows."""
    with reading(file):
        return np.asarray(array[:rows] if array.ndim else array[()])


def _success(file: Path, group: Any) -> bool | None:
    """Whether any step's info says so, where there is one."""
    with reading(file):
        marks = group.get("infos/success")
        if marks is None or not hasattr(marks, "ndim"):
            return None
        return bool(np.asarray(marks[()]).any())
