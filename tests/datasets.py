"""Measured data that some tests are held against, where they are: the tests are skipped without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("UNSTIR_DATA", Path(__file__).parents[2] / "shared" / "data"))
"""The folder of the data sets: $UNSTIR_DATA, by default shared/data beside the repository."""


def needs(path: Path) -> pytest.MarkDecorator:
    """A mark for tests of a file or folder below `ROOT`."""
    name = path.relative_to(ROOT).parts[0]
    return pytest.mark.skipif(
        not path.exists(),
        reason=f"the data set {name} is not there; set UNSTIR_DATA to the folder that has it",
    )
