"""A sentence about the user's data that is worth reading and stops nothing."""

from __future__ import annotations

__all__ = ["Notice"]


class Notice(UserWarning):
    """What a reader of real data did that its user should know: filled a gap, resampled a recording.

    Readers raise it through ``warnings.warn(sentence, Notice, stacklevel=2)``, one sentence each, so that a
    program may turn it off (``warnings.filterwarnings``) and the command line may print it as a plain line.
    """
