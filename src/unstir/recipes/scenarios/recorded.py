"""The recipe of recorded tracks: ETH/UCY with one place held out, or any tracks of a user's own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from unstir.recipes.scenarios.data import FUTURE
from unstir.recipes.scenarios.heldout import ALIASES, split_in_time, split_recordings
from unstir.recipes.scenarios.scenes import Scenes
from unstir.recipes.scenarios.tracks import gaps_sentence, read_recordings
from unstir.recipes.scenarios.windows import scenes_of
from unstir.recipes.settings import DataSettings, RunSettings
from unstir.settings import Count, Settings, parse_settings


class TrackSettings(Settings):
    """``data.options`` of recorded tracks."""

    heldout: str | None = Field(
        default=None, description="recording to hold out, such as zara1; null for the end of each"
    )
    past: Annotated[int, Field(ge=2)] = Field(default=8, description="frames that are given")
    future: Count = Field(default=FUTURE, description="frames to forecast")
    dt: Annotated[float, Field(gt=0.0)] = Field(default=0.4, description="seconds between frames")
    agents: Count = Field(default=12, description="agents of a scene; larger ones are cut in neighbourhoods")
    modes: Count | None = Field(default=4, description="modes in time of each coordinate; null for all")
    gap: Annotated[int, Field(ge=0)] = Field(default=2, description="longest gap, in frames, that is filled")
    stride: Count = Field(default=1, description="frames between the starts of windows")
    mirror: bool = Field(default=True, description="train on the mirrored scenes, too")


def settings() -> RunSettings:
    """ETH/UCY, the first zara scene held out; needs ``data.path``."""
    return RunSettings.model_validate(
        {
            "recipe": "eth-ucy",
            "data": {
                "source": "scenarios",
                "name": "tracks",
                "options": TrackSettings(heldout="zara1").model_dump(mode="json"),
            },
            "schedule": {"name": "vp"},
            "network": {"kind": "agents", "width": 96, "layers": 3},
            "training": {
                "samples": 130_000,
                "batch": 64,
                "learning_rate": 1e-3,
                "decay": "cosine",
                "warm_up": 0.05,
                "drop_condition": 0.0,
                "ema": (0.1,),
                "ema_width": 0.1,
            },
            "sampling": {"steps": 8},
        }
    )


def read_scenes(data: DataSettings) -> tuple[Scenes, Scenes, str | None]:
    """Training scenes, held-out scenes, and a sentence about gaps that were filled, or None.

    Args:
        data: with a path; the options are those of `TrackSettings`.

    Raises:
        FileNotFoundError: if there are no tracks at the path.
        ValueError: if they cannot be read or used, or an option is wrong.
    """
    options = parse_settings(TrackSettings, data.options)
    if data.path is None:
        raise ValueError(
            "recorded tracks are read from a path: give a folder of .txt or .csv files with --data"
        )
    recordings = read_recordings(data.path, gap=options.gap)
    sizes = {name: getattr(options, name) for name in ("past", "future", "agents", "dt", "stride")}
    if options.heldout is not None:
        first, second = split_recordings(recordings, options.heldout, ALIASES)
    else:
        first, second = split_in_time(recordings, data.heldout)
    train = scenes_of(first, **sizes)
    try:
        heldout = scenes_of(second, **sizes)
    except ValueError as error:
        raise ValueError(
            f"in the held-out part, {error}, or a larger data.heldout than {data.heldout:g}"
        ) from error
    if data.limit is not None:
        train = train.take(slice(0, data.limit))
    return train, heldout, gaps_sentence(recordings)
