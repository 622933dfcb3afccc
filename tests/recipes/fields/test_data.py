"""From settings to training data: every problem and file, joint and conditional."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unstir.recipes.fields.baseline import Ensemble
from unstir.recipes.fields.data import load
from unstir.recipes.fields.exact import exact_posterior
from unstir.recipes.fields.metrics import apart, honesty, relative_errors
from unstir.recipes.fields.poisson import PoissonProblem
from unstir.recipes.fields.sensors import scattered
from unstir.recipes.settings import DataSettings


def settings(path=None, **options):
    return DataSettings(source="fields", path=path, options={"size": 8, "samples": 40, **options})


@pytest.mark.parametrize("problem", ["poisson", "darcy", "reaction"])
def test_joint_data_are_standardised_pairs_with_what_is_known(problem):
    splits = load(settings(problem=problem, draws=3))
    assert len(splits.train) == 3 * (40 - len(splits.heldout))
    x, condition = splits.train.batch(slice(0, len(splits.train)))
    assert x.shape[1:] == (2, 8, 8)
    torch.testing.assert_close(x.mean(dim=(0, 2, 3)), torch.zeros(2), rtol=0, atol=1e-4)
    torch.testing.assert_close(x.std(dim=(0, 2, 3)), torch.ones(2), rtol=1e-2, atol=0)
    known = condition["known"]
    given = ~known.isnan()
    assert 0.05 < float(given.float().mean()) < 0.95
    # What is known is the pair's own value, or that with the sensors' noise.
    assert float((known - x)[given].abs().max()) < 0.1 * 6


def test_heldout_pairs_are_in_no_training_row():
    splits = load(settings(draws=2))
    train = {row.tobytes() for row in np.asarray(splits.train.x[:])}
    assert not train & {row.tobytes() for row in np.asarray(splits.heldout.x[:])}


def test_conditional_data_are_second_fields_told_the_first():
    joint, conditional = load(settings()), load(settings(mode="conditional"))
    pair = np.asarray(joint.heldout.x[:])
    np.testing.assert_array_equal(conditional.heldout.x, pair[:, 1:])
    np.testing.assert_array_equal(conditional.heldout.conditions["source"].values, pair[:, :1])
    _, condition = conditional.train.batch(slice(0, 36))
    assert abs(float(condition["source"].std()) - 1.0) < 0.05


def test_a_file_of_pairs_trains_like_a_problem(tmp_path):
    source, potential = PoissonProblem((6,)).draw(30)
    np.savez(tmp_path / "pairs.npz", source=source[:, 0].numpy(), solution=potential[:, 0].numpy())
    splits = load(settings(path=str(tmp_path / "pairs.npz"), sensors=(2, 100)))
    assert splits.train.event == (2, 6)
    assert splits.train.batch(slice(0, 4))[1]["known"].shape == (4, 2, 6)


def test_fields_of_several_channels_are_solved_for_but_not_joined(tmp_path):
    path = str(tmp_path / "pairs.npz")
    rng = np.random.default_rng(0)
    np.savez(path, source=rng.random((30, 2, 8, 8)), solution=rng.random((30, 8, 8)))
    splits = load(settings(path=path, mode="conditional"))
    assert splits.train.event == (1, 8, 8)
    assert splits.train.conditions["source"].shape == (2, 8, 8)
    with pytest.raises(ValueError, match=r"2 and 1; set data\.options\.mode=conditional"):
        load(settings(path=path))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"problme": "darcy"}, "unknown setting 'problme'; did you mean 'problem'"),
        ({"problem": "heat"}, "poisson"),
        ({"shares": (0.5, 0.5, 0.5, 0.0)}, "sum to 1"),
        ({"sensors": (9, 3)}, "rise from at least 1"),
        ({"noise": 0.0}, "noise"),
        ({"medium": "sand"}, "lognormal"),
        ({"smoothness": float("nan")}, "smoothness"),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        load(settings(**options))


def test_too_few_pairs_or_a_constant_field_are_one_sentence(tmp_path):
    path = tmp_path / "pairs.npz"
    np.savez(path, x=np.random.default_rng(0).random((10, 6)), y=np.zeros((10, 6)))
    with pytest.raises(ValueError, match="at least 20"):
        load(settings(path=str(path)))
    np.savez(path, x=np.random.default_rng(0).random((30, 6)), y=np.zeros((30, 6)))
    with pytest.raises(ValueError, match="nothing to learn"):
        load(settings(path=str(path)))


def test_the_linear_estimate_tends_to_the_exact_posterior():
    problem = PoissonProblem(6)
    pairs = torch.cat(problem.draw(6000), dim=1)
    truth = torch.cat(problem.draw(1, seed=9), dim=1)[0]
    seen = scattered(truth, 8, 0.003, seed=1).on((2, 6, 6))
    estimate = Ensemble(pairs).given(seen)
    exact = exact_posterior(problem, seen.y, seen.operator, seen.noise)
    for channel in (0, 1):
        wrong = (estimate.mean[0, channel] - exact.mean[channel]).norm() / exact.deviation[channel].norm()
        assert float(wrong) < 0.1
        ratio = estimate.deviation[channel].norm() / exact.deviation[channel].norm()
        assert abs(float(ratio) - 1.0) < 0.05


def test_ridge_regression_is_exact_for_a_linear_equation():
    problem = PoissonProblem(6)
    ensemble = Ensemble(torch.cat(problem.draw(200), dim=1))
    source, potential = problem.draw(4, seed=8)
    assert float(relative_errors(ensemble.second_of(source), potential.double()).max()) < 1e-3
    with pytest.raises(ValueError, match="at least 2 pairs"):
        Ensemble(torch.zeros(1, 2, 3))


def test_exact_samples_are_honest_and_others_are_found_out():
    problem = PoissonProblem(6)
    truths = torch.cat(problem.draw(40, seed=4), dim=1).double()
    honest, wide, sure = [], [], []
    for case, truth in enumerate(truths):
        seen = scattered(truth, 6, 0.005, seed=2, index=case).on((2, 6, 6))
        exact = exact_posterior(problem, seen.y, seen.operator, seen.noise)
        x = exact.sample(64, seed=case)
        honest.append(x)
        wide.append(exact.mean + 2.0 * (x - exact.mean))
        sure.append(exact.mean + 0.5 * (x - exact.mean))
    for channel in (0, 1):
        good, vague, bold = (honesty(x, truths, channel) for x in (honest, wide, sure))
        assert abs(good.coverage - good.level) < 0.05
        assert 0.9 < good.error_over_deviation < 1.1
        assert vague.error_over_deviation < 0.6 < 1.6 < bold.error_over_deviation
        assert bold.coverage < 0.75
    one = apart(honest[-1], exact, 0)
    assert 0.8 < one.deviation_ratio < 1.2
    assert abs(apart(wide[-1], exact, 0).deviation_ratio / one.deviation_ratio - 2.0) < 1e-6


def test_relative_errors_are_of_each_sample():
    truth = torch.tensor([[1.0, 0.0], [0.0, 10.0]])
    assert relative_errors(truth + torch.tensor([[0.0, 1.0]]), truth).tolist() == pytest.approx([1.0, 0.1])
    with pytest.raises(ValueError, match="one shape"):
        relative_errors(truth, truth[:1])
    with pytest.raises(ValueError, match="0 everywhere"):
        relative_errors(truth, 0 * truth)
