"""``unstir simulate``: nature's diffusions by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from unstir.cli.shared import assignment, console

if TYPE_CHECKING:
    from unstir.simulations import Report, System


def simulate(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A system; without one, all are listed.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")
    ] = None,
    settings: Annotated[
        bool, typer.Option("--settings", help="List the system's settings, units and defaults.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="x.png, x.gif or x.mp4 (films), x.npz (arrays); default: NAME.png or .gif here."),
    ] = None,
    frame: Annotated[
        int | None, typer.Option(help="The frame that a .png shows; the last by default.")
    ] = None,
    frames: Annotated[
        int | None, typer.Option(help="A film of so many evenly spaced frames; all by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Simulate a diffusion of nature, measure it beside its closed form, and draw it."""
    from unstir.simulations import find_system

    if name is None:
        if changes or settings or out is not None:
            raise ValueError("say which system to simulate; `unstir simulate` lists them")
        _list_systems()
        return
    system = find_system(name)
    if settings:
        _list_settings(system)
        return
    values = dict(_change(change) for change in changes or [])
    _check_request(out, frame, frames)
    _simulate(system, values, out, frame, frames, as_json)


def _simulate(
    system: System[Any],
    values: dict[str, Any],
    out: Path | None,
    frame: int | None,
    frames: int | None,
    as_json: bool,
) -> None:
    from unstir.settings import parse_settings
    from unstir.simulations import render

    used = parse_settings(system.settings, values).model_dump(mode="json")
    with _progress(system.name) as report:
        simulation = system.simulate(report, **values)
    film = simulation.frames > 1 and frame is None
    file = out or Path(f"{system.name}.{'gif' if film else 'png'}")
    with _progress("drawing") as report:
        render.save(
            simulation,
            file,
            frame=-1 if frame is None else frame,
            frames=frames,
            settings=used,
            report=report,
        )
    if as_json:
        told = {"system": system.name, "title": simulation.title, "settings": used, "facts": simulation.facts}
        print(json.dumps(told | {"file": str(file)}, indent=2, ensure_ascii=False))
        return
    console.print(f"[bold]{escape(simulation.title)}[/]", soft_wrap=True)
    width = max((len(fact) for fact in simulation.facts), default=0)
    for fact, value in simulation.facts.items():
        console.print(f"  {escape(f'{fact:<{width}}  {value}')}", soft_wrap=True)
    kind = "arrays" if file.suffix == ".npz" else "picture" if file.suffix == ".png" else "film"
    console.print(f"{kind}: [bold]{escape(str(file))}[/]", soft_wrap=True)


def _change(change: str) -> tuple[str, Any]:
    key, value = assignment(change, "--set", "D=0.5")
    return key.replace("-", "_"), value


def _check_request(out: Path | None, frame: int | None, frames: int | None) -> None:
    """All that can be wrong with what is to be drawn is found before the work."""
    from unstir.simulations import render

    if out is not None:
        render.check_output(out)
    if frames is not None and frames < 1:
        raise ValueError(f"a film has at least 1 frame, got --frames {frames}")
    if frame is not None and (frames is not None or (out is not None and out.suffix != ".png")):
        raise ValueError("--frame chooses what a .png shows; a film takes --frames")
    if frames is not None and out is not None and out.suffix in (".png", ".npz"):
        raise ValueError("--frames is the length of a film; write .gif or .mp4, or choose one by --frame")


def _list_systems() -> None:
    from unstir.simulations import systems

    table = Table("system", "what it shows", box=None, header_style="bold", pad_edge=False)
    for name, system in systems().items():
        table.add_row(name, escape(system.summary))
    console.print(table)
    console.print("\nunstir simulate NAME --settings lists what --set KEY=VALUE can change")


def _list_settings(system: System[Any]) -> None:
    table = Table("setting", "default", "meaning", box=None, header_style="bold", pad_edge=False)
    schema = system.settings.model_json_schema()["properties"]
    for key, field in system.settings.model_fields.items():
        default = json.dumps(field.get_default(call_default_factory=True), default=str).strip('"')
        table.add_row(key, escape(default), escape(f"{field.description or ''}{_limits(schema[key])}"))
    console.print(f"[bold]{system.name}[/]  {escape(system.summary)}\n", soft_wrap=True)
    console.print(table)
    console.print(f"\nunstir simulate {system.name} --set KEY=VALUE changes one")


_SIGNS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}


def _limits(schema: dict[str, Any]) -> str:
    """The values that a setting may have, such as ``(> 0)``, as far as its schema says."""
    if "enum" in schema:
        return f" ({', '.join(map(str, schema['enum']))})"
    limits = [f"{sign} {schema[word]:g}" for word, sign in _SIGNS.items() if word in schema]
    return f" ({', '.join(limits)})" if limits else ""


@contextmanager
def _progress(label: str) -> Iterator[Report]:
    """A bar with the time left that vanishes when all is done; nothing without a terminal."""
    if not console.is_terminal:
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
