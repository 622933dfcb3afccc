"""``unstir bench``: measurements on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from unstir.cli.shared import Device, console, device_named, words

bench = typer.Typer(help="Measure on this machine.", no_args_is_help=True)


@bench.command("samplers")
def bench_samplers(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A model's folder; default: exact problems.")
    ] = None,
    evaluations: Annotated[
        str, typer.Option(help="Numbers of evaluations, separated by commas.")
    ] = "5,8,10,15,20",
    solvers: Annotated[
        str | None, typer.Option(help="Names, separated by commas; default: all deterministic ones.")
    ] = None,
    grids: Annotated[str, typer.Option(help="Further grids, separated by commas.")] = "",
    n: Annotated[int, typer.Option("-n", help="Noises for each problem.")] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
    out: Annotated[Path | None, typer.Option(help="Draw the table into this .png.")] = None,
    device: Device = "auto",
) -> None:
    """Accuracy per evaluation: the error of the final state, of every solver, as a table and a plot."""
    from unstir.evaluation.bench import DETERMINISTIC, bench_samplers, check_bench, exact_task
    from unstir.evaluation.pictures import save_image
    from unstir.evaluation.problems import benchmark_problems
    from unstir.model import load
    from unstir.recipes.tune import noise_task

    if out is not None and out.suffix != ".png":
        raise ValueError(f"the plot is written as .png, got {out}")
    names = words(solvers) if solvers is not None else list(DETERMINISTIC)
    try:
        budgets = [int(word) for word in words(evaluations)]
    except ValueError:
        raise ValueError(f"--evaluations takes whole numbers and commas, got {evaluations!r}") from None
    check_bench(names, budgets, words(grids))
    with console.status("references") as status:
        if folder is None:
            tasks = [exact_task(problem) for problem in benchmark_problems(n)]
        else:
            tasks = [noise_task(load(folder, device=device_named(device)), n)]

        def tell(done: int, total: int) -> None:
            status.update(f"{done} of {total} solvers")

        result = bench_samplers(tasks, solvers=names, budgets=budgets, grids=words(grids), on_row=tell)
    if out is not None:
        save_image(result.plot(), out)
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
        return
    console.print(result.table())
    over = f"{len(tasks)} exact problems" if folder is None else f"{n} noises of {folder}"
    drawn = "" if out is None else f"; drawn in {out}"
    console.print(f"[dim]rms error of the final state, geometric mean over {escape(over + drawn)}[/]")
