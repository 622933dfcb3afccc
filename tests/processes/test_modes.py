"""Blurring processes: their modes against the heat equation, and what a schedule owes."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn

from tests.helpers import SCHEDULES, check_moments, close, derivative
from unstir import noise
from unstir.generators import diffusion
from unstir.processes import (
    EPSILON,
    SCORE,
    TARGETS,
    VE,
    VP,
    X0,
    Cosine,
    Flow,
    Heat,
    HeatOnGraph,
    convert,
    schedule_from_dict,
    schedule_to_dict,
)
from unstir.spaces import Axis, Grid

EVENTS = [(7,), (2, 6), (3, 4, 5), (2, 3, 4, 2)]
PATH = torch.diag(torch.tensor([1.0, 2.0, 2.0, 2.0, 1.0])) - torch.diag(torch.ones(4), 1) - torch.diag(
    torch.ones(4), -1
)  # fmt: skip
BLURRING = {
    "vp": Heat(),
    "cosine": Heat(Cosine(), 0.3, 0.0),
    "flow": Heat(Flow(), 1.0, 0.1, channels=False),
    "graph": HeatOnGraph.from_laplacian(PATH, VE(), blur=1.5),
}
every_process = pytest.mark.parametrize("name", BLURRING)


def event_of(name):
    return (3, 5) if name == "graph" else (3, 4, 5)


def draw(*shape, step=0):
    return noise.normal(
        shape[1:],
        seed=3,
        index=torch.arange(shape[0]),
        stream=noise.Stream.BLUR,
        step=step,
        dtype=torch.float64,
    )


@pytest.mark.parametrize("event", EVENTS)
def test_the_modes_are_an_orthonormal_cosine_transform(event):
    x = draw(4, *event)
    axes = (-1,) if len(event) == 1 else tuple(range(2, 1 + len(event)))
    expected = torch.from_numpy(dctn(x.numpy(), type=2, norm="ortho", axes=axes))
    close(Heat().to_modes(x), expected, atol=1e-13)
    close(Heat().from_modes(expected), x, atol=1e-13)


@pytest.mark.parametrize(("shape", "t"), [((9,), 0.4), ((6, 9), 0.5), ((4, 8), 0.8)])
def test_the_blur_is_the_heat_equation_between_insulated_walls(shape, t):
    # The spectral generator knows it exactly, on a domain in units of the longest side.
    schedule = Heat(blur=0.4, d_min=0.0, channels=False)
    space = Grid(*(Axis(0.0, n / max(shape), n, boundary="reflect") for n in shape))
    x = draw(1, *shape)
    flowed = diffusion(space, 1.0, scheme="spectral").exp(float(schedule.clock(t)), x[0])
    mean, std = schedule.marginal(x, t)
    close(mean[0], schedule.alpha(t) * flowed, atol=1e-12)
    close(std, schedule.sigma(t))


def test_on_a_graph_the_blur_is_the_flow_of_its_laplacian():
    schedule = HeatOnGraph.from_laplacian(PATH, blur=1.2, d_min=0.0)
    x, t = draw(2, 3, 5), 0.7
    flowed = x @ torch.linalg.matrix_exp(-PATH.double() * float(schedule.clock(t)))
    close(schedule.marginal(x, t)[0], schedule.alpha(t) * flowed, atol=1e-13)


@every_process
def test_the_constant_is_not_blurred_and_is_the_reference(name):
    schedule, t = BLURRING[name], 0.6
    x = torch.ones(1, *event_of(name), dtype=torch.float64)
    mean, _ = schedule.marginal(x, t)
    assert float(schedule.modes(event_of(name)).kept(t).max()) == pytest.approx(1.0, abs=1e-14)
    close(mean, schedule.alpha(t) * x, rtol=1e-12)
    assert schedule.time(schedule.log_snr(t)) == pytest.approx(t, rel=1e-12)


@every_process
def test_the_data_are_whole_at_time_zero_and_the_shares_end_near_d_min(name):
    schedule = BLURRING[name]
    modes = schedule.modes(event_of(name))
    assert modes.alpha(0.0).sub(1.0).abs().max() < 1e-15
    assert modes.sigma(0.0).eq(0.0).all()
    assert modes.log_snr(0.0).eq(math.inf).all()
    expected = schedule.d_min + (1 - schedule.d_min) * (-modes.rates * schedule.blur**2 / 2).exp()
    close(modes.kept(1.0), modes.spread(expected), rtol=1e-12, atol=1e-13)


@every_process
def test_slopes_of_the_coefficients_are_their_derivatives(name):
    modes = BLURRING[name].modes(event_of(name))
    t = torch.linspace(0.05, 0.95, 13, dtype=torch.float64)
    place = (..., *[-1] * len(modes.event))  # the mode that fades fastest
    for value, slope in (
        (modes.alpha, modes.alpha_derivative),
        (modes.sigma, modes.sigma_derivative),
        (lambda t: modes.alpha(t).log(), modes.drift),
    ):
        close(slope(t)[place], derivative(lambda t, f=value: f(t)[place], t), rtol=1e-9, atol=1e-12)
    squared = (
        derivative(lambda t: modes.sigma(t)[place] ** 2, t)
        - 2 * modes.drift(t)[place] * modes.sigma(t)[place] ** 2
    )
    close(modes.diffusion_squared(t)[place], squared, rtol=1e-9)
    base = derivative(modes.schedule.log_snr, t)
    close(modes.pace(t)[place], derivative(lambda t: modes.log_snr(t)[place], t) / base, rtol=1e-9)


@every_process
def test_the_flow_in_the_angle_is_the_flow_in_time(name):
    # dy/dphi at fixed data and noise, by differences in the angle.
    schedule = BLURRING[name]
    modes = schedule.modes(event_of(name))
    u_0, e = draw(1, *modes.event), draw(1, *modes.event, step=1)

    def y(phi):
        angle = modes.at_angle(phi)
        return (modes.alpha(angle.t) * u_0 + modes.sigma(angle.t) * e) / angle.norm

    for value in (0.2, 0.8, 1.3):
        phi, h = torch.tensor([value], dtype=torch.float64), 1e-5
        angle = modes.at_angle(phi)
        close(angle.cosine**2 + angle.sine**2, torch.ones_like(u_0), rtol=1e-14)
        close(angle.snr, (angle.cosine / angle.sine) ** 2, rtol=1e-12)
        slope = (y(phi + h) - y(phi - h)) / (2 * h)
        close(slope, (y(phi) * angle.cosine - u_0) / angle.divisor, rtol=1e-5, atol=1e-8)


@given(
    name=st.sampled_from(sorted(BLURRING)),
    s=st.floats(0.01, 0.5),
    gap=st.floats(0.01, 0.4),
)
@settings(max_examples=30, deadline=None)
def test_steps_of_modes_chain_to_the_marginal_and_the_posterior_is_bayes(name, s, gap):
    schedule, t = BLURRING[name], s + gap
    modes = schedule.modes(event_of(name))
    one = torch.ones(1, *modes.event, dtype=torch.float64)
    factor, std = modes.transition(one, s, t)
    close(factor * modes.alpha(s), modes.alpha(t), rtol=1e-10)
    close(factor**2 * modes.sigma(s) ** 2 + std**2, modes.sigma(t) ** 2, rtol=1e-10)
    a, b, left = modes.posterior_coefficients(s, t)
    precision = modes.sigma(s) ** -2 + (factor / std) ** 2
    close(left**2, 1 / precision, rtol=1e-8)
    close(a, modes.alpha(s) / modes.sigma(s) ** 2 / precision, rtol=1e-8)
    close(b, factor / std**2 / precision, rtol=1e-8)


def test_the_sde_of_the_modes_has_the_marginals_of_the_process():
    schedule = Heat(VP(0.1, 5.0), blur=0.3)
    modes = schedule.modes((6,))
    u_0 = modes.analyse(draw(1, 6)).expand(20000, 6)
    grid = torch.linspace(0.0, 0.6, 301, dtype=torch.float64)
    u = modes.sde().simulate(u_0, grid, seed=1)
    mean, std = modes.marginal(u_0, 0.6)
    for k in range(6):
        check_moments((u - mean)[:, k] / std[:, k], 0.0, 1.0, z=6.0)


@pytest.mark.parametrize("target", TARGETS)
@every_process
def test_every_target_gives_back_the_data(name, target):
    schedule, t = BLURRING[name], torch.tensor([0.3, 0.7], dtype=torch.float64)
    x_0, e = draw(2, *event_of(name)), draw(2, *event_of(name), step=1)
    mean, std = schedule.marginal(x_0, t)
    x_t = mean + std * e
    y = TARGETS[target].of(schedule, x_0, e, t)
    size = 1e-12 / float(schedule.modes(event_of(name)).alpha(t).min())
    close(TARGETS[target].to_x_0(schedule, x_t, y, t), x_0, atol=max(1e-12, 10 * size))
    close(TARGETS[target].from_x_0(schedule, x_t, x_0, t), y, rtol=1e-7, atol=1e-9)
    close(convert(e, EPSILON, SCORE, schedule, x_t, t), -e / std, rtol=1e-13)
    close(convert(x_0, X0, EPSILON, schedule, x_t, t), e, atol=1e-11)


@pytest.mark.parametrize("name", SCHEDULES)
def test_without_a_blur_the_modes_are_those_of_the_base(name):
    base, t = SCHEDULES[name], torch.tensor([0.0, 0.1, 0.5, 0.99], dtype=torch.float64)
    for schedule in (Heat(base, d_min=1.0), Heat(base, blur=0.0)):
        modes = schedule.modes((2, 3, 3))
        for ours, theirs in ((modes.alpha, base.alpha), (modes.sigma, base.sigma)):
            assert torch.equal(ours(t), theirs(t)[:, None, None, None].expand(4, 2, 3, 3))
        close(modes.log_snr(t[1:])[:, 1, 2, 2], base.log_snr(t[1:]), rtol=1e-14, atol=1e-14)


def test_a_schedule_whose_entries_share_alpha_is_its_own_modes():
    schedule, x = VP(), draw(2, 4)
    assert schedule.modes((4,)) is schedule
    assert schedule.to_modes(x) is x
    assert schedule.from_modes(x) is x


def test_variances_of_entries_come_from_those_of_modes():
    modes = Heat().modes((2, 3, 4))
    v = draw(1, 2, 3, 4).square()
    basis = modes.synthesise(torch.eye(24, dtype=torch.float64).reshape(24, 2, 3, 4)).reshape(24, 24)
    expected = (basis.T**2 @ v.reshape(24)).reshape(1, 2, 3, 4)
    close(modes.synthesise_variance(v), expected, rtol=1e-12)


@every_process
def test_a_blurring_schedule_survives_json(name):
    schedule = BLURRING[name]
    again = schedule_from_dict(json.loads(json.dumps(schedule_to_dict(schedule))))
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert again.modes(event_of(name)) is schedule.modes(event_of(name))


def test_a_plain_string_is_a_schedule_with_its_defaults():
    assert schedule_from_dict("heat") == Heat()
    assert schedule_from_dict({"name": "heat", "base": "cosine", "blur": 0.2}) == Heat(Cosine(), 0.2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Heat(blur=-1.0), "at least 0"),
        (lambda: Heat(d_min=1.5), "lies in"),
        (lambda: Heat(Heat()), "does not blur"),
        (lambda: Heat().modes(()), "single numbers"),
        (lambda: Heat().modes((3, 4)).analyse(torch.zeros(2, 4, 3)), "got states of shape"),
        (lambda: HeatOnGraph.from_laplacian(torch.ones(2, 3)), "square"),
        (lambda: HeatOnGraph.from_laplacian(torch.tensor([[1.0, -1.0], [0.0, 1.0]])), "not symmetric"),
        (lambda: HeatOnGraph.from_laplacian(-PATH), "negative eigenvalue"),
        (lambda: HeatOnGraph((0.0, 1.0), ((1.0, 1.0), (0.0, 1.0))), "not orthonormal"),
        (lambda: HeatOnGraph((0.0,), ((1.0, 0.0),)), "rows"),
        (lambda: BLURRING["graph"].modes((4,)), "5 nodes"),
        (lambda: Heat().transition(torch.zeros(1, 3), 0.1, 0.2), "modes"),
        (lambda: Heat().posterior_coefficients(0.1, 0.2), "modes"),
        (lambda: Heat().sde(), "modes"),
    ],
)
def test_what_cannot_be_is_one_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()
