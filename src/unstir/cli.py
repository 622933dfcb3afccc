"""The command line: ``unstir demo``, ``recipes``, ``train``, ``sample``, ``evaluate`` and the others.

Errors are one sentence on standard error; the exit code is 2 for misuse, 1 for failure and 130 for an
interruption.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from unstir.model import Model
    from unstir.recipes import RunSettings
    from unstir.recipes.run import Outcome
    from unstir.samplers import Solver

app = typer.Typer(
    help="unstir: diffusion, forward and back. Train, sample and evaluate diffusion models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
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


def main() -> None:
    """Run the command line; every error ends in one sentence and a fitting exit code."""
    console.quiet = os.environ.get("RANK", "0") != "0"  # of several processes the first one speaks
    try:
        app(standalone_mode=True)
    except OSError as error:
        _fail(error, 1 if error.strerror else 2)
    except (ValueError, ImportError) as error:
        _fail(error, 2)
    except (FloatingPointError, RuntimeError, MemoryError) as error:
        _fail(error, 1)


def _fail(error: BaseException, code: int) -> None:
    if isinstance(error, OSError) and error.strerror:
        place = f" {error.filename}" if error.filename else ""
        message = f"cannot read or write{place}: {error.strerror}; what was there before is unharmed"
    else:
        message = " ".join(str(error).split()) or type(error).__name__
    errors.print(f"[bold red]error:[/] {_escape(message)}")
    sys.exit(code)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


@app.command()
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


@app.command()
def train(
    what: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE|FILE.yaml|ARRAY|IMAGES", help="A recipe, settings, or your data."),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Budget in wall-clock seconds.")] = None,
    samples: Annotated[int | None, typer.Option(help="Budget in samples seen.")] = None,
    data: Annotated[str | None, typer.Option(help="Read the recipe's data from this path.")] = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard logs.")] = False,
) -> None:
    """Train a diffusion model."""
    settings, notes = _settings(what, out, resume)
    settings = _changed(settings, changes or [], seconds, samples, data)
    folder = out or Path("runs") / settings.recipe
    for note in notes:
        console.print(f"[dim]{_escape(note)}[/]")
    outcome = _train(settings, folder, resume=resume, overwrite=overwrite, tensorboard=tensorboard)
    place = _escape(str(folder))
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


@app.command()
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
            device=_device(device),
        )
    place = _escape(str(target))
    if not outcome.finished:
        kept = f"what it learned is in {place}" if outcome.samples else "nothing was written"
        console.print(f"stopped after {outcome.samples:,} samples; {kept}", soft_wrap=True)
        raise typer.Exit(130)
    console.print(
        f"distilled with {outcome.samples:,} samples in {outcome.seconds:.0f} s: [bold]{place}[/]\n"
        f"next: unstir sample {place}   unstir evaluate {place} --steps 2   unstir report {place}",
        soft_wrap=True,
    )


@app.command()
def sample(
    folder: Folder,
    n: Annotated[int, typer.Option("-n", help="Number of samples.")] = 64,
    steps: Steps = None,
    solver: SolverName = None,
    options: Annotated[
        list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="A setting of --solver.")
    ] = None,
    grid: Annotated[str | None, typer.Option(help="Time grid.")] = None,
    label: Annotated[
        str | None,
        typer.Option("--class", help="A class by number or name, or 'none'; default: each in turn."),
    ] = None,
    guidance: Guidance = None,
    window: Annotated[
        tuple[float, float] | None, typer.Option(help="Share of the log-SNR range in which to guide.")
    ] = None,
    schedule: Annotated[str | None, typer.Option(help="Sample under another schedule.")] = None,
    seed: Seed = 0,
    first_index: Annotated[int, typer.Option(help="Number of the first sample within the seed.")] = 0,
    device: Device = "auto",
    out: Annotated[
        Path | None, typer.Option(help="x.png, x.gif (a film), x.npy or x.npz; default: in DIR/samples.")
    ] = None,
) -> None:
    """Draw samples from a trained model."""
    from unstir.model import load
    from unstir.processes import schedule_from_dict
    from unstir.recipes.export import check_suffix, save_samples

    model = load(folder, device=_device(device))
    home = folder if folder.is_dir() else Path()  # a model of the Hub has no folder here
    file = out or home / "samples" / f"seed{seed}.png"
    check_suffix(file, model)
    condition = _condition(model, label, n, first_index)
    solution = model.solve(
        n,
        steps=steps,
        solver=_solver(solver, options or []),
        grid=grid,
        condition=condition,
        guidance=guidance,
        window=window,
        schedule=None if schedule is None else schedule_from_dict({"name": schedule}),
        seed=seed,
        first_index=first_index,
        path=file.suffix == ".gif",
    )
    save_samples(file, solution, model, condition)
    console.print(
        f"{n} samples, {solution.nfe} evaluations each: [bold]{_escape(str(file))}[/]", soft_wrap=True
    )


@app.command()
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

    result = assess_run(
        folder,
        n=n,
        steps=steps,
        solver=solver,
        guidance=guidance,
        seed=seed,
        inception=inception,
        device=_device(device),
    )
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
        return
    console.print(result.table())
    console.print(f"[dim]{_escape(result.summary())}[/]")


@app.command()
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
        device=_device(device),
    )
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
        return
    for line in result.lines():
        console.print(_escape(line), soft_wrap=True)


@app.command()
def report(
    folder: Folder,
    out: Annotated[Path | None, typer.Option(help="The page to write; default: DIR/report.html.")] = None,
    device: Device = "auto",
) -> None:
    """Evaluate a run and write its report, one self-contained page."""
    from unstir.recipes.show import report_run

    page = report_run(folder, out, device=_device(device))
    console.print(f"report: [bold]{page}[/]")


@app.command()
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

        result = tune_run(folder, evaluations, n=n, device=_device(device), on_round=tell)
    grid = result.tuned
    levels = ", ".join(f"{level:.3g}" for level in grid.levels)
    console.print(
        f"error of the final state with {evaluations} evaluations, on other noise than that of the tuning: "
        f"[bold]{result.error:.4g}[/] (default grid: {result.default_error:.4g})\n"
        f"order {grid.order}, sigma/alpha from noise through {levels} to data",
        soft_wrap=True,
    )
    place = _escape(str(folder))
    if result.kept:
        console.print(
            f"stored in [bold]{place}[/], and its default now: unstir sample {place}", soft_wrap=True
        )
    else:
        console.print("the default grid is better, so nothing was changed")


bench = typer.Typer(help="Measure on this machine.", no_args_is_help=True)
app.add_typer(bench, name="bench")


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
    names = _words(solvers) if solvers is not None else list(DETERMINISTIC)
    try:
        budgets = [int(word) for word in _words(evaluations)]
    except ValueError:
        raise ValueError(f"--evaluations takes whole numbers and commas, got {evaluations!r}") from None
    check_bench(names, budgets, _words(grids))
    with console.status("references") as status:
        if folder is None:
            tasks = [exact_task(problem) for problem in benchmark_problems(n)]
        else:
            tasks = [noise_task(load(folder, device=_device(device)), n)]

        def tell(done: int, total: int) -> None:
            status.update(f"{done} of {total} solvers")

        result = bench_samplers(tasks, solvers=names, budgets=budgets, grids=_words(grids), on_row=tell)
    if out is not None:
        save_image(result.plot(), out)
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
        return
    console.print(result.table())
    over = f"{len(tasks)} exact problems" if folder is None else f"{n} noises of {folder}"
    drawn = "" if out is None else f"; drawn in {out}"
    console.print(f"[dim]rms error of the final state, geometric mean over {_escape(over + drawn)}[/]")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


@app.command()
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

    settings = _changed(find_recipe("digits"), [], seconds, samples, None)
    console.print("[bold]1[/]  training a diffusion model on 1,437 handwritten digits, from scratch")
    again = overwrite or out == Path("runs/demo")  # its own folder, which holds nothing but demos
    outcome = _train(settings, out, resume=False, overwrite=again, tensorboard=False)
    if not outcome.finished:
        console.print(f"stopped; go on with: unstir train --resume --out {out}")
        raise typer.Exit(130)
    console.print("[bold]2[/]  sampling 1,000 new ones and measuring them against digits it never saw")
    result = assess_run(out)
    console.print(result.table())
    console.print(f"[dim]{_escape(result.summary())}[/]")
    console.print("[bold]3[/]  writing the report")
    page = report_run(out, None, result=result)
    from unstir.recipes.export import save_samples

    model = load(out)
    condition = _condition(model, None, 100, 0)
    solution = model.solve(100, condition=condition, seed=0)
    save_samples(out / "samples" / "digits.png", solution, model, condition)
    picture = out / "samples" / "digits.png"
    for name, place in (("report", page), ("samples", picture), ("model", out)):
        console.print(f"[bold]{name:<9}[/]{_escape(str(place.resolve()))}", soft_wrap=True)


def _device(name: str) -> str:
    """The device that a name stands for; auto is a GPU if there is one."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):
        raise ValueError(f"there is no device {name!r} here; use --device auto") from None
    return name


def _settings(what: str | None, out: Path | None, resume: bool) -> tuple[RunSettings, list[str]]:
    """The settings that the first argument stands for, and what was chosen for the user."""
    from unstir.recipes import RECIPES, arrays, find_recipe
    from unstir.recipes.run import stored_settings

    if resume:
        if out is None:
            if what is None:
                raise ValueError("--resume needs the run's folder: unstir train --resume --out DIR")
            name = _read_yaml(Path(what)).recipe if what.endswith((".yaml", ".yml")) else Path(what).stem
            out = Path("runs") / name
        return stored_settings(out), []
    if what is None:
        raise ValueError(f"say what to train: a recipe ({', '.join(RECIPES)}), a YAML file, or your data")
    path = Path(what)
    if path.suffix in (".yaml", ".yml"):
        return _read_yaml(path), []
    if path.suffix in (".npy", ".npz"):
        return arrays.settings(what)
    if what not in RECIPES and (path / "config.json").is_file():
        raise ValueError(f"{what} is a run; go on with it by: unstir train --resume --out {what}")
    if what not in RECIPES and (path.is_dir() or what.endswith((".tar", ".tar.gz", ".tgz"))):
        return arrays.settings(what, "images")
    if what not in RECIPES and path.exists():
        raise ValueError(
            f"{what} is no data that can be read; give .npy, .npz, a folder or .tar of images, or a .yaml"
        )
    return find_recipe(what), []


def _changed(
    settings: RunSettings,
    changes: list[str],
    seconds: float | None,
    samples: int | None,
    data: str | None,
) -> RunSettings:
    """Settings with the command line's changes."""
    import yaml

    from unstir.recipes import RunSettings
    from unstir.settings import parse_settings, set_key

    values = settings.model_dump(mode="json")
    if seconds is not None or samples is not None:
        values["training"] |= {"seconds": seconds, "samples": samples}
    if data is not None:
        values["data"]["path"] = str(Path(data).expanduser().resolve())
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or not key:
            raise ValueError(f"--set takes key=value, such as training.batch=256, got {change!r}")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ValueError(f"the value in --set {change!r} is not valid YAML") from None
        if key == "network.kind" and value != values["network"]["kind"]:
            values["network"] = {}  # the options of one kind are not those of another
        if key == "schedule.name" and value != values["schedule"]["name"]:
            values["schedule"] = {}
        set_key(values, key.strip(), value)
    return parse_settings(RunSettings, values)


def _read_yaml(path: Path) -> RunSettings:
    import yaml

    from unstir.recipes import RunSettings
    from unstir.settings import parse_settings

    if not path.is_file():
        raise FileNotFoundError(f"there is no settings file {path}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no settings; start from `unstir recipes digits > {path}`")
    return parse_settings(RunSettings, values)


def to_yaml(settings: RunSettings) -> str:
    """Settings as YAML, in the order in which they are documented."""
    import yaml

    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _train(
    settings: RunSettings, folder: Path, *, resume: bool, overwrite: bool, tensorboard: bool
) -> Outcome:
    """Train with a progress bar."""
    from unstir.files import write_text
    from unstir.networks import build_network
    from unstir.recipes import load_data
    from unstir.recipes.progress import training_progress
    from unstir.recipes.run import check_folder, prepare_folder, train_run

    # All that can be wrong with the settings is found before an old run is replaced.
    check_folder(folder, resume=resume, overwrite=overwrite)
    splits = load_data(settings.data)
    build_network(settings.network, splits.train.event)
    prepare_folder(folder, resume=resume, overwrite=overwrite)
    if not resume:
        write_text(folder / "settings.yaml", to_yaml(settings))
    with training_progress(console) as report:
        return train_run(
            settings, folder, resume=resume, splits=splits, report=report, tensorboard=tensorboard
        )


def _solver(name: str | None, options: list[str]) -> str | Solver | None:
    """A solver with its options; without any, its name."""
    if not options:
        return name
    if name is None:
        raise ValueError("--option sets something of the solver that --solver names; name one")
    import yaml

    from unstir.samplers import find_solver

    values = {}
    for option in options:
        key, equals, text = option.partition("=")
        if not equals:
            raise ValueError(f"--option takes key=value, such as eta=0.5, got {option!r}")
        try:
            values[key.strip().replace("-", "_")] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ValueError(f"the value in --option {option!r} is not valid YAML") from None
    return find_solver(name, **values)


def _condition(model: Model, label: str | None, n: int, first: int) -> dict[str, Any]:
    """The condition that ``--class`` asks for; every class in turn by default."""
    if label == "none" or (label is None and not model.config.classes):
        return {}
    if label is not None:
        return {"label": label}
    return {"label": [(first + i) % len(model.config.classes) for i in range(n)]}
