"""Ctrl-C that Python would lose."""

import signal

import pytest

from unstir.interruption import Interruption, listen, raise_if_lost


@pytest.fixture
def listening():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    listen()
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_that_arrives_in_a_destructor_is_raised_later(listening):
    class Dying:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    raise_if_lost()
    Dying()  # Python says that the exception is ignored, and goes on
    with pytest.raises(KeyboardInterrupt):
        raise_if_lost()


def test_an_interruption_interrupts(listening):
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert isinstance(signal.getsignal(signal.SIGINT), Interruption)


def test_a_handler_of_somebody_else_stays(listening):
    def own(number, frame):
        pass

    signal.signal(signal.SIGINT, own)
    listen()
    assert signal.getsignal(signal.SIGINT) is own
    raise_if_lost()
