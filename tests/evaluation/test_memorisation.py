from __future__ import annotations

import json

import pytest
import torch

from tests.evaluation.test_distances import draw
from unstir import noise
from unstir.evaluation import memorisation_test, nearest_points

TRAIN, HELDOUT = draw(500, 2, 4), draw(300, 2, 4, seed=1)


def test_an_honest_model_is_not_accused():
    z = []
    for seed in range(20):
        found = memorisation_test(draw(200, 2, 4, seed=10 + seed), TRAIN, draw(300, 2, 4, seed=100 + seed))
        assert not found.significant
        assert found.ratio == pytest.approx(1.0, abs=0.12)
        assert found.share_nearer < 0.08
        z.append(found.z)
    # The statistic is standard normal: mean and deviation of 20 draws within four standard errors.
    assert abs(float(torch.tensor(z).mean())) < 4 / 20**0.5
    assert 0.4 < float(torch.tensor(z).std()) < 1.7


def test_a_model_that_copies_is_found_out_and_the_copied_points_are_named():
    source = noise.permutation(500, seed=0, stream=noise.Stream.DATA)[:200]
    copies = memorisation_test(TRAIN[source], TRAIN, HELDOUT)
    assert copies.significant
    assert torch.equal(copies.nearest, source)
    assert copies.mean_distance == 0.0
    assert copies.ratio == 0.0
    assert copies.share_nearer == 1.0
    assert copies.z < -10
    blurred = memorisation_test(TRAIN[source] + 0.2 * draw(200, 2, 4, seed=7), TRAIN, HELDOUT)
    assert blurred.significant
    assert blurred.ratio < 0.6


def test_a_model_that_copies_a_third_of_the_time_is_found_out():
    samples = draw(300, 2, 4, seed=5)
    samples[:100] = TRAIN[:100]
    found = memorisation_test(samples, TRAIN, HELDOUT)
    assert found.significant
    assert found.share_nearer == pytest.approx(1 / 3, abs=0.05)


def test_samples_farther_than_heldout_data_are_no_copies():
    found = memorisation_test(2.0 * draw(200, 2, 4, seed=5), TRAIN, HELDOUT)
    assert found.p_value > 0.99
    assert found.z > 3


def test_nearest_points_equal_the_definition_whatever_the_chunks(monkeypatch):
    distances = (HELDOUT[:, None] - TRAIN[None]).flatten(2).norm(dim=2)
    monkeypatch.setattr("unstir.evaluation.memorisation.rows_at_once", lambda columns: 7)
    found, index = nearest_points(HELDOUT, TRAIN)
    assert torch.equal(index, distances.argmin(1))
    assert torch.allclose(found, distances.amin(1), rtol=1e-12)


def test_distances_that_are_all_tied_accuse_nobody():
    point = torch.zeros(4, 3)
    found = memorisation_test(point, point, point)
    assert (found.z, found.p_value, found.ratio, found.significant) == (0.0, 1.0, None, False)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["ratio"] is None


def test_sets_that_do_not_fit_are_said_in_one_sentence():
    with pytest.raises(ValueError, match="heldout needs at least 2 samples, got 1"):
        memorisation_test(HELDOUT, TRAIN, HELDOUT[:1])
    with pytest.raises(ValueError, match="samples and train must be events of one shape"):
        memorisation_test(HELDOUT[:, 0], TRAIN, HELDOUT)
    with pytest.raises(ValueError, match="train needs at least 1 samples"):
        memorisation_test(HELDOUT, TRAIN[:0], HELDOUT)
