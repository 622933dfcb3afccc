"""What is held out of recorded tracks: one of the recordings, or the end of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from unstir.recipes.scenarios.tracks import Recording

ALIASES = {
    "eth": "biwi_eth",
    "hotel": "biwi_hotel",
    "zara1": "crowds_zara01",
    "zara2": "crowds_zara02",
    "zara3": "crowds_zara03",
    "univ": "students003",
}
"""What the recordings of ETH/UCY are called for short."""


def split_recordings(
    recordings: Sequence[Recording], heldout: str | None, aliases: Mapping[str, str] | None = None
) -> tuple[list[Recording], list[Recording]]:
    """Recordings for training and the held-out one, by name.

    Args:
        recordings: all of them.
        heldout: name of the one that is held out, or what it is also called.
        aliases: short names.

    Raises:
        ValueError: for an unknown name, or if nothing would be left for training.
    """
    from unstir.settings import nearest

    names = [r.name for r in recordings]
    name = (aliases or {}).get(heldout or "", heldout)
    if name not in names:
        raise ValueError(f"there is no recording {heldout!r}; {nearest(str(heldout), names)}")
    rest = [r for r in recordings if r.name != name]
    if not rest:
        raise ValueError(f"{heldout!r} is the only recording, so nothing is left to train on")
    return rest, [r for r in recordings if r.name == name]


def split_in_time(recordings: Sequence[Recording], share: float) -> tuple[list[Recording], list[Recording]]:
    """The beginning and the end of each recording; tracks are cut between the two, so nothing overlaps.

    Args:
        recordings: all of them.
        share: of the frames, at the end, that is held out.
    """
    first, second = [], []
    for recording in recordings:
        end = max(track.first + len(track.positions) for track in recording.tracks)
        at = round((1.0 - share) * end)
        before = [replace(t, positions=t.positions[: at - t.first]) for t in recording.tracks if t.first < at]
        after = [
            replace(t, first=max(t.first, at), positions=t.positions[max(0, at - t.first) :])
            for t in recording.tracks
            if t.first + len(t.positions) > at
        ]
        first.append(replace(recording, tracks=tuple(before)))
        second.append(replace(recording, tracks=tuple(after)))
    return first, second
