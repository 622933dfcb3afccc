import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import PURE_NOISE, SCHEDULES, close, derivative
from unstir.processes import EPSILON, SCORE, TARGETS, V_PREDICTION, VELOCITY, VP, X0, Cosine, Flow, convert

names = st.sampled_from(sorted(SCHEDULES))
targets = st.sampled_from(list(TARGETS.values()))
numbers = st.floats(-3.0, 3.0)
FINITE_AT_NOISE = [X0, V_PREDICTION, VELOCITY]
FINITE_AT_DATA = [EPSILON, X0, V_PREDICTION]


def pair(x_0, epsilon):
    return torch.tensor([[x_0]], dtype=torch.float64), torch.tensor([[epsilon]], dtype=torch.float64)


def state(schedule, x_0, epsilon, t):
    return schedule.alpha(t) * x_0 + schedule.sigma(t) * epsilon


@given(name=names, source=targets, target=targets, t=st.floats(1e-4, 0.9999), x_0=numbers, epsilon=numbers)
def test_every_target_becomes_every_other(name, source, target, t, x_0, epsilon):
    schedule = SCHEDULES[name]
    x_0, epsilon = pair(x_0, epsilon)
    x_t = state(schedule, x_0, epsilon, t)
    y, expected = (kind.of(schedule, x_0, epsilon, t) for kind in (source, target))
    # x_t and y are rounded at the size of their terms; the maps to x_0 and on amplify that.
    a, b = source.inverse(schedule, t)
    p, q = (float(v.abs()) for v in source.mixture(schedule, t))
    size = 3.0 * float(a.abs() * (schedule.alpha(t) + schedule.sigma(t)) + b.abs() * (p + q)) + 3.0
    tolerance = 1e-14 * size * max(1.0, float(target.error_scale(schedule, t)))
    if target == X0:
        tolerance = 1e-14 * size
    close(convert(y, source, target, schedule, x_t, t), expected, rtol=1e-13, atol=tolerance)


@given(name=names, target=targets, t=st.floats(1e-3, 0.999))
def test_mixture_and_inverse_are_inverse_matrices(name, target, t):
    schedule = SCHEDULES[name]
    (p, q), (a, b) = target.mixture(schedule, t), target.inverse(schedule, t)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    # x_0 = a x_t + b y with x_t = alpha x_0 + sigma epsilon and y = p x_0 + q epsilon.
    close(a * alpha + b * p, 1.0, atol=1e-13 * float((a * alpha).abs() + (b * p).abs()))
    close(a * sigma + b * q, 0.0, atol=1e-13 * float((a * sigma).abs() + (b * q).abs()))


@given(name=names, target=targets, t=st.floats(1e-3, 0.999), error=st.floats(0.01, 1.0))
def test_the_error_scale_turns_errors_of_the_data_into_errors_of_the_target(name, target, t, error):
    schedule = SCHEDULES[name]
    x_0, epsilon = pair(0.4, -0.7)
    x_t = state(schedule, x_0, epsilon, t)
    change = target.from_x_0(schedule, x_t, x_0 + error, t) - target.from_x_0(schedule, x_t, x_0, t)
    close(change.abs(), target.error_scale(schedule, t) * error * torch.ones_like(x_0), rtol=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_velocity_is_the_time_derivative_at_fixed_data_and_noise(name):
    schedule = SCHEDULES[name]
    t = torch.linspace(0.0132, 0.9871, 50, dtype=torch.float64)
    x_0, epsilon = (value.expand(50, 1) for value in pair(0.3, -1.2))
    slope = derivative(lambda u: 0.3 * schedule.alpha(u) - 1.2 * schedule.sigma(u), t)
    close(VELOCITY.of(schedule, x_0, epsilon, t)[:, 0], slope, rtol=1e-9, atol=1e-9)


def test_the_velocity_of_the_flow_is_noise_minus_data():
    x_0, epsilon = pair(0.3, 2.0)
    for t in (0.0, 0.4, 1.0):
        close(VELOCITY.of(Flow(), x_0, epsilon, t), epsilon - x_0, rtol=1e-15)


def test_the_score_target_is_the_gradient_of_the_forward_log_density():
    schedule, (x_0, epsilon) = VP(), pair(0.3, 0.9)
    x_t = state(schedule, x_0, epsilon, 0.3).requires_grad_()
    mean, std = schedule.marginal(x_0, 0.3)
    (score,) = torch.autograd.grad(torch.distributions.Normal(mean, std).log_prob(x_t).sum(), x_t)
    close(SCORE.of(schedule, x_0, epsilon, 0.3), score, rtol=1e-12)


@pytest.mark.parametrize("name", PURE_NOISE)
@pytest.mark.parametrize("target", FINITE_AT_NOISE, ids=lambda target: target.name)
def test_data_is_recovered_from_pure_noise_and_its_target(name, target):
    schedule, (x_0, epsilon) = SCHEDULES[name], pair(0.3, 0.9)
    y = target.of(schedule, x_0, epsilon, 1.0)
    assert torch.isfinite(y).all()
    close(target.to_x_0(schedule, state(schedule, x_0, epsilon, 1.0), y, 1.0), x_0, rtol=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("target", list(TARGETS.values()), ids=lambda target: target.name)
def test_at_the_data_every_finite_prediction_gives_the_data(name, target):
    schedule, (x_0, y) = SCHEDULES[name], pair(0.3, 0.9)
    expected = y if target == X0 else x_0
    close(target.to_x_0(schedule, x_0, y, 0.0), expected, rtol=4e-16)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("target", FINITE_AT_DATA, ids=lambda target: target.name)
def test_targets_without_a_pole_are_finite_at_the_data(name, target):
    schedule, (x_0, epsilon) = SCHEDULES[name], pair(0.3, 0.9)
    expected = {"epsilon": epsilon, "x0": x_0, "v": epsilon}[target.name]
    close(target.of(schedule, x_0, epsilon, 0.0), expected, rtol=4e-16)


@pytest.mark.parametrize("name", ["flow", "sub-vp", "cosine-0"])
def test_velocity_is_finite_at_the_data_where_sigma_grows_linearly(name):
    schedule, (x_0, epsilon) = SCHEDULES[name], pair(0.3, 0.9)
    assert torch.isfinite(VELOCITY.of(schedule, x_0, epsilon, 0.0)).all()


def test_a_target_becomes_itself_untouched():
    y = torch.ones(1, 1)
    assert convert(y, SCORE, SCORE, VP(), y, 0.0) is y


def test_times_may_differ_within_a_batch_and_states_keep_their_type():
    x_t, y = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)), torch.ones(3, 2)
    t = torch.tensor([0.2, 0.5, 0.9])
    together = convert(y, V_PREDICTION, EPSILON, VP(), x_t, t)
    assert together.dtype == torch.float32
    for k in range(3):
        one = convert(y[k : k + 1], V_PREDICTION, EPSILON, VP(), x_t[k : k + 1], float(t[k]))
        close(together[k : k + 1], one, rtol=1e-5)


def test_targets_are_known_by_their_names():
    assert list(TARGETS) == ["epsilon", "x0", "v", "score", "velocity"]
    assert all(TARGETS[name].name == name for name in TARGETS)


@pytest.mark.parametrize("schedule", [Flow(), Cosine()], ids=["flow", "cosine"])
def test_epsilon_and_score_follow_from_data_in_pure_noise_too(schedule):
    x_t = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x_0 = torch.ones_like(x_t)
    sigma = float(schedule.sigma(1.0))
    epsilon = convert(x_0, X0, EPSILON, schedule, x_t, 1.0)
    score = convert(x_0, X0, SCORE, schedule, x_t, 1.0)
    torch.testing.assert_close(epsilon, x_t / sigma)
    torch.testing.assert_close(score, -x_t / sigma**2)
    torch.testing.assert_close(convert(epsilon, EPSILON, SCORE, schedule, x_t, 1.0), score)
    torch.testing.assert_close(convert(score, SCORE, EPSILON, schedule, x_t, 1.0), epsilon)
