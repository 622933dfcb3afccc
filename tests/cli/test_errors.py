"""Whatever goes wrong is one sentence on standard error, with a fitting exit code, and harms nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml

from tests.cli.commands import check_error, real, strays, tree
from unstir.files import read_tensors


def nan_array():
    x = np.random.default_rng(0).normal(size=(50, 2, 6))
    x[31, 1, 4] = np.nan
    return x


def write_inputs(place):
    """Files that are each wrong in one way."""
    rng = np.random.default_rng(0)
    np.save(place / "nan.npy", nan_array())
    np.save(place / "flat.npy", np.arange(100.0))
    np.save(place / "few.npy", np.ones((3, 2)))
    np.save(place / "fine.npy", rng.normal(size=(60, 2)))
    np.savez(place / "labels.npz", x=rng.normal(size=(60, 2)), labels=np.zeros(59, int))
    (place / "cut.npy").write_bytes((place / "fine.npy").read_bytes()[:200])
    (place / "broken.yaml").write_text("recipe: [digits")
    (place / "empty.yaml").write_text("")
    (place / "unknown.yaml").write_text(yaml.safe_dump({"recipe": "x", "trainig": {}}))
    (place / "empty").mkdir()
    (place / "file").write_text("I am a file")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    place = tmp_path_factory.mktemp("inputs")
    write_inputs(place)
    return place


TRAIN = {
    "nothing": ([], 2, "say what to train: a recipe (digits, mnist"),
    "unknown recipe": (["digit"], 2, "unknown recipe 'digit'; did you mean 'digits'?"),
    "missing array": (["missing.npy"], 2, "missing.npy"),
    "missing settings": (["missing.yaml"], 2, "there is no settings file missing.yaml"),
    "NaN": (["nan.npy"], 2, "nan.npy holds a value that is not finite (NaN or infinity), in sample 31"),
    "wrong shape": (["flat.npy"], 2, "has shape (100,); expected (N, D), (N, C, L), (N, C, H, W) or"),
    "few samples": (["few.npy"], 2, "holds 3 samples; at least 10"),
    "labels": (["labels.npz"], 2, "the labels in"),
    "truncated": (["cut.npy"], 2, "cut.npy cannot be read as an array"),
    "broken YAML": (["broken.yaml"], 2, "broken.yaml is not valid YAML"),
    "empty YAML": (["empty.yaml"], 2, "empty.yaml holds no settings; start from"),
    "unknown key in YAML": (["unknown.yaml"], 2, "did you mean 'training'?"),
    "folder without images": (["empty"], 2, "holds no images"),
    "unknown key": (
        ["digits", "--set", "training.bacth=3"],
        2,
        "unknown setting 'training.bacth'; did you mean 'batch'?",
    ),
    "unknown group": (["digits", "--set", "trainin.batch=3"], 2, "unknown setting 'trainin'; did you mean"),
    "key of the other network": (
        ["digits", "--set", "network.layers=3"],
        2,
        "unknown setting 'network.layers'",
    ),
    "no value": (["digits", "--set", "training.batch"], 2, "--set takes key=value"),
    "word for a number": (["digits", "--set", "training.batch=many"], 2, "'training.batch' is 'many'"),
    "no batch": (["digits", "--set", "training.batch=0"], 2, "'training.batch' is 0"),
    "no group": (["digits", "--set", "recipe.batch=0"], 2, "'recipe' is a single value"),
    "no budget": (["digits", "--samples", "0"], 2, "'training.samples' is 0"),
    "negative time": (["digits", "--seconds", "-1"], 2, "'training.seconds' is -1"),
    "unknown schedule": (
        ["digits", "--set", "schedule.name=vpp"],
        2,
        "unknown schedule 'vpp'; did you mean 'vp'?",
    ),
    "schedule of words": (["digits", "--set", "schedule.beta_max=x"], 2, "beta_max is a number, got 'x'"),
    "schedule of nothing": (["digits", "--set", "schedule.beta_max=null"], 2, "are numbers, got"),
    "unknown solver": (["digits", "--set", "sampling.solver=heum"], 2, "did you mean 'heun'?"),
    "pure noise": (["two-moons", "--set", "target=epsilon"], 2, "set target=v"),
    "wrong network": (["digits", "--set", "network.kind=mlp"], 2, "use the network kind 'unet'"),
    "unknown network": (["digits", "--set", "network.kind=cnn"], 2, "'cnn'"),
    "heads": (["digits", "--set", "network.attention=[0]", "--set", "network.heads=7"], 2, "attention heads"),
    "own data": (["digits", "--data", "fine.npy"], 2, "are not read from a path"),
    "missing data": (["mnist", "--data", "nowhere"], 2, "there is no file or folder"),
    "nothing to resume": (["--resume", "--out", "empty"], 2, "empty is not a run"),
    "resume what": (["--resume"], 2, "--resume needs the run's folder"),
    "out is a file": (["fine.npy", "--out", "file", "--samples", "8"], 2, "file is a file; choose a folder"),
    "out cannot be made": (["fine.npy", "--out", "file/run", "--samples", "8"], 1, "Not a directory"),
    "read-only": (["fine.npy", "--out", "/proc/run", "--samples", "8"], 1, "cannot read or write /proc/run"),
}


@pytest.mark.parametrize("kind", TRAIN)
def test_training_that_cannot_start_is_one_sentence_and_writes_nothing(kind, unstir, inputs):
    arguments, code, sentence = TRAIN[kind]
    before = tree(inputs)
    check_error(unstir(inputs, "train", *arguments), code, sentence)
    assert tree(inputs) == before


SAMPLE = {
    "no samples": (["-n", "0"], 2, "number of samples is at least 1, got 0"),
    "fewer": (["-n", "-4"], 2, "number of samples is at least 1, got -4"),
    "no steps": (["--steps", "0"], 2, "at least 1 step, got 0"),
    "negative steps": (["--steps", "-2"], 2, "at least 1 step, got -2"),
    "class number": (["--class", "10"], 2, "there is no class 10; the classes are 0 to 9"),
    "class name": (["--class", "cat"], 2, "there is no class 'cat'; the classes are 0, 1, 2"),
    "solver": (["--solver", "hein"], 2, "unknown solver 'hein'; did you mean 'heun'?"),
    "grid": (["--grid", "karas"], 2, "unknown grid 'karas'; did you mean 'karras'?"),
    "schedule": (["--schedule", "cosin"], 2, "unknown schedule 'cosin'; did you mean 'cosine'?"),
    "schedule of betas": (["--schedule", "betas"], 2, "needs the parameter 'betas'"),
    "guidance": (["--guidance", "-1"], 2, "guidance weight must be at least 0"),
    "window": (["--window", "0.7", "0.2"], 2, "a guidance window is (low, high)"),
    "format": (["--out", "x.jpg"], 2, "samples are written as .png, .gif, .npy, .npz, got 'x.jpg'"),
    "no folder": (["--out", "config.json/x.png"], 1, "cannot read or write"),
    "read-only": (["--out", "/proc/x.npy"], 1, "cannot read or write /proc"),
}


@pytest.mark.parametrize("kind", SAMPLE)
def test_sampling_that_cannot_be_done_is_one_sentence_and_writes_nothing(kind, unstir, trained):
    arguments, code, sentence = SAMPLE[kind]
    before = tree(trained)
    check_error(unstir(trained, "sample", trained, *arguments), code, sentence)
    assert tree(trained) == before


def test_a_folder_that_is_no_run_is_one_sentence(unstir, inputs):
    check_error(unstir(inputs, "sample", "empty"), 2, "empty is not a run: it has no config.json")
    check_error(unstir(inputs, "sample", "nowhere"), 2, "there is no folder nowhere")
    check_error(unstir(inputs, "sample", "owner/model"), 2, "could be fetched from the Hugging Face Hub")
    check_error(unstir(inputs, "sample", "file"), 2, "file is not a run")


def test_an_unknown_recipe_to_print_is_one_sentence(unstir, tmp_path):
    check_error(unstir(tmp_path, "recipes", "cifar"), 2, "unknown recipe 'cifar'; did you mean 'cifar10'?")


def test_the_sentence_and_the_code_are_the_same_from_a_fresh_interpreter(tmp_path):
    check_error(real(tmp_path, "sample", "nowhere"), 2, "there is no folder nowhere")


def test_damaged_models_are_one_sentence(unstir, run, tmp_path):
    file = run / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    check_error(
        unstir(tmp_path, "sample", "run"), 2, "run/model.safetensors is not a readable safetensors file"
    )
    file.write_bytes(whole[:5])
    check_error(
        unstir(tmp_path, "sample", "run"), 2, "run/model.safetensors is not a readable safetensors file"
    )
    file.unlink()
    check_error(unstir(tmp_path, "sample", "run"), 2, "finish it with `unstir train --resume --out run`")
    file.write_bytes(whole)
    config = run / "config.json"
    text = config.read_text()
    config.write_text(text[: len(text) // 2])
    check_error(unstir(tmp_path, "sample", "run"), 2, "config.json is not a readable JSON file")
    check_error(
        unstir(tmp_path, "train", "--resume", "--out", "run"), 2, "config.json is not a readable JSON"
    )
    config.write_text(json.dumps(json.loads(text) | {"settings": 5}))
    check_error(unstir(tmp_path, "train", "--resume", "--out", "run"), 2, "settings are names with values")


def test_a_run_is_not_replaced_unasked_nor_when_its_successor_cannot_start(unstir, run, tmp_path):
    before = tree(run)
    for arguments, sentence in (
        (["digits"], "run already holds a run; continue it with --resume, replace it with --overwrite"),
        (["mnist", "--data", "nowhere", "--overwrite"], "there is no file or folder"),
        (["digits", "--set", "network.kind=mlp", "--overwrite"], "use the network kind 'unet'"),
        (["digits", "--set", "training.bacth=1", "--overwrite"], "did you mean 'batch'?"),
    ):
        check_error(unstir(tmp_path, "train", *arguments, "--out", "run"), 2, sentence)
        assert tree(run) == before


def test_every_checkpoint_damaged_is_one_sentence_and_the_model_survives(unstir, run, tmp_path):
    before = (run / "model.safetensors").read_bytes()
    for state in (run / "checkpoints").glob("*/state.json"):
        state.write_text("{}")
    result = unstir(tmp_path, "train", "--resume", "--out", "run", "--samples", 2000)
    check_error(result, 2, "no checkpoint can be read")
    assert (run / "model.safetensors").read_bytes() == before


def test_resuming_with_another_network_is_one_sentence(unstir, run, tmp_path):
    result = unstir(tmp_path, "train", "--resume", "--out", "run", "--set", "network.width=16")
    check_error(result, 2, "is of another network or other averages; resume with the settings")


def test_a_full_disk_is_one_sentence_and_the_earlier_checkpoints_survive(unstir, run, tmp_path):
    before = tree(run)
    resume = ["train", "--resume", "--out", "run", "--samples", 1024]
    limit = 20_000  # bytes a file: enough for the text files, not for the weights
    assert len(before["model.safetensors"]) > limit > len(before["config.json"])
    result = unstir(tmp_path, *resume, limit=limit)
    check_error(result, 1, "cannot read or write run/checkpoints/")
    assert "File too large; what was there before is unharmed" in result.stderr
    assert strays(run) == []
    after = tree(run)
    for name, content in before.items():
        if name.startswith("checkpoints") or name == "model.safetensors":
            assert after[name] == content, name
    assert "trained on 1,024 samples" in unstir.good(tmp_path, *resume)


def test_a_full_disk_leaves_the_old_samples_and_no_stray_files(unstir, trained, tmp_path):
    for suffix in ("npy", "npz", "png", "gif"):
        file = tmp_path / f"x.{suffix}"
        file.write_bytes(b"old")
        result = unstir(tmp_path, "sample", trained, "-n", 40, "--steps", 1, "--out", file, limit=500)
        check_error(result, 1, f"cannot read or write {file}: File too large")
        assert file.read_bytes() == b"old"
        assert strays(tmp_path) == []


def test_a_loss_that_is_not_finite_is_one_sentence_and_the_last_checkpoint_survives(unstir, run, tmp_path):
    before = tree(run / "checkpoints")
    result = unstir(
        tmp_path, "train", "--resume", "--out", "run", "--samples", 2000,
        "--set", "training.checkpoint_samples=4000", "--set", "training.learning_rate=1e30",
        "--set", "training.clip=null",
    )  # fmt: skip
    check_error(result, 1, "the loss is not finite at sample")
    assert tree(run / "checkpoints") == before
    assert all(bool(torch.isfinite(w).all()) for w in read_tensors(run / "model.safetensors")[0].values())
