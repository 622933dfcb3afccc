"""What is said when a library of an optional extra is not installed."""

from __future__ import annotations


def needed(library: str, extra: str) -> ModuleNotFoundError:
    """The error for a library that is not installed, in the one sentence that all of the code uses.

    Args:
        library: as ``pip`` knows it.
        extra: of this package that brings it.
    """
    return ModuleNotFoundError(f"this needs {library}; install it with: pip install 'unstir[{extra}]'")
