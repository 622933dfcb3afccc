"""Settings that contradict each other are refused before anything is written; judges belong to their data."""

from __future__ import annotations

import pytest
import torch

from tests.training.tiny import network, points, settings
from unstir.recipes import DataSettings, RunSettings, find_recipe, load_data
from unstir.recipes.assess import _judge, data_units
from unstir.settings import parse_settings
from unstir.training import Trainer


def changed(name: str, **groups) -> RunSettings:
    values = find_recipe(name).model_dump(mode="json")
    for group, options in groups.items():
        values[group] |= options
    return parse_settings(RunSettings, values)


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        ({"sampling": {"window": [0.9, 0.1]}}, "0 <= low < high <= 1"),
        ({"sampling": {"solver": "ddpm-learned"}}, "needs a learned variance"),
        (
            {"training": {"objective": {"kind": "hybrid"}, "noise_levels": {"distribution": "uniform"}}},
            "hybrid objective teaches a variance",
        ),
        ({"training": {"objective": {"kind": "bound"}}}, "distribution=uniform"),
        ({"training": {"ema": []}}, "none is tracked"),
    ],
)
def test_digits_settings_that_contradict_each_other_are_refused(groups, sentence):
    with pytest.raises(ValueError, match=sentence):
        changed("digits", **groups)


def test_the_reverse_sde_of_a_flow_needs_another_grid():
    with pytest.raises(ValueError, match="infinite at t = 1"):
        changed("two-moons", sampling={"solver": "euler-maruyama"})
    assert changed("two-moons", sampling={"solver": "euler-maruyama", "grid": "karras"})


def test_scalings_and_mirrors_that_would_be_ignored_are_refused():
    with pytest.raises(ValueError, match=r"leave data\.scaling out"):
        load_data(DataSettings(source="digits", scaling="standardise"))
    with pytest.raises(ValueError, match=r"leave data\.flip out"):
        load_data(DataSettings(source="density", flip=True))


@pytest.mark.slow
def test_a_judge_is_kept_for_its_own_split_only_and_trained_again_if_damaged(tmp_path):
    data = DataSettings(source="digits", heldout=0.2, limit=600)
    splits = load_data(data)
    train, heldout = data_units(splits.train), data_units(splits.heldout)
    first = _judge(tmp_path, data.model_dump(mode="json"), splits, train, heldout)
    assert first is not None
    (file,) = tmp_path.glob("judge-*.safetensors")
    written = file.read_bytes()
    again = _judge(tmp_path, data.model_dump(mode="json"), splits, train, heldout)
    assert again is not None
    assert torch.equal(again.features(heldout), first.features(heldout))
    assert file.read_bytes() == written
    file.write_bytes(written[:-100])
    repaired = _judge(tmp_path, data.model_dump(mode="json"), splits, train, heldout)
    assert repaired is not None
    assert torch.equal(repaired.features(heldout), first.features(heldout))
    assert len(file.read_bytes()) == len(written)
    other = DataSettings(source="digits", heldout=0.2, limit=600, seed=1)
    _judge(tmp_path, other.model_dump(mode="json"), splits, train, heldout)
    assert len(list(tmp_path.glob("judge-*.safetensors"))) == 2


def test_micro_batches_of_loss_aware_levels_equal_one_batch():
    results = []
    for pieces in (1, 4):
        levels = {"distribution": "uniform", "loss_aware": True}
        chosen = settings(samples=2560, batch=64, micro_batches=pieces, noise_levels=levels)
        trainer = Trainer(network(2), points(), chosen)
        for _ in trainer.run():
            pass
        results.append(torch.cat([p.detach().flatten() for p in trainer.denoiser.parameters()]))
    torch.testing.assert_close(results[0], results[1], atol=1e-4, rtol=1e-3)


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    trainer = Trainer(network(2), points(), settings(), tmp_path)
    trainer.save()
    before = sorted(tmp_path.rglob("*"))
    with torch.no_grad():
        next(iter(trainer.denoiser.parameters()))[0] = float("nan")
    trainer.samples += 8
    with pytest.raises(FloatingPointError, match="not finite after 8 samples"):
        trainer.save()
    assert sorted(tmp_path.rglob("*")) == before
