"""Every example runs in an empty folder, and every system runs with its defaults and can be drawn."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.commands import ENVIRONMENT
from unstir.simulations import NAMES

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
QUICK_EXAMPLES = ["barriers", "dispersal"]
QUICK_SYSTEMS = ["barriers", "integrodifference"]


def run_example(name, folder):
    """Run an example in a folder, and check that it draws what it says it draws."""
    environment = {**ENVIRONMENT, "MPLBACKEND": "agg"}
    script = ROOT / "examples" / f"{name}.py"
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    text = script.read_text()
    pictures = list(folder.glob("*.png")) + list(folder.glob("sounds/*.png"))
    if "savefig(" in text or ".save(" in text:
        assert done.stdout.strip(), f"{name} prints no check"
        assert len(pictures) == 1, f"{name} draws {[path.name for path in pictures]}"
        assert pictures[0].name in text or pictures[0].stem == name
    for picture in pictures:
        check_picture(picture)


def run_system(unstir, name, folder):
    told = unstir.good(folder, "simulate", name, "--out", "x.png")
    lines = told.splitlines()
    assert lines[-1] == "picture: x.png"
    assert len(lines) >= 3, f"{name} tells no fact"
    check_picture(folder / "x.png")


def check_picture(path):
    """Not empty, of a size that can be read."""
    with Image.open(path) as image:
        assert image.width >= 400
        assert image.height >= 250
        low, high = image.convert("L").getextrema()
    assert high - low > 100


@pytest.mark.parametrize("name", QUICK_EXAMPLES)
def test_an_example_of_physics_runs(name, tmp_path):
    run_example(name, tmp_path)


@pytest.mark.parametrize("name", QUICK_SYSTEMS)
def test_a_system_runs_with_its_defaults(name, unstir, tmp_path):
    run_system(unstir, name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in QUICK_EXAMPLES])
def test_every_example_runs(name, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "runs" / "demo")
    run_example(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in QUICK_SYSTEMS])
def test_every_system_runs_with_its_defaults(name, unstir, tmp_path):
    run_system(unstir, name, tmp_path)
