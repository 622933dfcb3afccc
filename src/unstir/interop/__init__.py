"""Together with other libraries: diffusers' networks as denoisers, our solvers as diffusers' schedulers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unstir.interop.load import from_diffusers
from unstir.interop.times import grid_of

if TYPE_CHECKING:
    from unstir.interop.scheduler import UnstirScheduler as UnstirScheduler

__all__ = ["UnstirScheduler", "from_diffusers", "grid_of"]


def __getattr__(name: str) -> Any:
    # The scheduler's base class is diffusers', which is imported when it is needed and not before.
    if name == "UnstirScheduler":
        from unstir.interop.library import import_diffusers

        import_diffusers()
        from unstir.interop.scheduler import UnstirScheduler

        return UnstirScheduler
    raise AttributeError(f"module 'unstir.interop' has no attribute {name!r}")
