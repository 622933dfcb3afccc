"""Settings as pydantic models, and their errors as one sentence each."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

S = TypeVar("S", bound="Settings")


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
    """A place without the tags of discriminated unions, which are part of it but no fields."""
    return [
        name
        for i, name in enumerate(place)
        if i + 1 == len(place) or name in _known_keys(kind, place[:i]) or not _is_tag(kind, place[:i], name)
    ]


def _is_tag(kind: type[Settings], place: list[str], name: str) -> bool:
    return any("kind" in m.model_fields and m.model_fields["kind"].default == name for m in _at(kind, place))


def _known_keys(kind: type[Settings], place: list[str]) -> list[str]:
    """The field names at a place in nested settings."""
    return sorted({field for model in _at(kind, place) for field in model.model_fields})


def _at(kind: type[Settings], place: list[str]) -> list[type[BaseModel]]:
    """The settings classes that may be at a place."""
    current: list[type[BaseModel]] = [kind]
    for name in place:
        fields = [model.model_fields[name] for model in current if name in model.model_fields]
        if fields:
            current = [model for field in fields for model in _models_in(field.annotation)]
        else:  # the tag of a discriminated union, which is part of the place but not a field
            current = [
                m for m in current if "kind" in m.model_fields and m.model_fields["kind"].default == name
            ]
    return current


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
