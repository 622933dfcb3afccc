"""Densities in the plane, for looking at: two moons, a pinwheel, a checkerboard, rings, a spiral."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from unstir.recipes.settings import DataSettings, RunSettings
from unstir.recipes.splits import Splits, split
from unstir.settings import nearest
from unstir.training import ArrayData, Scaling

Points = NDArray[np.float64]
Rng = np.random.Generator


def two_moons(n: int, rng: Rng) -> Points:
    """Two interleaving half circles with Gaussian noise of 0.08."""
    angle = np.pi * rng.random(n)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1.0 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    points = np.where(rng.random((n, 1)) < 0.5, upper, lower) - (0.5, 0.25)
    return points + 0.08 * rng.standard_normal((n, 2))


def pinwheel(n: int, rng: Rng) -> Points:
    """Five bent arms."""
    radial = 1.0 + 0.3 * rng.standard_normal(n)
    tangential = 0.05 * rng.standard_normal(n)
    arm = 2.0 * np.pi * rng.integers(5, size=n) / 5.0
    angle = arm + 0.6 * np.exp(radial)
    x, y = radial * np.cos(angle), radial * np.sin(angle)
    return np.stack([x - tangential * np.sin(angle), y + tangential * np.cos(angle)], axis=1)


def checkerboard(n: int, rng: Rng) -> Points:
    """Eight of sixteen squares of side 0.5, uniform."""
    column = rng.integers(4, size=n)
    row = 2 * rng.integers(2, size=n) + column % 2
    return 0.5 * (np.stack([column, row], axis=1) + rng.random((n, 2))) - 1.0


def rings(n: int, rng: Rng) -> Points:
    """Three concentric rings."""
    radius = np.array([0.4, 0.8, 1.2])[rng.integers(3, size=n)] + 0.04 * rng.standard_normal(n)
    angle = 2.0 * np.pi * rng.random(n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def spiral(n: int, rng: Rng) -> Points:
    """One arm of a spiral."""
    angle = 3.0 * np.pi * np.sqrt(rng.random(n))
    points = np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=1) / 8.0
    return points + 0.03 * rng.standard_normal((n, 2))


DENSITIES: dict[str, Callable[[int, Rng], Points]] = {
    "two-moons": two_moons,
    "pinwheel": pinwheel,
    "checkerboard": checkerboard,
    "rings": rings,
    "spiral": spiral,
}


def settings(name: str = "two-moons") -> RunSettings:
    """A residual MLP on 20,000 points; 30 seconds."""
    return RunSettings.model_validate(
        {
            "recipe": name,
            "data": {"source": "density", "name": name, "limit": 20_000, "scaling": "standardise"},
            "schedule": {"name": "flow"},
            "network": {"kind": "mlp", "width": 128, "layers": 4},
            "training": {"seconds": 30, "batch": 512, "learning_rate": 2e-3},
            "sampling": {"steps": 20},
        }
    )


def load(data: DataSettings) -> Splits:
    """Points of the density ``data.name``.

    Raises:
        ValueError: for an unknown density, or if a path is given, which would be ignored.
    """
    if data.path is not None:
        raise ValueError(
            "a density is drawn and not read from a path; train your own data with `unstir train PATH`"
        )
    name = data.name or "two-moons"
    if name not in DENSITIES:
        raise ValueError(f"unknown density {name!r}; {nearest(name, list(DENSITIES))}")
    points = DENSITIES[name](data.limit or 20_000, np.random.default_rng(data.seed)).astype(np.float32)
    scaling = Scaling(tuple(points.mean(0).tolist()), tuple(points.std(0).tolist()))
    train, heldout = split(ArrayData(points, scaling=scaling), data.heldout, seed=data.seed)
    return Splits(train, heldout)
