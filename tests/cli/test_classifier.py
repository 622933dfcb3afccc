"""`unstir train DIR --classifier` and `unstir sample DIR --classifier W`."""

from __future__ import annotations

import json
import shutil
import signal
import time

import numpy as np
import pytest

from tests.cli.commands import check_error, start, strays, tree
from tests.cli.test_distill import catches_interruptions
from unstir import load
from unstir.files import read_tensors, write_tensors
from unstir.guidance import LabelCritic
from unstir.recipes.classifier import FILE, load_critic

BUDGET = ["--samples", 2560]


@pytest.fixture(scope="module")
def classified(unstir, trained, tmp_path_factory):
    """The trained digits with a classifier of a few steps; read only."""
    place = tmp_path_factory.mktemp("classified")
    shutil.copytree(trained, place / "run")
    before = tree(place / "run")
    out = unstir.good(place, "train", "run", "--classifier", *BUDGET)
    assert "labels of held-out data through noise (a guess is right for 10%)" in out
    assert out.count(" right, ") == 5
    assert "trained a classifier on 2,560 samples" in out
    assert "next: unstir sample run --class 0 --classifier 2" in out
    after = tree(place / "run")
    assert strays(place) == []
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {FILE}
    return place / "run"


def samples(unstir, run, out, *arguments):
    unstir.good(out.parent, "sample", run, "-n", 4, "--steps", 3, "--out", out, *arguments)
    return np.load(out)


def test_a_budget_in_samples_gives_the_same_classifier_and_the_header_says_whose_it_is(
    unstir, classified, trained, tmp_path
):
    shutil.copytree(trained, tmp_path / "run")
    unstir.good(tmp_path, "train", "run", "--classifier", *BUDGET)
    assert (tmp_path / "run" / FILE).read_bytes() == (classified / FILE).read_bytes()
    header = json.loads(read_tensors(classified / FILE)[1]["classifier"])
    assert header["classes"] == [str(digit) for digit in range(10)]
    assert header["event"] == [1, 8, 8]
    model = load(classified)
    assert header["schedule"] == model.config.schedule
    assert tuple(header["scale"]) == model.config.scale


def test_a_classifier_is_replaced_only_if_it_is_said_so(unstir, classified, tmp_path):
    shutil.copytree(classified, tmp_path / "run")
    before = (tmp_path / "run" / FILE).read_bytes()
    again = unstir(tmp_path, "train", "run", "--classifier", "--samples", 1280)
    check_error(again, 2, "run already holds a classifier; replace it with --overwrite")
    assert (tmp_path / "run" / FILE).read_bytes() == before
    unstir.good(tmp_path, "train", "run", "--classifier", "--samples", 1280, "--overwrite")
    assert (tmp_path / "run" / FILE).read_bytes() != before


def test_samples_are_pulled_by_the_classifier_inside_the_window(unstir, classified, tmp_path):
    plain = samples(unstir, classified, tmp_path / "a.npy", "--class", 3)
    pulled = samples(unstir, classified, tmp_path / "b.npy", "--class", 3, "--classifier", 3)
    again = samples(unstir, classified, tmp_path / "c.npy", "--class", 3, "--classifier", 3)
    nothing = samples(unstir, classified, tmp_path / "d.npy", "--class", 3, "--classifier", 0)
    outside = ("--classifier", 3, "--window", 0.999, 1.0)
    never = samples(unstir, classified, tmp_path / "e.npy", "--class", 3, *outside)
    turns = samples(unstir, classified, tmp_path / "f.npy", "--classifier", 3, "--schedule", "flow")
    assert not np.array_equal(pulled, plain)
    assert turns.shape == plain.shape
    np.testing.assert_array_equal(again, pulled)
    np.testing.assert_array_equal(nothing, plain)
    np.testing.assert_array_equal(never, plain)


@pytest.mark.slow
def test_it_works_on_points_of_the_plane_under_another_schedule_and_on_one_that_blurs(unstir, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    np.savez(tmp_path / "mine.npz", x=rng.normal(size=(80, 3)) + 4.0 * labels[:, None], labels=labels)
    for name, options in (("plain", []), ("blurred", ["--set", "schedule.name=heat"])):
        unstir.good(
            tmp_path, "train", "mine.npz", "--samples", 256, "--set", "training.batch=16",
            "--set", "network.width=16", "--set", "network.layers=1", "--out", name, *options,
        )  # fmt: skip
        unstir.good(tmp_path, "train", name, "--classifier", "--samples", 1280)
        x = samples(unstir, name, tmp_path / f"{name}.npy", "--class", 1, "--classifier", 2)
        assert np.isfinite(x).all()


def test_mistakes_of_training_are_one_sentence_and_touch_nothing(unstir, run, tmp_path):
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "bare.npy", np.random.default_rng(0).normal(size=(60, 2)))
    tiny = ["--samples", 32, "--set", "training.batch=16", "--set", "network.width=16"]
    unstir.good(tmp_path, "train", "bare.npy", *tiny, "--out", "bare")
    shutil.copytree(run, tmp_path / "changed")
    changed = json.loads((tmp_path / "changed" / "config.json").read_text())
    changed["model"]["scale"] = [3.0]
    (tmp_path / "changed" / "config.json").write_text(json.dumps(changed))
    before = tree(tmp_path)
    for arguments, code, sentence in (
        (["nowhere"], 2, "there is no folder nowhere; a classifier is trained beside a run"),
        (["digits"], 2, "there is no folder digits"),
        (["empty"], 2, "empty is not a run"),
        (["bare"], 2, "the data of bare have no labels, so there is nothing that a classifier could learn"),
        (["changed"], 2, "the data of changed are not those that it was trained on"),
        (["run", "--seconds", -1], 2, "seconds"),
        (["run", "--samples", 0], 2, "samples"),
        (["run", "--out", "other", "--resume"], 2, "into its folder; leave out --out and --resume"),
        ([], 2, "say beside which run to train a classifier: unstir train DIR --classifier"),
    ):
        check_error(unstir(tmp_path, "train", *arguments, "--classifier"), code, sentence)
        assert tree(tmp_path) == before, arguments


def test_mistakes_of_sampling_are_one_sentence(unstir, classified, run, tmp_path):
    missing = unstir(tmp_path, "sample", "run", "--classifier", 2)
    check_error(missing, 2, "run holds no classifier yet; train one with: unstir train run --classifier")
    shutil.copy(classified / FILE, run / FILE)
    before = tree(tmp_path)
    for arguments, sentence in (
        (["--classifier", -1], "guidance weight must be at least 0 (0 means no guidance), got -1"),
        (["--classifier", "nan"], "guidance weight must be at least 0"),
        (["--classifier", 1, "--class", "none"], "a classifier guides towards a class of each sample"),
        (["--classifier", 1, "--window", 0.9, 0.1], "a guidance window is"),
    ):
        check_error(unstir(tmp_path, "sample", "run", *arguments), 2, sentence)
        assert tree(tmp_path) == before
    critic = LabelCritic.load(run / FILE)
    for changes, sentence in (
        ({"classes": tuple("abcdefghij")}, "its classes are a, b, c"),
        ({"scale": (2.0,)}, "its scaling are"),
        ({"event": (1, 8, 8), "classes": ("a", "b")}, "its classes are a, b, the model's are 0, 1"),
    ):
        other = LabelCritic(critic.config.model_copy(update=changes))
        other.save(run / FILE)
        result = unstir(tmp_path, "sample", "run", "--classifier", 1)
        check_error(result, 2, sentence)
        check_error(result, 2, "is of another model")
    write_tensors(run / FILE, {}, {"format": "something else"})
    check_error(unstir(tmp_path, "sample", "run", "--classifier", 1), 2, "does not hold a classifier")


def test_a_full_disk_harms_no_older_classifier(unstir, classified, run, tmp_path):
    shutil.copy(classified / FILE, run / FILE)
    before = tree(tmp_path)
    result = unstir(tmp_path, "train", "run", "--classifier", "--samples", 128, "--overwrite", limit=20_000)
    assert result.code == 1
    assert "what was there before is unharmed" in result.stderr
    assert tree(tmp_path) == before


def test_a_new_run_in_the_folder_takes_the_old_classifier_away(unstir, classified, tmp_path):
    shutil.copytree(classified, tmp_path / "run")
    unstir.good(
        tmp_path, "train", "two-moons", "--samples", 64, "--set", "training.batch=32",
        "--set", "data.limit=100", "--set", "network.width=16", "--out", "run", "--overwrite",
    )  # fmt: skip
    assert not (tmp_path / "run" / FILE).exists()


@pytest.mark.slow
def test_an_interruption_leaves_a_whole_classifier_and_exits_with_130(run, tmp_path):
    before = tree(tmp_path)
    process = start(tmp_path, "train", "run", "--classifier", "--seconds", 600)
    time.sleep(0.2)
    end = time.monotonic() + 120
    while not catches_interruptions(process.pid):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stderr) == (130, "")
    assert "what it learned is in run/classifier.safetensors" in stdout
    assert strays(tmp_path) == []
    load_critic(run, load(run))
    assert {name: value for name, value in tree(tmp_path).items() if not name.endswith(FILE)} == before
