"""The content of a run's report: pictures, charts, measurements and facts."""

from __future__ import annotations

import math
import platform
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image
from torch import Tensor

from unstir import __version__
from unstir import evaluation as ev
from unstir.evaluation.figures import grid_chart, guidance_curve, loss_curve
from unstir.evaluation.pictures import is_image, picture_of
from unstir.evaluation.report import Content, Panel, Row, write_report
from unstir.recipes.assess import Assessment, assess_run, data_units
from unstir.recipes.run import read_metrics
from unstir.samplers import find_grid, find_solver, make_grid

SWEEP = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
SWEEP_SAMPLES = 400


def report_run(
    folder: Path, out: Path | None = None, *, result: Assessment | None = None, device: str = "cpu"
) -> Path:
    """Write the report of a run.

    Args:
        folder: the run.
        out: the page; ``folder / "report.html"`` by default.
        result: its assessment, if it has been made already.
        device: where the networks run.

    Returns:
        The page's path.

    Raises:
        FileNotFoundError: as in `assess_run`.
        ValueError: as in `assess_run`.
        OSError: if the page cannot be written.
    """
    result = result or assess_run(folder, device=device)
    started = time.monotonic()
    panels = _panels(result, folder)
    content = Content(
        title=f"{result.settings.recipe}: a diffusion model, {_origin(result)}",
        summary=_summary(result),
        headline=_headline(result),
        film=_film(result),
        panels=panels,
        rows=_rows(result),
        facts=_facts(result, time.monotonic() - started),
        settings=yaml.safe_dump(result.settings.model_dump(mode="json"), sort_keys=False),
        version=__version__,
    )
    return write_report(content, out or folder / "report.html")


def _origin(result: Assessment) -> str:
    distilled = "distillation" in result.model.about
    return "distilled to a few evaluations" if distilled else "trained from scratch"


def _summary(result: Assessment) -> str:
    train, about = result.splits.train, result.model.about
    size = " x ".join(str(n) for n in train.event)
    return (
        f"Learned from {len(train):,} samples of {size} in {about.get('seconds', 0):.0f} seconds, and "
        f"measured against {len(result.splits.heldout):,} held-out ones that training never saw."
    )


def _headline(result: Assessment) -> list[tuple[str, str]]:
    figures = result.evaluation
    numbers = []
    if result.judge is not None and result.labels is not None:
        numbers.append((f"{figures['label_accuracy'].samples:.1%}", "of samples show the class asked for"))
    frechet = figures["frechet"]
    numbers.append((f"{frechet.samples:.3g}", f"Fréchet distance; held-out data: {frechet.heldout:.3g}"))
    nearest = figures["nearest_distance"]
    if nearest.ratio is not None:
        numbers.append((f"{nearest.ratio:.2f}", "distance to the nearest training sample, held-out data = 1"))
    numbers.append((str(result.options["nfe"]), "network evaluations a sample"))
    numbers.append((f"{result.options['samples'] / max(result.seconds, 1e-9):,.0f}", "samples a second"))
    return numbers


def _film(result: Assessment) -> list[tuple[str, Image.Image]]:
    model, splits = result.model, result.splits
    event = model.config.event
    columns, n = None, 1000 if len(event) == 1 else 6
    if is_image(event):
        columns = min(len(splits.classes), 10) or 8
        n = 4 * columns
    options = {key: result.options[key] for key in ("steps", "solver", "guidance", "seed")}
    label = torch.arange(n) % len(splits.classes) if splits.classes else None
    condition = {} if label is None else {"label": label}
    solution = model.solve(n, condition=condition, path=True, **options)
    assert solution.path is not None
    # One frame for all moments, or the axes would move and not the points.
    reach = 1.3 * float(data_units(splits.train).abs().max()) if event == (2,) else None
    schedule, frames = model.schedule, []
    states = list(solution.path)
    keep = sorted({round(i * (len(states) - 1) / 15) for i in range(16)}) if len(states) > 16 else None
    for index, (state, t) in enumerate(zip(states, solution.grid.tolist(), strict=True)):
        if keep is not None and index not in keep:
            continue
        ratio = float(schedule.sigma(t) / schedule.alpha(t)) if float(schedule.alpha(t)) > 0 else math.inf
        caption = "data" if t == 0 else f"σ/α {ratio:.3g}" if math.isfinite(ratio) else "noise"
        x = solution.x if t == 0 else _visible(state, model, t)
        frames.append((caption, _still(x, model, columns, reach)))
    return frames


def _visible(state: Tensor, model: Any, t: float) -> Tensor:
    """A noisy state in the range of the data, so that it can be shown: divided by about its deviation."""
    internal = model.scaling.to_internal(state)
    schedule = model.schedule
    norm = math.hypot(float(schedule.alpha(t)), float(schedule.sigma(t)) / 1.5)
    shown: Tensor = model.scaling.to_data(internal / norm)
    return shown


def _still(x: Tensor, model: Any, columns: int | None, reach: float | None) -> Image.Image:
    event = model.config.event
    if not is_image(event):
        return picture_of(x, model.config.bounds, reach=reach)
    picture = picture_of(x, model.config.bounds, columns=columns)
    across = (columns or 1) * (event[2] + 1) - 1
    return picture.resize((across, round(picture.height * across / picture.width)), Image.Resampling.NEAREST)


def _panels(result: Assessment, folder: Path) -> list[Panel]:
    model, splits, x = result.model, result.splits, result.samples
    bounds, event = model.config.bounds, model.config.event
    heldout = data_units(splits.heldout)
    panels = []
    if len(event) == 1:
        panels.append(
            Panel(
                "Samples over data",
                "Generated points in blue over held-out points in grey.",
                image=picture_of(x[:2000], beside=heldout[:2000]),
                pixelated=False,
            )
        )
    else:
        sharp = len(event) == 3
        panels.append(
            Panel(
                "Real",
                "Held-out data that training never saw.",
                image=_many(heldout, result),
                pixelated=sharp,
            )
        )
        panels.append(
            Panel("Generated", "Drawn from noise by the model.", image=_many(x, result), pixelated=sharp)
        )
    if is_image(event) and 2 <= len(splits.classes) <= 20 and result.labels is not None:
        classes = len(splits.classes)
        rows = max(1, min(8, len(x) // classes))
        panels.append(
            Panel(
                "By class",
                f"A column a class: {', '.join(splits.classes)}.",
                image=picture_of(x[: rows * classes], bounds, columns=classes),
            )
        )
    panels.append(_neighbours(result))
    if result.judge is not None and result.model.denoiser.unconditional:
        panels.append(_sweep(result, heldout))
    metrics = read_metrics(folder)
    if len(metrics) > 2:
        chart = loss_curve([line["samples"] for line in metrics], [line["loss"] for line in metrics])
        panels.append(Panel("Training", "Loss over samples seen, and its running mean.", svg=chart))
    panels.append(_grid(result))
    previews = sorted((folder / "samples").glob("0*.png"))
    if previews and is_image(event):
        panels.append(_learning(previews))
    return panels


def _learning(previews: list[Path]) -> Panel:
    """The pictures that were drawn while the run trained, one above the other."""
    images = []
    for path in previews[-4:]:
        with Image.open(path) as file:
            images.append(file.convert("RGB"))
    gap = 14
    size = (max(i.width for i in images), sum(i.height + gap for i in images) - gap)
    sheet = Image.new("RGB", size, "white")
    top = 0
    for image in images:
        sheet.paste(image, (0, top))
        top += image.height + gap
    seen = ", ".join(f"{int(path.stem):,}" for path in previews[-4:])
    return Panel("Learning", f"The same noise after {seen} samples of training.", image=sheet)


def _many(x: Tensor, result: Assessment) -> Image.Image:
    count = 64 if is_image(result.model.config.event) else 8
    return picture_of(x[:count], result.model.config.bounds, columns=8 if count == 64 else None)


def _neighbours(result: Assessment) -> Panel:
    """Samples beside their nearest training samples: the closest of all, most suspicious first."""
    test = result.evaluation.memorisation
    train = data_units(result.splits.train)
    text = (
        "The samples that come closest to a training sample, each with that sample below it. Nearest "
        f"distance over that of held-out data: {test.ratio or 0:.2f}."
    )
    if len(result.model.config.event) == 1:
        order = test.distances.argsort()[:500]
        pairs = picture_of(result.samples[order], beside=train[test.nearest[order]])
        text = f"The samples closest to a training point (grey, below). {text.rpartition('. ')[2]}"
        return Panel("Nearest training samples", text, image=pairs, pixelated=False)
    across, rows = (6, 3) if is_image(result.model.config.event) else (4, 1)
    order = test.distances.argsort()[: across * rows]
    lines = []
    for chosen in torch.chunk(order, rows):
        lines += [result.samples[chosen], train[test.nearest[chosen]]]
    image = picture_of(torch.cat(lines), result.model.config.bounds, columns=across)
    return Panel("Nearest training samples", text, image=image, pixelated=is_image(result.model.config.event))


def _sweep(result: Assessment, heldout: Tensor) -> Panel:
    """The price of guidance."""
    judge = result.judge
    assert judge is not None
    train = data_units(result.splits.train)
    reference, held = judge.features(train).double(), judge.features(heldout).double()
    labels = torch.arange(SWEEP_SAMPLES) % len(result.splits.classes)
    options = {key: result.options[key] for key in ("steps", "solver", "seed")}
    rows = []
    for weight in SWEEP:
        x = result.model.sample(SWEEP_SAMPLES, condition={"label": labels}, guidance=weight, **options)
        features = judge.features(x).double()
        rows.append(
            {
                "weight": weight,
                "accuracy": float((judge.predict(x) == labels).double().mean()),
                "recall": ev.precision_recall(features, reference).recall,
                "frechet": ev.frechet_distance(features, reference),
            }
        )
    chart = guidance_curve(rows, ev.frechet_distance(held, reference))
    text = f"Guidance raises accuracy and costs diversity ({SWEEP_SAMPLES} samples at each weight)."
    return Panel("The price of guidance", text, svg=chart)


def _grid(result: Assessment) -> Panel:
    schedule, steps = result.model.schedule, int(result.options["steps"])
    name = result.model.config.sampling.grid
    function = find_grid(name) if name else find_solver(str(result.options["solver"])).default_grid
    grid = make_grid(function, schedule, steps, result.model.config.sigma_data)
    t = torch.linspace(0.002, 0.998, 300, dtype=torch.float64)
    shown = schedule.log_snr(grid[:-1]).clamp(-14.0, 14.0)
    chart = grid_chart(shown, (t, schedule.log_snr(t).clamp(-14.0, 14.0)), grid)
    return Panel("Time grid", "Where between noise and data the sampler looks.", svg=chart)


_MEANING = {
    "near heldout": "near the held-out value",
    "lower": "lower is better",
    "higher": "higher is better",
}


def _rows(result: Assessment) -> list[Row]:
    rows = []
    for name, figure in result.evaluation.figures.items():
        text = f"{figure.explanation}; {_MEANING[figure.better]}"
        rows.append(
            Row(
                name.replace("_", " ").replace("frechet", "Fréchet distance").capitalize(),
                f"{figure.samples:.4g}",
                f"{figure.heldout:.4g}",
                text,
            )
        )
    return rows


def _facts(result: Assessment, seconds: float) -> list[tuple[str, str]]:
    model, o = result.model, result.options
    about, described = model.about, model.describe()
    machine = about.get("machine", {})
    return [
        ("network", f"{described['network']}, {described['parameters']:,} parameters"),
        ("schedule and target", f"{described['schedule']}, {described['target']}"),
        ("samples seen", f"{about.get('samples', 0):,}"),
        ("training", f"{about.get('seconds', 0):.1f} s on {machine.get('cores', '?')} threads"),
        ("sampler", f"{o['solver']}, {o['steps']} steps, {o['nfe']} evaluations"),
        ("guidance", f"{o['guidance']:g}"),
        ("sampling", f"{o['samples']} samples in {result.seconds:.2f} s"),
        ("pictures of this page", f"{seconds:.1f} s"),
        ("torch", torch.__version__),
        ("python", platform.python_version()),
    ]
