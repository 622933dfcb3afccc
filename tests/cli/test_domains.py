"""The four domains as a user meets them: train, sample, evaluate and report, each in its own form."""

import json

import pytest

TINY = {
    "policy": [*("--samples", 512), *("--set", "network.width=8")],
    "scenarios": [*("--samples", 512), *("--set", "data.options.scenes=200")],
    "fields": [
        *("--samples", 512),
        *("--set", "data.options.samples=200"),
        *("--set", "data.options.size=16"),
    ],
    "audio": [*("--samples", 512), *("--set", "data.options.notes=400"), *("--set", "network.width=16")],
}
SUFFIX = {"policy": ".gif", "scenarios": ".png", "fields": ".png", "audio": ".wav"}
FEW = {"audio": 33}
"""The least number that a distance in 32 components takes."""


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TINY))
def test_a_domain_is_trained_sampled_evaluated_and_shown(unstir, tmp_path, name):
    unstir.good(tmp_path, "train", name, *TINY[name], "--out", "run")
    said = unstir.good(tmp_path, "sample", "run", "-n", 2)
    file = tmp_path / "run" / "samples" / f"seed0{SUFFIX[name]}"
    assert file.is_file()
    assert said.count(file.name) == 1
    numbers = json.loads(unstir.good(tmp_path, "evaluate", "run", "-n", FEW.get(name, 4), "--json"))[
        "numbers"
    ]
    assert numbers
    assert all(
        {"value", "limit", "ok", "baseline", "reference"} <= set(number) for number in numbers.values()
    )
    for flags in (("-n", 0), ("--steps", 0)):
        result = unstir(tmp_path, "evaluate", "run", *flags)
        assert result.code == 2
        assert "is at least 1" in result.stderr
    wrong = unstir(tmp_path, "sample", "run", "--out", "x.doc")
    assert wrong.code == 2
    assert "are written as" in wrong.stderr
    unstir.good(tmp_path, "report", "run")
    assert "<img" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("flag", [("--solver", "ddim"), ("--guidance", 1), ("--inception",)])
def test_what_a_domain_cannot_follow_is_refused(unstir, tmp_path, flag):
    if not (tmp_path.parent / "policy").exists():
        unstir.good(tmp_path.parent, "train", "policy", *TINY["policy"], "--out", "policy")
    result = unstir(tmp_path.parent, "evaluate", "policy", *flag)
    assert result.code == 2
    assert "leave" in result.stderr
