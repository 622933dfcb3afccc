"""What a domain with a folder of its own adds to training and sampling: its numbers, pictures and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from unstir.evaluation.report import Panel
from unstir.recipes.numbers import Number
from unstir.recipes.settings import DataSettings, RunSettings
from unstir.recipes.splits import Splits

if TYPE_CHECKING:
    from unstir.model import Model


@dataclass(frozen=True)
class Options:
    """How a domain's model is sampled, in words that all domains share; None is the domain's own choice.

    Attributes:
        n: samples, episodes, scenes or cases.
        steps: of the solver.
        solver: its name.
        guidance: weight of classifier-free guidance.
        label: a class by name or number.
        seed: of the samples.

    Raises:
        ValueError: for fewer than 1 sample or step.
    """

    n: int | None = None
    steps: int | None = None
    solver: str | None = None
    guidance: float | None = None
    label: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("samples", self.n), ("steps", self.steps)):
            if value is not None and value < 1:
                raise ValueError(f"the number of {name} is at least 1, got {value}")


@dataclass(frozen=True)
class Plan:
    """What a check is given.

    Attributes:
        train: trains the settings into a named folder below ``folder`` and gives the model.
        folder: where the check may write.
        data: a path that the user gave for the real data, or None.
        seeds: of trainings, where chance matters.
        say: tells the user a sentence.
    """

    train: Callable[[RunSettings, str], Model]
    folder: Path
    data: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    say: Callable[[str], None] = field(default=lambda sentence: None)


@dataclass(frozen=True)
class Domain:
    """A domain.

    Attributes:
        recipes: default settings by name; ``data.source`` of each is the domain's name.
        load: reads or makes the data.
        check: trains the embedded default and the baseline, and measures both (`unstir check`).
        measure: the numbers of one trained model (`unstir evaluate`).
        panels: pictures for the report (`unstir report`).
        files: writes samples to a file, by suffix, and says what is in it in a few words (`unstir sample`);
            the first suffix is that of the default file.
        on_data: whether the check has numbers on the data of a path.
        follows: which of the options ``solver``, ``guidance`` and ``label`` it follows.
    """

    recipes: Mapping[str, Callable[[], RunSettings]]
    load: Callable[[DataSettings], Splits]
    check: Callable[[Plan], dict[str, Number]]
    measure: Callable[[Model, RunSettings, Options], dict[str, Number]]
    panels: Callable[[Model, RunSettings, Options], list[Panel]]
    files: Mapping[str, Callable[[Model, RunSettings, Path, Options], str]]
    follows: frozenset[str] = frozenset()
    on_data: bool = False
