"""``unstir check`` as a process: the table, the JSON and the exit code."""

import json

import pytest


def test_an_unknown_recipe_is_one_sentence(unstir, tmp_path):
    result = unstir(tmp_path, "check", "digit")
    assert result.code == 2
    assert "did you mean 'digits'" in result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_check_that_was_given_no_time_falls_short(unstir, tmp_path):
    result = unstir(tmp_path, "check", "two-moons", "--seconds", 0.05, "--json")
    assert result.code == 1
    content = json.loads(result.stdout)
    assert content["ok"] is False
    assert set(content["numbers"]) >= {"sliced_wasserstein_ratio", "precision", "recall"}
    for number in content["numbers"].values():
        assert set(number) >= {"value", "limit", "ok", "baseline", "reference"}
    assert (tmp_path / "runs" / "check-two-moons" / "check.json").is_file()
