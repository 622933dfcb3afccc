"""The numbers of the trained model: an exact one passes, a dishonest one does not, a short training helps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from unstir.processes import VP
from unstir.recipes.domain import Plan
from unstir.recipes.fields.baseline import Ensemble
from unstir.recipes.fields.data import load, options_of
from unstir.recipes.fields.defaults import settings
from unstir.recipes.fields.exact import PairDenoiser
from unstir.recipes.fields.known import Known
from unstir.recipes.fields.methods import ExactModel
from unstir.recipes.fields.poisson import PoissonProblem
from unstir.recipes.fields.problems import problem_of
from unstir.recipes.fields.task import infer
from unstir.recipes.fields.trained import (
    SEED,
    inference_numbers,
    inverse_cases,
    solution_numbers,
    trained_numbers,
)
from unstir.recipes.run import build_model, train_run
from unstir.recipes.settings import RunSettings


@pytest.fixture(scope="module")
def problem():
    return PoissonProblem(8)


@pytest.fixture(scope="module")
def ensemble(problem):
    return Ensemble(torch.cat(problem.draw(1000, 0), dim=1))


class Stretched(ExactModel):
    """Samples whose deviations are wrong by a factor, and whose mean is right."""

    def __init__(self, denoiser, factor):
        super().__init__(denoiser)
        self.factor = factor

    def solve(self, n, **options):
        found = super().solve(n, **options)
        mean = found.x.mean(0)
        return dataclasses.replace(found, x=mean + self.factor * (found.x - mean))


def test_the_exact_denoiser_keeps_every_limit(problem, ensemble):
    numbers = inference_numbers(
        ExactModel(PairDenoiser(VP(), problem)), inverse_cases(problem, 4), ensemble, draws=256
    )
    assert all(number.ok for number in numbers.values())
    for name in ("source", "potential"):
        assert abs(numbers[f"sensor_error_ratio_{name}"].value - 1.0) < 0.1
        assert abs(numbers[f"deviation_ratio_{name}"].value - 1.0) < 0.06
        assert abs(numbers[f"coverage_90_{name}"].value - 0.9) < 0.02


@pytest.mark.parametrize("factor", [0.6, 2.0])
def test_a_posterior_of_the_wrong_width_falls_short(problem, ensemble, factor):
    model = Stretched(PairDenoiser(VP(), problem), factor)
    numbers = inference_numbers(model, inverse_cases(problem, 2), ensemble, draws=128)
    for name in ("source", "potential"):
        assert not numbers[f"deviation_ratio_{name}"].ok
        assert not numbers[f"coverage_90_{name}"].ok
        assert numbers[f"sensor_error_ratio_{name}"].ok


def test_a_model_of_another_source_falls_short(problem, ensemble):
    rough = PoissonProblem(8, smoothness=0.5)
    numbers = inference_numbers(
        ExactModel(PairDenoiser(VP(), rough)), inverse_cases(problem, 2), ensemble, draws=128
    )
    assert not all(number.ok for number in numbers.values())


def test_solving_by_the_exact_denoiser_is_solving_exactly(problem, ensemble):
    numbers = solution_numbers(ExactModel(PairDenoiser(VP(), problem)), problem, ensemble, n=16)
    assert numbers["relative_l2"].ok
    assert numbers["relative_l2"].baseline < 1e-3  # a linear equation from more pairs than modes


def test_no_pair_that_is_judged_was_trained_on(problem):
    recipe = small()
    trained = torch.from_numpy(np.asarray(load(recipe.data).train.x[np.arange(200)]))
    judged = torch.stack([case.pair for case in inverse_cases(problem, 8)])
    solved = torch.cat(problem.draw(8, SEED), dim=1)
    for pairs in (judged, solved):
        apart = (pairs[:, None] - trained[None]).flatten(2).norm(dim=2)
        assert float(apart.min()) > 0.1


def test_the_default_is_told_whole_fields_and_asked_about_sensors_by_guidance():
    recipe = small()
    splits = load(recipe.data)
    model = build_model(recipe, splits)
    assert model.config.network.spectrum is not None
    case = inverse_cases(PoissonProblem(8), 1)[0]
    assert infer(model, case.sensors, n=2).method == "mmps"
    with pytest.raises(ValueError, match="not trained on sensors"):
        infer(model, case.sensors, n=2, method="learned")


def pairs(n=2000):
    return np.random.default_rng(0).standard_normal((n, 2, 4, 4)).astype(np.float32)


def test_what_is_known_comes_in_the_shares_that_were_asked_for():
    x = pairs()
    known = Known(x, noise_levels=(0.1, 0.2), shares=(0.4, 0.3, 0.2, 0.1), counts=(2, 8))[:]
    given = (~np.isnan(known)).sum(axis=(2, 3))
    nothing = (given.sum(1) == 0).mean()
    first = ((given[:, 0] == 16) & (given[:, 1] == 0)).mean()
    second = ((given[:, 0] == 0) & (given[:, 1] == 16)).mean()
    for share, asked in ((nothing, 0.4), (first, 0.2), (second, 0.1)):
        assert abs(share - asked) < 4 * (asked * (1 - asked) / len(x)) ** 0.5
    sensed = given.sum(1)[(given.sum(1) > 0) & (given.sum(1) < 16)]
    assert sensed.min() == 2
    assert sensed.max() == 8


def test_whole_fields_are_known_exactly_and_sensors_with_their_noise():
    x = pairs()
    whole = Known(x, noise_levels=(0.1, 0.2), shares=(0.0, 0.0, 0.5, 0.5), counts=(2, 8))[:]
    assert np.array_equal(whole[~np.isnan(whole)], x[~np.isnan(whole)])
    sensed = Known(x, noise_levels=(0.1, 0.2), shares=(0.0, 1.0, 0.0, 0.0), counts=(2, 8))[:]
    error = sensed - x
    for channel, level in ((0, 0.1), (1, 0.2)):
        values = error[:, channel][~np.isnan(error[:, channel])]
        assert abs(values.std() / level - 1.0) < 4 / (2 * len(values)) ** 0.5
        assert abs(values.mean()) < 4 * level / len(values) ** 0.5


def test_what_is_known_of_a_row_does_not_depend_on_the_others():
    known = Known(pairs(50), noise_levels=(0.1, 0.1), counts=(2, 8))
    np.testing.assert_array_equal(known[:][[3, 41]], known[np.array([3, 41])])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"shares": (0.5, 0.5, 0.5, 0.5)}, "sum to 1"), ({"counts": (2, 17)}, "1 to 16 sensors")],
)
def test_what_cannot_be_known_is_one_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Known(pairs(4), noise_levels=(0.1, 0.1), **options)


def small(samples=2000):
    """The default at 8 x 8 cells, in a few seconds."""
    changed = settings().model_dump()
    changed["data"]["options"] |= {"size": 8, "samples": 400}
    changed["network"] |= {"width": 8, "layers": 2}
    changed["training"] |= {"samples": samples}
    return RunSettings.model_validate(changed)


@pytest.mark.slow
def test_a_short_training_already_solves_better_than_none(tmp_path, monkeypatch):
    monkeypatch.setattr("unstir.recipes.fields.trained.CASES", 1)
    errors = []
    for samples in (64, 12_000):
        plan = Plan(
            lambda recipe, name: train_run(recipe, tmp_path / f"{name}-{recipe.training.samples}").model,
            tmp_path,
            seeds=(0,),
        )
        recipe = small(samples)
        assert options_of(recipe.data).size == 8
        numbers = trained_numbers(plan, recipe)
        errors.append(numbers["relative_l2"].value)
        assert all(np.isfinite(number.value) for number in numbers.values())
        assert numbers["solve_seconds"].interval is None
    assert errors[1] < 0.5 * errors[0]


def test_a_network_that_has_learned_nothing_falls_short_in_the_source():
    recipe = settings()
    recipe = recipe.model_copy(
        update={"data": recipe.data.model_copy(update={"options": {**recipe.data.options, "size": 16}})}
    )
    model = build_model(recipe, load(recipe.data))
    problem = problem_of(options_of(recipe.data))
    ensemble = Ensemble(torch.cat(problem.draw(512, recipe.data.seed), dim=1))
    numbers = inference_numbers(model, inverse_cases(problem, 1), ensemble, draws=16)
    assert not numbers["sensor_error_ratio_source"].ok
    solved = solution_numbers(model, problem, ensemble, n=16)
    assert not solved["relative_l2"].ok
