"""Handwritten digits of 8 x 8 pixels: the set that scikit-learn carries, so nothing is downloaded."""

from __future__ import annotations

import numpy as np

from unstir.recipes.settings import DataSettings, RunSettings
from unstir.recipes.splits import Splits, range_scaling, split
from unstir.training import ArrayData


def settings() -> RunSettings:
    """Class-conditional, with condition dropout; 90 seconds on two cores."""
    return RunSettings.model_validate(
        {
            "recipe": "digits",
            "data": {"source": "digits", "heldout": 0.2},
            "schedule": {"name": "vp"},
            "network": {"kind": "unet", "width": 16, "multipliers": (1, 4)},
            "training": {
                "seconds": 90,
                "batch": 128,
                "learning_rate": 9e-3,
                "warm_up": 0.05,
                "decay": "cosine",
                "clip": None,
                "noise_levels": {"mean": -0.5},
                "ema": (0.1,),
                "ema_width": 0.1,
            },
            "sampling": {"steps": 20},
        }
    )


def load(data: DataSettings) -> Splits:
    """1,797 digits, values 0 to 16, labels 0 to 9 (Alpaydin & Kaynak 1998, UCI repository).

    Raises:
        ValueError: if a path is given, which would be ignored.
    """
    from sklearn.datasets import load_digits

    if data.path is not None:
        raise ValueError(
            "the digits come with the library and are not read from a path; train your own data with "
            "`unstir train PATH`"
        )
    bunch = load_digits()
    x = bunch.images[:, None].astype(np.float32)
    whole = ArrayData(x, bunch.target, scaling=range_scaling(0.0, 16.0))
    if data.limit is not None:
        whole = ArrayData(x[: data.limit], bunch.target[: data.limit], scaling=whole.scaling)
    train, heldout = split(whole, data.heldout, seed=data.seed)
    names = tuple(str(digit) for digit in range(10))
    return Splits(train, heldout, names, bounds=(0.0, 16.0), integer=True)
