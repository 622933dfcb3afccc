"""The problems of this recipe by name: what each of them can do, and how its settings make one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from unstir.recipes.fields.darcy import DarcyProblem
from unstir.recipes.fields.options import FieldOptions
from unstir.recipes.fields.poisson import PoissonProblem
from unstir.recipes.fields.reaction import ReactionProblem


class Problem(Protocol):
    """Pairs of fields that an equation joins; a new problem is one class and a line in `PROBLEMS`."""

    shape: tuple[int, ...]

    def draw(self, n: int, seed: int = 0, *, first_index: int = 0) -> tuple[Tensor, Tensor]:
        """n random first fields and their second fields, each (n, 1, *shape) float32."""

    def solve(self, first: Tensor) -> Tensor:
        """The second field of the first, (..., *shape) to (..., *shape)."""

    def residual(self, first: Tensor, second: Tensor) -> Tensor:
        """By how much a pair fails the equation, (..., *shape), 0 where it holds."""


def _poisson(o: FieldOptions) -> Problem:
    return PoissonProblem(o.size, boundary=o.boundary, **o.field())


def _darcy(o: FieldOptions) -> Problem:
    return DarcyProblem(o.size, medium=o.medium, **o.field())


def _reaction(o: FieldOptions) -> Problem:
    return ReactionProblem(o.size, **o.field())


PROBLEMS: dict[str, Callable[[FieldOptions], Problem]] = {
    "poisson": _poisson,
    "darcy": _darcy,
    "reaction": _reaction,
}

NAMES: dict[str, tuple[str, str]] = {
    "poisson": ("source", "potential"),
    "darcy": ("log permeability", "pressure"),
    "reaction": ("beginning", "end"),
}
"""What the two fields of a problem are."""


def problem_of(options: FieldOptions) -> Problem:
    """The problem that the options describe.

    Raises:
        ValueError: for numbers that the problem cannot have.
    """
    return PROBLEMS[options.problem](options)
