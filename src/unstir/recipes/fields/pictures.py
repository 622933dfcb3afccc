"""Pictures of fields: what sensors see, what the model makes of it, and the exact answer where known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from unstir.evaluation.pictures import figure_to_image, new_figure, save_image
from unstir.evaluation.report import Panel
from unstir.model import Model
from unstir.recipes.domain import Options
from unstir.recipes.fields.data import options_of, pairs_of
from unstir.recipes.fields.exact import ExactPosterior, exact_posterior
from unstir.recipes.fields.measure import Held, held_out, posteriors, sensed
from unstir.recipes.fields.poisson import PoissonProblem
from unstir.recipes.fields.problems import problem_of
from unstir.recipes.fields.sensors import Seen
from unstir.recipes.fields.task import solve
from unstir.recipes.settings import RunSettings

DRAWS = 64


def panels(model: Model, settings: RunSettings, options: Options) -> list[Panel]:
    """What a model solves, and what it infers from sensors."""
    held, names = held_out(settings.data), pairs_of(settings.data).names
    found = [
        Panel(
            "Solved",
            f"Held-out pairs: {names[0]}, the true {names[1]}, the model's, and their difference.",
            solved_sheet(model, held, names, options),
            pixelated=False,
        )
    ]
    if held.options.mode == "joint":
        found.append(
            Panel(
                "Inferred",
                f"From noisy sensors (circles) in the {names[1]}: mean and deviation of both fields.",
                inferred_sheet(model, held, names, options),
                pixelated=False,
            )
        )
    return found


def write_picture(model: Model, settings: RunSettings, file: Path, options: Options) -> str:
    """The picture of what the model infers (joint) or solves (conditional); says what was written."""
    held, names = held_out(settings.data), pairs_of(settings.data).names
    joint = options_of(settings.data).mode == "joint"
    save_image((inferred_sheet if joint else solved_sheet)(model, held, names, options), file)
    what = f"both fields inferred from sensors in the {names[1]}" if joint else f"the {names[1]} solved for"
    return f"a held-out pair, with {what}"


def solved_sheet(model: Model, held: Held, names: tuple[str, str], options: Options) -> Image.Image:
    """Rows of first field, true and found second field, and their difference."""
    pairs = held.heldout[: options.n or 3]
    found = solve(model, pairs[:, : held.first], steps=options.steps, seed=options.seed)
    rows = [
        [
            (names[0], pair[0], None),
            (f"true {names[1]}", pair[held.first], None),
            ("model", x[0], _limits(pair[held.first])),
            ("difference", x[0] - pair[held.first], None),
        ]
        for pair, x in zip(pairs, found, strict=True)
    ]
    return sheet(rows)


def inferred_sheet(model: Model, held: Held, names: tuple[str, str], options: Options) -> Image.Image:
    """Truth, mean and deviation of both fields from sensors in the second, with the exact ones of Poisson."""
    truth = held.heldout[:1]
    seen = sensed(model, held, truth, options.seed)
    samples = posteriors(model, held, seen, options.n or DRAWS, steps=options.steps, seed=options.seed)[0]
    exact = None
    if held.made and held.options.problem == "poisson":
        problem = problem_of(held.options)
        assert isinstance(problem, PoissonProblem)
        exact = exact_posterior(problem, seen[0].y, seen[0].operator, seen[0].noise)
    return posterior_sheet(truth[0], seen[0], samples, names, exact, first=held.first)


def posterior_sheet(
    truth: Tensor,
    seen: Seen,
    samples: Tensor,
    names: Sequence[str],
    exact: ExactPosterior | None = None,
    *,
    first: int = 1,
) -> Image.Image:
    """A row for each field: truth, mean, deviation, and the exact mean and deviation where they are known.

    Args:
        truth: (channels, *space), one or two axes of space; of three the middle slice is shown.
        seen: the sensors, drawn as circles on the truth of the fields that they are in.
        samples: (n, channels, *space); of a single one no deviation is drawn.
        names: of the two fields.
        exact: the exact posterior.
        first: channels of the first field.
    """
    rows = []
    for name, channel in zip(names, (0, first), strict=True):
        x, limits = samples[:, channel], _limits(truth[channel])
        found = "sample" if len(x) < 2 else f"mean of {len(x)}"
        row = [(f"true {name}", truth[channel], limits), (found, x.mean(0), limits)]
        wide = [] if len(x) < 2 else [("deviation", x.std(0))]  # one sample has none
        if exact is not None:
            row.append(("exact mean", exact.mean[channel], limits))
            wide.append(("exact deviation", exact.deviation[channel]))
        most = max((float(each.max()) for _, each in wide), default=0.0)
        row += [(title, each, (0.0, most)) for title, each in wide]
        rows.append(row)
    return sheet(rows, sensors=[seen.known[0], seen.known[first]])


def sheet(
    rows: Sequence[Sequence[tuple[str, Tensor, tuple[float, float] | None]]],
    *,
    sensors: Sequence[Tensor] = (),
) -> Image.Image:
    """Fields in rows, each with its title, its colours' limits and a scale.

    Args:
        rows: (title, field, limits or None for the field's own) of each picture.
        sensors: bool field for each row, drawn on its first picture.
    """
    height, width = len(rows), max(len(row) for row in rows)
    figure, first = new_figure(2.3 * width, 2.2 * height)
    first.remove()
    for i, row in enumerate(rows):
        for j, (title, field, limits) in enumerate(row):
            axes = figure.add_subplot(height, width, i * width + j + 1)
            _draw(figure, axes, title, field, limits)
            if j == 0 and i < len(sensors) and bool(sensors[i].any()):
                places = _plane(sensors[i].double()).nonzero()
                if field.ndim > 1:
                    axes.plot(places[:, 1], places[:, 0], "o", ms=4, mfc="none", mec="black", mew=0.9)
                else:
                    axes.plot(places[:, 1], _plane(field)[0, places[:, 1]], "o", ms=4, color="black")
    return figure_to_image(figure)


def _draw(figure: Any, axes: Any, title: str, field: Tensor, limits: tuple[float, float] | None) -> None:
    low, high = limits or _limits(field)
    axes.set_title(title, fontsize=9)
    if field.ndim == 1:
        axes.plot(field.numpy(), lw=1.2)
        axes.set_ylim(low, high)
        return
    # What has a sign gets colours that show it, what has none gets a scale from dark to light.
    colours = "RdBu_r" if low < 0 < high else "viridis"
    picture = axes.imshow(_plane(field).numpy(), vmin=low, vmax=high, cmap=colours, origin="lower")
    axes.set_xticks([])
    axes.set_yticks([])
    bar = figure.colorbar(picture, ax=axes, fraction=0.046, pad=0.03)
    bar.ax.tick_params(labelsize=6)
    bar.formatter.set_powerlimits((-2, 3))
    bar.ax.yaxis.get_offset_text().set_fontsize(6)


def _plane(field: Tensor) -> Tensor:
    """(height, width): the field itself, a line as one row, or the middle slice of a volume."""
    if field.ndim == 1:
        return field[None]
    return field if field.ndim == 2 else field[field.shape[0] // 2]


def _limits(field: Tensor) -> tuple[float, float]:
    low, high = float(field.min()), float(field.max())
    if low < 0:  # 0 is white, also for a field that is negative throughout
        reach = max(-low, high)
        return -reach, reach
    return low, high if high > low else low + 1.0
