"""Files that a library cannot read, as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def damaged(path: Path, error: Exception) -> ValueError:
    """The error for a file that its library cannot read."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return ValueError(f"{path} cannot be read ({reason}); it is damaged or of another kind")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever a library raises while it reads a file, as the one sentence of `damaged`.

    Libraries raise what they like for bytes that they do not expect (zarr and h5py at least OSError,
    KeyError, TypeError, RuntimeError, ValueError, zlib.error), so all of it is caught; only the library's own
    calls belong inside.
    """
    try:
        yield
    except (ImportError, MemoryError):  # says nothing about the file
        raise
    except Exception as error:
        raise damaged(path, error) from error
