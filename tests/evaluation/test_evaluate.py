from __future__ import annotations

import io
import json

import pytest
import torch
from rich.console import Console

from tests.evaluation.test_distances import draw
from unstir import noise
from unstir.evaluation import RawFeatures, evaluate, frechet_distance, train_judge

FEATURES = RawFeatures()


def classes_of(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples (n, 2, 3) of three classes at different places, in random order."""
    y = noise.permutation(n, seed=seed, stream=noise.Stream.DATA) % 3
    return draw(n, 2, 3, seed=seed) + 3.0 * y[:, None, None], y


TRAIN, TRAIN_Y = classes_of(900, 0)
HELDOUT, HELDOUT_Y = classes_of(300, 1)


@pytest.fixture(scope="module")
def judge():
    return train_judge(TRAIN, TRAIN_Y, HELDOUT, HELDOUT_Y, classes=3, steps=100)


def test_fresh_samples_score_like_heldout_data(judge):
    samples, labels = classes_of(900, 2)
    found = evaluate(samples, TRAIN, HELDOUT, features=FEATURES, labels=labels, judge=judge)
    for name in ("precision", "recall", "density", "coverage", "nearest_distance", "label_accuracy"):
        assert found[name].ratio == pytest.approx(1.0, abs=0.1), name
    assert 0.5 < found["frechet_matched"].ratio < 2
    assert 0.5 < found["sliced_wasserstein"].ratio < 2
    assert abs(found["mmd"].samples) < 0.003
    assert found["share_nearer"].samples < 0.04
    assert not found.memorisation.significant


def test_each_failure_shows_in_its_figure(judge):
    labels = TRAIN_Y
    wider = evaluate(1.5 * TRAIN, TRAIN, HELDOUT, features=FEATURES)
    assert wider["frechet_matched"].ratio > 5
    assert wider["sliced_wasserstein"].ratio > 5
    assert wider["mmd"].samples > 10 * abs(wider["mmd"].heldout)
    dropped = evaluate(classes_of(900, 2)[0][classes_of(900, 2)[1] < 2], TRAIN, HELDOUT, features=FEATURES)
    assert dropped["coverage"].ratio < 0.8
    assert dropped["precision"].ratio > 0.95
    copies = evaluate(TRAIN, TRAIN, HELDOUT, features=FEATURES, labels=labels.flip(0), judge=judge)
    assert copies["nearest_distance"].samples == 0
    assert copies["share_nearer"].samples == 1
    assert copies.memorisation.significant
    assert copies["label_accuracy"].samples < 0.5
    assert copies["label_accuracy"].heldout == judge.accuracy


def test_the_matched_figure_takes_as_many_samples_as_heldout_data():
    samples, _ = classes_of(900, 2)
    few, many = HELDOUT[:60], samples
    found = evaluate(many, TRAIN, few, features=FEATURES)
    reverse = evaluate(few, TRAIN, many, features=FEATURES)
    assert found.sizes == {"samples": 900, "train": 900, "heldout": 60, "matched": 60}
    assert found["frechet"].samples == frechet_distance(many, TRAIN)
    # Few samples cost more than 60 against 900 lets the plain figure show.
    assert found["frechet_matched"].samples > 3 * found["frechet"].samples
    assert found["frechet_matched"].heldout == found["frechet"].heldout
    assert reverse["frechet_matched"].heldout > 3 * reverse["frechet"].heldout
    assert reverse["frechet_matched"].samples == found["frechet"].heldout


def test_matched_samples_keep_the_shares_of_their_labels(judge):
    samples, labels = classes_of(900, 2)
    plain = [
        evaluate(samples, TRAIN, HELDOUT[:60], features=FEATURES, seed=s)["frechet_matched"].samples
        for s in range(5)
    ]
    kept = [
        evaluate(samples, TRAIN, HELDOUT[:60], features=FEATURES, labels=labels, judge=judge, seed=s)[
            "frechet_matched"
        ].samples
        for s in range(5)
    ]
    assert sum(kept) < sum(plain)


def test_the_seed_decides_the_evaluation_and_the_global_generator_stays_untouched():
    samples, _ = classes_of(400, 2)
    state = torch.random.get_rng_state()
    first, again, other = (
        evaluate(samples, TRAIN, HELDOUT, features=FEATURES, seed=seed, limit=200).to_dict()
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first == again
    assert first != other


def test_figures_are_ready_for_json_and_for_a_terminal(judge):
    samples, labels = classes_of(100, 2)
    found = evaluate(samples, TRAIN, HELDOUT, features=judge, labels=labels, judge=judge)
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert list(read["figures"]) == list(found.figures)
    assert read["figures"]["mmd"]["ratio"] is None
    assert read["figures"]["recall"]["samples"] == found["recall"].samples
    assert read["memorisation"]["p_value"] == found.memorisation.p_value
    page = io.StringIO()
    Console(file=page, width=200).print(found.table())
    for name, figure in found.figures.items():
        assert name.replace("_", " ") in page.getvalue()
        assert f"{figure.heldout:.4g}" in page.getvalue()
        assert figure.better in ("lower", "higher", "near heldout")


def test_input_that_cannot_be_evaluated_is_said_in_one_sentence(judge):
    with pytest.raises(ValueError, match="no judge"):
        evaluate(HELDOUT, TRAIN, HELDOUT, features=FEATURES, labels=HELDOUT_Y)
    with pytest.raises(ValueError, match="labels must be 300 integers"):
        evaluate(HELDOUT, TRAIN, HELDOUT, features=FEATURES, labels=HELDOUT_Y[:3], judge=judge)
    with pytest.raises(ValueError, match="samples needs at least 6 samples, got 5"):
        evaluate(HELDOUT[:5], TRAIN, HELDOUT, features=FEATURES)
    with pytest.raises(ValueError, match="heldout and train must be events of one shape"):
        evaluate(HELDOUT, TRAIN, HELDOUT[:, 0], features=FEATURES)
    with pytest.raises(ValueError, match="samples has values that are not finite"):
        evaluate(HELDOUT / 0.0, TRAIN, HELDOUT, features=FEATURES)
