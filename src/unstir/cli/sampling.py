"""``unstir sample``, ``evaluate``, ``likelihood``, ``report`` and ``tune``: what a trained model can do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from unstir.cli.shared import (
    Device,
    Folder,
    Guidance,
    Seed,
    SolverName,
    Steps,
    assignment,
    console,
    device_named,
    errors,
    print_numbers,
)

if TYPE_CHECKING:
    from unstir.denoisers import Denoiser
    from unstir.model import Model
    from unstir.recipes.domain import Options
    from unstir.recipes.domain_run import Home
    from unstir.samplers import Solver


def sample(
    folder: Folder,
    n: Annotated[int | None, typer.Option("-n", help="Number of samples; default: 64.")] = None,
    steps: Steps = None,
    solver: SolverName = None,
    options: Annotated[
        list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="A setting of --solver.")
    ] = None,
    grid: Annotated[str | None, typer.Option(help="Time grid.")] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--class",
            help="A class by number or name, 'none', or several at once, 3+8; default: each in turn.",
        ),
    ] = None,
    guidance: Guidance = None,
    window: Annotated[
        tuple[float, float] | None, typer.Option(help="Share of the log-SNR range in which to guide.")
    ] = None,
    negative: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Guide away from this class, not from 'no class'.")
    ] = None,
    rescale: Annotated[
        float, typer.Option(help="Share, 0 to 1, in which the deviation changed by guidance is restored.")
    ] = 0.0,
    guidance_from: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Guide away from a weaker run of the same data.")
    ] = None,
    classifier: Annotated[
        float | None,
        typer.Option(metavar="W", help="Weight of the run's classifier (`unstir train DIR --classifier`)."),
    ] = None,
    schedule: Annotated[str | None, typer.Option(help="Sample under another schedule.")] = None,
    seed: Seed = 0,
    first_index: Annotated[int, typer.Option(help="Number of the first sample within the seed.")] = 0,
    device: Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            help="x.png, x.gif (a film), x.npy or x.npz, or what the recipe writes, such as x.wav; default: "
            "in DIR/samples."
        ),
    ] = None,
) -> None:
    """Draw samples from a trained model."""
    from unstir.model import load
    from unstir.processes import schedule_from_dict
    from unstir.recipes.domain import Options
    from unstir.recipes.domain_run import home_of
    from unstir.recipes.export import check_suffix, save_samples
    from unstir.recipes.measured import check_condition

    model = load(folder, device=device_named(device))
    place = folder if folder.is_dir() else Path()  # a model of the Hub has no folder here
    home = home_of(model)
    file = out or place / "samples" / f"seed{seed}{home.default_suffix if home else '.png'}"
    arrays = (".npy", ".npz") if model.denoiser.unconditional else ()
    if home is not None and file.suffix not in arrays:
        given: dict[str, Any] = {
            "--option": options,
            "--grid": grid,
            "--window": window,
            "--negative": negative,
        }
        given |= {"--rescale": rescale, "--guidance-from": guidance_from, "--schedule": schedule}
        given |= {"--first-index": first_index, "--classifier": classifier is not None}
        draw_in_domain(home, file, Options(n, steps, solver, guidance, label, seed), given)
        return
    n = 64 if n is None else n
    check_suffix(file, model)
    classes = joined_classes(model, label)
    if classes and (window or negative or rescale or guidance_from or classifier is not None):
        raise ValueError(
            f"several classes at once, --class {label}, take no --window, --negative, --rescale, "
            "--guidance-from or --classifier; leave them out"
        )
    condition = {} if classes else condition_for(model, label, n, first_index)
    guide = model.all_of(classes, guidance) if classes else None
    if classifier is not None:
        guide = by_classifier(folder, model, classifier, window, condition)
    if not classes:
        check_condition(model, condition)
    solution = model.solve(
        n,
        steps=steps,
        solver=solver_with(solver, options or []),
        grid=grid,
        condition=condition,
        guidance=guidance,
        window=window,
        negative=None if negative is None else {"label": negative},
        rescale=rescale,
        guidance_from=None if guidance_from is None else load(guidance_from, device=device_named(device)),
        guide=guide,
        schedule=None if schedule is None else schedule_from_dict({"name": schedule}),
        seed=seed,
        first_index=first_index,
        path=file.suffix == ".gif",
    )
    save_samples(file, solution, model, condition)
    console.print(
        f"{n} samples, {solution.nfe} evaluations each: [bold]{escape(str(file))}[/]", soft_wrap=True
    )


def draw_in_domain(home: Home, file: Path, options: Options, given: dict[str, Any]) -> None:
    """Samples of a domain's run in its own form."""
    from unstir.recipes.domain_run import draw_run

    unfitting = [name for name, value in given.items() if value]
    if unfitting:
        raise ValueError(
            f"{' and '.join(unfitting)} cannot be chosen for a {file.suffix} of {home.settings.recipe}; "
            "leave them out, or write .npz"
        )
    said = draw_run(home, file, options)
    console.print(f"{escape(said)}: [bold]{escape(str(file))}[/]", soft_wrap=True)


def evaluate(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
    n: Annotated[int | None, typer.Option("-n", help="Number of samples to judge.")] = None,
    steps: Steps = None,
    solver: SolverName = None,
    guidance: Guidance = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the samples.")] = None,
    inception: Annotated[
        bool, typer.Option("--inception", help="Also the Inception FID (extra `inception`, network).")
    ] = False,
    device: Device = "auto",
) -> None:
    """Measure samples against held-out data."""
    from unstir.recipes.assess import assess_run
    from unstir.recipes.domain import Options
    from unstir.recipes.domain_run import load_home

    home = load_home(folder, device_named(device))
    if home is not None:
        if inception:
            raise ValueError("the Inception FID is for images; leave --inception out for other data")
        options = Options(n, steps, solver, guidance, None, home.settings.evaluation.seed)
        evaluate_in_domain(folder, home, options if seed is None else replace(options, seed=seed), as_json)
        return
    result = assess_run(
        folder,
        n=n,
        steps=steps,
        solver=solver,
        guidance=guidance,
        seed=seed,
        inception=inception,
        device=device_named(device),
    )
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
        return
    console.print(result.table())
    console.print(f"[dim]{escape(result.summary())}[/]")


def evaluate_in_domain(folder: Path, home: Home, options: Options, as_json: bool) -> None:
    """The numbers of a domain's run."""
    from unstir.recipes.domain_run import measure_run

    with errors.status(f"measuring {home.settings.recipe}; -n measures less"):
        measured = measure_run(folder, home, options)
    if as_json:
        print(json.dumps(measured.to_dict(), indent=2))
        return
    print_numbers(measured.numbers)


def likelihood(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
    n: Annotated[int, typer.Option("-n", help="Number of held-out samples.")] = 64,
    divergence: Annotated[
        str | None, typer.Option(help="exact, hutchinson or hutch++; default: exact for small events.")
    ] = None,
    probes: Annotated[int, typer.Option(help="Random vectors for each sample.")] = 2,
    draws: Annotated[int, typer.Option(help="Dequantisations of each sample of integers.")] = 2,
    bound: Annotated[bool, typer.Option("--bound", help="Also the variational bound.")] = False,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Measure the likelihood of held-out data: bits per dimension of integers, nats of real numbers."""
    from unstir.recipes.likelihood import likelihood_run

    result = likelihood_run(
        folder,
        n=n,
        divergence=divergence,
        probes=probes,
        draws=draws,
        bound=bound,
        seed=seed,
        device=device_named(device),
    )
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
        return
    for line in result.lines():
        console.print(escape(line), soft_wrap=True)


def report(
    folder: Folder,
    out: Annotated[Path | None, typer.Option(help="The page to write; default: DIR/report.html.")] = None,
    device: Device = "auto",
) -> None:
    """Evaluate a run and write its report, one self-contained page."""
    from unstir.recipes.domain import Options
    from unstir.recipes.domain_run import load_home, report_domain
    from unstir.recipes.show import report_run

    home = load_home(folder, device_named(device))
    if home is not None:
        with errors.status(f"measuring and drawing {home.settings.recipe}"):
            page = report_domain(folder, out, home, Options(seed=home.settings.evaluation.seed))
    else:
        page = report_run(folder, out, device=device_named(device))
    console.print(f"report: [bold]{page}[/]")


def tune(
    folder: Folder,
    evaluations: Annotated[int, typer.Option(help="Evaluations of the network a sample, at least 2.")] = 6,
    n: Annotated[int, typer.Option("-n", help="Noises to tune on, and as many to judge by.")] = 64,
    device: Device = "auto",
) -> None:
    """Find the time grid and order with the least error for a number of evaluations, and store them."""
    from unstir.recipes.tune import tune_run

    with console.status("a fine reference") as status:

        def tell(error: float) -> None:
            status.update(f"error {error:.3g}")

        result = tune_run(folder, evaluations, n=n, device=device_named(device), on_round=tell)
    grid = result.tuned
    levels = ", ".join(f"{level:.3g}" for level in grid.levels)
    console.print(
        f"error of the final state with {evaluations} evaluations, on other noise than that of the tuning: "
        f"[bold]{result.error:.4g}[/] (default grid: {result.default_error:.4g})\n"
        f"order {grid.order}, sigma/alpha from noise through {levels} to data",
        soft_wrap=True,
    )
    place = escape(str(folder))
    if result.kept:
        console.print(
            f"stored in [bold]{place}[/], and its default now: unstir sample {place}", soft_wrap=True
        )
    else:
        console.print("the default grid is better, so nothing was changed")


def solver_with(name: str | None, options: list[str]) -> str | Solver | None:
    """A solver with its options; without any, its name."""
    if not options:
        return name
    if name is None:
        raise ValueError("--option sets something of the solver that --solver names; name one")
    from unstir.samplers import find_solver

    pairs = (assignment(option, "--option", "eta=0.5") for option in options)
    values = {key.replace("-", "_"): value for key, value in pairs}
    return find_solver(name, **values)


def joined_classes(model: Model, label: str | None) -> list[str]:
    """The classes that ``--class 3+8`` asks for at once; none for a single class, whatever its name."""
    if label is None or "+" not in label or label in model.config.classes:
        return []
    return [part.strip() for part in label.split("+")]


def by_classifier(
    folder: Path,
    model: Model,
    weight: float,
    window: tuple[float, float] | None,
    condition: dict[str, Any],
) -> Callable[[Denoiser], Denoiser]:
    """Guidance by the run's classifier towards the class of every sample."""
    from unstir.recipes.classifier import classifier_guide

    guide = classifier_guide(folder, model, weight, window or (0.0, 1.0))
    if "label" not in condition:
        raise ValueError("a classifier guides towards a class of each sample: name one with --class")
    return guide


def condition_for(model: Model, label: str | None, n: int, first: int) -> dict[str, Any]:
    """The condition that ``--class`` asks for; every class in turn by default."""
    if label == "none" or (label is None and not model.config.classes):
        return {}
    if label is not None:
        return {"label": label}
    return {"label": [(first + i) % len(model.config.classes) for i in range(n)]}
