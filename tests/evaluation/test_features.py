from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch

from tests.evaluation.test_distances import draw
from unstir.evaluation import Features, InceptionFeatures, PCAFeatures, RawFeatures, frechet_distance


def test_components_are_standardised_and_uncorrelated_over_the_training_data():
    x = (draw(300, 6) * torch.tensor([5.0, 2, 1, 1, 0.5, 0.1])) @ draw(6, 6, seed=1)
    found = PCAFeatures.fit(x.reshape(300, 2, 3)).features(x.reshape(300, 2, 3))
    assert isinstance(PCAFeatures.fit(x), Features)
    assert torch.allclose(found.T.cov(), torch.eye(found.shape[1]).double(), atol=1e-8)
    assert torch.allclose(found.mean(0), torch.zeros(found.shape[1]).double(), atol=1e-10)


def test_directions_that_nobody_could_see_are_left_out():
    x = draw(300, 4) * torch.tensor([1.0, 0.5, 0.005, 0.0])
    assert PCAFeatures.fit(x).features(x).shape == (300, 2)
    assert PCAFeatures.fit(x, d=1).features(x).shape == (300, 1)


def test_features_without_labels_tell_a_wrong_distribution_from_a_fresh_one():
    train, fresh, wrong = draw(500, 3, 4), draw(500, 3, 4, seed=1), 1.5 * draw(500, 3, 4, seed=2)
    for features in (PCAFeatures.fit(train), RawFeatures()):
        reference = features.features(train)
        near, far = (frechet_distance(features.features(x), reference) for x in (fresh, wrong))
        assert far > 5 * near


def test_large_sets_take_part_with_a_subset_decided_by_the_seed():
    x = draw(400, 5)
    first, again, other = (PCAFeatures.fit(x, limit=50, seed=seed).components for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_data_without_components_are_said_in_one_sentence():
    with pytest.raises(ValueError, match="all equal"):
        PCAFeatures.fit(torch.ones(5, 3))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        PCAFeatures.fit(draw(5, 3), d=0)
    with pytest.raises(ValueError, match=r"expected events of shape \(3,\), got \(2,\)"):
        PCAFeatures.fit(draw(5, 3)).features(draw(5, 2))


def install(monkeypatch, network) -> None:
    """Put a stand-in for torchmetrics where the import looks for it."""
    module = ModuleType("torchmetrics.image.fid")
    module.NoTrainInceptionV3 = network
    for name in ("torchmetrics", "torchmetrics.image"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "torchmetrics.image.fid", module)


def test_inception_without_its_packages_names_the_command_that_installs_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    with pytest.raises(ImportError, match=r"pip install 'unstir\[inception\]'") as caught:
        InceptionFeatures()
    assert caught.value.__suppress_context__
    assert "\n" not in str(caught.value)


def test_inception_without_its_weights_says_where_they_belong(monkeypatch):
    def offline(*_, **__):
        raise OSError("name or service not known")

    install(monkeypatch, offline)
    with pytest.raises(OSError, match="connect to the internet once") as caught:
        InceptionFeatures()
    assert caught.value.__suppress_context__
    assert str(torch.hub.get_dir()) in str(caught.value)


def test_inception_gets_colour_bytes_and_the_global_generator_stays_untouched(monkeypatch):
    class Network(torch.nn.Module):
        def __init__(self, *_, **__):
            super().__init__()
            torch.rand(3)

        def forward(self, x):
            assert x.dtype == torch.uint8
            assert x.shape[1] == 3
            return x.flatten(1)[:, :4].float()

    install(monkeypatch, Network)
    state = torch.random.get_rng_state()
    features = InceptionFeatures(batch=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    grey = torch.tensor([-1.0, 0.0, 1.0, 3.0]).reshape(1, 1, 2, 2).repeat(5, 1, 1, 1)
    assert features.features(grey).tolist() == [[0, 128, 255, 255]] * 5
    with pytest.raises(ValueError, match=r"images of shape \(n, 1 or 3, H, W\)"):
        features.features(torch.zeros(2, 4, 8, 8))
    with pytest.raises(ValueError, match="at least one image"):
        InceptionFeatures(batch=0)
