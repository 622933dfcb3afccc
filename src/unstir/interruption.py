"""Ctrl-C that is not lost: Python drops a KeyboardInterrupt raised in a destructor or while importing."""

from __future__ import annotations

import signal
from types import FrameType


class Interruption:
    """A handler of SIGINT that raises KeyboardInterrupt, and remembers that it did.

    Attributes:
        pressed: whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.pressed = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True
        raise KeyboardInterrupt


def listen() -> None:
    """Have Ctrl-C remembered from now on, in the main thread, unless something else handles it already."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, Interruption())


def raise_if_lost() -> None:
    """Raise the KeyboardInterrupt that was pressed and lost.

    Raises:
        KeyboardInterrupt: if Ctrl-C was pressed since `listen`.
    """
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, Interruption) and handler.pressed:
        raise KeyboardInterrupt
