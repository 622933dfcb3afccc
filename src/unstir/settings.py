"""Settings as pydantic models, and their errors as one sentence each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

S = TypeVar("S", bound="Settings")

Count = Annotated[int, Field(gt=0)]
"""A whole number above 0."""

_BRANCH = re.compile(r"[a-z-]+\[.*\]")
"""How pydantic writes in a place which branch of a union it tried, such as literal['sine','cosine']."""


class Settings(BaseModel):
    """Base of all settings: unknown keys are errors, values are fixed once made."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def parse_settings(kind: type[S], values: Mapping[str, Any]) -> S:
    """Check plain data against a settings class.

    Raises:
        ValueError: one sentence for the first thing that is wrong; for an unknown key with the nearest
            valid one.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"settings are names with values, got {values!r}")
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise ValueError(_sentence(kind, error)) from None


def set_key(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key such as ``training.batch`` in nested plain data, in place.

    Raises:
        ValueError: if the path runs through something that is not a group of settings.
    """
    *groups, last = key.split(".")
    place = values
    for name in groups:
        inner = place.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ValueError(f"{key!r} cannot be set: {name!r} is a single value, not a group of settings")
        place = inner
    place[last] = value


def nearest(name: str, known: list[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known one, or all of them."""
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"


def _sentence(kind: type[Settings], error: ValidationError) -> str:
    # A misspelt name makes two errors, one unknown and one missing; the first of them helps.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    place = [str(part) for part in first["loc"]]
    dotted = ".".join(_fields(kind, place))
    if first["type"] == "extra_forbidden":
        known = _known_keys(kind, place[:-1])
        return f"unknown setting {dotted!r}; {nearest(place[-1], known)}"
    if first["type"] == "missing":
        return f"the setting {dotted!r} is missing"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{dotted}: {message}" if dotted else message
    message = message[0].lower() + message[1:]
    return f"the setting {dotted!r} is {first['input']!r}, but {message}"


def _fields(kind: type[Settings], place: list[str]) -> list[str]:
    """A place without the tags and branches of unions, which are part of it but no fields."""
    return [
        name
        for i, name in enumerate(place)
        if name in _known_keys(kind, place[:i])
        or not (_BRANCH.fullmatch(name) or (i + 1 < len(place) and _is_tag(kind, place[:i], name)))
    ]


def _is_tag(kind: type[Settings], place: list[str], name: str) -> bool:
    return any("kind" in m.model_fields and m.model_fields["kind"].default == name for m in _at(kind, place))


def _known_keys(kind: type[Settings], place: list[str]) -> list[str]:
    """The field names at a place in nested settings."""
    return sorted({field for model in _at(kind, place) for field in model.model_fields})


def _at(kind: type[Settings], place: list[str]) -> list[type[BaseModel]]:
    """The settings classes that may be at a place."""
    current: list[Any] = [kind]
    for name in place:
        current = [leaf for one in current for inside in _inside(one, name) for leaf in _leaves(inside)]
    return [one for one in current if _is_model(one)]


def _inside(annotation: Any, name: str) -> list[Any]:
    """What the part of this name has for an annotation: a field, a value of a mapping or of a sequence."""
    if not _is_model(annotation):
        values = get_args(annotation)
        return list(values[1:] if issubclass(get_origin(annotation), Mapping) else values)
    fields = annotation.model_fields
    if name in fields:
        return [fields[name].annotation]
    # The tag of a discriminated union is part of the place but not a field.
    return [annotation] if "kind" in fields and fields["kind"].default == name else []


def _leaves(annotation: Any) -> list[Any]:
    """The settings classes, mappings and sequences that an annotation allows."""
    origin = get_origin(annotation)
    if _is_model(annotation) or (isinstance(origin, type) and issubclass(origin, Mapping | Sequence)):
        return [annotation]
    return [leaf for part in get_args(annotation) for leaf in _leaves(part)]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
