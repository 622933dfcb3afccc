"""Diffusers itself: imported when needed, and asked for the defaults of its classes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any


def import_diffusers() -> Any:
    """The module diffusers.

    Raises:
        ImportError: if it is not installed, with what to do.
    """
    try:
        import diffusers
    except ImportError as error:
        raise ImportError("this needs diffusers; install it with pip install 'unstir[diffusers]'") from error
    return diffusers


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """A scheduler's configuration with the defaults of its class for what an older file leaves out."""
    kind = getattr(import_diffusers(), str(config.get("_class_name")), None)
    if kind is None:
        return dict(config)
    parameters = inspect.signature(kind.__init__).parameters
    empty = inspect.Parameter.empty
    defaults = {name: p.default for name, p in parameters.items() if p.default is not empty}
    return {**defaults, **config}
