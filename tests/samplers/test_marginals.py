"""On a Gaussian every sampler is linear, so the moments of its samples are known at any number of steps."""

import itertools
import math

import pytest
import torch
from scipy import stats

from tests.helpers import SCHEDULES, check_moments, close
from unstir.denoisers import Gaussian, GaussianMixture
from unstir.processes import VP, Flow
from unstir.samplers import (
    DDIM,
    Adaptive,
    Ancestral,
    Consistency,
    EulerMaruyama,
    Heun,
    Multistep,
    RungeKutta,
    SingleStep,
    sample,
)
from unstir.samplers.grids import arctan

MEAN, STD, COUNT = 0.7, 0.4, 20000
SOME = ["vp", "sub-vp", "ve", "flow", "table"]


class Line:
    """alpha, sigma and the posterior mean gain x + offset of Gaussian data at one time."""

    def __init__(self, schedule, t):
        self.alpha, self.sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        self.variance = (self.alpha * STD) ** 2 + self.sigma**2
        self.gain = self.alpha * STD**2 / self.variance
        self.offset = MEAN * self.sigma**2 / self.variance
        self.posterior_variance = (self.sigma * STD) ** 2 / self.variance


def denoiser(schedule):
    return Gaussian(schedule, torch.tensor([MEAN], dtype=torch.float64), STD)


def recursion(schedule, grid, step, mean, variance):
    """Moments at the end of a grid of a sampler whose step is x -> f x + c + N(0, v)."""
    for t, s in itertools.pairwise(grid.tolist()):
        f, c, v = step(schedule, t, s, len(grid) - 1)
        mean, variance = f * mean + c, f**2 * variance + v
    return mean, variance


def ddpm(kind):
    def step(schedule, t, s, steps):
        line = Line(schedule, t)
        a, b, std = (float(v) for v in schedule.posterior_coefficients(s, t))
        one = torch.ones(1, 1, dtype=torch.float64)
        forward = float(schedule.transition(one, s, t)[1]) ** 2
        extra = {"beta": forward, "beta-tilde": std**2, "learned": std**2 + a**2 * line.posterior_variance}
        return a * line.gain + b, a * line.offset, extra[kind] if s > 0 else 0.0

    return step


def ddim(eta):
    def step(schedule, t, s, steps):
        here, there = Line(schedule, t), Line(schedule, s)
        noise = (eta * float(schedule.posterior_coefficients(s, t)[2])) ** 2
        direction = math.sqrt(there.sigma**2 - noise)
        # x_s = alpha_s D + direction (x - alpha_t D) / sigma_t
        weight = there.alpha - direction * here.alpha / here.sigma
        return direction / here.sigma + weight * here.gain, weight * here.offset, noise

    return step


def renoise(schedule, t, s, steps):
    here, there = Line(schedule, t), Line(schedule, s)
    return there.alpha * here.gain, there.alpha * here.offset, there.sigma**2


def euler_maruyama(schedule, t, s, steps):
    line, dt = Line(schedule, t), t - s
    if s == 0:
        return line.gain, line.offset, 0.0
    f, g2 = float(schedule.drift(t)), float(schedule.diffusion_squared(t))
    # The score of N(alpha m, variance) is (alpha m - x) / variance.
    factor = 1 - dt * (f + g2 / line.variance)
    return factor, dt * g2 * line.alpha * MEAN / line.variance, g2 * dt


def edm(churn, low, high, inflation):
    """Karras et al. 2022, algorithm 2, in y = x / alpha and r = sigma / alpha."""

    def step(schedule, t, s, steps):
        here, there = Line(schedule, t), Line(schedule, s)
        r, r_s = here.sigma / here.alpha, there.sigma / there.alpha
        gamma = min(churn / steps, math.sqrt(2) - 1) if low <= r <= high else 0.0
        top = float(schedule.sigma(1.0) / schedule.alpha(1.0))
        hat = min(r * (1 + gamma), top)
        added = inflation**2 * (hat**2 - r**2)

        def slope(r):  # (y - D) / r = k (y - m)
            return r / (STD**2 + r**2)

        factor = 1 + (r_s - hat) * slope(hat)
        if s > 0:
            factor = 1 + (r_s - hat) * 0.5 * (slope(hat) + slope(r_s) * factor)
        # y_s - m = factor (y + noise - m), and x = alpha y.
        scale = there.alpha * factor / here.alpha
        shift = there.alpha * MEAN - scale * here.alpha * MEAN
        return scale, shift, (there.alpha * factor) ** 2 * added

    return step


CASES = {
    "ddpm-beta": (Ancestral("beta"), ddpm("beta")),
    "ddpm-beta-tilde": (Ancestral("beta-tilde"), ddpm("beta-tilde")),
    "ddpm-learned": (Ancestral("learned"), ddpm("learned")),
    "ddim": (DDIM(), ddim(0.0)),
    "ddim-half": (DDIM(0.5), ddim(0.5)),
    "ddim-ancestral": (DDIM(1.0), ddim(1.0)),
    "consistency": (Consistency(), renoise),
    "euler-maruyama": (EulerMaruyama(), euler_maruyama),
    "heun": (Heun(), edm(0.0, 0.0, math.inf, 1.0)),
    "edm-churn": (Heun(3.0, (0.1, 10.0), 1.05), edm(3.0, 0.1, 10.0, 1.05)),
    "edm-much-churn": (Heun(1e9), edm(1e9, 0.0, math.inf, 1.0)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", SOME)
def test_samples_have_the_moments_of_the_algorithm(case, name):
    schedule, (solver, step) = SCHEDULES[name], CASES[case]
    grid = arctan(schedule, 12)
    if schedule.alpha(grid[0]) == 0:
        grid = torch.cat([torch.tensor([0.98]), grid[grid < 0.97]])  # churn and the SDE need a signal
    x_T = start(schedule, float(grid[0]))
    first = float(schedule.sigma(float(grid[0])))
    mean, variance = recursion(schedule, grid, step, 0.0, first**2)
    result = sample(denoiser(schedule), x_T=x_T, solver=solver, grid=grid, seed=1)
    check_moments(result.x, mean, variance)


def start(schedule, t):
    from unstir import noise

    index = torch.arange(COUNT)
    z = noise.normal((1,), seed=1, index=index, stream=noise.Stream.START, dtype=torch.float64)
    return z * schedule.sigma(t)


@pytest.mark.parametrize("name", ["vp", "flow", "ve", "cosine", "table-zero"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_learned_variance_is_exact_on_gaussians_at_any_number_of_steps(name, steps):
    schedule = SCHEDULES[name]
    last = Line(schedule, 1.0)
    x_T = last.alpha * MEAN + start(schedule, 1.0) / last.sigma * math.sqrt(last.variance)
    # A last step that leaves noise: the step to data itself returns the posterior mean.
    grid = torch.cat([arctan(schedule, steps)[:-1], torch.tensor([1e-3])])
    result = sample(denoiser(schedule), x_T=x_T, solver=Ancestral("learned"), grid=grid, path=True)
    for t, x in zip(grid.tolist(), result.path, strict=True):
        line = Line(schedule, t)
        check_moments(x, line.alpha * MEAN, line.variance)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["vp", "flow"])
def test_ddim_is_exact_on_one_point_at_any_eta(name, eta):
    schedule = SCHEDULES[name]
    point = Gaussian(schedule, torch.tensor([MEAN], dtype=torch.float64), 0.0)
    x_T = schedule.alpha(0.9) * MEAN + start(schedule, 0.9)
    grid = torch.tensor([0.9, 0.6, 0.3, 0.1])
    result = sample(point, x_T=x_T, solver=DDIM(eta), grid=grid, path=True)
    for t, x in zip(grid.tolist(), result.path, strict=True):
        check_moments(x, float(schedule.alpha(t)) * MEAN, float(schedule.sigma(t)) ** 2)


def test_ddim_with_eta_one_is_ddpm_with_beta_tilde():
    x_T = start(VP(), 1.0)[:100]
    a, b = (
        sample(denoiser(VP()), x_T=x_T, solver=solver, steps=8, seed=3)
        for solver in (DDIM(1.0), Ancestral("beta-tilde"))
    )
    close(a.x, b.x, rtol=1e-10, atol=1e-12)


def test_the_variances_of_ddpm_are_optimal_where_the_docstring_says():
    # "beta" is exact for standard normal data; "beta-tilde" for one point.
    normal = Gaussian(VP(), torch.zeros(1), 1.0)
    grid = torch.tensor([0.9, 0.5, 0.2])
    result = sample(normal, x_T=start(VP(), 0.9) / VP().sigma(0.9), solver=Ancestral("beta"), grid=grid)
    check_moments(result.x, 0.0, 1.0)
    point = Gaussian(VP(), torch.tensor([MEAN]), 0.0)
    x_T = VP().alpha(0.9) * MEAN + start(VP(), 0.9)
    result = sample(point, x_T=x_T, solver=Ancestral("beta-tilde"), grid=grid)
    check_moments(result.x, float(VP().alpha(0.2)) * MEAN, float(VP().sigma(0.2)) ** 2)


def test_the_learned_variance_needs_a_denoiser_that_gives_one():
    class Blind(Gaussian):
        def forward(self, x_t, t, **condition):
            return super().forward(x_t, t)._replace(variance=None)

    with pytest.raises(ValueError, match="this denoiser gives no variance; train it with learned variance"):
        sample(Blind(VP(), torch.zeros(1), 1.0), (2, 1), solver=Ancestral("learned"), steps=2)


MEANS, STDS, WEIGHTS = (-1.2, 0.3, 2.0), (0.5, 0.4, 0.6), (0.3, 0.2, 0.5)


def cumulative(x):
    parts = zip(MEANS, STDS, WEIGHTS, strict=True)
    return sum(w * stats.norm.cdf(x, m, s) for m, s, w in parts)


@pytest.mark.parametrize(
    ("solver", "steps"),
    [
        (Multistep(2), 30),
        (Multistep(3), 30),
        (Heun(), 40),
        (Heun(20.0, inflation=1.0), 60),
        (DDIM(), 200),
        (RungeKutta(4), 20),
        (SingleStep(3), 15),
        (Adaptive(1e-4, 1e-4), 1),
        (Ancestral("learned"), 100),
        (Ancestral("beta"), 300),
        (EulerMaruyama(), 600),
    ],
    ids=[
        "multistep-2",
        "multistep-3",
        "heun",
        "edm",
        "ddim",
        "rk4",
        "dpm-solver-3s",
        "adaptive",
        "learned",
        "beta",
        "euler-maruyama",
    ],
)
@pytest.mark.parametrize("schedule", [VP(), Flow()], ids=["vp", "flow"])
def test_samples_of_a_mixture_have_its_distribution(solver, steps, schedule):
    mixture = GaussianMixture(
        schedule,
        torch.tensor(MEANS, dtype=torch.float64)[:, None],
        stds=torch.tensor(STDS),
        weights=torch.tensor(WEIGHTS),
    )
    grid = solver.default_grid(schedule, steps)
    if isinstance(solver, EulerMaruyama):
        grid = torch.linspace(0.999, 0.0, steps + 1)
    result = sample(mixture, (4000, 1), solver=solver, grid=grid, seed=2)
    assert stats.kstest(result.x[:, 0].numpy(), cumulative).pvalue > 1e-3


@pytest.mark.parametrize("churn", [-1.0, math.nan])
def test_churn_that_is_negative_is_refused(churn):
    with pytest.raises(ValueError, match="churn is at least 0"):
        Heun(churn)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Heun(1.0, (2.0, 1.0)), r"\(low, high\) with 0 <= low < high"),
        (lambda: Heun(1.0, inflation=0.0), "the noise inflation is positive"),
        (lambda: DDIM(1.1), "eta lies between 0 .* and 1 .*, got 1.1"),
        (lambda: DDIM(-0.1), "eta lies between"),
        (lambda: Ancestral("gamma"), "'beta', 'beta-tilde' or 'learned', got 'gamma'"),
        (lambda: Multistep(5), "orders 1 to 4, got 5"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
