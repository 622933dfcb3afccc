"""LeRobot datasets, versions 2.0 to 3.0: a folder of parquet tables, and pictures in them or in videos.

``meta/info.json`` names the features, where things are and how many there are. ``data/`` holds tables with
one row a frame: an episode a file in version 2, many in version 3. Rows are put in order by
``episode_index`` and ``frame_index``, so both are read alike. Source: LeRobot, "LeRobotDataset v3.0", and
files of either version.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unstir.extras import needed
from unstir.files import read_json
from unstir.recipes.policy.episodes import Episodes
from unstir.recipes.policy.keys import ReplaySettings, joined, names_of, need, shortened
from unstir.recipes.policy.lerobot_video import read_videos
from unstir.recipes.policy.pictures import decoded
from unstir.recipes.reading import damaged, reading

_INDEX = ("episode_index", "frame_index")
_SUCCESS = "next.success"


def is_lerobot(path: Path) -> bool:
    """Whether it is a folder with ``meta/info.json``."""
    return (path / "meta" / "info.json").is_file()


def read_lerobot(path: Path, settings: ReplaySettings) -> Episodes:
    """The episodes of a LeRobot dataset.

    Raises:
        ModuleNotFoundError: if pyarrow is not installed, or imageio-ffmpeg for pictures in videos.
        ValueError: if a table is damaged or missing, lacks a feature, or an episode lacks a frame, there are
            fewer or more than ``meta/info.json`` says, or a video cannot be decoded.
    """
    info = read_json(path / "meta" / "info.json")
    features = info.get("features") if isinstance(info, dict) else None
    if not isinstance(features, dict):
        raise ValueError(f"{path / 'meta' / 'info.json'} names no features; it is not a LeRobot dataset")
    names, action = names_of(settings.state, ["observation.state"]), settings.action or "action"
    for name in names:
        need(path, name, features, "state")
    need(path, action, features, "action")
    columns = [*_INDEX, *names, action, *([_SUCCESS] if _SUCCESS in features else [])]
    kind = None if settings.image is None else _picture_kind(path, features, settings.image)
    table = _table(path, [*columns, str(settings.image)] if kind == "image" else columns)
    table, numbers, ends = _first(path, table, info, settings.episodes)
    states = joined(path, [_numbers(path, table, name) for name in names], names)
    pictures = None
    if kind == "video":
        lengths = np.diff(ends, prepend=0)
        pictures = read_videos(path, info, str(settings.image), numbers, lengths, settings.image_size)
    elif kind == "image":
        files = [_picture(path, value.as_py()) for value in table[settings.image]]
        pictures = decoded(files, size=settings.image_size)
    success = None
    if _SUCCESS in features:
        flags = joined(path, [_numbers(path, table, _SUCCESS)], [_SUCCESS])[:, 0] != 0
        success = np.logical_or.reduceat(flags, np.concatenate([[0], ends[:-1]]))
    return Episodes(
        shortened(states, settings.dimensions, path),
        joined(path, [_numbers(path, table, action)], [action]),
        ends,
        pictures,
        success,
    )


def _picture_kind(path: Path, features: dict[str, Any], image: str) -> str:
    """How a feature's pictures are kept, ``image`` or ``video``."""
    kinds = {name: one.get("dtype") for name, one in features.items() if isinstance(one, dict)}
    need(path, image, [name for name, kind in kinds.items() if kind in ("image", "video")], "image")
    return str(kinds[image])


def _table(path: Path, columns: list[str]) -> Any:
    """All rows in the order of episodes and frames."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise needed("pyarrow", "formats") from None
    files = sorted((path / "data").glob("chunk-*/*.parquet"))
    if not files:
        raise ValueError(f"{path} has no tables data/chunk-*/*.parquet; is the dataset downloaded whole?")
    tables = []
    for file in files:
        with reading(file):
            missing = set(columns) - set(pq.read_schema(file).names)
        if missing:
            raise ValueError(f"{file} has no column {min(missing)!r}, which meta/info.json names")
        with reading(file):
            tables.append(pq.read_table(file, columns=columns))
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise damaged(path / "data", error) from error
    for name in _INDEX:
        if not pa.types.is_integer(table.schema.field(name).type) or table[name].null_count:
            raise ValueError(f"{name!r} in {path} is to be a whole number at each step")
    return table.sort_by([(name, "ascending") for name in _INDEX])


def _first(
    path: Path, table: Any, info: dict[str, Any], count: int | None
) -> tuple[Any, NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the first episodes, the episodes' numbers and where each ends, all of it there.

    A dataset that is not downloaded whole is refused, unless the first episodes are asked for and are there.
    """
    episodes, frames = (np.asarray(table[name]) for name in _INDEX)
    numbers = np.unique(episodes)
    total, rows = (_total(path, info, name) for name in ("total_episodes", "total_frames"))
    kept = numbers[:count]
    whole = total is None or total == len(numbers)
    if not whole and (count is None or not np.array_equal(kept, np.arange(min(count, total or 0)))):
        raise ValueError(
            f"{path} holds {len(numbers)} episodes, but its meta/info.json says {total}; is the dataset "
            "downloaded whole?"
        )
    if whole and rows is not None and rows != len(frames):
        raise ValueError(
            f"{path} holds {len(frames)} frames, but its meta/info.json says {rows}; is the dataset "
            "downloaded whole?"
        )
    steps = int(np.isin(episodes, kept).sum())
    return table.slice(0, steps), *_episode_ends(path, episodes[:steps], frames[:steps])


def _total(path: Path, info: dict[str, Any], name: str) -> int | None:
    value = info.get(name)
    if value is not None and not isinstance(value, int):
        raise ValueError(f"{name} in {path / 'meta' / 'info.json'} is to be a whole number, not {value!r}")
    return value


def _episode_ends(
    path: Path, episodes: NDArray[np.int64], frames: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers of the episodes and where each ends; every frame of each is there once."""
    if len(episodes) == 0:
        raise ValueError(f"{path} holds no frames")
    numbers, starts = np.unique(episodes, return_index=True)
    expected = np.arange(len(frames)) - np.repeat(starts, np.diff(starts, append=len(frames)))
    wrong = frames != expected
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"episode {episodes[row]} of {path} has frame {frames[row]} where frame {expected[row]} is due; "
            "a frame is missing or there twice"
        )
    return numbers.astype(np.int64), np.append(starts[1:], len(frames)).astype(np.int64)


def _numbers(path: Path, table: Any, name: str) -> NDArray[np.generic]:
    """A column of numbers or of lists of one length as (steps, dimensions)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table[name].combine_chunks()
    if column.null_count:
        raise ValueError(f"{name!r} in {path} has no value at {column.null_count} of {len(column)} steps")
    if not (pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)):
        return np.asarray(column.to_numpy(zero_copy_only=False))[:, None]
    lengths = np.unique(np.asarray(pc.list_value_length(column)))
    if len(lengths) != 1:
        raise ValueError(
            f"{name!r} in {path} has rows of different lengths, {lengths.min()} to {lengths.max()}"
        )
    values = np.asarray(column.flatten().to_numpy(zero_copy_only=False))
    return values.reshape(len(column), int(lengths[0]))


def _picture(path: Path, value: Any) -> bytes | Path:
    """The content of a picture's cell, or the file that it names."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(content, bytes):
        return content
    named = value.get("path") if isinstance(value, dict) else None
    if not named:
        raise ValueError(f"a picture of {path} has neither content nor a file")
    return path / str(named)
