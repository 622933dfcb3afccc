"""What a runnable system is: settings in, a simulation out, with arrays, facts and pictures.

A system is one file of this package that exports ``SYSTEM``, and one line in the package's face.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor

from unstir.settings import Settings, parse_settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

S = TypeVar("S", bound=Settings)

Report = Callable[[int, int], None]
"""Told (done, total) as a run goes on; the total may be in any unit."""


@dataclass
class Simulation:
    """What a system made.

    Attributes:
        title: a few words, for the picture and the terminal.
        arrays: results by name, in the units that the system's file states; finite. No array is called
            ``facts`` or ``settings``, which a .npz file adds.
        facts: what was measured beside its closed form, by name; printed as lines.
        draw: draws frame i, 0 to ``frames`` - 1, into an empty figure.
        frames: how many frames there are; with 1 it is a picture, with more a film.
        size: of the picture in inches, (width, height).
    """

    title: str
    arrays: dict[str, Tensor]
    facts: dict[str, str]
    draw: Callable[[Figure, int], None]
    frames: int = 1
    size: tuple[float, float] = (8.0, 4.5)

    def check(self) -> None:
        """Check that the arrays are finite.

        Raises:
            FloatingPointError: naming the array and its first entry that is not.
        """
        for name, array in self.arrays.items():
            wrong = ~torch.isfinite(array)
            if bool(wrong.any()):
                place = tuple(wrong.nonzero()[0].tolist())
                raise FloatingPointError(
                    f"{self.title}: {name!r} is not finite (NaN or infinity) at {list(place)} of shape "
                    f"{list(array.shape)}; use smaller steps or milder settings"
                )


@dataclass(frozen=True)
class System(Generic[S]):
    """Something that can be simulated by name.

    Attributes:
        name: as on the command line, words joined by dashes.
        summary: one line.
        settings: a class of settings; every field has a default and a description that ends in its unit.
        run: settings and a report of progress to a simulation.
    """

    name: str
    summary: str
    settings: type[S]
    run: Callable[[S, Report], Simulation]

    def simulate(self, report: Report | None = None, /, **settings: Any) -> Simulation:
        """Run it.

        Args:
            report: is told (done, total).
            settings: by name; the others keep their defaults.

        Raises:
            ValueError: one sentence for a setting that is wrong, or unknown, with the nearest valid name.
            FloatingPointError: if a result is not finite.
        """
        values = parse_settings(self.settings, settings)
        simulation = self.run(values, report or (lambda done, total: None))
        simulation.check()
        return simulation


def frame_indices(frames: int, count: int | None) -> Sequence[int]:
    """Evenly spaced frames, the first and the last among them.

    Args:
        frames: how many there are.
        count: how many to take; all by default, or if there are not more.

    Raises:
        ValueError: for a count below 1.
    """
    if count is None or count >= frames:
        return range(frames)
    if count < 1:
        raise ValueError(f"a film has at least 1 frame, got {count}")
    if count == 1:
        return [frames - 1]
    return [round(i * (frames - 1) / (count - 1)) for i in range(count)]
