"""The command line: ``unstir demo``, ``simulate``, ``train``, ``sample``, ``restore`` and the others.

Errors are one sentence on standard error; the exit code is 2 for misuse, 1 for failure and 130 for an
interruption.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Annotated

import typer

from unstir import __version__
from unstir.cli.bench import bench
from unstir.cli.check import check
from unstir.cli.fit import fit
from unstir.cli.physics import simulate
from unstir.cli.restore import edit, interpolate, restore
from unstir.cli.runs import to_yaml
from unstir.cli.sampling import evaluate, likelihood, report, sample, tune
from unstir.cli.shared import console, fail, say_notice
from unstir.cli.training import demo, distill, recipes, train
from unstir.interruption import listen

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
COMMANDS: tuple[Callable[..., None], ...] = (
    *(recipes, train, distill, sample, restore, edit, interpolate),
    *(evaluate, check, likelihood, report, tune, demo, simulate),
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(fit, name="fit")
app.add_typer(bench, name="bench")


def _show_version(asked: bool) -> None:
    if asked:
        console.print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """unstir: diffusion, forward and back. Simulate how things spread; train and sample models."""


def main() -> None:
    """Run the command line; every error ends in one sentence and a fitting exit code."""
    listen()
    warnings.showwarning = say_notice
    console.quiet = os.environ.get("RANK", "0") != "0"  # of several processes the first one speaks
    try:
        app(standalone_mode=True)
    except OSError as error:
        fail(error, 1 if error.strerror else 2)
    except (ValueError, ImportError) as error:
        fail(error, 2)
    except (FloatingPointError, RuntimeError, MemoryError) as error:
        fail(error, 1)


__all__ = ["app", "main", "to_yaml"]
