"""Schedules as plain data for config files, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

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
        result[field.name] = list(value) if isinstance(value, tuple) else value
    return result


def schedule_from_dict(description: Mapping[str, Any]) -> Schedule:
    """The inverse of `schedule_to_dict`.

    Raises:
        ValueError: for an unknown name, a parameter that is unknown, missing or out of range.
    """
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
        if field.default is MISSING and field.name not in parameters:
            raise ValueError(f"schedule {name!r} needs the parameter {field.name!r}")
    if isinstance(parameters.get("base"), Mapping):
        parameters["base"] = schedule_from_dict(parameters["base"])
    try:
        if "betas" in parameters:
            parameters["betas"] = tuple(float(beta) for beta in parameters["betas"])
        return kind(**parameters)
    except TypeError:
        raise ValueError(f"the parameters of schedule {name!r} are numbers, got {parameters}") from None
