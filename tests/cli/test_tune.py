"""`unstir tune` and `unstir bench samplers`: fewer evaluations, and the table that shows them."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from PIL import Image

from tests.cli.commands import check_error, tree
from unstir.model import load


def test_a_tuned_grid_is_stored_and_used_by_default(unstir, plane, tmp_path):
    before = load(plane)
    plane = shutil.copytree(plane, tmp_path / "run")
    text = unstir.good(plane, "tune", plane, "--evaluations", 4, "-n", 32)
    assert "stored in" in text
    model = load(plane)
    (tuned,) = model.config.sampling.tuned
    assert model.config.sampling.steps == len(tuned.levels) + 1 == 4
    x = model.solve(8, seed=3)
    assert (x.nfe, len(x.grid)) == (4, 5)
    levels = torch.exp(-0.5 * model.schedule.log_snr(x.grid[1:-1]))
    torch.testing.assert_close(levels, torch.tensor(tuned.levels, dtype=torch.float64), rtol=1e-6, atol=0)
    # It is nearer to the flow's end than the default, and other steps, solvers and grids are as before.
    fine = before.solve(64, steps=150, solver="multistep-3", seed=3).x
    default = before.solve(64, steps=4, seed=3).x
    assert (model.solve(64, seed=3).x - fine).square().mean() < (default - fine).square().mean()
    for options in ({"steps": 5}, {"steps": 4, "solver": "multistep"}, {"steps": 4, "grid": "arctan"}):
        assert torch.equal(model.sample(4, **options), before.sample(4, **options))
    # The same number tuned again replaces it; another is kept beside it.
    unstir.good(plane, "tune", plane, "--evaluations", 3, "-n", 32)
    assert sorted(len(t.levels) + 1 for t in load(plane).config.sampling.tuned) == [3, 4]


def test_tuning_refuses_in_a_sentence_and_changes_nothing(unstir, trained, tmp_path):
    before = tree(trained)
    check_error(unstir(trained, "tune", trained, "--evaluations", 1), 2, "from 2 evaluations on, got 1")
    check_error(unstir(trained, "tune", trained, "-n", 0), 2, "number of noises is at least 1, got 0")
    check_error(unstir(tmp_path, "tune", "nowhere"), 2, "there is no folder nowhere")
    assert tree(trained) == before


@pytest.mark.slow
def test_the_benchmark_prints_a_table_and_draws_a_plot(unstir, plane, tmp_path):
    arguments = ("bench", "samplers", plane, "--evaluations", "4,8", "--solvers", "ddim,multistep", "-n", 8)
    text = unstir.good(tmp_path, *arguments, "--grids", "uniform", "--out", "plot.png")
    assert "multistep" in text
    assert "drawn in plot.png" in text
    assert Image.open(tmp_path / "plot.png").size[0] > 400
    found = json.loads(unstir.good(tmp_path, *arguments, "--json"))
    assert [row["solver"] for row in found["rows"]] == ["multistep", "ddim"]
    assert found["budgets"] == [4, 8]
    exact = unstir.good(
        tmp_path, "bench", "samplers", "--evaluations", "4", "--solvers", "multistep", "-n", 4, "--json"
    )
    assert len(json.loads(exact)["tasks"]) == 24


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--evaluations", "4,x"), "--evaluations takes whole numbers and commas, got '4,x'"),
        (("--evaluations", "0"), "budgets of at least 1 evaluation"),
        (("--solvers", "multistop"), "unknown solver 'multistop'; did you mean 'multistep"),
        (("--out", "plot.svg"), "the plot is written as .png, got plot.svg"),
        (("nowhere",), "there is no folder nowhere"),
    ],
)
def test_the_benchmark_refuses_in_a_sentence(unstir, tmp_path, arguments, sentence):
    check_error(unstir(tmp_path, "bench", "samplers", "-n", 2, *arguments), 2, sentence)
    assert tree(tmp_path) == {}
