"""`unstir recipes` and `unstir train`: what they make."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.cli.commands import real, strays, tree
from tests.cli.conftest import TINY_UNET
from unstir.files import read_tensors
from unstir.model import load
from unstir.processes import VP
from unstir.recipes import RECIPES
from unstir.samplers import GRIDS, SOLVERS

TINY_MLP = ["--set", "network.width=16", "--set", "network.layers=1"]


def weights(run):
    return read_tensors(run / "model.safetensors")[0]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def config(run):
    return json.loads((run / "config.json").read_text())


def test_recipes_lists_every_recipe_solver_grid_and_schedule(unstir, tmp_path):
    listed = unstir.good(tmp_path, "recipes")
    assert [line.split()[0] for line in listed.splitlines()[1 : len(RECIPES) + 1]] == list(RECIPES)
    names = unstir.good(tmp_path, "recipes", "--solvers")
    for name in (*SOLVERS, *GRIDS, "cosine", "sub-vp"):
        assert name in names.replace(",", "").split()


def test_the_command_starts_as_a_module_and_prints_help(tmp_path):
    result = real(tmp_path, "--help")
    assert (result.code, result.stderr) == (0, "")
    for command in ("demo", "recipes", "train", "sample", "evaluate", "report"):
        assert command in result.stdout


def test_a_printed_recipe_trains_from_its_file(unstir, tmp_path):
    text = unstir.good(tmp_path, "recipes", "digits")
    values = yaml.safe_load(text)
    values["network"] |= {"width": 8, "multipliers": [1, 2]}
    values["training"] |= {"samples": 128, "seconds": None, "batch": 32, "learning_rate": "1e-3"}
    values["recipe"] = "mine"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    printed = unstir.good(tmp_path, "train", "mine.yaml")
    assert "trained on 128 samples" in printed
    assert "next: unstir sample runs/mine" in printed
    run = tmp_path / "runs" / "mine"
    assert config(run)["settings"]["training"]["learning_rate"] == 1e-3
    again = yaml.safe_load((run / "settings.yaml").read_text())
    assert again == config(run)["settings"]
    unstir.good(tmp_path, "train", run / "settings.yaml", "--out", "again")
    assert same(weights(tmp_path / "again"), weights(run))


def test_a_run_folder_holds_what_the_design_says_and_nothing_else(trained):
    names = {name for name in tree(trained) if "/" not in name}
    assert names == {
        "checkpoints", "config.json", "metrics.jsonl", "model.safetensors", "samples", "settings.yaml"
    }  # fmt: skip
    assert strays(trained) == []
    checkpoints = sorted(p.name for p in (trained / "checkpoints").iterdir())
    assert checkpoints == [f"{640:012d}", f"{768:012d}"]
    content = config(trained)
    assert content["schema"] == 1
    assert (content["recipe"], content["samples"], content["finished"]) == ("digits", 768, True)
    assert content["versions"]["torch"] == torch.__version__
    assert content["settings"]["training"]["batch"] == 64
    assert content["settings"]["network"]["width"] == 8
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["samples"] == 768
    assert all(np.isfinite(line["loss"]) for line in lines)
    assert sorted(p.name for p in (trained / "samples").iterdir()) == [
        f"{n:012d}.png" for n in (192, 384, 576)
    ]
    model = load(trained)
    assert model.config.classes == tuple("0123456789")
    assert model.config.event == (1, 8, 8)


LAYOUTS = {
    "D": ((5,), TINY_MLP),
    "CL": ((2, 12), TINY_UNET),
    "CHW": ((3, 6, 5), TINY_UNET),
    "CDHW": ((1, 4, 5, 4), TINY_UNET),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_array_of_each_layout_trains_and_samples_come_back_in_its_units(layout, unstir, tmp_path):
    event, tiny = LAYOUTS[layout]
    x = np.random.default_rng(0).normal(50.0, 2.0, (64, *event)).astype(np.float32)
    np.save(tmp_path / "mine.npy", x)
    printed = unstir.good(tmp_path, "train", "mine.npy", "--samples", 64, "--set", "training.batch=16", *tiny)
    assert "57 training and 7 held-out samples" in printed
    run = tmp_path / "runs" / "mine"
    unstir.good(tmp_path, "sample", run, "-n", 7, "--steps", 2, "--out", "x.npy")
    samples = np.load(tmp_path / "x.npy")
    assert samples.shape == (7, *event)
    assert samples.dtype == np.float32
    assert abs(samples.mean() - 50.0) < 3.0
    unstir.good(tmp_path, "sample", run, "-n", 4, "--steps", 2, "--out", "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert min(image.size) > 50
        assert len(set(image.convert("L").tobytes())) > 5


def test_changes_on_the_command_line_reach_the_run_and_its_network(unstir, tmp_path):
    unstir.good(
        tmp_path, "train", "two-moons", "--samples", 64, *TINY_MLP, "--out", "run",
        "--set", "training.batch=32", "--set", "schedule.name=vp", "--set", "target=epsilon",
        "--set", "schedule.beta_max=1.2e1", "--set", "schedule.beta_min=2e-1",
        "--set", "training.objective.weighting=min-snr", "--set", "data.limit=200",
        "--set", "training.ema=[0.1]", "--set", "training.ema_width=null",
        "--set", "training.learning_rate=1e-4",
    )  # fmt: skip
    settings = config(tmp_path / "run")["settings"]
    assert settings["schedule"] == {"name": "vp", "beta_min": 0.2, "beta_max": 12.0}
    assert settings["training"]["objective"]["weighting"] == "min-snr"
    assert settings["training"]["learning_rate"] == 1e-4
    assert settings["training"]["seconds"] is None
    model = load(tmp_path / "run")
    assert model.schedule == VP(0.2, 12.0)
    assert model.denoiser.target.name == "epsilon"
    assert model.config.network.width == 16


def test_another_schedule_may_replace_one_with_parameters(unstir, tmp_path):
    unstir.good(
        tmp_path, "train", "digits", "--samples", 32, "--set", "training.batch=32", *TINY_UNET,
        "--out", "run", "--set", "schedule.name=ve", "--set", "schedule.sigma_max=20",
    )  # fmt: skip
    assert config(tmp_path / "run")["settings"]["schedule"] == {
        "name": "ve", "sigma_min": 0.01, "sigma_max": 20.0
    }  # fmt: skip


def test_a_network_of_another_kind_may_replace_the_recipe_s(unstir, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(40, 1, 6)))
    unstir.good(
        tmp_path, "train", "x.npy", "--samples", 32, "--set", "training.batch=32", "--out", "run",
        "--set", "network.kind=unet", "--set", "network.width=8", "--set", "network.multipliers=[1]",
    )  # fmt: skip
    assert load(tmp_path / "run").config.network.multipliers == (1,)


def test_a_recipe_takes_its_data_from_a_path_and_images_train_by_their_folder(unstir, tmp_path):
    rng = np.random.default_rng(0)
    for index in range(24):
        place = tmp_path / "mine" / ("cats" if index % 2 else "dogs") / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)).save(place)
    tiny = ["--samples", 32, "--set", "training.batch=16", *TINY_UNET]
    unstir.good(
        tmp_path, "train", "mnist", "--data", "mine", *tiny, "--set", "network.attention=[]", "--out", "a"
    )
    assert config(tmp_path / "a")["settings"]["data"]["path"] == str(tmp_path / "mine")
    assert load(tmp_path / "a").config.event == (3, 6, 6)
    unstir.good(tmp_path, "train", "mine", *tiny)
    model = load(tmp_path / "runs" / "mine")
    assert model.config.classes == ("cats", "dogs")
    assert model.config.bounds == (0.0, 255.0)


def test_the_same_command_trains_the_same_weights_and_another_seed_others(unstir, tmp_path):
    arguments = ["train", "rings", "--samples", 128, "--set", "training.batch=32", *TINY_MLP]
    for out, more in (("a", ()), ("b", ()), ("c", ("--set", "training.seed=1"))):
        unstir.good(tmp_path, *arguments, *more, "--out", out)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_a_finished_run_goes_on_with_a_larger_budget(unstir, run, tmp_path):
    printed = unstir.good(tmp_path, "train", "--resume", "--out", "run", "--samples", 1024)
    assert "resuming after 768 samples" in printed
    assert "trained on 1,024 samples" in printed
    assert config(run)["samples"] == 1024
    assert sorted(p.name for p in (run / "checkpoints").iterdir())[-1] == f"{1024:012d}"
    lines = [json.loads(line)["samples"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines == sorted(set(lines))
    assert lines[-1] == 1024


def test_resuming_a_finished_run_changes_no_weight(unstir, run, tmp_path):
    before = weights(run)
    assert "resuming after 768 samples" in unstir.good(tmp_path, "train", "--resume", "--out", "run")
    assert same(weights(run), before)


def test_a_damaged_checkpoint_is_named_and_the_run_goes_on_from_the_one_before(unstir, run, tmp_path):
    before = weights(run)
    file = run / "checkpoints" / f"{768:012d}" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 16
    file.write_bytes(content)
    printed = unstir.good(tmp_path, "train", "--resume", "--out", "run")
    assert "768/model.safetensors is damaged" in printed
    assert "the checkpoint before it is used" in printed
    assert "resuming after 640 samples" in printed
    assert same(weights(run), before)


def test_overwrite_replaces_a_run(unstir, run, tmp_path):
    unstir.good(
        tmp_path, "train", "two-moons", "--samples", 64, *TINY_MLP, "--set", "training.batch=32",
        "--out", "run", "--overwrite",
    )  # fmt: skip
    assert config(run)["recipe"] == "two-moons"
    assert [p.name for p in (run / "checkpoints").iterdir()] == [f"{64:012d}"]
    assert (run / "metrics.jsonl").read_text().count("\n") == 1
    assert yaml.safe_load((run / "settings.yaml").read_text())["recipe"] == "two-moons"
