"""What a user asks: the second field of the first, and both from sensors."""

from __future__ import annotations

import math

import pytest
import torch

from unstir.processes import VP, Flow
from unstir.recipes.fields.check import cases, exact_numbers
from unstir.recipes.fields.data import load
from unstir.recipes.fields.exact import PairDenoiser
from unstir.recipes.fields.methods import ExactModel, find_method
from unstir.recipes.fields.metrics import apart
from unstir.recipes.fields.poisson import PoissonProblem
from unstir.recipes.fields.sensors import Sensors
from unstir.recipes.fields.task import infer, solve
from unstir.recipes.run import build_model
from unstir.recipes.settings import RunSettings


@pytest.fixture(scope="module")
def exact():
    return ExactModel(PairDenoiser(VP(), PoissonProblem(8)))


def untrained(**options):
    """A model as it is before training: every path to and from it is that of a trained one."""
    settings = RunSettings.model_validate(
        {
            "recipe": "fields",
            "data": {"source": "fields", "options": {"size": 8, "samples": 40, **options}},
            "schedule": "vp",
            "network": {"kind": "unet", "width": 8, "multipliers": (1,)},
            "training": {"samples": 64},
        }
    )
    return build_model(settings, load(settings.data)), settings


def test_mmps_with_the_exact_denoiser_is_the_exact_posterior(exact):
    case = cases(exact.denoiser.problem, [1])[0]
    n = 1024
    found = infer(exact, case.sensors, n=n, method="mmps", seed=1)
    for channel in (0, 1):
        one = apart(found.samples, case.exact, channel)
        assert one.mean_in_deviations < 3.0 / math.sqrt(n)
        assert 0.95 < one.deviation_ratio < 1.05
        assert 0.87 < one.coverage < 0.93


def test_the_numbers_of_the_check_keep_their_limits_on_a_small_grid():
    numbers = exact_numbers((0,), size=8, samples=1024)
    assert all(number.ok for number in numbers.values()), numbers


def test_the_whole_source_gives_the_potential_of_the_exact_solver(exact):
    source, potential = exact.denoiser.problem.draw(3, seed=2)
    found = solve(exact, source, noise=1e-3, n=2)
    errors = (found - potential).flatten(1).norm(dim=1) / potential.flatten(1).norm(dim=1)
    assert float(errors.max()) < 0.01


def test_inference_does_not_depend_on_the_batch(exact):
    """Steps of one sample know nothing of the others: no norm goes over the batch."""
    case = cases(exact.denoiser.problem, [1])[0]
    for method in ("mmps", "dps"):
        many = infer(exact, case.sensors, n=6, method=method, seed=4, steps=5).samples
        one = infer(exact, case.sensors, n=1, method=method, seed=4, steps=5).samples
        torch.testing.assert_close(many[:1], one, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["mmps", "dps", "pigdm", "diffpir", "ddrm", "particles"])
def test_every_method_draws_finite_samples_of_both_fields(exact, method):
    # One sensor: where many say the same, a method that takes them for independent goes astray. DiffPIR
    # and DDRM change the measured cell alone, which a smooth field smooths away: there the shape is promised.
    sensors = Sensors(torch.tensor([[0.5, 0.5]]), torch.tensor([0.05]), 0.005)
    found = infer(exact, sensors, n=4, method=method, seed=0)
    assert tuple(found.samples.shape) == (4, 2, 8, 8)
    assert bool(torch.isfinite(found.samples).all())
    if method not in ("diffpir", "ddrm"):
        assert abs(float(found.mean[1, 4, 4]) - 0.05) < 0.03


def test_pigdm_is_damped_where_sensors_of_a_smooth_field_say_nearly_the_same(exact):
    case = cases(exact.denoiser.problem, [1])[0]
    found = infer(exact, case.sensors, n=32, method="pigdm", seed=1)
    plain = infer(exact, case.sensors, n=32, method="pigdm", seed=1, damped=False)
    for channel in (0, 1):
        assert apart(found.samples, case.exact, channel).mean_in_deviations < 1.5
        assert apart(plain.samples, case.exact, channel).mean_in_deviations > 15.0


def test_any_schedule_serves(exact):
    model = ExactModel(PairDenoiser(Flow(), exact.denoiser.problem))
    case = cases(exact.denoiser.problem, [1])[0]
    one = apart(infer(model, case.sensors, n=512, seed=1).samples, case.exact, 1)
    assert 0.9 < one.deviation_ratio < 1.1


def test_a_model_that_was_trained_on_sensors_is_asked_by_its_own_condition():
    model, settings = untrained()
    level = model.scaling.scale[1] * settings.data.options.get("noise", 0.1)
    sensors = Sensors(torch.tensor([[0, 1], [3, 3], [5, 2], [6, 6], [7, 0]]), torch.zeros(5), level)
    assert infer(model, sensors, n=2, steps=2).method == "learned"
    assert infer(model, sensors, n=2, steps=2, method="dps").method == "dps"
    other = Sensors(sensors.places, sensors.values, 2 * level)
    assert infer(model, other, n=2, steps=2).method == "mmps"
    with pytest.raises(ValueError, match=r"trained for sensors whose noise is 0\.1"):
        infer(model, other, n=2, method="learned")


@pytest.mark.parametrize(("problem", "solver"), [("poisson", "multistep"), ("reaction", "stochastic-heun")])
def test_where_fields_are_not_gaussian_mmps_is_sampled_with_noise(problem, solver):
    model, _ = untrained(problem=problem)
    assert find_method("mmps", model).sampler == solver


def test_both_kinds_of_model_solve_for_the_second_field():
    source = torch.randn(3, 8, 8)
    for options in ({"mode": "joint"}, {"mode": "conditional"}):
        model, _ = untrained(**options)
        assert tuple(solve(model, source, steps=2, n=2).shape) == (3, 1, 8, 8)
    with pytest.raises(ValueError, match=r"shape \(batch, 1, 8, 8\), got \(3, 7, 8\)"):
        solve(model, source[:, :7], steps=2)


def test_what_cannot_be_asked_is_one_sentence(exact):
    sensors = Sensors(torch.zeros(1, 2), torch.zeros(1), 0.1)
    with pytest.raises(ValueError, match="did you mean 'mmps'"):
        infer(exact, sensors, method="mpps")
    with pytest.raises(ValueError, match="was not trained to know sensors"):
        infer(exact, sensors, method="learned")
    with pytest.raises(ValueError, match="has learned nothing"):
        solve(exact, torch.zeros(1, 8, 8), method="learned")
    with pytest.raises(ValueError, match="holds a value that is not finite"):
        solve(exact, torch.full((1, 8, 8), math.nan))
    with pytest.raises(ValueError, match="mmps has no option 'iteration'; did you mean 'iterations'"):
        infer(exact, sensors, iteration=3)
    with pytest.raises(ValueError, match="ddrm has no option 'iterations'; it has none"):
        infer(exact, sensors, method="ddrm", iterations=3)


def test_a_model_is_asked_only_what_it_was_trained_for():
    sensors = Sensors(torch.zeros(1, 2), torch.zeros(1), 0.1)
    source = torch.randn(1, 8, 8)
    model, _ = untrained(mode="conditional")
    with pytest.raises(ValueError, match="knows the second field only"):
        infer(model, sensors, n=2)
    with pytest.raises(ValueError, match="knows the second field only"):
        solve(model, source, method="mmps")
    blind, _ = untrained(shares=(0.5, 0.5, 0.0, 0.0))
    with pytest.raises(ValueError, match=r"never trained with the first field known \(data.options.shares\)"):
        solve(blind, source, method="learned")
    assert tuple(solve(blind, source, steps=2).shape) == (1, 1, 8, 8)  # by guidance then
    told, _ = untrained(shares=(0.0, 0.6, 0.3, 0.1))
    with pytest.raises(ValueError, match="never trained with nothing known"):
        infer(told, sensors, n=2, method="mmps")
    assert tuple(solve(told, source, steps=2).shape) == (1, 1, 8, 8)
    level = float(told.scaling.scale[1] * 0.1)
    with pytest.raises(ValueError, match="the method learned has no option 'iterations'; it has solver"):
        infer(told, Sensors(torch.zeros(1, 2), torch.zeros(1), level), n=2, iterations=3)
