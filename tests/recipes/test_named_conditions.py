"""Named conditions, each way in: resumed, dropped, mirrored, distilled, tuned, and likely as data say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unstir.evaluation import likelihood_of_data
from unstir.guidance import ClassifierFree
from unstir.model import Model, load
from unstir.recipes import LOADERS, RunSettings, Splits
from unstir.recipes import distill as distillation
from unstir.recipes.distill import distill_run
from unstir.recipes.likelihood import choose, likelihood_run
from unstir.recipes.run import build_model, train_run
from unstir.recipes.tune import JUDGING, TUNING, conditions_for, noise_task, tune_run
from unstir.settings import parse_settings
from unstir.training import ArrayData, ConditionArray, DistillationSettings, Distiller, Scaling, Trainer

SHAPES = {"embed": (3,), "channels": (2, 8), "image": (1, 9, 9)}
HOWS = pytest.mark.parametrize("how", SHAPES, indirect=True)


def data_of(how, n, *, seed=0, drop=0.25, flip=False):
    """Waves of eight cells whose height is the mean of their condition, in other units than those inside."""
    rng = np.random.default_rng(seed)
    height = rng.standard_normal((n, 1))
    values = 2.0 + 4.0 * (height + 0.1 * rng.standard_normal((n, int(np.prod(SHAPES[how]))))).astype(
        np.float32
    )
    x = height[..., None] + 0.3 * rng.standard_normal((n, 1, 8))
    known = values.reshape(n, *SHAPES[how])
    condition = ConditionArray(known, how=how, scaling=Scaling((2.0,), (4.0,)), drop=drop)
    return ArrayData(x.astype(np.float32), flip=flip, conditions={"type": condition})


def settings(**training):
    values = {
        "recipe": "waves",
        "data": {"source": "array", "path": "waves"},
        "schedule": "vp",
        "network": {"kind": "unet", "width": 8, "multipliers": [1]},
        "training": {"samples": 64, "batch": 16, "seed": 3, "drop_condition": 0.2, **training},
        "sampling": {"steps": 3},
    }
    return parse_settings(RunSettings, values)


@pytest.fixture(scope="module")
def how(request):
    return request.param


@pytest.fixture(scope="module")
def splits(how):
    made = Splits(data_of(how, 48), data_of(how, 12, seed=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LOADERS, "array", lambda data: made)
        yield made


@pytest.fixture(scope="module")
def run(splits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train_run(settings(), folder, splits=splits)
    return folder


def all_among(rows, every):
    return bool((rows[:, None] == every).all(2).any(1).all())


def weights(model):
    return model.denoiser.module.state_dict()


@HOWS
def test_a_resumed_training_is_the_one_that_was_not_stopped(splits, tmp_path):
    whole, part = build_model(settings(), splits), build_model(settings(), splits)
    for _ in Trainer(whole.denoiser, splits.train, settings().training).run():
        pass
    first = Trainer(part.denoiser, splits.train, settings().training, tmp_path)
    for progress in first.run():
        if progress.samples == 32:
            break
    first.save()
    again = build_model(settings(), splits)
    second = Trainer(again.denoiser, splits.train, settings().training, tmp_path)
    assert second.restore() == []
    assert second.samples == 32
    for _ in second.run():
        pass
    for name, value in weights(whole).items():
        assert torch.equal(weights(again)[name], value), name
    assert not all(torch.equal(weights(part)[name], value) for name, value in weights(whole).items())


@HOWS
def test_a_condition_is_dropped_with_all_and_alone_in_its_share(splits):
    model = build_model(settings(), splits)
    trainer = Trainer(model.denoiser, splits.train, settings().training)
    distiller = Distiller(
        model.denoiser,
        model.denoiser,
        model.config.event,
        DistillationSettings(samples=16, drop_condition=0.2),
        splits.train,
    )
    index = torch.arange(6000)
    for condition in (trainer._rows(index)[1], distiller._conditions(index)):
        lost = condition["type"].flatten(1).isnan()
        assert torch.equal(lost.any(1), lost.all(1))
        share = float(lost.all(1).double().mean())
        assert share == pytest.approx(1 - 0.8 * 0.75, abs=4 * (0.4 * 0.6 / 6000) ** 0.5)


@HOWS
def test_the_model_scales_a_condition_as_training_did(run, splits):
    model, rows = load(run), torch.arange(4)
    given = {"type": torch.from_numpy(splits.train.conditions["type"].values[:4])}
    assert torch.equal(model.condition(4, given)["type"], splits.train.batch(rows)[1]["type"])
    assert model.describe()["conditions"].startswith("type ")


@HOWS
def test_a_student_learns_from_jumps_of_every_condition(run, splits, tmp_path, monkeypatch):
    seen = []

    class Watched(Distiller):
        def solve(self, number):
            seen.append(super().solve(number))
            return seen[-1]

    monkeypatch.setattr(distillation, "Distiller", Watched)
    outcome = distill_run(run, tmp_path / "few", samples=16, guidance=1.0)
    assert outcome.samples >= 16
    given = seen[0].condition["type"]
    assert given.shape[1:] == splits.train.conditions["type"].shape
    rows = given[~given.flatten(1).isnan().any(1)].flatten(1)
    every = splits.train.batch(slice(None))[1]["type"].flatten(1)
    assert len(rows) > 0
    assert all_among(rows, every)
    assert load(tmp_path / "few").about["distillation"]["guidance"] == 1.0


@HOWS
def test_conditions_to_tune_with_are_those_of_held_out_data(run, splits):
    model = load(run)
    every = splits.heldout.unscaled().batch(slice(None))[1]["type"].flatten(1)
    both = torch.cat([conditions_for(model, 4, turn=turn)["type"].flatten(1) for turn in (0, 1)])
    assert all_among(both, every)
    assert len(torch.unique(both, dim=0)) == 8
    assert conditions_for(model, 30)["type"].shape[0] == 30  # more than there are


@pytest.mark.parametrize("how", ["embed"], indirect=True)
def test_a_grid_is_tuned_and_judged_with_conditions_and_guidance(run, splits):
    model = load(run)
    sampling = model.config.sampling.model_copy(update={"guidance": 1.0})
    model.config = model.config.model_copy(update={"sampling": sampling})
    tuning, judging = (noise_task(model, 4, first_index=first) for first in (TUNING, JUDGING))
    assert isinstance(tuning.denoiser, ClassifierFree)
    both = torch.cat([task.condition["type"] for task in (tuning, judging)])
    assert all_among(both, splits.heldout.batch(slice(None))[1]["type"])
    assert len(torch.unique(both, dim=0)) == 8  # none is tuned on and judged by


@pytest.mark.parametrize("how", ["embed"], indirect=True)
def test_a_run_is_tuned(run, splits):
    result = tune_run(run, 2, n=3)
    assert result.error >= 0.0
    assert (len(load(run).config.sampling.tuned) == 1) is result.kept


@HOWS
def test_a_likelihood_is_one_given_the_condition_as_training_saw_it(run, splits):
    model = load(run)
    x, condition = choose(splits.heldout, 12, seed=5)
    inside, expected = splits.heldout.batch(slice(None))
    assert torch.equal(model.condition(12, condition)["type"], expected["type"])
    torch.testing.assert_close(model.scaling.to_internal(x), inside)
    found = likelihood_run(run, n=1)
    assert found.given == ("type",)
    row = torch.nonzero((x == choose(splits.heldout, 1, seed=0)[0]).flatten(1).all(1)).flatten()
    given = {"type": expected["type"][row]}
    direct = likelihood_of_data(model.denoiser, x[row], model.scaling, condition=given)
    torch.testing.assert_close(found.likelihood.nats, direct.nats)


@HOWS
def test_mirrored_samples_take_what_lies_beside_them_along(how):
    if how == "image":
        with pytest.raises(ValueError, match="mirrored samples would not fit their condition 'type'"):
            data_of(how, 8, flip=True)
        return
    data = data_of(how, 40, drop=0.0, flip=True)
    model = build_model(settings(), Splits(data, data))
    trainer = Trainer(model.denoiser, data, settings(drop_condition=0.0).training)
    x, condition = trainer._rows(torch.arange(40))
    plain, given = data.batch(trainer.order[1])
    turned = (x != plain).flatten(1).any(1)
    assert 5 < int(turned.sum()) < 35
    assert torch.equal(x[turned], plain[turned].flip(-1))
    expected = given["type"].clone()
    if how == "channels":
        expected[turned] = expected[turned].flip(-1)
    assert torch.equal(condition["type"], expected)


@HOWS
def test_a_model_that_never_saw_data_without_their_condition_is_asked_with_it(splits):
    strict = settings(drop_condition=0.0)
    model = build_model(strict, splits)
    with pytest.raises(ValueError, match=r"whose type is not given; give condition=\{'type': \.\.\.\}"):
        model.sample(2)
    with pytest.raises(ValueError, match=r"whose type is not given; give condition=\{'type': \.\.\.\}"):
        model.log_likelihood(torch.zeros(2, *model.config.event))
    with pytest.raises(ValueError, match="does not know data whose type is not given"):
        model.sample(2, negative={"type": np.zeros(splits.train.conditions["type"].shape)}, guidance=1.0)
    assert model.sample(2, condition={"type": np.zeros(splits.train.conditions["type"].shape)}).shape[0] == 2
    bare = Model(model.config, about={})
    bare.denoiser.unconditional = False
    with pytest.raises(ValueError, match="no settings of a run say where to find them"):
        noise_task(bare, 2)


@HOWS
def test_data_of_which_some_come_without_a_condition_teach_the_model_that(how):
    data = data_of(how, 24)
    values = data.conditions["type"].values.copy()
    values[5] = np.nan
    blank = ArrayData(data.x, conditions={"type": ConditionArray(values, how=how)})
    model = build_model(settings(drop_condition=0.0), Splits(blank, blank))
    assert model.denoiser.unconditional
    assert Model(model.config, about=model.about).sample(1).shape == (1, 1, 8)


def test_the_command_line_says_what_it_cannot_give(tmp_path):
    from typer.testing import CliRunner

    from unstir.cli import app

    data = data_of("embed", 24)
    splits = Splits(data, data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LOADERS, "array", lambda _: splits)
        train_run(settings(drop_condition=0.0, samples=16), tmp_path / "run", splits=splits)
        out = ["--out", str(tmp_path / "x.npy"), "-n", "2"]
        result = CliRunner().invoke(app, ["sample", str(tmp_path / "run"), *out])
    assert isinstance(result.exception, ValueError) or result.exit_code == 2
    said = f"{result.output}{result.exception}"
    assert "whose type is not given; it cannot be given on the command line" in " ".join(said.split())
    assert not (tmp_path / "x.npy").exists()
