"""The pictures of a LeRobot dataset that are kept as videos.

In version 2 each episode has a video of its own; in version 3 a video holds many, and ``meta/episodes/`` says
in which file, and at which second of it, an episode begins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unstir.extras import needed
from unstir.recipes.policy.pictures import as_pictures
from unstir.recipes.reading import reading

_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_FIELDS = ("chunk_index", "file_index", "from_timestamp")
"""What ``meta/episodes/`` says of an episode's video in version 3."""


@dataclass(frozen=True)
class _Place:
    """Where an episode's frames are: a file, and the first one's number in it."""

    file: Path
    first: int


def read_videos(
    path: Path,
    info: dict[str, Any],
    name: str,
    episodes: NDArray[np.int64],
    lengths: NDArray[np.int64],
    size: tuple[int, int] | None,
) -> NDArray[np.uint8]:
    """The pictures of some episodes, one after another.

    Args:
        path: folder of the dataset.
        info: content of ``meta/info.json``.
        name: of the feature.
        episodes: (m,) their numbers.
        lengths: (m,) their frames.
        size: (height, width) to resize to.

    Returns:
        (frames, 3, height, width).

    Raises:
        ModuleNotFoundError: if imageio-ffmpeg is not installed.
        ValueError: if a video is missing, cannot be decoded or ends too early, an episode is not listed, or
            ``meta/info.json`` does not say which file a video is and when an episode begins in it.
    """
    places = _places(path, info, name, episodes)
    wanted: dict[Path, list[int]] = {}
    for number, place in enumerate(places):
        wanted.setdefault(place.file, []).append(number)
    found: dict[int, NDArray[np.uint8]] = {}
    for file, numbers in wanted.items():
        last = max(places[n].first + int(lengths[n]) for n in numbers)
        frames = _decode(file, last, size)
        for n in numbers:
            found[n] = frames[places[n].first : places[n].first + int(lengths[n])]
    return np.concatenate([found[n] for n in range(len(places))])


def _places(path: Path, info: dict[str, Any], name: str, episodes: NDArray[np.int64]) -> list[_Place]:
    template = str(info.get("video_path") or _PATH)
    if "{file_index" not in template:
        chunk = max(int(_positive(path, info, "chunks_size", 1000)), 1)
        return [
            _Place(
                _video(path, template, {"video_key": name, "episode_chunk": e // chunk, "episode_index": e}),
                0,
            )
            for e in map(int, episodes)
        ]
    rate = _positive(path, info, "fps")
    listed = {row["episode_index"]: row for row in _episode_rows(path, name)}
    places = []
    for e in map(int, episodes):
        if e not in listed:
            raise ValueError(f"episode {e} is not listed in {path / 'meta' / 'episodes'}")
        chunk, file, start = (listed[e][f"videos/{name}/{field}"] for field in _FIELDS)
        if not isinstance(start, (int, float)) or not math.isfinite(start) or start < 0:
            raise ValueError(f"the video of episode {e} of {path} begins at second {start!r}")
        video = _video(path, template, {"video_key": name, "chunk_index": chunk, "file_index": file})
        places.append(_Place(video, round(start * rate)))
    return places


def _video(path: Path, template: str, fields: dict[str, Any]) -> Path:
    """The file that ``video_path`` of ``meta/info.json`` names.

    Raises:
        ValueError: if the template has other fields than these, or lacks the one that tells videos apart.
    """
    telling = [field for field in fields if field.endswith("_index")]
    try:
        if any("{" + field not in template for field in telling):
            raise KeyError(f"it lacks {' or '.join(telling)}")
        return path / template.format(**fields)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"video_path {template!r} in {path / 'meta' / 'info.json'} does not name a video by "
            f"{', '.join(fields)} ({error})"
        ) from error


def _positive(path: Path, info: dict[str, Any], name: str, usual: int | None = None) -> float:
    """A number of ``meta/info.json``.

    Raises:
        ValueError: if it is missing and there is no usual one, or it is not above 0.
    """
    value = info.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(
            f"{name} in {path / 'meta' / 'info.json'} is to be a number above 0, but is "
            f"{'missing' if value is None else repr(value)}; where an episode's frames are depends on it"
        )
    return value


def _episode_rows(path: Path, name: str) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    columns = ["episode_index", *(f"videos/{name}/{field}" for field in _FIELDS)]
    for file in sorted((path / "meta" / "episodes").glob("chunk-*/*.parquet")):
        with reading(file):
            missing = set(columns) - set(pq.read_schema(file).names)
        if missing:
            raise ValueError(f"{file} has no column {min(missing)!r}, which says where a video begins")
        with reading(file):
            rows = pq.read_table(file, columns=columns).to_pylist()
        yield from rows


def _decode(file: Path, count: int, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """The first frames of a video."""
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise needed("imageio-ffmpeg", "robotics") from None
    if not file.is_file():
        raise ValueError(f"there is no video {file}; is the dataset downloaded whole?")
    frames: list[NDArray[np.uint8]] = []
    reader = imageio_ffmpeg.read_frames(str(file))
    try:
        width, height = next(reader)["size"]
        for content in reader:
            picture = np.frombuffer(content, dtype=np.uint8).reshape(1, height, width, 3)
            frames.append(as_pictures(picture, size=size)[0])
            if len(frames) == count:
                break
    except (OSError, RuntimeError, StopIteration) as error:
        raise ValueError(
            f"{file} cannot be decoded as a video; it is damaged or its codec is unknown"
        ) from error
    finally:
        reader.close()
    if len(frames) < count:
        raise ValueError(f"{file} ends after {len(frames)} frames, but its episodes have {count}")
    return np.stack(frames)
