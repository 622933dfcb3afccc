"""Layers that begin at zero, so that a fresh network or block begins as nothing or as the identity."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def zero(module: M) -> M:
    """The same module with all its parameters at 0."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
