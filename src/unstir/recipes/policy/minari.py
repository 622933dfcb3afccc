"""Minari's HDF5 files: ``main_data.hdf5`` with a group for each episode.

An episode has ``actions`` (steps, ...) and ``observations`` (steps + 1, ...), an array or a group of named
ones; the last observation is what came after the last action, and is left out. Source: Minari,
"Dataset standards".
"""

from __future__ import annotations

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

_PLACES = ("main_data.hdf5", "data/main_data.hdf5")
_GOALS = ("observation", "desired_goal")
"""What a policy of a goal-conditioned environment sees (Plappert et al. 2018, section 1)."""


def is_minari(path: Path) -> bool:
    """Whether it looks like Minari's: an HDF5 file, or a folder with one where Minari puts it."""
    return path.suffix in (".hdf5", ".h5") if path.is_file() else _file(path) is not None


def _file(path: Path) -> Path | None:
    return next((path / place for place in _PLACES if (path / place).is_file()), None)


def read_minari(path: Path, settings: ReplaySettings) -> Episodes:
    """The episodes of a Minari dataset.

    ``data.options.state`` names entries of a group of observations; by default ``observation`` with
    ``desired_goal`` where there are both, else all of them in the order of their names.

    Raises:
        ModuleNotFoundError: if h5py is not installed.
        ValueError: if the file is damaged, lacks an array, or its lengths do not match.
    """
    try:
        import h5py
    except ModuleNotFoundError:
        raise missing_library("h5py", "a Minari dataset") from None
    file = path if path.is_file() else _file(path) or path / _PLACES[0]
    try:
        opened = h5py.File(file, "r")
    except OSError as error:
        raise damaged(file, error) from error
    with opened as root:
        numbers = sorted(int(name[8:]) for name in root if name.startswith("episode_") and name[8:].isdigit())
        if not numbers:
            raise ValueError(f"{file} has no groups episode_0, episode_1, ...; it is not a Minari dataset")
        parts = [
            _episode(file, root[f"episode_{number}"], settings) for number in numbers[: settings.episodes]
        ]
    states, actions, pictures, success = zip(*parts, strict=True)
    widths = {state.shape[1] for state in states}
    if len(widths) > 1:
        raise ValueError(f"the episodes of {file} have observations of different sizes, {sorted(widths)}")
    return Episodes(
        np.concatenate(states),
        np.concatenate(actions),
        np.cumsum([len(a) for a in actions]),
        None if settings.image is None else np.concatenate(pictures),
        None if None in success else np.array(success),
    )


def _episode(
    file: Path, group: Any, settings: ReplaySettings
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8] | None, bool | None]:
    """Observations, actions, pictures and success of one episode, each as long as the actions."""
    place = f"{group.name[1:]} of {file}"
    action = settings.action or "actions"
    for name in ("observations", action):
        if name not in group:
            raise ValueError(f"{place} has no {name!r}; it holds {', '.join(group) or 'nothing'}")
    actions = joined(file, [np.asarray(group[action])], [action])
    seen = group["observations"]
    named = dict(seen.items()) if hasattr(seen, "items") else {"observations": seen}
    usual = [name for name in sorted(named) if name != settings.image and named[name].ndim <= 2]
    if "observation" in named:
        usual = [name for name in _GOALS if name in named]
    names = names_of(settings.state, usual)
    if not names:
        raise ValueError(f"{place} has no observations but pictures; set data.options.state")
    for name in names:
        need(file, name, named, "state")
    states = joined(file, [np.asarray(named[name]) for name in names], names)
    if len(states) not in (len(actions), len(actions) + 1):
        raise ValueError(
            f"{place} has {len(actions)} actions and {len(states)} observations; expected one more of these"
        )
    pictures = None
    if settings.image is not None:
        need(file, settings.image, named, "image")
        pictures = as_pictures(np.asarray(named[settings.image])[: len(actions)], size=settings.image_size)
    return shortened(states[: len(actions)], settings.dimensions, file), actions, pictures, _success(group)


def _success(group: Any) -> bool | None:
    """Whether any step's info says so, where there is one."""
    if "infos" in group and "success" in group["infos"]:
        return bool(np.asarray(group["infos"]["success"]).any())
    return None
