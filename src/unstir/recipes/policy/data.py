"""What a policy learns from: demonstrations made on the spot, or those of a file or folder."""

from __future__ import annotations

from functools import partial

import numpy as np
from pydantic import Field

from unstir.recipes.policy.demonstrations import demonstrate
from unstir.recipes.policy.episodes import Episodes, split_episodes, windows
from unstir.recipes.policy.keys import ReplaySettings
from unstir.recipes.policy.replay import read_episodes
from unstir.recipes.settings import DataSettings, RunSettings
from unstir.recipes.splits import Splits
from unstir.settings import Count, parse_settings


class PolicySettings(ReplaySettings):
    """``data.options`` of a policy: how windows are cut, and how a file is read."""

    observed: Count = Field(default=2, description="observations that the policy sees")
    horizon: Count = Field(default=16, description="actions that it plans")
    executed: Count = Field(default=8, description="actions that it does before it plans anew")
    demonstrations: Count = Field(default=200, description="made on the spot, without data.path")


def settings() -> RunSettings:
    """A 1-D U-Net with FiLM on 200 demonstrations in the maze."""
    return RunSettings.model_validate(
        {
            "recipe": "policy",
            "data": {"source": "policy", "options": PolicySettings().model_dump(mode="json")},
            "schedule": {"name": "cosine"},
            "network": {"kind": "unet", "width": 32, "multipliers": (1, 2, 2)},
            "training": {
                "samples": 150_000,
                "batch": 128,
                "learning_rate": 2e-3,
                "drop_condition": 0.0,
            },
            "sampling": {"solver": "ddim", "steps": 8},
        }
    )


def options_of(data: DataSettings) -> PolicySettings:
    """The recipe's own settings.

    Raises:
        ValueError: for an unknown one, with the nearest name.
    """
    return parse_settings(PolicySettings, data.options)


def episodes_of(data: DataSettings) -> Episodes:
    """The demonstrations.

    Raises:
        FileNotFoundError: if the path is not there.
        ModuleNotFoundError: if a library for them is not installed.
        ValueError: if they cannot be read.
    """
    options = options_of(data)
    if data.path is None:
        found = demonstrate(options.demonstrations, data.seed).episodes
    else:
        replay = {name: getattr(options, name) for name in ReplaySettings.model_fields}
        found = read_episodes(data.path, ReplaySettings(**replay))
    if data.limit is not None and data.limit < len(found):
        found = found.take(np.arange(data.limit))
    return found


def load(data: DataSettings) -> Splits:
    """Windows of the demonstrations; whole episodes are held out, and ``data.limit`` counts episodes.

    Raises:
        FileNotFoundError: if the path is not there.
        ModuleNotFoundError: if a library for them is not installed.
        ValueError: if they cannot be read, or the lengths of a window do not fit together.
    """
    options = options_of(data)
    cut = partial(windows, observed=options.observed, horizon=options.horizon, executed=options.executed)
    train, heldout = split_episodes(episodes_of(data), data.heldout, seed=data.seed)
    learned = cut(train)
    return Splits(learned, cut(heldout, like=learned))
