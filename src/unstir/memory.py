"""How the C library hands memory back: keeping it saves a training step its page faults."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_GIGABYTE = 2**30


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed blocks of up to a gigabyte instead of returning them to the system.

    Tensors of some megabytes are otherwise mapped anew at every operation of a training step on CPU, and
    their pages are zeroed each time. Holds for the whole process; does nothing on other systems.

    Returns:
        Whether the C library took the request.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has no such call
        return False
    wishes = ((_MMAP_THRESHOLD, _GIGABYTE), (_TRIM_THRESHOLD, 2 * _GIGABYTE - 1), (_TOP_PAD, _GIGABYTE // 4))
    taken = [mallopt(name, value) for name, value in wishes]
    return taken == [1, 1, 1]
