"""The pictures of a LeRobot dataset that are kept as videos.

In version 2 each episode has a video of its own; in version 3 a video holds many, and ``meta/episodes/`` says
in which file, and at which second of it, an episode begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unstir.recipes.policy.keys import missing_library
from unstir.recipes.policy.pictures import as_pictures

_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"


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
        ValueError: if a video is missing, cannot be decoded or ends too early, or an episode is not listed.
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
    template = info.get("video_path") or _PATH
    if "{file_index" not in template:
        chunk = int(info.get("chunks_size") or 1000)
        return [
            _Place(
                path / template.format(video_key=name, episode_chunk=int(e) // chunk, episode_index=int(e)), 0
            )
            for e in episodes
        ]
    listed = {int(row["episode_index"]): row for row in _episode_rows(path, name)}
    places = []
    for e in episodes:
        row = listed.get(int(e))
        if row is None:
            raise ValueError(f"episode {e} is not listed in {path / 'meta' / 'episodes'}")
        chunk, file = int(row[f"videos/{name}/chunk_index"]), int(row[f"videos/{name}/file_index"])
        first = round(float(row[f"videos/{name}/from_timestamp"]) * float(info.get("fps") or 0))
        video = path / template.format(video_key=name, chunk_index=chunk, file_index=file)
        places.append(_Place(video, first))
    return places


def _episode_rows(path: Path, name: str) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [
        "episode_index",
        *(f"videos/{name}/{field}" for field in ("chunk_index", "file_index", "from_timestamp")),
    ]
    for file in sorted((path / "meta" / "episodes").glob("chunk-*/*.parquet")):
        try:
            missing = set(columns) - set(pq.read_schema(file).names)
            if missing:
                raise ValueError(f"{file} has no column {min(missing)!r}, which says where a video begins")
            yield from pq.read_table(file, columns=columns).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{file} cannot be read as parquet; it is damaged") from error


def _decode(file: Path, count: int, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """The first frames of a video."""
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise missing_library("imageio-ffmpeg", "a dataset with videos", "robotics") from None
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
