"""Which arrays of a file of demonstrations are what, and the errors when they are not there."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from unstir.settings import Count, Settings, nearest

NUMBERS = "biuf"
"""Kinds of NumPy's types that are real numbers: bool, int, unsigned, float."""


class ReplaySettings(Settings):
    """How a file of demonstrations is read; null for the names that its format usually has."""

    state: str | tuple[str, ...] | None = Field(
        default=None, description="name of the observations, or several that are joined"
    )
    dimensions: Count | None = Field(default=None, description="only so many first entries of an observation")
    action: str | None = Field(default=None, description="name of the actions")
    image: str | None = Field(default=None, description="name of the pictures; null for none")
    image_size: tuple[Count, Count] | None = Field(
        default=None, description="height and width that pictures are resized to"
    )
    episodes: Count | None = Field(default=None, description="only so many first episodes")


def names_of(state: str | tuple[str, ...] | None, usual: Sequence[str]) -> tuple[str, ...]:
    """The names of the observations, the usual ones if none are given."""
    if state is None:
        return tuple(usual)
    return (state,) if isinstance(state, str) else state


def need(path: Path, name: str, known: Collection[str], what: str) -> None:
    """Check that a file has a name.

    Raises:
        ValueError: if it does not, with the nearest name and the option that changes it.
    """
    if name not in known:
        found = nearest(name, sorted(known)) if known else "it holds nothing"
        raise ValueError(f"{path} has no {what} named {name!r}; {found} (set data.options.{what})")


def joined(path: Path, parts: Sequence[NDArray[np.generic]], names: Sequence[str]) -> NDArray[np.float32]:
    """Observations of several names side by side, each flattened to (steps, dimensions).

    Raises:
        ValueError: if they are not numbers, or of different lengths.
    """
    for name, part in zip(names, parts, strict=True):
        if part.dtype.kind not in NUMBERS or part.ndim < 1:
            raise ValueError(
                f"{name!r} in {path} holds {part.dtype} of shape {part.shape}; expected real numbers, one "
                "row a step"
            )
        if len(part) != len(parts[0]):
            raise ValueError(
                f"in {path} there are {len(parts[0])} steps of {names[0]!r} but {len(part)} of {name!r}"
            )
    return np.concatenate(
        [part.reshape(len(part), math.prod(part.shape[1:])) for part in parts], axis=1, dtype=np.float32
    )


def shortened(values: NDArray[np.float32], dimensions: int | None, path: Path) -> NDArray[np.float32]:
    """Only the first dimensions of observations.

    Raises:
        ValueError: if there are not so many.
    """
    if dimensions is not None and dimensions > values.shape[1]:
        raise ValueError(
            f"{dimensions} dimensions of the observations are asked for, but those in {path} have "
            f"{values.shape[1]}"
        )
    return values[:, :dimensions]
