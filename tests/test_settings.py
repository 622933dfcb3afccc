"""Settings: one sentence for the first thing that is wrong, with the nearest valid name."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field, field_validator

from unstir.settings import Settings, nearest, parse_settings, set_key


class Cat(Settings):
    kind: Literal["unet"] = "unet"
    whiskers: Annotated[int, Field(gt=0)] = 4


class Dog(Settings):
    kind: Literal["mlp"] = "mlp"
    bark: float = 1.0


class Farm(Settings):
    name: str
    animal: Annotated[Cat | Dog, Field(discriminator="kind")] = Cat()
    barn: Cat = Cat()
    sheds: dict[str, Cat] = Field(default={})
    yard: tuple[Cat, ...] = ()
    gate: Literal["open", "shut"] | tuple[Literal["open", "shut"], ...] = "open"

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        if value == "bad":
            raise ValueError("there is no farm 'bad'")
        return value


def test_plain_data_become_settings():
    farm = parse_settings(Farm, {"name": "a", "animal": {"kind": "mlp", "bark": "1e-3"}})
    assert farm.animal == Dog(bark=0.001)
    assert parse_settings(Farm, farm.model_dump(mode="json")) == farm


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "'name' is missing"),
        ({"nam": "a"}, "unknown setting 'nam'; did you mean 'name'?"),
        ({"name": "a", "bran": {}}, "unknown setting 'bran'; did you mean 'barn'?"),
        ({"name": "a", "zzz": 1}, "unknown setting 'zzz'; there are animal, barn, gate, name, sheds, yard"),
        ({"name": "a", "barn": {"wiskers": 3}}, "unknown setting 'barn.wiskers'; did you mean 'whiskers'?"),
        (
            {"name": "a", "animal": {"kind": "mlp", "brak": 3}},
            "unknown setting 'animal.brak'; did you mean 'bark'?",
        ),
        ({"name": "a", "barn": {"whiskers": 0}}, "'barn.whiskers' is 0, but input should be greater than 0"),
        ({"name": "a", "animal": {"kind": "unet", "whiskers": "x"}}, "'animal.whiskers' is 'x'"),
        ({"name": "bad"}, "name: there is no farm 'bad'"),
        ({"name": "a", "animal": {"kind": "cow"}}, "'cow'"),
        ({"name": "a", "barn": 3}, "'barn' is 3"),
        ({"name": "a", "sheds": {"old": {"wisker": 1}}}, "'sheds.old.wisker'; did you mean 'whiskers'?"),
        ({"name": "a", "sheds": {"old": {"zzz": 1}}}, "'sheds.old.zzz'; there are kind, whiskers"),
        ({"name": "a", "yard": [{}, {"zzz": 1}]}, "'yard.1.zzz'; there are kind, whiskers"),
        ({"name": "a", "gate": "ajar"}, "the setting 'gate' is 'ajar', but input should be 'open' or 'shut'"),
    ],
)
def test_what_is_wrong_is_one_sentence(values, sentence):
    with pytest.raises(ValueError) as error:  # noqa: PT011, the sentence is compared below
        parse_settings(Farm, values)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert "pydantic" not in str(error.value)


@pytest.mark.parametrize("values", [None, 5, "name", [1, 2]])
def test_something_that_is_no_group_of_settings_is_one_sentence(values):
    with pytest.raises(ValueError, match="settings are"):
        parse_settings(Farm, values)


def test_settings_do_not_change_once_made():
    with pytest.raises(ValueError, match="frozen"):
        Farm(name="a").name = "b"


def test_a_dotted_key_is_set_in_place():
    values = {"a": {"b": {"c": 1, "d": 2}}}
    set_key(values, "a.b.c", 5)
    set_key(values, "x.y", 6)
    set_key(values, "z", 7)
    assert values == {"a": {"b": {"c": 5, "d": 2}}, "x": {"y": 6}, "z": 7}
    with pytest.raises(ValueError, match="'c' is a single value"):
        set_key(values, "a.b.c.d", 1)


def test_the_nearest_name_is_offered_or_all_of_them():
    assert nearest("multstep", ["multistep", "heun"]) == "did you mean 'multistep'?"
    assert nearest("qqq", ["multistep", "heun"]) == "there are multistep, heun"
