"""``unstir check``: hold a recipe against its limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from unstir.cli.shared import console, print_numbers


def check(
    name: Annotated[str, typer.Argument(metavar="RECIPE", help="Which recipe.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON only; progress goes to stderr.")
    ] = False,
    seconds: Annotated[float | None, typer.Option(help="Budget of each training, wall-clock.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Real data, for the recipes that have numbers on them.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the trained models stay; default: runs/check-RECIPE.")
    ] = None,
) -> None:
    """Train a recipe's default and hold every number against its limit; exit 1 if one falls short."""
    from unstir.recipes.check import Interrupted, run_check
    from unstir.recipes.progress import training_lines

    folder = out or Path("runs") / f"check-{name}"
    teller = Console(stderr=True) if as_json else console
    try:
        result = run_check(name, folder, seconds=seconds, data=data, report=training_lines(teller))
    except Interrupted as stopped:
        teller.print(escape(str(stopped)), soft_wrap=True)
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
    else:
        print_numbers(result.numbers)
        verdict = "every number keeps its limit" if result.ok else "[red]not every number keeps its limit[/]"
        console.print(
            f"{verdict}; {result.seconds:.0f} s; models: [bold]{escape(str(folder))}[/]", soft_wrap=True
        )
    if not result.ok:
        raise typer.Exit(1)
