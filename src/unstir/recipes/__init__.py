"""Ready-made domains: data, network, schedule and budget that belong together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from unstir.recipes import arrays, densities, digits, images
from unstir.recipes.domains import DOMAINS
from unstir.recipes.settings import DataSettings, EvaluationSettings, RunSettings
from unstir.recipes.splits import Splits
from unstir.settings import nearest

RECIPES: dict[str, Callable[[], RunSettings]] = {
    "digits": digits.settings,
    "mnist": images.mnist_settings,
    "cifar10": images.cifar10_settings,
    **{name: partial(densities.settings, name) for name in densities.DENSITIES},
    **{name: build for domain in DOMAINS.values() for name, build in domain.recipes.items()},
}
"""The recipes' default settings by name."""

LOADERS: dict[str, Callable[[DataSettings], Splits]] = {
    "digits": digits.load,
    "mnist": images.load_mnist,
    "cifar10": images.load_cifar10,
    "density": densities.load,
    "array": arrays.load,
    "images": images.load_folder,
    **{name: domain.load for name, domain in DOMAINS.items()},
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
        raise ValueError("only images and arrays can be mirrored; leave data.flip out")
    if settings.options and settings.source not in DOMAINS:
        raise ValueError(f"data from {settings.source!r} has no options; leave data.options out")
    return LOADERS[settings.source](settings)


__all__ = [
    "DOMAINS",
    "LOADERS",
    "RECIPES",
    "DataSettings",
    "EvaluationSettings",
    "RunSettings",
    "Splits",
    "find_recipe",
    "load_data",
]
