"""What all commands share: the consoles, the options, and how an error is said."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.markup import escape

from unstir.notice import Notice

if TYPE_CHECKING:
    from unstir.recipes.numbers import Number

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

Out = Annotated[Path | None, typer.Option("--out", help="The run's folder.")]
Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="A run's folder; to sample, also a Hub id owner/name.")
]
Seed = Annotated[int, typer.Option(help="Sample i of a seed is always the same.")]
Steps = Annotated[int | None, typer.Option(help="Steps of the solver.")]
SolverName = Annotated[str | None, typer.Option("--solver", help="See `unstir recipes --solvers`.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or another torch device.")]
Guidance = Annotated[
    float | None, typer.Option(help="Weight w of classifier-free guidance; 0 is conditional only.")
]


def fail(error: BaseException, code: int) -> None:
    """Say an error in one sentence on standard error, and exit."""
    if isinstance(error, OSError) and error.strerror:
        place = f" {error.filename}" if error.filename else ""
        message = f"cannot read or write{place}: {error.strerror}; what was there before is unharmed"
    else:
        message = " ".join(str(error).split()) or type(error).__name__
    errors.print(f"[bold red]error:[/] {escape(message)}")
    sys.exit(code)


def print_numbers(numbers: Mapping[str, Number]) -> None:
    """Named numbers as a table, and what each means."""
    from unstir.recipes.numbers import table

    console.print(table(numbers))
    for key, number in numbers.items():
        if number.meaning:
            console.print(f"[dim]{escape(key)}: {escape(number.meaning)}[/]", soft_wrap=True)


def say_notice(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning: a notice about a user's data as its sentence, any other as Python does."""
    if issubclass(category, Notice):
        errors.print(f"[yellow]note:[/] {escape(str(message))}")
    else:
        (file or sys.stderr).write(warnings.formatwarning(message, category, filename, lineno, line))


def device_named(name: str) -> str:
    """The device that a name stands for; auto is a GPU if there is one."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):
        raise ValueError(f"there is no device {name!r} here; use --device auto") from None
    return name


def words(text: str) -> list[str]:
    """The words between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def assignment(text: str, option: str, example: str) -> tuple[str, Any]:
    """The key of a KEY=VALUE, and its value as YAML.

    Args:
        text: as it was given.
        option: whose it is, for the sentence if it is wrong.
        example: a right one, for the same.

    Raises:
        ValueError: if there is no key or no value, or the value is not YAML.
    """
    import yaml

    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ValueError(f"{option} takes key=value, such as {example}, got {text!r}")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise ValueError(f"the value in {option} {text!r} is not valid YAML") from None
