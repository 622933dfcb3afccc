"""A model under a schedule that blurs, from training to likelihood, on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.cli.commands import check_error
from tests.cli.conftest import TINY_UNET
from unstir import load
from unstir.processes import VP, Heat


@pytest.fixture(scope="module")
def blurred(unstir, tmp_path_factory):
    """A run of a few steps whose schedule is given by a plain name; read only."""
    place = tmp_path_factory.mktemp("blurred")
    unstir.good(
        place, "train", "digits", "--samples", 768, "--set", "training.batch=64", *TINY_UNET,
        "--set", "schedule=heat", "--set", "schedule.blur=0.3", "--out", "run",
    )  # fmt: skip
    return place / "run"


def test_a_run_remembers_its_blur(blurred):
    assert load(blurred).schedule == Heat(VP(), 0.3)
    settings = json.loads((blurred / "config.json").read_text())["settings"]
    assert settings["schedule"]["name"] == "heat"
    assert settings["schedule"]["base"]["name"] == "vp"


@pytest.mark.slow
def test_it_is_sampled_measured_and_distilled_like_any_other(unstir, blurred, tmp_path):
    unstir.good(tmp_path, "sample", blurred, "-n", 8, "--class", 3, "--guidance", 1, "--out", "x.npy")
    x = np.load(tmp_path / "x.npy")
    assert x.shape == (8, 1, 8, 8)
    assert np.isfinite(x).all()
    unstir.good(tmp_path, "sample", blurred, "-n", 4, "--solver", "multistep-sde", "--out", "film.gif")
    bits = json.loads(unstir.good(tmp_path, "likelihood", blurred, "-n", 2, "--probes", 1, "--json"))
    assert "bits" in json.dumps(bits)
    unstir.good(tmp_path, "distill", blurred, "--samples", 256, "--out", "few")
    assert load(tmp_path / "few").schedule == Heat(VP(), 0.3)


def test_its_samples_do_not_depend_on_the_batch(blurred):
    model = load(blurred)
    whole, part = (model.sample(n, steps=4, seed=3, batch=b) for n, b in ((6, 6), (6, 2)))
    np.testing.assert_allclose(whole, part, atol=1e-3)


def test_it_is_not_sampled_under_another_schedule(unstir, blurred, trained, tmp_path):
    for run, schedule in ((blurred, "vp"), (trained, "heat")):
        result = unstir(tmp_path, "sample", run, "-n", 2, "--schedule", schedule)
        check_error(result, 2, "under its own schedule")


def test_a_misspelt_schedule_is_one_sentence(unstir, tmp_path):
    result = unstir(tmp_path, "train", "digits", "--set", "schedule=heatt")
    check_error(result, 2, "did you mean 'heat'?")
