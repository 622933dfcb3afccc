import sys

from unstir.memory import keep_freed_memory


def test_keeping_memory_is_taken_by_glibc_and_skipped_elsewhere(monkeypatch):
    assert keep_freed_memory() in (True, False)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
