"""`unstir sample` with guidance: rescaled, away from a class, by a weaker run, towards several classes."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from tests.cli.commands import check_error, real
from tests.cli.conftest import TINY_UNET
from tests.cli.test_sample import sample
from unstir.model import load


@pytest.fixture(scope="module")
def weaker(unstir, tmp_path_factory):
    """A run on digits of fewer steps and a smaller network; read only."""
    place = tmp_path_factory.mktemp("weaker")
    unstir.good(
        place, "train", "digits", "--samples", 128, "--set", "training.batch=64", *TINY_UNET,
        "--set", "network.width=4", "--out", "run",
    )  # fmt: skip
    return place / "run"


@pytest.fixture(scope="module")
def always(unstir, tmp_path_factory):
    """A run that never saw a digit without its class; read only."""
    place = tmp_path_factory.mktemp("always")
    unstir.good(
        place, "train", "digits", "--samples", 128, "--set", "training.batch=64", *TINY_UNET,
        "--set", "training.drop_condition=0", "--set", "sampling.guidance=0.5", "--out", "run",
    )  # fmt: skip
    return place / "run"


def test_each_kind_of_guidance_draws_what_the_library_draws(unstir, trained, weaker, tmp_path):
    label = {"label": "3"}
    model = load(trained)
    for index, (arguments, options) in enumerate(
        [
            (("--guidance", 2), {"guidance": 2.0}),
            (("--guidance", 2, "--rescale", 0.7), {"guidance": 2.0, "rescale": 0.7}),
            (("--guidance", 2, "--negative", 8), {"guidance": 2.0, "negative": {"label": "8"}}),
            (
                ("--guidance", 1, "--guidance-from", weaker),
                {"guidance": 1.0, "guidance_from": load(weaker)},
            ),
        ]
    ):
        x = sample(unstir, trained, tmp_path / f"{index}.npy", "-n", 4, "--class", 3, *arguments)
        expected = model.sample(4, steps=2, condition=label, **options).numpy()
        assert np.abs(x - expected).max() <= 0.5 + 1e-3, arguments  # integers are rounded
        plain = model.sample(4, steps=2, condition=label, guidance=0.0).numpy()
        assert np.abs(expected - plain).max() > 0.05, arguments


def test_several_classes_at_once(unstir, trained, tmp_path):
    found = sample(unstir, trained, tmp_path / "x.npz", "-n", 4, "--class", "3+8", "--guidance", 0.5)
    assert "labels" not in found
    model = load(trained)
    expected = model.sample(4, steps=2, guide=model.all_of(["3", "8"], 0.5)).numpy()
    assert np.abs(found["x"] - expected).max() <= 0.5 + 1e-3
    printed = unstir.good(
        tmp_path, "sample", trained, "-n", 1, "--steps", 2, "--class", "3+8", "--out", "y.npy"
    )
    assert "1 samples, 6 evaluations each" in printed


def test_a_class_whose_name_holds_a_plus_is_itself(unstir, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["model"]["classes"][4] = "3+8"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    four = sample(unstir, trained, tmp_path / "four.npy", "-n", 3, "--class", 4)
    named = sample(unstir, tmp_path / "run", tmp_path / "named.npy", "-n", 3, "--class", "3+8")
    np.testing.assert_array_equal(named, four)


def test_a_run_without_condition_dropout_is_sampled_without_guidance_by_default(unstir, always, tmp_path):
    assert load(always).config.sampling.guidance == 0.5
    x = sample(unstir, always, tmp_path / "x.npy", "-n", 4, "--class", 3)
    np.testing.assert_array_equal(
        x, sample(unstir, always, tmp_path / "y.npy", "-n", 4, "--class", 3, "--guidance", 0)
    )
    sample(unstir, always, tmp_path / "z.npy", "-n", 4, "--class", 3, "--guidance", 1, "--negative", 8)


WRONG = {
    "negative weight": (["--guidance", -1], "guidance weight must be at least 0 (0 means conditional only)"),
    "weight that is no number": (["--guidance", "nan"], "guidance weight must be at least 0"),
    "window": (["--window", 0.2, 1.5], "a guidance window is (low, high) with 0 <= low < high <= 1"),
    "window upside down": (["--window", 0.8, 0.2], "a guidance window is (low, high)"),
    "rescale": (["--rescale", 2], "rescale lies between 0 (none) and 1"),
    "negative class": (["--guidance", 1, "--negative", 11], "there is no class 11; the classes are 0 to 9"),
    "negative without a weight": (
        ["--negative", 3],
        "a negative condition acts by guidance; give a guidance",
    ),
    "negative name": (["--guidance", 1, "--negative", "cat"], "there is no class 'cat'"),
    "weaker run": (["--guidance", 1, "--guidance-from", "nowhere"], "there is no folder nowhere"),
    "class of several": (["--class", "3+12"], "there is no class 12"),
    "several with a hole": (["--class", "3+"], "there is no class ''"),
    "several and negative": (
        ["--class", "3+8", "--negative", 1],
        "--class 3+8, take no --window, --negative",
    ),
    "several and a classifier": (["--class", "3+8", "--classifier", 1], "--guidance-from or --classifier"),
    "several and less than nothing": (
        ["--class", "3+8", "--guidance", -1],
        "guidance weight must be at least",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_guidance_is_one_sentence_and_nothing_is_written(case, unstir, trained, tmp_path):
    arguments, sentence = WRONG[case]
    check_error(unstir(tmp_path, "sample", trained, "-n", 2, "--out", "x.npy", *arguments), 2, sentence)
    assert list(tmp_path.iterdir()) == []


def test_a_weaker_run_of_other_data_and_one_without_a_weight_are_refused(
    unstir, trained, plane, weaker, tmp_path
):
    for run, more, sentence in [
        (plane, ["--guidance", 1], "a weaker model to guide by is one of the same data"),
        (weaker, [], "guidance by a weaker model needs a weight"),
        (weaker, ["--guidance", 1, "--negative", 1], "takes no negative condition and no rescale"),
    ]:
        result = unstir(tmp_path, "sample", trained, "-n", 2, "--guidance-from", run, *more)
        check_error(result, 2, sentence)


def test_a_model_of_no_classes_has_no_negative_one(unstir, plane, tmp_path):
    result = unstir(tmp_path, "sample", plane, "-n", 2, "--guidance", 1, "--negative", 0)
    check_error(result, 2, "takes no condition 'label'")


def test_guidance_of_a_run_without_condition_dropout_is_refused(unstir, always, tmp_path):
    for arguments in (["--guidance", 1], ["--class", "3+8"]):
        result = unstir(tmp_path, "sample", always, "-n", 2, *arguments)
        check_error(result, 2, "a model that was trained with condition dropout, and this one was not")


def test_in_an_interpreter_of_its_own(trained, weaker, tmp_path):
    guided = ("sample", trained, "-n", 2, "--steps", 2, "--guidance-from", weaker, "--guidance", 1)
    result = real(tmp_path, *guided, "--out", "x.npy")
    assert (result.code, result.stderr) == (0, "")
    assert "2 samples, 4 evaluations each: x.npy" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
