"""The recipes: Poisson's equation, Darcy flow, and where a population began."""

from __future__ import annotations

from typing import Any

from unstir.recipes.fields.options import FieldOptions
from unstir.recipes.settings import RunSettings


def settings() -> RunSettings:
    """Source and potential of Poisson's equation, one model for both fields and any sensors."""
    # Sensors are left to guidance, which knows how the noise and the places enter: a network of this size
    # that learns them from examples is far from the posterior, and what is left is linear.
    return _settings(
        "fields",
        {"problem": "poisson", "size": 32, "samples": 8192, "shares": (0.45, 0.0, 0.45, 0.1)},
        {"kind": "spectral", "width": 16, "layers": 3, "boundary": "sine"},
        75_000,
    )


def darcy() -> RunSettings:
    """Permeability and pressure of Darcy flow; 4,096 pairs take some 20 seconds to make."""
    # The pressure is a few rounds of (pointwise product, inverse Laplacian with u = 0 at the edge), and a
    # layer in sine modes can be one.
    return _settings(
        "darcy",
        {"problem": "darcy", "size": 16, "samples": 4096, "shares": (0.45, 0.0, 0.45, 0.1)},
        {"kind": "spectral", "width": 16, "layers": 4, "boundary": "sine"},
        80_000,
    )


def reaction() -> RunSettings:
    """The beginning and the end of Fisher's equation."""
    return _settings(
        "reaction",
        {"problem": "reaction", "size": 32, "samples": 4096, "shares": (0.45, 0.0, 0.45, 0.1)},
        {"kind": "spectral", "width": 16, "layers": 3, "boundary": "cosine"},
        45_000,
    )


def _settings(name: str, options: dict[str, Any], network: dict[str, Any], samples: int) -> RunSettings:
    return RunSettings.model_validate(
        {
            "recipe": name,
            "data": {
                "source": "fields",
                "heldout": 0.05,
                "options": FieldOptions.model_validate(options).model_dump(mode="json"),
            },
            "schedule": {"name": "vp"},
            "network": network,
            "training": {
                "samples": samples,
                "batch": 32,
                "learning_rate": 6e-3,
                "warm_up": 0.05,
                "decay": "cosine",
                # The slowest mode of a smooth field stands out of noise of 30 deviations.
                "noise_levels": {"mean": 1.0, "std": 1.8},
                "ema": (0.1,),
                "ema_width": 0.1,
                "drop_condition": 0.0,
            },
            "sampling": {"steps": 20},
        }
    )
