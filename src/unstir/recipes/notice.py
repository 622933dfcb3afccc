"""What was done to a user's data without being asked, as a sentence."""

from unstir.notice import Notice

__all__ = ["Notice"]
