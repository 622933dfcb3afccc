"""Any function as a denoiser: the exact posterior comes back whatever it predicts and is told of the time."""

import pytest
import torch
from torch import nn

from tests.helpers import SCHEDULES, close
from unstir.denoisers import FromFunction, Gaussian
from unstir.processes import TARGETS, VP, from_betas, linear_betas
from unstir.samplers import sample

X = torch.tensor([[-2.0, 0.3], [0.1, 0.2], [1.5, -1.0]], dtype=torch.float64)
TABLE = from_betas(linear_betas(100, 1e-3, 0.2))


def gaussian(schedule):
    return Gaussian(schedule, torch.tensor([0.4, -0.2]), std=0.5)


def told(schedule=TABLE, **options):
    """What a function is told at 0, 0.005, 0.5, 0.505 and 1."""
    seen = []

    def function(x, time):
        seen.append(time)
        return x

    t = torch.tensor([0.0, 0.005, 0.5, 0.505, 1.0], dtype=torch.float64)
    FromFunction(function, schedule, "x0", **options)(torch.zeros(5, 2), t)
    return seen[0]


@pytest.mark.parametrize("target", list(TARGETS))
@pytest.mark.parametrize("name", ["vp", "ve", "flow", "table", "sub-vp"])
def test_an_exact_prediction_of_any_kind_gives_the_exact_posterior(target, name):
    schedule = SCHEDULES[name]
    exact = gaussian(schedule)
    made = FromFunction(lambda x, t: exact.predict(TARGETS[target], x, t), schedule, target)
    for t in (0.01, 0.3, 0.7, 0.99, torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)):
        close(made(X, t).mean, exact(X, t).mean, rtol=1e-7, atol=1e-7)


def test_a_target_may_be_given_as_an_object():
    assert FromFunction(lambda x, t: x, VP(), TARGETS["v"]).target == TARGETS["v"]


def test_a_table_of_t_steps_is_told_step_i_at_the_time_of_its_end_and_fractions_between():
    close(told(time="discrete"), torch.tensor([0.0, 0.0, 49.0, 49.5, 99.0]), atol=1e-5)


def test_whole_steps_are_integers_of_the_table():
    times = torch.arange(1, 101, dtype=torch.float64) / 100
    seen = []
    made = FromFunction(lambda x, i: seen.append(i) or x, TABLE, "x0", time="discrete", rounded=True)
    made(torch.zeros(100, 2), times)
    assert seen[0].dtype == torch.int64
    assert seen[0].tolist() == list(range(100))


def test_the_number_of_steps_may_be_given_for_a_schedule_without_a_table():
    close(told(VP(), time="discrete", steps=10)[[2, 4]], torch.tensor([4.0, 9.0]), atol=1e-6)


def test_continuous_time_log_snr_and_a_function_of_time():
    times = torch.tensor([0.0, 0.005, 0.5, 0.505, 1.0], dtype=torch.float64)
    close(told(), times, rtol=1e-6)
    close(told(time="log-snr"), TABLE.log_snr(times).clamp(max=20.0), rtol=1e-5)
    close(told(time=lambda t: 1000 * t), 1000 * times, rtol=1e-6)


def test_conditions_pass_through_and_the_state_keeps_its_type():
    shift = torch.tensor([[1.0], [2.0], [3.0]])
    made = FromFunction(lambda x, t, shift: x.half() + shift, VP(), "x0")
    answer = made(torch.zeros(3, 2), 0.5, shift=shift).mean
    assert answer.dtype == torch.float32
    close(answer, shift.expand(3, 2))


def test_a_module_is_a_submodule():
    made = FromFunction(nn.Linear(2, 2), VP())
    assert len(list(made.parameters())) == 2


def test_sampling_with_the_function_is_sampling_with_the_denoiser():
    exact = gaussian(TABLE)

    def network(x, step):
        return exact.epsilon(x, (step.double() + 1) / 100)

    x_T = X.float()
    ours = sample(FromFunction(network, TABLE, time="discrete"), x_T=x_T, steps=12).x
    close(ours, sample(exact, x_T=x_T, steps=12).x, rtol=1e-3, atol=1e-4)


def test_mistakes_are_one_sentence():
    with pytest.raises(ValueError, match="unknown target 'epsilo'; did you mean 'epsilon'"):
        FromFunction(lambda x, t: x, VP(), "epsilo")
    with pytest.raises(ValueError, match="unknown time 'discret'; did you mean 'discrete'"):
        FromFunction(lambda x, t: x, VP(), time="discret")
    with pytest.raises(ValueError, match="number of steps T >= 1"):
        FromFunction(lambda x, t: x, VP(), time="discrete")
    with pytest.raises(ValueError, match=r"returned the shape \(3, 4\) for a state of \(3, 2\)"):
        FromFunction(lambda x, t: torch.cat([x, x], 1), VP())(X, 0.5)
    with pytest.raises(ValueError, match="returned a tuple"):
        FromFunction(lambda x, t: (x,), VP())(X, 0.5)
