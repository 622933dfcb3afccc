"""Ready-made domains: data, network, schedule and budget that belong together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from unstir.recipes import arrays, densities, digits, images
from unstir.recipes.settings import DataSettings, EvaluationSettings, RunSettings
from unstir.recipes.splits import Splits
from unstir.settings import nearest

RECIPES: dict[str, Callable[[], RunSettings]] = {
    "digits": digits.settings,
    "mnist": images.mnist_settings,
    "cifar10": images.cifar10_settings,
    **{name: partial(densities.settings, name) for name in densities.DENSITIES},
}
"""The recipes' default settings by name."""

LOADERS: dict[str, Callable[[DataSettings], Splits]] = {
    "digits": digits.load,
    "mnist": images.load_mnist,
    "cifar10": images.load_cifar10,
    "density": densities.load,
    "array": arrays.load,
    "images": images.load_folder,
}
"""How each source of data is read."""


def find_recipe(name: str) -> RunSettings:
    """A recipe's default settings.

    Raises:
        ValueError: for an unknown name, with the nearest one.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; {nearest(name, list(RECIPES))}")
    return RECIPES[name]()


def load_data(settings: DataSettings) -> Splits:
    """Read and split the data that the settings describe.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it cannot be used.
    """
    plain = settings.source in ("digits", "mnist", "cifar10", "images")
    if plain and settings.scaling != "range":
        raise ValueError(f"the pixels of {settings.source} are scaled by their range; leave data.scaling out")
    if settings.flip and not plain and settings.source != "array":
        raise ValueError("points cannot be mirrored; leave data.flip out")
    return LOADERS[settings.source](settings)


__all__ = [
    "LOADERS",
    "RECIPES",
    "DataSettings",
    "EvaluationSettings",
    "RunSettings",
    "Splits",
    "find_recipe",
    "load_data",
]
