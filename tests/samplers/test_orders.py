"""Measured orders of convergence, in float64, uniform in log-SNR from sigma/alpha = 20 to 0.1.

y = x_t / alpha obeys dy/dr = (y - E[x_0 | x_t]) / r in r = sigma / alpha whatever the schedule, so one exact
solution serves all: in closed form for a Gaussian, by scipy's adaptive solver for a mixture.
"""

import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from tests.helpers import close
from unstir.denoisers import Gaussian, GaussianMixture
from unstir.processes import VE, VP, Cosine, Flow
from unstir.samplers import DDIM, PRESETS, Heun, Multistep, sample

START, END = 20.0, 0.1
SCHEDULES = {"vp": VP(), "ve": VE(), "flow": Flow(), "cosine": Cosine()}
Y = torch.tensor([[0.9, -0.4], [-1.3, 0.2], [0.1, 1.1], [-0.5, -0.7]], dtype=torch.float64)
MEAN = torch.tensor([0.4, -0.2], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.7, 0.3], [0.3, 0.5]], dtype=torch.float64)
MEANS = torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.3, -1.2]], dtype=torch.float64)
STDS = torch.tensor([0.5, 0.6, 0.4], dtype=torch.float64)

FAMILY = [(order, corrector) for order in (1, 2, 3, 4) for corrector in (0, 2, 3, 4)]
VARIANTS = {
    "default": {},
    "correlation": {"prediction": "x0", "coordinate": "correlation"},
    "log-snr": {"prediction": "x0", "coordinate": "log-snr"},
    "deis": {"prediction": "epsilon", "coordinate": "noise-ratio"},
}


def gaussian(schedule):
    return Gaussian(schedule, MEAN, covariance=COVARIANCE)


def mixture(schedule):
    return GaussianMixture(schedule, MEANS, stds=STDS)


@cache
def exact(make, start):
    """y at sigma/alpha = END of the paths that are at start * Y at sigma/alpha = start."""
    first = start * Y
    if make is gaussian:
        # Each eigendirection scales with its deviation sqrt(l + r^2).
        spectrum, basis = torch.linalg.eigh(COVARIANCE)
        stretch = ((spectrum + END**2) / (spectrum + start**2)).sqrt()
        return MEAN + ((first - MEAN) @ basis * stretch) @ basis.T
    means, variances = MEANS.numpy(), STDS.numpy() ** 2

    def slope(log_r, y):
        y, total = y.reshape(-1, 1, 2), variances + math.exp(2 * log_r)
        log = -0.5 * ((y - means) ** 2).sum(2) / total - np.log(total)
        weights = np.exp(log - log.max(1, keepdims=True))
        weights = (weights / weights.sum(1, keepdims=True))[..., None]
        posterior = (weights * (means + (variances / total)[:, None] * (y - means))).sum(1)
        return (y[:, 0] - posterior).ravel()

    span = math.log(start), math.log(END)
    solution = solve_ivp(slope, span, first.numpy().ravel(), method="DOP853", rtol=1e-13, atol=1e-13)
    return torch.from_numpy(solution.y[:, -1]).reshape(Y.shape)


def error(make, schedule, solver, steps, start=START):
    """The largest error of y at the end of ``steps`` steps."""
    levels = torch.linspace(math.log(start), math.log(END), steps + 1, dtype=torch.float64)
    grid = schedule.time(-2.0 * levels)
    result = sample(make(schedule), x_T=schedule.alpha(grid[0]) * start * Y, solver=solver, grid=grid)
    return float((result.x / schedule.alpha(grid[-1]) - exact(make, start)).abs().max())


def order_of(make, schedule, solver, steps, start):
    coarse, fine = (error(make, schedule, solver, n, start) for n in (steps, 2 * steps))
    return math.log2(coarse / fine)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("order", "corrector"), FAMILY)
@pytest.mark.parametrize("make", [gaussian, mixture], ids=lambda make: make.__name__)
def test_the_family_has_the_order_it_declares_from_a_start_where_data_takes_shape(
    make, order, corrector, variant
):
    solver = Multistep(order, corrector, **VARIANTS[variant])
    declared = min(order + 1, corrector) if corrector else order
    assert solver.convergence == declared
    steps = 240 if declared == 4 else 120
    assert order_of(make, VP(), solver, steps, start=1.0) == pytest.approx(declared, abs=0.15)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("make", [gaussian, mixture], ids=lambda make: make.__name__)
def test_the_default_is_at_least_of_the_order_it_declares(make, name):
    assert Multistep().convergence == 3
    for start in (1.0, 20.0):
        assert order_of(make, SCHEDULES[name], Multistep(), 120, start) > 2.85


def test_the_default_raises_its_order_with_the_number_of_steps():
    for steps, same in ((5, Multistep(2, 3)), (7, Multistep(2, 3)), (8, Multistep(3)), (19, Multistep(3))):
        a, b = (sample(mixture(VP()), x_T=Y, solver=solver, steps=steps) for solver in (Multistep(), same))
        assert torch.equal(a.x, b.x)
    assert sample(mixture(VP()), x_T=Y, steps=30).nfe == 30
    assert sample(mixture(VP()), x_T=Y, solver=Multistep(4), steps=30).nfe == 31


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(
    "preset", [name for name in PRESETS if name != "multistep" and "sde" not in name and name != "sa"]
)
@pytest.mark.parametrize("make", [gaussian, mixture], ids=lambda make: make.__name__)
def test_the_presets_have_the_order_that_their_table_says(make, preset, name):
    measured = order_of(make, SCHEDULES[name], PRESETS[preset].make(), 120, start=1.0)
    assert measured == pytest.approx(PRESETS[preset].order, abs=0.15)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("make", [gaussian, mixture], ids=lambda make: make.__name__)
def test_heun_converges_with_order_two(make, name):
    assert order_of(make, SCHEDULES[name], Heun(), 80, start=20.0) == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize("make", [gaussian, mixture], ids=lambda make: make.__name__)
def test_higher_orders_are_more_accurate_at_forty_steps(make):
    log_snr = {"prediction": "x0", "coordinate": "log-snr"}
    errors = [error(make, VP(), Multistep(order, 0, **log_snr), 40) for order in (1, 2, 3)]
    assert errors[1] < 0.3 * errors[0]
    assert errors[2] < 0.3 * errors[1]
    for order in (1, 2, 3):
        assert error(make, VP(), Multistep(order, order + 1, **log_snr), 40) < errors[order - 1]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("preset", ["ddim", "multistep", "multistep-4", "unipc", "deis"])
def test_exponential_solvers_do_not_depend_on_the_schedule(name, preset):
    # In half log-SNR the flow of x / sigma is the same for all schedules.
    solver = PRESETS[preset].make()
    close(error(mixture, SCHEDULES[name], solver, 20), error(mixture, VE(), solver, 20), rtol=1e-6)


def test_one_step_with_exact_constant_data_is_exact():
    point = GaussianMixture(VP(), MEANS[:1], stds=torch.zeros(1))
    x = torch.tensor([[3.0, -2.0]], dtype=torch.float64)
    grid = torch.tensor([0.9, 0.2], dtype=torch.float64)
    scale = VP().sigma(0.2) / VP().sigma(0.9)
    expected = VP().alpha(0.2) * MEANS[:1] + scale * (x - VP().alpha(0.9) * MEANS[:1])
    for solver in (DDIM(), Multistep(1, prediction="x0"), PRESETS["dpmpp-3m"].make(), Heun()):
        close(sample(point, x_T=x, solver=solver, grid=grid).x, expected, rtol=1e-12)


def test_ddim_is_the_multistep_solver_of_order_one():
    for steps in (1, 7):
        ddim = sample(mixture(VP()), x_T=Y, solver=DDIM(), steps=steps)
        for other in (
            Multistep(1, 0, prediction="x0"),
            PRESETS["ddim"].make(),
            Multistep(1, 0, prediction="epsilon"),
        ):
            close(sample(mixture(VP()), x_T=Y, solver=other, steps=steps).x, ddim.x, rtol=1e-11)
