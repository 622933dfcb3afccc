"""The libraries of the extra ``audio``, imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def needs(name: str) -> Any:
    """A module of the extra ``audio``.

    Raises:
        ModuleNotFoundError: if it is not installed, with what to do.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"sound needs {name.partition('.')[0]}; install it with: pip install 'unstir[audio]'"
        ) from None
