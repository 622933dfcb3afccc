"""The Runge-Kutta and DPM-Solver single-step methods: measured orders, their published steps, both ends."""

import math

import pytest
import torch

from tests.helpers import SCHEDULES, close
from tests.samplers.test_orders import MEANS, STDS, error, gaussian, mixture
from tests.samplers.test_orders import SCHEDULES as FOUR
from unstir.denoisers import GaussianMixture
from unstir.processes import VP
from unstir.samplers import DDIM, RungeKutta, SingleStep, sample

SOLVERS = {
    "euler": RungeKutta(1),
    "midpoint": RungeKutta(2),
    "kutta-3": RungeKutta(3),
    "rk4": RungeKutta(4),
    "2s": SingleStep(2),
    "2s-epsilon": SingleStep(2, "epsilon"),
    "3s": SingleStep(3),
    "3s-epsilon": SingleStep(3, "epsilon"),
}
X = torch.tensor([[3.0, -2.0], [0.4, 0.1]], dtype=torch.float64)
every_solver = pytest.mark.parametrize("name", SOLVERS)


@every_solver
@pytest.mark.parametrize("make", [gaussian, mixture], ids=lambda make: make.__name__)
@pytest.mark.parametrize("schedule", ["vp", "ve", "flow"])
def test_the_measured_order_is_the_declared_one(name, make, schedule):
    solver = SOLVERS[name]
    coarse, fine = (error(make, FOUR[schedule], solver, steps) for steps in (80, 160))
    order = math.log2(coarse / fine)
    if (name, make) == ("midpoint", gaussian):  # the errors of order 2 cancel on this path
        assert order > 2 - 0.15
    else:
        assert order == pytest.approx(solver.order, abs=0.15)


@pytest.mark.parametrize("schedule", FOUR)
@every_solver
def test_no_solver_depends_on_the_schedule(name, schedule):
    close(
        error(mixture, FOUR[schedule], SOLVERS[name], 10),
        error(mixture, FOUR["ve"], SOLVERS[name], 10),
        rtol=1e-6,
    )


@every_solver
def test_a_step_to_constant_data_is_exact(name):
    # D is constant then, and so is epsilon along the flow.
    point = GaussianMixture(VP(), MEANS[:1], stds=torch.zeros(1))
    scale = VP().sigma(0.2) / VP().sigma(0.9)
    expected = VP().alpha(0.2) * MEANS[:1] + scale * (X - VP().alpha(0.9) * MEANS[:1])
    grid = torch.tensor([0.9, 0.2], dtype=torch.float64)
    close(sample(point, x_T=X, solver=SOLVERS[name], grid=grid).x, expected, rtol=1e-12)


@pytest.mark.parametrize("schedule", ["vp", "ve", "flow", "cosine"])
def test_euler_in_the_noise_level_is_ddim(schedule):
    denoiser = mixture(SCHEDULES[schedule])
    euler, ddim = (sample(denoiser, x_T=X, solver=s, steps=7, grid="arctan").x for s in ("euler", DDIM()))
    close(euler, ddim, rtol=1e-10)


class Paper:
    """The quantities of the papers between two times, in their notation."""

    def __init__(self, t, s):
        self.denoiser = mixture(VP())
        self.t, self.s = t, s
        self.start = 0.5 * VP().log_snr(t)
        self.h = 0.5 * VP().log_snr(s) - self.start

    def at(self, share):
        """Time, alpha and sigma at lambda_t + share h."""
        t = VP().time(2 * (self.start + share * self.h))
        return t, VP().alpha(t), VP().sigma(t)


def test_the_second_order_step_is_algorithm_1_of_dpm_solver_plus_plus():
    p, r = Paper(0.7, 0.4), 0.5
    (t, _, sigma), (s_1, alpha_1, sigma_1), (_, alpha_s, sigma_s) = p.at(0.0), p.at(r), p.at(1.0)
    d = p.denoiser(X, t).mean
    u = sigma_1 / sigma * X - alpha_1 * torch.expm1(-r * p.h) * d
    d_1 = (1 - 1 / (2 * r)) * d + 1 / (2 * r) * p.denoiser(u, s_1).mean
    expected = sigma_s / sigma * X - alpha_s * torch.expm1(-p.h) * d_1
    result = sample(
        p.denoiser, x_T=X, solver=SingleStep(2), grid=torch.tensor([p.t, p.s], dtype=torch.float64)
    )
    close(result.x, expected, rtol=1e-12)


def test_the_third_order_step_is_algorithm_2_of_dpm_solver():
    p, r_1, r_2 = Paper(0.7, 0.4), 1 / 3, 2 / 3
    (t, alpha, _), (s_1, alpha_1, sigma_1) = p.at(0.0), p.at(r_1)
    (s_2, alpha_2, sigma_2), (_, alpha_s, sigma_s) = p.at(r_2), p.at(1.0)
    epsilon = p.denoiser.epsilon(X, t)
    u_1 = alpha_1 / alpha * X - sigma_1 * torch.expm1(r_1 * p.h) * epsilon
    d_1 = p.denoiser.epsilon(u_1, s_1) - epsilon
    factor = torch.expm1(r_2 * p.h) / (r_2 * p.h) - 1
    u_2 = (
        alpha_2 / alpha * X - sigma_2 * torch.expm1(r_2 * p.h) * epsilon - sigma_2 * r_2 / r_1 * factor * d_1
    )
    d_2 = p.denoiser.epsilon(u_2, s_2) - epsilon
    expected = alpha_s / alpha * X - sigma_s * torch.expm1(p.h) * epsilon
    expected = expected - sigma_s / r_2 * (torch.expm1(p.h) / p.h - 1) * d_2
    grid = torch.tensor([p.t, p.s], dtype=torch.float64)
    result = sample(p.denoiser, x_T=X, solver=SingleStep(3, "epsilon"), grid=grid)
    close(result.x, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("schedule", SCHEDULES)
@every_solver
def test_every_schedule_is_sampled_from_end_to_end(name, schedule, dtype):
    denoiser = GaussianMixture(SCHEDULES[schedule], MEANS[:, None], stds=STDS)
    x_T = (SCHEDULES[schedule].sigma(1.0) * X[:, None] / 3).to(dtype)
    for steps in (1, 6):
        x = sample(denoiser, x_T=x_T, solver=SOLVERS[name], steps=steps).x
        assert x.shape == (2, 1, 2)
        assert x.dtype == dtype
        assert torch.isfinite(x).all()
        assert float(x.abs().max()) < 10


@every_solver
def test_a_step_takes_as_many_evaluations_as_its_order_and_the_ends_one(name):
    order = SOLVERS[name].order
    for schedule, ends in (("vp", 1), ("flow", 2)):
        result = sample(mixture(SCHEDULES[schedule]), x_T=X, solver=SOLVERS[name], steps=5, grid="arctan")
        assert result.nfe == (5 - ends) * order + ends


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RungeKutta(5), "orders 1 to 4, got 5"),
        (lambda: RungeKutta(0), "orders 1 to 4, got 0"),
        (lambda: SingleStep(1), "orders 2 and 3, got 1"),
        (lambda: SingleStep(2, "v"), "'x0' or 'epsilon', got 'v'"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
