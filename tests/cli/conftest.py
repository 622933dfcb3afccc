"""One interpreter for many commands, and one trained run for all that only read it."""

from __future__ import annotations

import shutil

import pytest

from tests.cli.commands import Commands

TINY_UNET = ["--set", "network.width=8", "--set", "network.multipliers=[1, 2]"]


@pytest.fixture(scope="session")
def unstir():
    commands = Commands()
    yield commands
    commands.close()


@pytest.fixture(scope="session")
def trained(unstir, tmp_path_factory):
    """A run on digits of a few steps; read only."""
    place = tmp_path_factory.mktemp("trained")
    unstir.good(
        place, "train", "digits", "--samples", 768, "--set", "training.batch=64", *TINY_UNET,
        "--set", "training.checkpoint_samples=128", "--out", "run",
    )  # fmt: skip
    return place / "run"


@pytest.fixture(scope="session")
def plane(unstir, tmp_path_factory):
    """A run on points of the plane of a few steps; read only."""
    place = tmp_path_factory.mktemp("plane")
    unstir.good(
        place, "train", "two-moons", "--samples", 2048, "--set", "network.width=16",
        "--set", "training.batch=64", "--set", "data.limit=200", "--out", "run",
    )  # fmt: skip
    return place / "run"


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the trained run that may be changed, in the test's own folder."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"
