"""The numbers that the recipes of one file are held to: digits, images and densities."""

from __future__ import annotations

from collections.abc import Callable

from unstir.recipes.domain import Plan
from unstir.recipes.numbers import Number

STANDING: dict[str, Callable[[Plan], dict[str, Number]]] = {}
"""By recipe."""
