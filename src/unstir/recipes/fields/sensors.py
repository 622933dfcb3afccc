"""Noisy sensors in a pair of fields: where they are, what they say, and what operator that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir import noise as random
from unstir.guidance import LinearOperator, mask
from unstir.training import Scaling

FIRST = ("first", "source")
SECOND = ("second", "solution", "potential")


@dataclass(frozen=True, eq=False)
class Sensors:
    """What sensors at some places say of one or both fields.

    Args:
        places: (k, axes) of the unit interval, square or cube for real numbers; indices of cells for
            integers.
        values: (k,) in the units of the field.
        noise: standard deviation of the values, above 0, in the units of the field; a number or (k,).
        field: "second" (or "potential", "solution"), "first" (or "source"), the number of a channel, or one
            of these for each sensor.

    Raises:
        ValueError: for shapes that do not match, values that are not finite, noise that is not above 0, or a
            field that does not exist.
    """

    places: Tensor
    values: Tensor
    noise: float | Tensor
    field: str | int | Sequence[str | int] = "second"

    def __post_init__(self) -> None:
        places, values = torch.as_tensor(self.places), torch.as_tensor(self.values)
        if places.ndim != 2 or values.shape != (len(places),) or len(places) == 0:
            raise ValueError(
                "sensors have places of shape (k, axes) and values of shape (k,), at least one, got "
                f"{tuple(places.shape)} and {tuple(values.shape)}"
            )
        if not bool(torch.isfinite(values.double()).all()):
            row = int((~torch.isfinite(values.double())).nonzero()[0])
            raise ValueError(f"sensor {row} says {float(values[row])}; leave sensors out that say nothing")
        level = torch.as_tensor(self.noise, dtype=torch.float64)
        if level.shape not in ((), (len(places),)) or not bool((torch.isfinite(level) & (level > 0)).all()):
            raise ValueError(
                "the noise of sensors is a standard deviation above 0, a number or one for each sensor (for "
                f"exact sensors a small one), got {self.noise}"
            )
        fields = [self.field] * len(places) if isinstance(self.field, str | int) else list(self.field)
        if len(fields) != len(places):
            raise ValueError(f"there are {len(places)} sensors but fields for {len(fields)}")
        for name, value in (
            ("places", places),
            ("values", values.double()),
            ("noise", level.expand(len(places))),
            ("field", tuple(_channel(each) for each in fields)),
        ):
            object.__setattr__(self, name, value)

    def cells(self, shape: Sequence[int]) -> Tensor:
        """The cell of each sensor on a grid, (k, axes) int64.

        Raises:
            ValueError: for another number of axes, or a sensor outside the grid.
        """
        size = torch.tensor(list(shape))
        if self.places.shape[1] != len(size):
            raise ValueError(
                f"the grid has {len(size)} axes, but the sensors have {self.places.shape[1]} coordinates"
            )
        whole = not self.places.is_floating_point()
        inside = (self.places >= 0) & ((self.places < size) if whole else (self.places <= 1.0))
        if not bool(inside.all()):
            row = int((~inside.all(dim=1)).nonzero()[0])
            limits = f"cells 0 to {(size - 1).tolist()}" if whole else "coordinates from 0 to 1"
            raise ValueError(f"sensor {row} at {self.places[row].tolist()} lies outside the grid of {limits}")
        if whole:
            return self.places.long()
        return torch.minimum((self.places.double() * size).floor().long(), size - 1)

    def on(self, event: Sequence[int]) -> Seen:
        """The sensors as a measurement of events (channels, *space).

        Sensors of one cell are one with the mean of their values by precision, which says all that they do.

        Raises:
            ValueError: as in `cells`, or for a field that the event does not have.
        """
        channels, shape = event[0], tuple(event[1:])
        cells, field = self.cells(shape), torch.tensor(self.field)
        if bool((field >= channels).any()):
            raise ValueError(
                f"a sensor is in field {int(field.max())}, but there are fields 0 to {channels - 1}"
            )
        strides = torch.tensor([math.prod(shape[k + 1 :]) for k in range(len(shape))])
        place = field * math.prod(shape) + (cells * strides).sum(1)
        unique, number = torch.unique(place, return_inverse=True)
        weight = torch.as_tensor(self.noise) ** -2.0
        total = torch.zeros(len(unique), dtype=torch.float64).index_add(0, number, weight)
        value = torch.zeros_like(total).index_add(0, number, weight * self.values) / total
        keep = torch.zeros(math.prod(event), dtype=torch.bool)
        keep[unique] = True
        return Seen(keep.reshape(tuple(event)), value, total**-0.5)


@dataclass(frozen=True, eq=False)
class Seen:
    """Entries of an event (channels, *space) that were measured.

    Attributes:
        known: bool, of the event's shape.
        y: (m,) or (batch, m) the known entries, in the event's order.
        noise: (m,) their standard deviations.
    """

    known: Tensor
    y: Tensor
    noise: Tensor

    @property
    def operator(self) -> LinearOperator:
        """From events to y."""
        return mask(self.known)

    def internal(self, scaling: Scaling) -> Seen:
        """The same of events in the units of a network."""
        shift, scale = (
            each[self.known]
            for each in (_spread(scaling.shift, self.known), _spread(scaling.scale, self.known))
        )
        return Seen(self.known, (self.y - shift) / scale, self.noise / scale)

    @property
    def event(self) -> Tensor:
        """The condition ``known`` of a model, (batch or 1, *event): known entries, NaN elsewhere."""
        rows = self.y.reshape(-1, self.y.shape[-1]).float()
        whole = torch.full((len(rows), *self.known.shape), math.nan)
        whole[:, self.known] = rows
        return whole


def scattered(
    field: Tensor, count: int, noise: float, *, channel: int = 1, seed: int = 0, index: int = 0
) -> Sensors:
    """Sensors in random cells of a known pair, with random noise: a case to test a method on.

    Args:
        field: (channels, *space) one pair.
        count: number of sensors, at most one a cell.
        noise: standard deviation, in the units of the field.
        channel: of the field that they measure.
        seed: of places and noise.
        index: number of the case within the seed.

    Raises:
        ValueError: for more sensors than cells.
    """
    shape = tuple(field.shape[1:])
    cells = math.prod(shape)
    if not 1 <= count <= cells:
        raise ValueError(f"a grid of {cells} cells holds 1 to {cells} sensors, got {count}")
    which, stream = torch.tensor([index]), random.Stream.FIELD_SENSOR
    order = random.uniform((cells,), seed=seed, index=which, stream=stream)[0].argsort()[:count].sort().values
    e = random.normal((count,), seed=seed, index=which, stream=stream, step=1, dtype=torch.float64)[0]
    places = torch.stack(torch.unravel_index(order, shape), dim=1)
    return Sensors(places, field[channel].double().flatten()[order] + noise * e, noise, channel)


def _channel(field: str | int) -> int:
    if isinstance(field, str):
        if field in FIRST + SECOND:
            return 0 if field in FIRST else 1
        raise ValueError(
            f"a sensor measures the first field (or {FIRST[1]!r}) or the second ({', '.join(SECOND[1:])}), "
            f"got {field!r}"
        )
    if field < 0:
        raise ValueError(f"a field is a channel from 0 on, got {field}")
    return int(field)


def _spread(values: tuple[float, ...], like: Tensor) -> Tensor:
    """One number, or one a channel, for every entry of an event."""
    return torch.tensor(values, dtype=torch.float64).reshape(-1, *[1] * (like.ndim - 1)).expand(like.shape)
