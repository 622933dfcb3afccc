"""A check trains what it is told to, holds numbers against limits, and keeps what it made."""

import json
from types import SimpleNamespace

import pytest
import torch

from unstir.evaluation.evaluate import Evaluation, Figure
from unstir.recipes import RECIPES, find_recipe
from unstir.recipes.check import CHECKS, run_check
from unstir.recipes.numbers import Number
from unstir.recipes.standing import gaussian_samples, numbers_of


def tiny(samples=256):
    settings = find_recipe("two-moons")
    training = settings.training.model_copy(update={"seconds": None, "samples": samples, "batch": 64})
    network = settings.network.model_copy(update={"width": 8})
    data = settings.data.model_copy(update={"limit": 200})
    return settings.model_copy(update={"training": training, "network": network, "data": data})


@pytest.fixture
def made_up(monkeypatch):
    """A recipe whose check trains one tiny model."""

    def check(plan):
        model = plan.train(tiny(), "one")
        value = float(model.about["samples"])
        return {"samples": Number(value, ">= 1"), "impossible": Number(0.5, "> 1", baseline=0.1)}

    monkeypatch.setitem(CHECKS, "made-up", check)


def test_a_check_trains_measures_and_keeps_everything(made_up, tmp_path):
    result = run_check("made-up", tmp_path)
    assert result.numbers["samples"].value == 256
    assert not result.ok
    written = json.loads((tmp_path / "check.json").read_text())
    assert written["numbers"]["impossible"] == {
        "value": 0.5,
        "limit": "> 1",
        "ok": False,
        "baseline": 0.1,
        "reference": None,
        "interval": None,
        "meaning": "",
    }
    assert (tmp_path / "one" / "model.safetensors").is_file()
    run_check("made-up", tmp_path)  # replaces its own runs


def test_seconds_replace_the_budget_of_each_training(made_up, tmp_path):
    result = run_check("made-up", tmp_path, seconds=0.3)
    settings = json.loads((tmp_path / "one" / "config.json").read_text())["settings"]
    assert settings["training"]["seconds"] == 0.3
    assert settings["training"]["samples"] is None
    assert result.numbers["samples"].value >= 64


def test_an_unknown_recipe_and_no_budget_are_said(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'digits'"):
        run_check("digit", tmp_path)
    with pytest.raises(ValueError, match="above 0"):
        run_check("digits", tmp_path, seconds=0.0)


def test_every_recipe_has_a_check_or_says_which_one_covers_it(tmp_path):
    for name, build in RECIPES.items():
        if name not in CHECKS:
            assert build().data.source in CHECKS
            with pytest.raises(ValueError, match=f"unstir check {build().data.source}"):
                run_check(name, tmp_path)


def test_a_limit_of_what_was_not_measured_is_an_error():
    figures = {
        name: Figure(1.0, 1.0, "lower", "")
        for name in ("frechet_matched", "sliced_wasserstein", "nearest_distance", "precision", "recall")
    }
    result = SimpleNamespace(evaluation=Evaluation(figures, None, {}))
    assert numbers_of(result, result.evaluation, {"recall": ">= 1"})["recall"].ok
    with pytest.raises(ValueError, match="'label_accuracy', which was not measured"):
        numbers_of(result, result.evaluation, {"label_accuracy": ">= 0.9"})


def test_the_gaussian_baseline_has_the_mean_and_covariance_of_each_class():
    generator = torch.Generator().manual_seed(0)
    owners = torch.arange(4000) % 2
    x = torch.randn(4000, 3, generator=generator) @ torch.randn(3, 3, generator=generator)
    x = x + 5.0 * owners[:, None]
    wanted = torch.arange(4000) % 2
    y = gaussian_samples(x, owners, wanted, 4000, seed=1)
    for label in (0, 1):
        a, b = x[owners == label], y[wanted == label]
        assert torch.allclose(a.mean(0), b.mean(0), atol=0.15)
        assert torch.allclose(a.T.cov(), b.T.cov(), atol=0.1 * float(a.T.cov().abs().max()))
    few = gaussian_samples(x[:3].reshape(3, 3, 1), None, None, 10, seed=0)
    assert few.shape == (10, 3, 1)
    assert bool(few.isfinite().all())


def test_a_sample_of_the_baseline_is_the_same_whatever_their_number():
    x = torch.linspace(0, 1, 60).reshape(20, 3).square()
    many = gaussian_samples(x, None, None, 100, seed=2)
    torch.testing.assert_close(gaussian_samples(x, None, None, 1, seed=2), many[:1])
    assert not torch.allclose(gaussian_samples(x, None, None, 1, seed=3), many[:1])
