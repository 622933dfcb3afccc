"""Checkpoints: whole or absent, verified when read, the last two kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unstir.training import Checkpoint, load_newest, save_checkpoint
from unstir.training.checkpoint import load_checkpoint


def checkpoint(samples):
    tensors = {"model": {"w": torch.full((20,), float(samples))}, "ema-0": {"w": torch.arange(5.0)}}
    return Checkpoint(samples, tensors, {"seconds": 0.1 + samples / 3, "ema": [0.05]})


def equal(a, b):
    tensors = a.tensors.keys() == b.tensors.keys() and all(
        torch.equal(a.tensors[group][name], value)
        for group, values in b.tensors.items()
        for name, value in values.items()
    )
    return tensors and a.samples == b.samples and a.state == b.state


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    place = save_checkpoint(tmp_path, checkpoint(8))
    assert equal(load_checkpoint(place), checkpoint(8))
    found, problems = load_newest(tmp_path)
    assert equal(found, checkpoint(8))
    assert problems == []


def test_two_checkpoints_are_kept_and_nothing_else(tmp_path):
    (tmp_path / ".writing-old").mkdir()  # a process was killed here
    (tmp_path / ".writing-old" / "model.safetensors").write_bytes(b"half")
    for samples in (8, 16, 24, 200):
        save_checkpoint(tmp_path, checkpoint(samples))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000000000024", "000000000200"]


def test_a_checkpoint_of_the_same_moment_is_replaced(tmp_path):
    save_checkpoint(tmp_path, checkpoint(8))
    save_checkpoint(tmp_path, Checkpoint(8, {"model": {"w": torch.ones(2)}}, {"seconds": 5.0}))
    found, _ = load_newest(tmp_path)
    assert found.state == {"seconds": 5.0}
    assert list(found.tensors) == ["model"]


def test_there_is_no_checkpoint_in_an_empty_or_missing_folder(tmp_path):
    assert load_newest(tmp_path) == (None, [])
    assert load_newest(tmp_path / "missing") == (None, [])


@pytest.mark.parametrize("name", ["model.safetensors", "ema-0.safetensors", "state.json"])
@pytest.mark.parametrize("harm", ["truncated", "missing", "empty"])
def test_a_harmed_file_is_named_and_the_checkpoint_before_it_is_used(name, harm, tmp_path):
    save_checkpoint(tmp_path, checkpoint(8))
    file = save_checkpoint(tmp_path, checkpoint(16)) / name
    if harm == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: -5 if harm == "truncated" else 0])
    found, problems = load_newest(tmp_path)
    assert equal(found, checkpoint(8))
    assert len(problems) == 1
    assert str(file) in problems[0]
    assert "\n" not in problems[0]


@pytest.mark.parametrize("name", ["model.safetensors", "state.json"])
def test_no_flipped_bit_goes_unnoticed(name, tmp_path):
    save_checkpoint(tmp_path, checkpoint(8))
    file = save_checkpoint(tmp_path, checkpoint(16)) / name
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.permutation(len(whole))[:150]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged)
        found, problems = load_newest(tmp_path)
        if found.samples == 16:  # white space between JSON values carries nothing
            assert equal(found, checkpoint(16)), (place, whole[place - 20 : place + 20])
        else:
            assert equal(found, checkpoint(8))
            assert str(file.parent) in problems[0], problems


def test_a_checkpoint_of_another_schema_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("unstir.training.checkpoint.SCHEMA", 99)
    save_checkpoint(tmp_path, checkpoint(8))
    monkeypatch.undo()
    found, problems = load_newest(tmp_path)
    assert found is None
    assert "schema 99" in problems[0]


def test_writing_that_fails_half_way_leaves_the_earlier_checkpoints_and_no_stray_files(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, checkpoint(8))

    def no_space(path, value):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("unstir.training.checkpoint.write_json", no_space)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, checkpoint(16))
    assert [p.name for p in tmp_path.iterdir()] == ["000000000008"]
    assert equal(load_newest(tmp_path)[0], checkpoint(8))
