"""Importing is light, every public name exists, and no floor of the house leans on a higher one."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import unstir

ROOT = Path(unstir.__file__).parent
FLOORS = {
    **dict.fromkeys(
        ("files", "memory", "settings", "noise", "brownian", "notice", "interruption", "extras"), 0
    ),
    **dict.fromkeys(("spaces", "networks"), 1),
    "generators": 2,
    "processes": 3,
    **dict.fromkeys(("denoisers", "physics"), 4),
    **dict.fromkeys(("samplers", "guidance", "training"), 5),
    **dict.fromkeys(("model", "model_settings", "conditions", "guided", "evaluation", "interop"), 6),
    **dict.fromkeys(("studio", "recipes", "simulations"), 7),
    **dict.fromkeys(("cli", "__main__"), 8),
}


def fresh(code: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_unstir_imports_no_torch_and_takes_no_time():
    code = (
        "import sys, time; start = time.perf_counter(); import unstir; took = time.perf_counter() - start; "
        "dir(unstir); unstir.__version__; heavy = {'torch', 'numpy', 'pydantic', 'rich'} & set(sys.modules); "
        "print(sorted(heavy), took < 1.0)"
    )
    assert fresh(code) == "[] True"


def test_the_command_line_module_imports_no_torch():
    assert fresh("import sys, unstir.cli; print('torch' in sys.modules)") == "False"


def test_every_public_name_resolves_and_others_do_not():
    for name in unstir.__all__:
        assert getattr(unstir, name) is not None
    assert set(unstir.__all__) <= set(dir(unstir))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = unstir.nonsense


@pytest.mark.parametrize("package", sorted(p.parent.name for p in ROOT.glob("*/__init__.py")))
def test_every_name_that_a_package_offers_exists(package):
    module = __import__(f"unstir.{package}", fromlist=["__all__"])
    assert [name for name in getattr(module, "__all__", []) if not hasattr(module, name)] == []


def imports(path: Path) -> set[str]:
    """The first part below ``unstir`` of every import in a file, at any depth of the code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("unstir"):
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level > 0:
            raise AssertionError(f"{path} has a relative import; the house style is absolute ones")
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("unstir.")}
    return found - {"__version__"}


def test_no_module_imports_from_a_higher_floor():
    upward = []
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        assert room in FLOORS, f"{room} stands on no floor; add it to DESIGN.md and to this test"
        for other in sorted(imports(path) - {room}):
            assert other in FLOORS, f"{path} imports unstir.{other}, which stands on no floor"
            if FLOORS[other] > FLOORS[room]:
                upward.append(f"{path.relative_to(ROOT)} imports unstir.{other}")
    assert upward == []


def test_rooms_of_one_floor_do_not_import_each_other_in_circles():
    edges = {}
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room not in ("__init__", "cli", "__main__"):
            edges.setdefault(room, set()).update(imports(path) - {room})
    reached = {}

    def visit(room, trail):
        assert room not in trail, f"a circle of imports: {' -> '.join((*trail, room))}"
        if room not in reached:
            for other in edges.get(room, ()):
                visit(other, (*trail, room))
            reached[room] = True

    for room in edges:
        visit(room, ())
