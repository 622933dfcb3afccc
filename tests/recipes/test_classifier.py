"""A classifier beside a run, in one process."""

from __future__ import annotations

import contextlib
import shutil

import numpy as np
import pytest
import torch
from sklearn.datasets import make_moons

from tests.cli.commands import strays, tree
from unstir import load
from unstir.evaluation import train_judge
from unstir.guidance import Classifier
from unstir.processes import Flow
from unstir.recipes import arrays, find_recipe, load_data
from unstir.recipes import classifier as recipe
from unstir.recipes.classifier import FILE, classifier_guide, knows_labels, load_critic, train_classifier_run
from unstir.recipes.run import Report, prepare_folder, stored_settings, train_run


def trained(folder, settings, samples, drop_condition, **network):
    training = settings.training.model_copy(
        update={"samples": samples, "seconds": None, "drop_condition": drop_condition}
    )
    network = settings.network.model_copy(update=network)
    prepare_folder(folder, resume=False, overwrite=False)
    train_run(settings.model_copy(update={"training": training, "network": network}), folder)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two short runs on two labelled moons: one that knows labels, and one that does not."""
    place = tmp_path_factory.mktemp("runs")
    x, labels = make_moons(1000, noise=0.08, random_state=0)
    np.savez(place / "moons.npz", x=x, labels=labels)
    settings, _ = arrays.settings(str(place / "moons.npz"))
    for name, drop in (("conditional", 0.1), ("unconditional", 1.0)):
        folder = trained(place / name, settings, 16_000, drop, width=32, layers=2)
        outcome = train_classifier_run(folder, samples=12_800)
        assert (outcome.finished, outcome.kept, outcome.samples) == (True, True, 12_800)
    return place


def test_the_model_is_asked_with_the_label_only_if_it_ever_saw_one(runs):
    for name, knows in (("conditional", True), ("unconditional", False)):
        model = load(runs / name)
        assert knows_labels(model) == knows
        guide = classifier_guide(runs / name, model, 0.0)
        assert isinstance(guide(model.denoiser), Classifier)
        label = {"label": [0, 1] * 4}
        weightless = model.sample(8, steps=5, guidance=0.0, condition=label, guide=guide)
        own = model.sample(8, steps=5, guidance=0.0, condition=label if knows else {})
        assert torch.equal(weightless, own)


def test_guidance_of_an_unconditional_run_gives_the_class_that_is_asked_for(runs):
    folder = runs / "unconditional"
    model, data = load(folder), load_data(stored_settings(folder).data).heldout
    labels = torch.arange(400) % 2
    # The judge is the nearest of the held-out points.
    points, own = torch.from_numpy(data.x).float(), torch.from_numpy(data.labels).long()
    right = {}
    for weight in (0.0, 1.0, 3.0):
        guide = classifier_guide(folder, model, weight)
        x = model.sample(400, condition={"label": labels.tolist()}, guide=guide)
        nearest = own[torch.cdist(x, points).argmin(1)]
        right[weight] = float((nearest == labels).double().mean())
    assert right[0.0] == pytest.approx(0.5, abs=0.1)
    assert right[1.0] > 0.8
    assert right[3.0] > right[1.0]


def test_it_goes_with_classifier_free_guidance_and_other_schedules_and_solvers(runs):
    model = load(runs / "conditional")
    guide = classifier_guide(runs / "conditional", model, 2.0)
    condition = {"label": [0, 1] * 4}
    plain = model.solve(8, condition=condition, guide=guide, guidance=0.0)
    for options in ({"guidance": 1.0}, {"schedule": Flow()}, {"solver": "ddpm"}, {"batch": 3}):
        other = model.solve(8, condition=condition, guide=guide, **{"guidance": 0.0, **options})
        assert torch.isfinite(other.x).all()
        assert other.nfe == plain.nfe * (2 if options.get("guidance") else 1)
        assert torch.allclose(other.x, plain.x, atol=1e-4) == ("batch" in options)


def test_an_interruption_writes_what_was_learned_but_replaces_no_older_classifier(
    runs, tmp_path, monkeypatch
):
    shutil.copytree(runs / "conditional", tmp_path / "run")
    before = tree(tmp_path)

    @contextlib.contextmanager
    def at_once():
        yield lambda: True

    monkeypatch.setattr(recipe, "interruptible", at_once)
    outcome = train_classifier_run(tmp_path / "run", seconds=60, overwrite=True)
    assert (outcome.finished, outcome.kept, outcome.samples, outcome.scores) == (False, False, 128, [])
    assert tree(tmp_path) == before
    (tmp_path / "run" / FILE).unlink()
    outcome = train_classifier_run(tmp_path / "run", seconds=60)
    assert (outcome.finished, outcome.kept) == (False, True)
    assert len(outcome.scores) == 5
    load_critic(tmp_path / "run", load(tmp_path / "run"))


def test_a_second_interruption_ends_it_at_once_with_nothing_written(runs, tmp_path):
    shutil.copytree(runs / "conditional", tmp_path / "run")
    (tmp_path / "run" / FILE).unlink()

    def hurry(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_classifier_run(tmp_path / "run", samples=256, report=Report(step=hurry))
    assert not (tmp_path / "run" / FILE).exists()
    assert strays(tmp_path) == []


@pytest.mark.slow
def test_guidance_of_unconditional_digits_raises_the_judges_label_accuracy(tmp_path):
    folder = trained(tmp_path / "run", find_recipe("digits"), 25_600, 1.0)
    outcome = train_classifier_run(folder, samples=51_200)
    for score, bound in zip(outcome.scores[:3], (0.95, 0.9, 0.75), strict=True):
        assert score.accuracy > bound
    assert 0.1 < outcome.scores[-1].accuracy < 0.5  # there the digits are all but drowned
    model, splits = load(folder), load_data(stored_settings(folder).data)
    x, y, x_heldout, y_heldout = (
        torch.from_numpy(part).float() if part.ndim > 1 else torch.from_numpy(part).long()
        for split in (splits.train, splits.heldout)
        for part in (split.x, split.labels)
    )
    judge = train_judge(x, y, x_heldout, y_heldout, classes=10)
    labels = torch.arange(300) % 10
    right = []
    for weight in (0.0, 1.0, 3.0):
        guide = classifier_guide(folder, model, weight)
        made = model.sample(300, condition={"label": labels.tolist()}, guide=guide)
        right.append(float((judge.predict(made.float()) == labels).double().mean()))
    assert right[0] == pytest.approx(0.1, abs=0.06)
    assert right[1] > 0.65
    assert right[2] > 0.9
