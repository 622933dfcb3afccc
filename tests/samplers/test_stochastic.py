"""Stochastic samplers: weak and strong orders, single steps by their formulas, and the law of the samples."""

import itertools
import math

import pytest
import torch

from tests.helpers import SCHEDULES, close
from tests.two_sample import kernel_test
from unstir import noise
from unstir.denoisers import Gaussian, GaussianMixture, Posterior
from unstir.processes import VE, VP, Flow
from unstir.samplers import (
    DDIM,
    AdaptiveSDE,
    Ancestral,
    AnnealedLangevin,
    EulerMaruyama,
    Heun,
    Multistep,
    PredictorCorrector,
    ReverseDiffusion,
    StochasticHeun,
    karras,
    log_snr,
    sample,
    uniform,
)
from unstir.samplers.langevin import langevin
from unstir.samplers.solve import Problem, State

NAMES = ["vp", "ve", "flow"]
MEAN, STD = 0.7, 0.4


def gaussian(schedule, size=1):
    return Gaussian(schedule, torch.full((size,), MEAN, dtype=torch.float64), STD)


def mixture(schedule):
    means = torch.tensor([[-1.2, 0.3], [0.8, 1.0], [0.6, -1.1]], dtype=torch.float64)
    return GaussianMixture(
        schedule, means, stds=torch.tensor([0.4, 0.5, 0.3]), weights=torch.tensor([3, 3, 4])
    )


def levels(schedule, steps, first, last):
    """Equal steps of log-SNR between two values of sigma / alpha."""
    return schedule.time(
        -2.0 * torch.linspace(math.log(first), math.log(last), steps + 1, dtype=torch.float64)
    )


class Unit:
    """A Brownian path whose increments are one deviation for the third sample, and none for the others."""

    noise = torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64)

    def increment(self, a, b):
        return self.noise * math.sqrt(b - a)


def coefficients(solver, schedule, grid, t, s):
    """(f, c, v) of the solver's step x -> f x + c + N(0, v) on Gaussian data."""
    problem = Problem(gaussian(schedule), grid, torch.arange(3), 0, {})
    problem.brownian = lambda x: Unit()
    problem.normal = lambda x, step, stream=None: Unit.noise
    start = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)
    x = solver.step(State(problem, start, t), s).x[:, 0].tolist()
    return x[1] - x[0], x[0], (x[2] - x[0]) ** 2


def moment_errors(solver, schedule, grid):
    """Errors of mean and variance of x / alpha at the end of the grid, without any randomness.

    The variance starts as that of the process and stays so. The mean starts at 0, and under the reverse SDE
    its distance from that of the data shrinks like STD^2 + (sigma / alpha)^2.
    """
    alpha, sigma = schedule.alpha(grid), schedule.sigma(grid)
    variances = (alpha * STD) ** 2 + sigma**2
    mean, variance = 0.0, float(variances[0])
    for t, s in itertools.pairwise(grid.tolist()):
        f, c, v = coefficients(solver, schedule, grid, t, s)
        mean, variance = f * mean + c, f**2 * variance + v
    shrunk = (variances / alpha**2)[[0, -1]]
    expected = MEAN - MEAN * float(shrunk[1] / shrunk[0])
    last = float(alpha[-1])
    return abs(mean / last - expected), abs(variance / last**2 - float(shrunk[1]))


@pytest.mark.parametrize(
    ("solver", "order"),
    [(EulerMaruyama(), 1), (ReverseDiffusion(), 1), (Ancestral("beta-tilde"), 1), (StochasticHeun(), 2)],
    ids=["euler-maruyama", "reverse-diffusion", "ancestral", "stochastic-heun"],
)
@pytest.mark.parametrize("name", NAMES)
def test_the_weak_order_is_the_claimed_one(solver, order, name):
    errors = [moment_errors(solver, SCHEDULES[name], levels(SCHEDULES[name], n, 5.0, 0.2)) for n in (80, 160)]
    for coarse, fine in zip(*errors, strict=True):
        if coarse > 1e-13:  # the mean may be exact
            assert math.log2(coarse / fine) == pytest.approx(order, abs=0.3)
    assert errors[0][1] > 1e-6


@pytest.mark.parametrize("solver", [EulerMaruyama(), StochasticHeun()], ids=["euler-maruyama", "heun"])
@pytest.mark.parametrize("name", ["vp", "flow"])
def test_more_steps_follow_the_same_path_with_strong_order_one(solver, name):
    schedule = SCHEDULES[name]
    z = noise.normal((2,), seed=0, index=torch.arange(200), stream=noise.Stream.START, dtype=torch.float64)
    x_T = z * schedule.sigma(levels(schedule, 1, 5.0, 0.3)[0])
    coarse, middle, fine = (
        sample(mixture(schedule), x_T=x_T, solver=solver, grid=levels(schedule, n, 5.0, 0.3), seed=1).x
        for n in (30, 120, 480)
    )
    errors = [float((x - fine).square().mean().sqrt()) for x in (coarse, middle)]
    assert errors[0] < 0.1
    # (1/30 - 1/480) / (1/120 - 1/480) = 5
    assert 3.0 < errors[0] / errors[1] < 8.0


def test_other_seeds_follow_other_paths():
    x_T = torch.zeros(2, 2, dtype=torch.float64)
    a, b = (sample(mixture(VP()), x_T=x_T, solver=StochasticHeun(), steps=20, seed=seed).x for seed in (1, 2))
    assert float((a - b).abs().min()) > 1e-3


def test_heun_is_more_accurate_than_euler_at_equal_evaluations():
    heun = moment_errors(StochasticHeun(), VP(), levels(VP(), 20, 5.0, 0.2))
    euler = moment_errors(EulerMaruyama(), VP(), levels(VP(), 40, 5.0, 0.2))
    assert heun[1] < 0.2 * euler[1]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_langevin_step_has_the_stationary_variance_of_its_formula(share):
    problem = Problem(gaussian(VP()), torch.tensor([0.5, 0.0]), torch.arange(2), 0, {})
    level = problem.level(0.5)
    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    mean = problem.evaluate(x, 0.5).mean
    f = langevin(x, mean, level, share, torch.zeros_like(x)).diff(dim=0)
    added = langevin(x, mean, level, share, torch.ones_like(x)) - langevin(x, mean, level, share, x * 0)
    # N(0, V) is the law of the process; the step of size epsilon keeps V / (1 - epsilon / 2 V).
    variance, epsilon = (level.alpha * STD) ** 2 + level.sigma**2, share * level.sigma**2
    expected = variance / (1 - epsilon / (2 * variance))
    close((added[0] ** 2 / (1 - f[0] ** 2))[0], expected, rtol=1e-9)


@pytest.mark.parametrize("norms", ["level", "sample"])
def test_a_corrector_step_is_that_of_the_paper(norms):
    schedule, t, s = VE(), 0.6, 0.5
    solver = PredictorCorrector(Multistep(1), corrections=1, snr=0.2, norms=norms)
    problem = Problem(gaussian(schedule, 50), torch.tensor([t, s]), torch.arange(3), 4, {})
    x_T = torch.linspace(-3, 3, 150, dtype=torch.float64).reshape(3, 50)
    predicted = Multistep(1).step(Multistep(1).init(problem, x_T, t), s).x
    z = problem.normal(x_T, 0, noise.Stream.LANGEVIN)
    score = problem.denoiser.score(predicted, s)
    ratio = z.norm(dim=1) / score.norm(dim=1) if norms == "sample" else schedule.sigma(s)
    epsilon = (2.0 * (0.2 * ratio) ** 2).expand(3)[:, None]
    expected = predicted + epsilon * score + (2.0 * epsilon).sqrt() * z
    close(solver.step(solver.init(problem, x_T, t), s).x, expected, rtol=1e-9, atol=1e-9)


def test_a_corrector_of_own_norms_is_bounded_where_the_score_vanishes():
    x_T = torch.full((2, 1), MEAN, dtype=torch.float64)
    result = sample(
        gaussian(VE()),
        x_T=x_T,
        solver=PredictorCorrector(DDIM(), norms="sample"),
        grid=torch.tensor([0.5, 0.4]),
    )
    assert float((result.x - MEAN).abs().max()) < 7.0 * math.sqrt(2.0) * float(VE().sigma(0.4))


@pytest.mark.parametrize("norms", ["level", "sample"])
def test_a_corrector_improves_the_variance_in_many_dimensions(norms):
    variances = [
        float(sample(gaussian(VP(), 64), (100, 64), solver=solver, grid="log-snr", steps=60, seed=1).x.var())
        for solver in (ReverseDiffusion(), PredictorCorrector(norms=norms, corrections=2, snr=0.1))
    ]
    assert abs(variances[1] - STD**2) < 0.75 * abs(variances[0] - STD**2)


def test_annealed_langevin_steps_in_proportion_to_the_variance_of_the_level():
    schedule, t, s = Flow(), 0.6, 0.5
    problem = Problem(gaussian(schedule), torch.tensor([t, s]), torch.arange(3), 4, {})
    x_T = torch.tensor([[-1.0], [0.2], [2.0]], dtype=torch.float64)
    y, r = x_T / schedule.alpha(t), schedule.sigma(s) / schedule.alpha(s)
    z = problem.normal(x_T, 0, noise.Stream.LANGEVIN)
    a = 0.3 * r**2
    score = (MEAN - y) / (STD**2 + r**2)
    x = AnnealedLangevin(repeats=1, step_size=0.3).step(State(problem, x_T, t), s).x
    close(x / schedule.alpha(s), y + 0.5 * a * score + a.sqrt() * z, rtol=1e-9, atol=1e-12)


def test_the_adaptive_sampler_converges_along_the_path_of_the_fixed_steps():
    grid = levels(VP(), 400, 20.0, 0.2)
    x_T = torch.linspace(-2.0, 2.0, 12, dtype=torch.float64).reshape(6, 2)
    fine = sample(mixture(VP()), x_T=x_T, solver=StochasticHeun(), grid=grid, seed=2)
    grid = fine.grid[[0, -1]]
    errors = []
    for tolerance in (0.03, 0.001):
        result = sample(mixture(VP()), x_T=x_T, solver=AdaptiveSDE(tolerance, tolerance), grid=grid, seed=2)
        errors.append(float((result.x - fine.x).square().mean().sqrt()))
    assert errors[1] < 0.2 * errors[0]
    assert errors[1] < 0.03


def test_the_adaptive_sampler_takes_more_evaluations_for_smaller_tolerances():
    nfe = [
        sample(mixture(VP()), (8, 2), solver=AdaptiveSDE(tolerance, tolerance)).nfe
        for tolerance in (0.05, 0.01)
    ]
    assert nfe[0] < nfe[1]


def test_the_default_tolerance_gives_the_variance_in_many_dimensions():
    x = sample(gaussian(Flow(), 64), (60, 64), solver=AdaptiveSDE()).x
    assert abs(float(x.var()) / STD**2 - 1.0) < 0.06


def test_the_adaptive_sampler_stops_at_the_times_of_the_grid():
    grid = torch.tensor([1.0, 0.4, 0.0])
    path = sample(gaussian(Flow(), 64), (60, 64), solver=AdaptiveSDE(), grid=grid, path=True).path
    expected = (0.6 * STD) ** 2 + 0.4**2
    assert abs(float(path[1].var()) / expected - 1.0) < 0.06


def test_an_adaptive_run_that_cannot_end_is_stopped():
    with pytest.raises(RuntimeError, match="needs more than 20 evaluations; loosen rtol and atol"):
        sample(mixture(VP()), (2, 2), solver=AdaptiveSDE(1e-4, 1e-4, max_evaluations=20))


def test_an_adaptive_run_of_a_broken_denoiser_says_where():
    class Broken(Gaussian):
        def forward(self, x_t, t, **condition):
            mean = super().forward(x_t, t).mean
            return Posterior(torch.where(torch.as_tensor(t < 0.3)[:, None], math.nan, mean))

    with pytest.raises(FloatingPointError, match=r"posterior mean is not finite at t = 0\.2"):
        sample(Broken(VP(), torch.zeros(2), 1.0), (2, 2), solver=AdaptiveSDE())


@pytest.mark.parametrize("name", ["flow", "cosine"])
def test_reverse_diffusion_starts_after_pure_noise_by_default(name):
    grid = ReverseDiffusion().default_grid(SCHEDULES[name], 10)
    assert float(grid[0]) < 1.0
    assert torch.equal(PredictorCorrector().default_grid(SCHEDULES[name], 10), grid)
    assert torch.equal(ReverseDiffusion().default_grid(VP(), 10), uniform(VP(), 10))


def late(schedule, steps):
    """Levels from sigma / alpha = 100 on; the SDE of pure noise is infinite, so there from t = 0.99."""
    grid = log_snr(schedule, steps)
    if float(schedule.alpha(1.0)) > 0:
        return grid
    return torch.cat([torch.tensor([0.99], dtype=torch.float64), grid[grid < 0.98]])


CASES = {
    "ddpm-learned": (Ancestral("learned"), 40, log_snr),
    "ddpm-beta": (Ancestral("beta"), 120, log_snr),
    "ddpm-beta-tilde": (Ancestral("beta-tilde"), 120, log_snr),
    "ddim-half": (DDIM(0.5), 120, log_snr),
    "heun-churn": (Heun(20.0, inflation=1.0), 40, karras),
    "euler-maruyama": (EulerMaruyama(), 200, late),
    "stochastic-heun": (StochasticHeun(), 40, log_snr),
    "reverse-diffusion": (ReverseDiffusion(), 200, log_snr),
    "predictor-corrector": (PredictorCorrector(), 80, log_snr),
    "annealed-langevin": (AnnealedLangevin(10, 0.6), 50, log_snr),
    "adaptive-sde": (AdaptiveSDE(0.008, 0.004, end=0.05), 1, uniform),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", CASES)
def test_samples_of_a_mixture_have_its_distribution(case, name):
    (solver, steps, grid), denoiser = CASES[case], mixture(SCHEDULES[name])
    x = sample(denoiser, (600, 2), solver=solver, grid=grid, steps=steps, seed=3).x
    assert kernel_test(x, denoiser.sample_data(800, seed=5), permutations=200) > 0.01


def test_a_sampler_with_too_few_steps_has_another_distribution():
    denoiser = mixture(VP())
    x = sample(denoiser, (600, 2), solver=Ancestral(), grid=log_snr, steps=6, seed=3).x
    assert kernel_test(x, denoiser.sample_data(800, seed=5), permutations=200) < 0.01


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PredictorCorrector(corrections=0), "a corrector takes at least 1 step, got 0"),
        (lambda: PredictorCorrector(snr=0.0), "lies between 0 and 1, got 0"),
        (lambda: PredictorCorrector(snr=math.nan), "lies between 0 and 1, got nan"),
        (lambda: PredictorCorrector(norms="batch"), "of the 'level' or of each 'sample', got 'batch'"),
        (lambda: AnnealedLangevin(repeats=0), "at least 1 step a level, got 0"),
        (lambda: AnnealedLangevin(step_size=4.0), "lies between 0 and 4, got 4"),
        (lambda: AdaptiveSDE(rtol=-1.0), "rtol and atol are at least 0"),
        (lambda: AdaptiveSDE(first_step=0.0), "first step of the angle is above 0, got 0"),
        (lambda: AdaptiveSDE(end=0.0), "before data is above 0, got 0"),
        (lambda: AdaptiveSDE(max_evaluations=0), "at least 1 evaluation, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
