"""``unstir recipes``, ``train``, ``distill`` and ``demo``: learning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from unstir.cli.runs import changed, settings_for, to_yaml, train_with_progress
from unstir.cli.sampling import condition_for
from unstir.cli.shared import Device, Folder, Out, console, device_named


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe's settings as YAML.")] = None,
    solvers: Annotated[bool, typer.Option("--solvers", help="List solvers, grids and schedules.")] = False,
) -> None:
    """List the recipes, or print one as YAML that `unstir train FILE.yaml` takes."""
    from unstir.recipes import RECIPES, find_recipe

    if solvers:
        from unstir.processes import SCHEDULES
        from unstir.samplers import GRIDS, SOLVERS

        for title, names in (("solvers", SOLVERS), ("grids", GRIDS), ("schedules", SCHEDULES)):
            console.print(f"[bold]{title}[/]  {', '.join(names)}")
        return
    if name is not None:
        print(to_yaml(find_recipe(name)), end="")
        return
    from rich.table import Table

    table = Table("recipe", "data", "network", "schedule", "budget", box=None, header_style="bold")
    for key, build in RECIPES.items():
        settings = build()
        budget = settings.training.seconds
        table.add_row(
            key,
            settings.data.source,
            f"{settings.network.kind}, width {settings.network.width}",
            str(settings.schedule["name"]),
            f"{budget:g} s" if budget else f"{settings.training.samples:,} samples",
        )
    console.print(table)
    console.print("\nYour own data: `unstir train array.npy`, `array.npz` (x, labels) or a folder of images.")


def train(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE|FILE.yaml|ARRAY|IMAGES|DIR",
            help="A recipe, settings, or your data; with --classifier a run.",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Budget in wall-clock seconds.")] = None,
    samples: Annotated[int | None, typer.Option(help="Budget in samples seen.")] = None,
    data: Annotated[str | None, typer.Option(help="Read the recipe's data from this path.")] = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in --out, or its classifier.")
    ] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard logs.")] = False,
    classifier: Annotated[
        bool, typer.Option("--classifier", help="Train a classifier that guides the run DIR, beside it.")
    ] = False,
) -> None:
    """Train a diffusion model, or a classifier that guides one."""
    if classifier:
        other = {"--set": changes, "--data": data, "--out": out, "--resume": resume}
        other |= {"--tensorboard": tensorboard}
        unfitting = [name for name, value in other.items() if value]
        train_classifier(what, seconds, samples, unfitting, overwrite=overwrite)
        return
    settings, notes = settings_for(what, out, resume)
    settings = changed(settings, changes or [], seconds, samples, data)
    folder = out or Path("runs") / settings.recipe
    for note in notes:
        console.print(f"[dim]{escape(note)}[/]")
    outcome = train_with_progress(
        settings, folder, resume=resume, overwrite=overwrite, tensorboard=tensorboard
    )
    place = escape(str(folder))
    if not outcome.finished:
        console.print(
            f"stopped after {outcome.samples:,} samples, everything is saved; go on with: "
            f"unstir train --resume --out {place}",
            soft_wrap=True,
        )
        raise typer.Exit(130)
    console.print(
        f"trained on {outcome.samples:,} samples in {outcome.seconds:.0f} s: [bold]{place}[/]\n"
        f"next: unstir sample {place}   unstir evaluate {place}   unstir report {place}",
        soft_wrap=True,
    )


def train_classifier(
    what: str | None, seconds: float | None, samples: int | None, unfitting: list[str], *, overwrite: bool
) -> None:
    """Train a classifier beside a run."""
    from unstir.recipes.classifier import train_classifier_run
    from unstir.recipes.progress import training_progress

    if unfitting:
        raise ValueError(
            f"--classifier trains on a run's own data into its folder; leave out {' and '.join(unfitting)}"
        )
    if what is None:
        raise ValueError("say beside which run to train a classifier: unstir train DIR --classifier")
    with training_progress(console) as report:
        outcome = train_classifier_run(
            Path(what),
            seconds=seconds,
            samples=samples,
            overwrite=overwrite,
            report=report,
            device=device_named("auto"),
        )
    place, file = escape(what), escape(str(outcome.path))
    for line in outcome.lines() if outcome.kept else []:
        console.print(escape(line), soft_wrap=True)
    if not outcome.finished:
        kept = f"what it learned is in {file}" if outcome.kept else "what was there before is unchanged"
        console.print(f"stopped after {outcome.samples:,} samples; {kept}", soft_wrap=True)
        raise typer.Exit(130)
    console.print(
        f"trained a classifier on {outcome.samples:,} samples in {outcome.seconds:.0f} s: [bold]{file}[/]\n"
        f"next: unstir sample {place} --class {escape(outcome.critic.config.classes[0])} --classifier 2",
        soft_wrap=True,
    )


def distill(
    folder: Folder,
    seconds: Annotated[float | None, typer.Option(help="Budget in wall-clock seconds.")] = None,
    samples: Annotated[int | None, typer.Option(help="Budget in samples seen.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Weight of classifier-free guidance that the student learns.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The new run; default: DIR-distilled.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    device: Device = "auto",
) -> None:
    """Distil a trained model into one that samples in 1, 2 or 4 evaluations."""
    from unstir.recipes.distill import default_folder, distill_run
    from unstir.recipes.progress import training_progress

    target = out or default_folder(folder)
    with training_progress(console) as report:
        outcome = distill_run(
            folder,
            target,
            seconds=seconds,
            samples=samples,
            guidance=guidance,
            overwrite=overwrite,
            report=report,
            device=device_named(device),
        )
    place = escape(str(target))
    if not outcome.finished:
        kept = f"what it learned is in {place}" if outcome.samples else "nothing was written"
        console.print(f"stopped after {outcome.samples:,} samples; {kept}", soft_wrap=True)
        raise typer.Exit(130)
    console.print(
        f"distilled with {outcome.samples:,} samples in {outcome.seconds:.0f} s: [bold]{place}[/]\n"
        f"next: unstir sample {place}   unstir evaluate {place} --steps 2   unstir report {place}",
        soft_wrap=True,
    )


def demo(
    seconds: Annotated[float | None, typer.Option(help="Seconds of training.")] = None,
    samples: Annotated[int | None, typer.Option(help="Or samples of training.")] = None,
    out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/demo"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
) -> None:
    """Learn handwritten digits from scratch, sample them, measure them, and show it all on one page."""
    from unstir.model import load
    from unstir.recipes import find_recipe
    from unstir.recipes.assess import assess_run
    from unstir.recipes.show import report_run

    settings = changed(find_recipe("digits"), [], seconds, samples, None)
    console.print("[bold]1[/]  training a diffusion model on 1,437 handwritten digits, from scratch")
    again = overwrite or out == Path("runs/demo")  # its own folder, which holds nothing but demos
    outcome = train_with_progress(settings, out, resume=False, overwrite=again, tensorboard=False)
    if not outcome.finished:
        console.print(f"stopped; go on with: unstir train --resume --out {out}")
        raise typer.Exit(130)
    console.print("[bold]2[/]  sampling 1,000 new ones and measuring them against digits it never saw")
    result = assess_run(out)
    console.print(result.table())
    console.print(f"[dim]{escape(result.summary())}[/]")
    console.print("[bold]3[/]  writing the report")
    page = report_run(out, None, result=result)
    from unstir.recipes.export import save_samples

    model = load(out)
    condition = condition_for(model, None, 100, 0)
    solution = model.solve(100, condition=condition, seed=0)
    save_samples(out / "samples" / "digits.png", solution, model, condition)
    picture = out / "samples" / "digits.png"
    for name, place in (("report", page), ("samples", picture), ("model", out)):
        console.print(f"[bold]{name:<9}[/]{escape(str(place.resolve()))}", soft_wrap=True)
