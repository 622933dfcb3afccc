"""``unstir restore``, ``edit`` and ``interpolate``: what a trained model does with a user's own data."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from unstir.cli.shared import Device, Folder, Guidance, Seed, SolverName, Steps, console, device_named

if TYPE_CHECKING:
    from unstir.recipes.restore import Restoration

SHOWN = 20

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Arrays (.npy, .npz) or images.")]
Label = Annotated[
    str | None, typer.Option("--class", help="A class by number or name; default: none is assumed.")
]


def restore(
    folder: Folder,
    files: Files,
    operator: Annotated[str, typer.Option(help="What was measured: heat, mask, downsample or blur.")],
    noise: Annotated[
        str,
        typer.Option(
            help="Deviation of the noise: a share of the range of data that have one (pixels), else in "
            "the data's units; or 'auto'."
        ),
    ],
    time: Annotated[
        float | None, typer.Option(help="Of heat flow, in cells squared: a blur of sqrt(2 time) cells.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="True or white where known; default: what is not NaN.")
    ] = None,
    factor: Annotated[int | None, typer.Option(help="Cells of a block, for downsample.")] = None,
    kernel: Annotated[Path | None, typer.Option(help="The blur's kernel, a .npy file.")] = None,
    n: Annotated[int, typer.Option("-n", help="Samples of each measurement.")] = 39,
    method: Annotated[
        str | None,
        typer.Option(
            help="mmps, pigdm, dps, ddrm, diffpir or particles; default: dps for mask and downsample, "
            "else mmps."
        ),
    ] = None,
    steps: Steps = None,
    solver: SolverName = None,
    label: Label = None,
    level: Annotated[float, typer.Option(help="Share of the posterior within the intervals.")] = 0.9,
    seed: Seed = 0,
    device: Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option(help="x.png, x.npz, or x for both; default: DIR/samples/restored-FILE."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Restore measurements: draw what the data may have been, with intervals, beside classical inverses."""
    from unstir.model import load
    from unstir.recipes.measured import Asked, check_asked, read_measured
    from unstir.recipes.measured_noise import noise_of
    from unstir.recipes.restore import default_method, find_method, outputs
    from unstir.recipes.restore import restore as restore_measured

    asked = Asked(operator, time, factor, kernel, mask)
    check_asked(asked)
    chosen = method or default_method(operator)
    find_method(chosen)
    model = load(folder, device=device_named(device))
    targets = outputs(out, folder, files[0])
    parts = read_measured(files, model.config, asked)
    condition = _condition(label)
    with console.status("estimating the noise" if noise == "auto" else "sampling") as status:
        sigma, sentence = noise_of(noise, parts, model, condition=condition, seed=seed)
        result = restore_measured(
            model,
            parts,
            sigma,
            n=n,
            method=chosen,
            steps=steps,
            solver=solver,
            condition=condition,
            level=level,
            seed=seed,
            heat_time=time,
            on_step=lambda progress: status.update(f"sampling, step {progress.step} of {progress.steps}"),
        )
    _write(result, targets, model.config.bounds)
    facts = {"noise": sigma, "method": chosen, "samples": n, "nfe": result.nfe}
    if as_json:
        rows = {"residual": result.residual.tolist(), "deviation": deviations(result)}
        print(json.dumps({**facts, **rows, "files": [str(path) for path in targets]}, indent=2))
        return
    console.print(escape(sentence), soft_wrap=True)
    console.print(residual_table(result))
    names = " and ".join(f"[bold]{escape(str(path))}[/]" for path in targets)
    count = len(result.mean)
    console.print(
        f"{n} samples of {'each of ' if count > 1 else ''}{count} measurement{'s' if count > 1 else ''} by "
        f"{facts['method']}, {result.nfe} evaluations each: {names}",
        soft_wrap=True,
    )
    if result.covers < level - 0.005:
        least = math.ceil(2.0 / (1.0 - level) - 1.0 - 1e-9)
        console.print(
            f"the intervals cover {result.covers:.0%} of the posterior instead of {level:.0%}, as {n} "
            f"samples have no wider ones; take -n {least} or more",
            soft_wrap=True,
        )


def residual_table(result: Restoration) -> Table:
    """How well each measurement is met, and how sure the answer is."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("measurement", "residual |y - A x|", "noise", "deviation", "fit"):
        table.add_column(name, justify="left" if name == "fit" else "right")
    spread = deviations(result)
    for row, residual in enumerate(result.residual.tolist()[:SHOWN]):
        share = residual / result.noise
        fit = "fits" if share < 1.5 else f"off by {share:.1f} times the noise"
        fit = "closer than the noise: is --noise too large?" if share < 0.5 else fit
        table.add_row(str(row), f"{residual:.3g}", f"{result.noise:.3g}", f"{spread[row]:.3g}", fit)
    if len(spread) > SHOWN:
        mean = float(result.residual.mean())
        table.add_row(
            f"mean of {len(spread)}", f"{mean:.3g}", f"{result.noise:.3g}", f"{sum(spread) / len(spread):.3g}"
        )
    return table


def deviations(result: Restoration) -> list[float]:
    """Root mean square over entries of the posterior deviation of each measurement."""
    values: list[float] = result.std.flatten(1).square().mean(1).sqrt().tolist()
    return values


def _write(result: Restoration, targets: list[Path], bounds: tuple[float, float] | None) -> None:
    from unstir.evaluation.pictures import save_image
    from unstir.recipes.restored_sheet import sheet

    for path in targets:
        if path.suffix == ".npz":
            result.save(path)
        else:
            save_image(sheet(result, bounds=bounds), path)


def edit(
    folder: Folder,
    files: Files,
    strength: Annotated[
        float, typer.Option(help="Above 0 to 1: at 0.5 the noise is as large as the data's deviation.")
    ] = 0.5,
    n: Annotated[int, typer.Option("-n", help="Variants of each.")] = 1,
    label: Label = None,
    guidance: Guidance = None,
    steps: Steps = None,
    solver: SolverName = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: Annotated[
        Path | None, typer.Option(help="x.png or x.npz; default: DIR/samples/edited-FILE.png.")
    ] = None,
) -> None:
    """Redraw data from a noise level: what is coarser than the noise stays, the rest is drawn anew."""
    from unstir.model import load
    from unstir.recipes.edit import check_output, edit_data, read_data, save_edited

    model = load(folder, device=device_named(device))
    file = out or _home(folder) / f"edited-{files[0].stem}.png"
    check_output(file, model, film=False)
    edited = edit_data(
        model,
        read_data(files, model),
        strength,
        n=n,
        steps=steps,
        solver=solver,
        condition=_condition(label),
        guidance=guidance,
        seed=seed,
    )
    save_edited(file, edited, model)
    console.print(
        f"from t = {edited.first:.3f}, where the noise is {edited.ratio:.2g} times the data's deviation, "
        f"{edited.nfe} evaluations each: [bold]{escape(str(file))}[/]",
        soft_wrap=True,
    )


def interpolate(
    folder: Folder,
    start: Annotated[str, typer.Argument(metavar="A", help="A file of one event, or seed:3.")],
    end: Annotated[str, typer.Argument(metavar="B", help="Likewise.")],
    frames: Annotated[int, typer.Option(help="Both ends included.")] = 8,
    label: Label = None,
    tolerance: Annotated[float | None, typer.Option(help="Of the integration; default: 1e-5.")] = None,
    device: Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option(help="x.png (a strip), x.gif (a film) or x.npz; default: DIR/samples/between.png."),
    ] = None,
) -> None:
    """Move from one event to another through the noise that stands for each."""
    from unstir.model import load
    from unstir.recipes.edit import check_output, interpolate_data, save_morph

    model = load(folder, device=device_named(device))
    file = out or _home(folder) / "between.png"
    check_output(file, model, film=True)
    morph = interpolate_data(model, (start, end), frames, condition=_condition(label), tolerance=tolerance)
    save_morph(file, morph, model)
    missed = [
        f"{name} comes back to {error:.2g}"
        for name, error in zip((start, end), morph.errors, strict=True)
        if error is not None
    ]
    told = f" ({', '.join(missed)}, root mean square in data units)" if missed else ""
    console.print(f"{frames} frames{escape(told)}: [bold]{escape(str(file))}[/]", soft_wrap=True)


def _home(folder: Path) -> Path:
    """Where results go by default; a model of the Hub has no folder here."""
    return folder / "samples" if folder.is_dir() else Path()


def _condition(label: str | None) -> dict[str, Any]:
    return {} if label in (None, "none") else {"label": label}
