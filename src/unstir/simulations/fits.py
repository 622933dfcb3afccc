"""Fits as files: their numbers as JSON, their picture, or one self-contained page of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from unstir import __version__
from unstir.evaluation.figures import to_svg
from unstir.evaluation.pictures import figure_to_image, save_image
from unstir.files import write_json, write_text
from unstir.simulations.render import new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".html", ".json")
SIZE = (9.0, 6.0)
"""Of a fit's picture, inches."""
_LONG = 8


class Fit(Protocol):
    """What every fit can do: say its result, give its numbers, draw itself."""

    def lines(self) -> list[str]:
        """The result in sentences."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Every number, as plain data."""
        ...

    def draw(self, figure: Figure) -> None:
        """Draw data and fit into an empty figure."""
        ...


@dataclass(frozen=True)
class _Page:
    title: str
    summary: str
    lines: Sequence[str]
    svg: str
    rows: Sequence[tuple[str, str]]
    version: str = __version__


def check_output(path: Path) -> None:
    """Check before the work that a file of this name can be written.

    Raises:
        ValueError: for a suffix that is not known.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"a fit is written as {', '.join(SUFFIXES)}, got {path.name!r}")


def save_fit(fit: Fit, path: Path, title: str) -> None:
    """Write a fit whole; the suffix decides: .png, .html or .json.

    Args:
        fit: the result.
        path: the file.
        title: of the page.

    Raises:
        ValueError: for an unknown suffix.
        OSError: if it cannot be written; the old file, if any, is unchanged.
    """
    check_output(path)
    if path.suffix == ".json":
        write_json(path, fit.to_dict())
        return
    with style():
        figure = new_figure(SIZE)
        fit.draw(figure)
        if path.suffix == ".png":
            save_image(figure_to_image(figure), path)
        else:
            write_text(path, _render(fit, title, to_svg(figure)))


def _render(fit: Fit, title: str, svg: str) -> str:
    from jinja2 import Environment, PackageLoader, select_autoescape

    first, *lines = fit.lines()
    loader = PackageLoader("unstir.evaluation", "templates")
    environment = Environment(loader=loader, autoescape=select_autoescape(["html"]), trim_blocks=True)
    page = _Page(title, first, lines, svg, list(_rows(fit.to_dict())))
    return environment.get_template("fit.html").render(page=page)


def _rows(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested plain data as lines of a table; long lists by their length."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _rows(inner, f"{name}, {_words(key)}" if name else _words(key))
    elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
        for number, inner in enumerate(value[:_LONG], start=1):
            yield from _rows(inner, f"{name} {number}")
        if len(value) > _LONG:
            yield f"{name}, others", f"{len(value) - _LONG} more"
    elif isinstance(value, list | tuple) and len(value) > _LONG:
        yield name, f"{len(value)} values"
    elif isinstance(value, list | tuple):
        yield name, " to ".join(map(_text, value)) if len(value) == 2 else ", ".join(map(_text, value))
    else:
        yield name, _text(value)


def _words(key: object) -> str:
    return str(key).replace("_", " ")


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.5g}"
    return str(value)
