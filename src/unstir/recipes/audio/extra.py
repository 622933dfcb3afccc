"""The libraries of the extra ``audio``, imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from unstir.extras import needed


def needs(name: str) -> Any:
    """A module of the extra ``audio``.

    Raises:
        ModuleNotFoundError: if it is not installed, with what to do.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise needed(name.partition(".")[0], "audio") from None
