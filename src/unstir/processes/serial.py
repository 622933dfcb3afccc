"""Schedules as plain data for config files, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from unstir.processes.heat import Heat, HeatOnGraph
from unstir.processes.schedule import VE, VP, Cosine, Flow, Schedule, SubVP, ZeroTerminal
from unstir.processes.table import Table
from unstir.settings import nearest

SCHEDULES: dict[str, type[Schedule]] = {
    "vp": VP,
    "cosine": Cosine,
    "ve": VE,
    "sub-vp": SubVP,
    "flow": Flow,
    "betas": Table,
    "zero-terminal": ZeroTerminal,
    "heat": Heat,
    "heat-on-graph": HeatOnGraph,
}


def schedule_to_dict(schedule: Schedule) -> dict[str, Any]:
    """A JSON-ready description: the schedule's name and its parameters.

    Raises:
        ValueError: for a schedule class that is not one of the library's.
    """
    names = {kind: name for name, kind in SCHEDULES.items()}
    if type(schedule) not in names:
        raise ValueError(f"a schedule of class {type(schedule).__name__} cannot be written to a file")
    result: dict[str, Any] = {"name": names[type(schedule)]}
    for field in fields(schedule):  # type: ignore[arg-type]
        value = getattr(schedule, field.name)
        if isinstance(value, Schedule):
            value = schedule_to_dict(value)
        result[field.name] = _listed(value)
    return result


def schedule_from_dict(description: Mapping[str, Any] | str) -> Schedule:
    """The inverse of `schedule_to_dict`; a plain string is a schedule's name, with its default parameters.

    Raises:
        ValueError: for an unknown name, a parameter that is unknown, missing or out of range.
    """
    parameters: dict[str, Any] = {"name": description}
    if not isinstance(description, str):
        parameters = dict(description)
    name = parameters.pop("name", None)
    if name not in SCHEDULES:
        raise ValueError(f"unknown schedule {name!r}; {nearest(str(name), list(SCHEDULES))}")
    kind = SCHEDULES[name]
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for key in parameters:
        if key not in known:
            takes = ", ".join(known) or "no parameters"
            raise ValueError(f"schedule {name!r} has no parameter {key!r}; it takes {takes}")
    for field in fields(kind):  # type: ignore[arg-type]
        if _required(field) and field.name not in parameters:
            raise ValueError(f"schedule {name!r} needs the parameter {field.name!r}")
    if isinstance(parameters.get("base"), Mapping | str):
        parameters["base"] = schedule_from_dict(parameters["base"])
    try:
        return kind(**{key: _numbers(value) for key, value in parameters.items()})
    except TypeError:
        raise ValueError(f"the parameters of schedule {name!r} are numbers, got {parameters}") from None


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _listed(value: Any) -> Any:
    """Tuples as lists, which is what JSON makes of them."""
    return [_listed(entry) for entry in value] if isinstance(value, tuple) else value


def _numbers(value: Any) -> Any:
    """Lists as tuples of numbers."""
    if isinstance(value, list | tuple):
        return tuple(_numbers(entry) if isinstance(entry, list | tuple) else float(entry) for entry in value)
    return value
