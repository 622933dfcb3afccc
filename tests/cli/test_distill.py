"""`unstir distill`: a run of a few evaluations beside its teacher."""

from __future__ import annotations

import json
import shutil
import signal
import time

import numpy as np
import pytest
import torch

from tests.cli.commands import check_error, start, strays, tree
from unstir import load
from unstir.files import read_tensors

BUDGET = ["--samples", 256]


@pytest.fixture(scope="module")
def distilled(unstir, trained, tmp_path_factory):
    """The trained digits, distilled for a few steps; read only."""
    place = tmp_path_factory.mktemp("distilled")
    out = unstir.good(place, "distill", trained, *BUDGET, "--out", "few")
    assert "distilled with 256 samples" in out
    assert "next: unstir sample few" in out
    return place / "few"


def weights(run):
    return read_tensors(run / "model.safetensors")[0]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_distilled_run_says_what_it_came_from_and_how_it_is_sampled(distilled, trained):
    content = json.loads((distilled / "config.json").read_text())
    about = content["distillation"]
    assert about["teacher"] == str(trained)
    assert about["teacher_samples"] == 768
    assert about["guidance"] == 0.0
    assert about["settings"]["samples"] == 256
    assert (content["samples"], content["finished"]) == (256, True)
    for sampling in (content["model"]["sampling"], content["settings"]["sampling"]):
        assert (sampling["solver"], sampling["steps"]) == ("consistency", 4)
    assert not same(weights(distilled), weights(trained))
    assert strays(distilled.parent) == []
    lines = [json.loads(line) for line in (distilled / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["samples"] == 256


@pytest.mark.slow
def test_a_distilled_run_is_sampled_evaluated_and_reported_like_any_other(unstir, distilled, tmp_path):
    shutil.copytree(distilled, tmp_path / "few")
    said = unstir.good(tmp_path, "sample", "few", "-n", 4, "--out", "x.npy")
    assert "4 samples, 4 evaluations each" in said
    assert np.load(tmp_path / "x.npy").shape == (4, 1, 8, 8)
    assert "1 evaluations each" in unstir.good(
        tmp_path, "sample", "few", "-n", 2, "--steps", 1, "--out", "y.npy"
    )
    unstir.good(tmp_path, "report", "few")  # which evaluates, too
    result = json.loads((tmp_path / "few" / "evaluation.json").read_text())
    assert (result["sampling"]["solver"], result["sampling"]["nfe"]) == ("consistency", 4)
    assert "distilled to a few evaluations" in (tmp_path / "few" / "report.html").read_text()


def test_a_budget_in_samples_gives_the_same_weights_bit_for_bit(unstir, distilled, trained, tmp_path):
    unstir.good(tmp_path, "distill", trained, *BUDGET, "--out", "again")
    assert same(weights(tmp_path / "again"), weights(distilled))


def test_guidance_is_baked_in(unstir, distilled, trained, tmp_path):
    unstir.good(tmp_path, "distill", trained, *BUDGET, "--guidance", 2, "--out", "guided")
    content = json.loads((tmp_path / "guided" / "config.json").read_text())
    assert content["distillation"]["guidance"] == 2.0
    assert content["model"]["sampling"]["guidance"] == 0.0
    assert not same(weights(tmp_path / "guided"), weights(distilled))


def test_models_of_points_without_conditions_are_distilled_beside_their_run(unstir, tmp_path):
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).normal(size=(60, 2)))
    unstir.good(
        tmp_path, "train", "mine.npy", "--samples", 128, "--set", "training.batch=16",
        "--set", "network.width=16", "--set", "network.layers=1", "--out", "mine",
    )  # fmt: skip
    unstir.good(tmp_path, "distill", "mine", "--samples", 64)
    model = load(tmp_path / "mine-distilled")
    assert model.sample(5, steps=2).shape == (5, 2)
    check_error(
        unstir(tmp_path, "distill", "mine", *BUDGET, "--guidance", 1, "--overwrite"),
        2,
        "guidance needs a model with conditions",
    )


def test_what_cannot_be_done_is_one_sentence_and_touches_nothing(unstir, run, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("I am a file")
    shutil.copytree(run, tmp_path / "other")
    shutil.copytree(run, tmp_path / "young")
    (tmp_path / "young" / "model.safetensors").unlink()
    before = tree(tmp_path)
    for arguments, code, sentence in (
        (["run"], 2, "a distillation needs a budget: --seconds, --samples or both"),
        (["run", "--samples", 0], 2, "samples"),
        (["nowhere", *BUDGET], 2, "there is no folder nowhere"),
        (["empty", *BUDGET], 2, "empty is not a run"),
        (["young", *BUDGET], 2, "young holds no trained weights yet"),
        (["run", *BUDGET, "--out", "other"], 2, "other already holds a run; replace it with --overwrite"),
        (["run", *BUDGET, "--out", "run", "--overwrite"], 2, "run is the run to distil itself"),
        (["run", *BUDGET, "--out", "file"], 2, "file is a file; choose a folder"),
        (["run", *BUDGET, "--out", "/proc/few"], 1, "cannot read or write /proc"),
        (["run", *BUDGET, "--guidance", -1], 2, "guidance weight must be at least 0"),
    ):
        check_error(unstir(tmp_path, "distill", *arguments), code, sentence)
        assert tree(tmp_path) == before, arguments


def test_a_distilled_run_cannot_be_resumed_by_training(unstir, distilled):
    before = tree(distilled)
    result = unstir(distilled.parent, "train", "--resume", "--out", "few")
    check_error(result, 2, "few was distilled, not trained: it cannot be resumed")
    assert tree(distilled) == before


def test_an_older_run_is_replaced_when_asked_and_only_when_the_new_one_is_whole(unstir, run, tmp_path):
    shutil.copytree(run, tmp_path / "old")
    before = tree(tmp_path / "old")
    limit = 20_000  # bytes a file: enough for the text files, not for the weights
    result = unstir(tmp_path, "distill", "run", *BUDGET, "--out", "old", "--overwrite", limit=limit)
    assert result.code == 1
    assert "what was there before is unharmed" in result.stderr
    assert tree(tmp_path / "old") == before
    assert strays(tmp_path) == []
    unstir.good(tmp_path, "distill", "run", *BUDGET, "--out", "old", "--overwrite")
    after = tree(tmp_path / "old")
    assert "checkpoints" not in after
    assert load(tmp_path / "old").config.sampling.solver == "consistency"


def test_an_interruption_keeps_what_was_learned_and_exits_with_130(trained, tmp_path):
    process = start(tmp_path, "distill", trained, "--seconds", 600, "--out", "few")
    time.sleep(0.2)
    end = time.monotonic() + 120
    while not catches_interruptions(process.pid):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert stderr == ""
    assert "stopped after" in stdout
    assert "what it learned is in few" in stdout
    assert json.loads((tmp_path / "few" / "config.json").read_text())["finished"] is False
    assert load(tmp_path / "few").sample(2).shape == (2, 1, 8, 8)
    assert strays(tmp_path) == []


def catches_interruptions(pid):
    """Whether a process has a handler for SIGTERM, which it has while it distils."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            mask = next(line for line in file if line.startswith("SigCgt"))
    except (OSError, StopIteration):
        return False
    return bool(int(mask.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
