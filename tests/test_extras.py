"""The sentence for a library that is not installed is one, and says what to do."""

import re
import tomllib
from pathlib import Path

import pytest

import unstir
from unstir.extras import needed

SOURCE = Path(unstir.__file__).parent
PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_the_sentence_names_the_library_and_the_extra():
    with pytest.raises(
        ModuleNotFoundError, match=r"^this needs h5py; install it with: pip install 'unstir\[formats\]'$"
    ):
        raise needed("h5py", "formats")


def test_no_recipe_words_it_anew():
    files = list((SOURCE / "recipes").rglob("*.py"))
    assert len(files) > 50
    assert [str(file) for file in files if "pip install" in file.read_text(encoding="utf-8")] == []


def test_every_extra_that_is_named_exists_and_brings_the_library():
    extras = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    calls = [
        call
        for file in SOURCE.rglob("*.py")
        for call in re.findall(r'needed\("([^"]+)", "([^"]+)"\)', file.read_text(encoding="utf-8"))
    ]
    assert len(calls) >= 8
    for library, extra in calls:
        brought = [one.replace("[", "-").replace("]", "") for one in extras[extra]]  # imageio[ffmpeg]
        assert any(re.match(rf"{library}\b", one) for one in brought), (library, extra)
