"""`unstir likelihood`: bits per dimension or nats of held-out data, for people and for programs."""

from __future__ import annotations

import json

import pytest

from tests.cli.commands import check_error, tree


def figures(unstir, run, *arguments):
    return json.loads(unstir.good(run, "likelihood", run, "--json", *arguments))


def test_integers_have_bits_per_dimension_and_a_bound(unstir, trained):
    before = tree(trained)
    found = figures(unstir, trained, "-n", 4, "--draws", 1, "--probes", 1, "--bound")
    assert found["unit"] == "bits per dimension"
    assert (found["samples"], found["dimensions"], found["given"]) == (4, 64, ["label"])
    assert (found["divergence"], found["probes"], found["draws"]) == ("hutchinson", 1, 1)
    assert 1.0 < found["value"] < 12.0
    assert found["standard_error"] > 0
    assert "importance" not in found
    assert 1.0 < found["bound"]["value"] < 12.0
    assert tree(trained) == before


def test_real_numbers_have_nats_by_the_exact_divergence_and_the_bound_is_below(unstir, plane):
    found = figures(unstir, plane, "-n", 12, "--bound")
    assert (found["unit"], found["divergence"], found["given"]) == ("nats", "exact", [])
    assert "probes" not in found
    assert "draws" not in found
    assert -8.0 < found["value"] < 0.0
    assert found["bound"]["value"] < found["value"] + 4 * found["bound"]["standard_error"]
    again = figures(unstir, plane, "-n", 12)
    assert again["value"] == found["value"]
    assert figures(unstir, plane, "-n", 12, "--seed", 1)["value"] != found["value"]
    assert figures(unstir, plane, "-n", 1)["standard_error"] is None


def test_people_read_one_sentence_a_figure(unstir, plane):
    text = unstir.good(plane, "likelihood", plane, "-n", 4, "--divergence", "hutch++", "--bound")
    first, second = text.splitlines()
    assert first.endswith("nats of log-density, the mean of 4 held-out samples")
    assert " ± " in first
    assert second.startswith("at least ")
    assert second.endswith("by the variational bound of 250 steps")
    assert "nan" not in unstir.good(plane, "likelihood", plane, "-n", 1)


WRONG = {
    "divergence": (["--divergence", "hutch"], "unknown divergence 'hutch'; did you mean 'hutch++'?"),
    "probes": (["--probes", "0"], "the number of probes is at least 1, got 0"),
    "samples": (["-n", "0"], "the number of samples is at least 1, got 0"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_likelihood_that_cannot_be_had_is_one_sentence(kind, unstir, plane):
    arguments, sentence = WRONG[kind]
    check_error(unstir(plane, "likelihood", plane, *arguments), 2, sentence)


def test_draws_below_one_and_missing_folders_are_one_sentence(unstir, trained, tmp_path):
    check_error(unstir(tmp_path, "likelihood", trained, "--draws", 0), 2, "draws is at least 1, got 0")
    check_error(unstir(tmp_path, "likelihood", "nowhere"), 2, "there is no folder nowhere")
    check_error(unstir(tmp_path, "likelihood", tmp_path), 2, "is not a run")
