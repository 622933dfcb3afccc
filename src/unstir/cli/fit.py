"""``unstir fit``: parameters of nature's diffusions from measurements, with intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from unstir.cli.shared import console

if TYPE_CHECKING:
    from unstir.simulations.fits import Fit

fit = typer.Typer(help="Fit measurements of diffusion, with intervals.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON only.")]
Level = Annotated[float, typer.Option(help="Of the intervals, such as 0.95.")]
Out = Annotated[Path | None, typer.Option(help="x.html (a page), x.png (a picture) or x.json (the numbers).")]


@fit.command("frap")
def fit_frap(
    curves: Annotated[
        list[Path], typer.Argument(metavar="CURVE...", help="Tables of time (or frame) and intensity.")
    ],
    radius: Annotated[float, typer.Option(help="Radius of the bleached spot, um.")],
    interval: Annotated[
        float | None, typer.Option(help="Seconds between frames, if the first column counts frames.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="auto, diffusion, reaction, reaction-diffusion, two-state or gaussian; auto takes the best."
        ),
    ] = "auto",
    bleach: Annotated[
        int | None, typer.Option(help="First image after the bleach, from 0; default: the largest drop.")
    ] = None,
    level: Level = 0.95,
    cell_radius: Annotated[
        float | None, typer.Option(help="Radius of a round cell, um; default: without end.")
    ] = None,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Fit fluorescence recovery: diffusivity, binding rates and mobile fraction."""
    _check_files(out, *curves)
    from unstir.physics.frap_fit import fit_frap as run

    with console.status("fitting"):
        result = run(
            curves,
            spot_radius=radius,
            interval=interval,
            model=model,
            bleach=bleach,
            level=level,
            cell_radius=cell_radius,
        )
    name = curves[0].stem if len(curves) == 1 else f"{len(curves)} curves"
    _tell(result, f"Fluorescence recovery: {name}", as_json, out)


@fit.command("connectome")
def fit_connectome(
    matrix: Annotated[Path, typer.Argument(metavar="MATRIX", help="Table of the connections' strengths.")],
    values: Annotated[Path, typer.Argument(metavar="VALUES", help="Table of regions and measurements.")],
    column: Annotated[str | None, typer.Option(help="The column of VALUES to fit.")] = None,
    seed_region: Annotated[
        str | None, typer.Option(help="Where it starts; default: every region is tried.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Names of MATRIX's regions, if it has none.")] = None,
    laplacian: Annotated[str, typer.Option(help="normalised, combinatorial or random-walk.")] = "normalised",
    lowered: Annotated[
        bool, typer.Option("--lowered", help="Low values mean more disease, such as cortical thickness.")
    ] = False,
    bilateral: Annotated[
        bool, typer.Option("--bilateral", help="It starts in a region of both sides at once.")
    ] = False,
    level: Level = 0.95,
    seed: Annotated[int, typer.Option(help="Of the random numbers behind the p-values.")] = 0,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Fit spread over a connectome to regional measurements: its seed, its age, and p-values."""
    _check_files(out, matrix, values, labels)
    from unstir.physics.connectome import fit_connectome as run

    with console.status("fitting"):
        result = run(
            matrix,
            values,
            column=column,
            seed_region=seed_region,
            labels=labels,
            laplacian=laplacian,
            lowered=lowered,
            bilateral=bilateral,
            level=level,
            seed=seed,
        )
    _tell(result, f"Spread over a connectome: {values.stem}", as_json, out)


@fit.command("tree")
def fit_tree(
    tree: Annotated[Path, typer.Argument(metavar="TREE", help="Newick or NEXUS, .gz too, dated.")],
    locations: Annotated[
        Path | None, typer.Option(help="Table: tip, latitude, longitude; default: the tree's annotations.")
    ] = None,
    regions: Annotated[Path | None, typer.Option(help="Table: tip, region.")] = None,
    annotation: Annotated[
        str | None, typer.Option(help="Key of the tree's annotations that names the regions.")
    ] = None,
    model: Annotated[str, typer.Option(help="Rates between regions: equal, symmetric or all.")] = "symmetric",
    unit: Annotated[str, typer.Option(help="Unit of the tree's time: year, month, week or day.")] = "year",
    level: Level = 0.95,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Fit how lineages spread: diffusion over the globe, or rates between regions, and where they were."""
    _check_files(out, tree, locations, regions)
    from unstir.physics.fit_tree import fit_tree as run

    with console.status("fitting"):
        result = run(tree, locations, regions, annotation=annotation, model=model, unit=unit, level=level)
    _tell(result, f"Spread along a tree: {tree.name.partition('.')[0]}", as_json, out)


def _check_files(out: Path | None, *inputs: Path | None) -> None:
    """All that can be wrong with the names of files is found before the work."""
    from unstir.simulations.fits import check_output

    for path in inputs:
        if path is not None and not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
    if out is not None:
        check_output(out)


def _tell(result: Fit, title: str, as_json: bool, out: Path | None) -> None:
    from unstir.simulations.fits import save_fit

    if out is not None:
        save_fit(result, out, title)
    if as_json:
        print(json.dumps(result.to_dict(), indent=2, ensure_ascii=False))
        return
    for line in result.lines():
        console.print(escape(line), soft_wrap=True)
    if out is not None:
        console.print(f"written: [bold]{escape(str(out))}[/]", soft_wrap=True)
