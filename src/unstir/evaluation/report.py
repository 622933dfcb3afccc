"""The report of a run: one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from unstir.files import write_text


@dataclass(frozen=True)
class Panel:
    """A picture or a chart with a title and a sentence.

    Attributes:
        title: a few words.
        text: what to see in it.
        image: a picture; or
        svg: a chart, as an ``<svg>`` element.
        pixelated: enlarge the picture with sharp pixels.
    """

    title: str
    text: str
    image: Image.Image | None = None
    svg: str | None = None
    pixelated: bool = True

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        return data_uri(self.image) if self.image is not None else ""


@dataclass(frozen=True)
class Row:
    """A line of the table of measurements.

    Attributes:
        name: what is measured.
        samples: for the generated samples.
        heldout: the same for held-out data.
        meaning: how to read it.
    """

    name: str
    samples: str
    heldout: str
    meaning: str


@dataclass(frozen=True)
class Content:
    """What a report shows.

    Attributes:
        title: of the page.
        summary: a sentence or two.
        headline: (number, what it is) to show large.
        film: (caption, picture) from noise to data.
        panels: pictures and charts, in order.
        rows: measurements.
        facts: (name, value) of the run: sizes, settings, timings.
        settings: all settings, as YAML.
        version: of the library.
        beside: what the second figure of each measurement is of.
    """

    title: str
    summary: str
    headline: list[tuple[str, str]]
    film: list[tuple[str, Image.Image]]
    panels: list[Panel]
    rows: list[Row]
    facts: list[tuple[str, str]]
    settings: str
    version: str = field(default="")
    beside: str = field(default="held-out data")


def data_uri(image: Image.Image) -> str:
    """An image as a PNG data URI."""
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def render(content: Content) -> str:
    """The page as text."""
    from jinja2 import Environment, PackageLoader, select_autoescape

    loader = PackageLoader("unstir.evaluation", "templates")
    environment = Environment(loader=loader, autoescape=select_autoescape(["html"]), trim_blocks=True)
    frames = [(caption, data_uri(image)) for caption, image in content.film]
    return environment.get_template("report.html").render(page=content, frames=frames)


def write_report(content: Content, path: Path) -> Path:
    """Write the page, whole; returns its path.

    Raises:
        OSError: if it cannot be written.
    """
    write_text(path, render(content))
    return path
