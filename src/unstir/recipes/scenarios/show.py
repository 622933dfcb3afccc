"""What the command line shows of a model of scenes: a sheet, a film, and the pictures of the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from unstir.evaluation.pictures import save_gif, save_image
from unstir.evaluation.report import Panel
from unstir.recipes.domain import Options
from unstir.recipes.scenarios import rare
from unstir.recipes.scenarios.draw import View, draw_scenes, film_scenes
from unstir.recipes.scenarios.load import scenes_for
from unstir.recipes.scenarios.ranges import Ranges
from unstir.recipes.scenarios.rates import EVENTS, NoScene
from unstir.recipes.scenarios.scenes import Scenes
from unstir.recipes.scenarios.task import forecasts
from unstir.recipes.settings import RunSettings

if TYPE_CHECKING:
    from unstir.model import Model

SHOWN, FUTURES = 8, 12
"""Scenes of a sheet, and futures of each."""


def views(
    model: Model, scenes: Scenes, futures: int, *, seed: int = 0, steps: int | None = None
) -> list[View]:
    """Scenes with several joint futures of each, and what really came as a dotted line.

    Args:
        model: trained on scenes.
        scenes: held out.
        futures: of each.
        seed: of the samples.
        steps: of the solver; the model's own by default.
    """
    drawn = forecasts(model, scenes, futures, seed=seed, steps=steps)
    return [
        View(
            scenes.kinds[i],
            scenes.given[i],
            drawn[i],
            None if scenes.map is None else scenes.map[i],
            scenes.followed[i] if scenes.future else None,
        )
        for i in range(len(scenes))
    ]


def side_by_side(
    model: Model,
    scenes: Scenes,
    event: str,
    count: int,
    *,
    ranges: Ranges | None = None,
    seed: int = 0,
    steps: int | None = None,
) -> list[View]:
    """The same pasts without and with guidance to an event, in turn; those who take part are ringed.

    Args:
        model: trained on scenes.
        scenes: held out; those that an event fits are used.
        event: a name of `rates.EVENTS`.
        count: scenes, as far as there are any.
        ranges: of speeds and accelerations, to keep while guided; None for any.
        seed: of the samples.
        steps: of the solver; the model's own by default.
    """
    kept, asked, members = EVENTS[event][0](scenes)
    free = rare.sample_scenes(model, kept, seed=seed, steps=steps)
    guided = rare.sample_scenes(model, kept, asked, ranges=ranges, seed=seed, steps=steps)
    chosen = torch.nonzero(asked.happens(guided) & ~asked.happens(free))[:, 0][:count]
    found, name = [], event.replace("_", " ")
    for i in chosen.tolist():
        for title, tracks in (("without guidance", free), (f"asked for: {name}", guided)):
            found.append(
                View(
                    kept.kinds[i],
                    kept.given[i],
                    tracks[i, :, kept.past :].numpy()[None],
                    None if kept.map is None else kept.map[i],
                    title=title,
                    ring=tuple(members[i].tolist()),
                )
            )
    return found


def _heldout(settings: RunSettings, options: Options, count: int) -> Scenes:
    return _some(scenes_for(settings.data)[1], options, count)


def _some(scenes: Scenes, options: Options, count: int) -> Scenes:
    rows = np.random.default_rng(options.seed).permutation(len(scenes))[: options.n or count]
    return scenes.take(rows)


def write_sheet(model: Model, settings: RunSettings, path: Path, options: Options) -> str:
    """Held-out scenes from above with several futures each."""
    shown = views(model, _heldout(settings, options, SHOWN), FUTURES, seed=options.seed, steps=options.steps)
    save_image(draw_scenes(shown, columns=4), path)
    return f"{len(shown)} held-out scenes with {FUTURES} futures each"


def write_film(model: Model, settings: RunSettings, path: Path, options: Options) -> str:
    """A film of held-out scenes: the past, then one of the futures."""
    scenes = _heldout(settings, options, 4)
    shown = views(model, scenes, 6, seed=options.seed, steps=options.steps)
    pictures = film_scenes(shown, columns=min(4, len(shown)))
    save_gif(pictures, path, milliseconds=round(500 * scenes.dt), colours=256)
    return f"{len(shown)} held-out scenes, {len(pictures)} frames at twice their speed"


FILES: dict[str, Callable[[Model, RunSettings, Path, Options], str]] = {
    ".png": write_sheet,
    ".gif": write_film,
}
"""How samples are written, by suffix."""


def panels(model: Model, settings: RunSettings, options: Options) -> list[Panel]:
    """Pictures of the report: futures of held-out scenes, and rare ones asked for."""
    train, heldout = scenes_for(settings.data)
    scenes, ranges = _some(heldout, options, 200), Ranges.of(train)
    sheet = draw_scenes(
        views(model, scenes.take(slice(0, SHOWN)), FUTURES, seed=options.seed, steps=options.steps), columns=4
    )
    text = "The past is solid, each line that fades is a sampled future, dots are what really came."
    found = [Panel("Futures of held-out scenes", text, sheet, pixelated=False)]
    for event, (_, what) in EVENTS.items():
        try:
            pairs = side_by_side(
                model, scenes, event, 2, ranges=ranges, seed=options.seed, steps=options.steps
            )
        except NoScene:
            continue
        if pairs:
            title = event.replace("_", " ").capitalize()
            found.append(
                Panel(
                    title, f"Asked for by guidance: {what}.", draw_scenes(pairs, columns=4), pixelated=False
                )
            )
    return found
