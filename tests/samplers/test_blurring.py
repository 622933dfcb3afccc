"""Every solver under schedules that blur: each mode has its own levels, the solver its own order.

For Gaussian data whose covariance is diagonal in the modes, l_k, a mode of the probability flow scales with
sqrt(alpha_k^2 l_k + sigma^2), in closed form; for a mixture scipy integrates the flow in time.
"""

import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from tests.helpers import SCHEDULES, check_moments, close
from unstir import noise
from unstir.denoisers import Dataset, Gaussian, GaussianMixture
from unstir.processes import VE, VP, Cosine, Flow, Heat, HeatOnGraph
from unstir.samplers import (
    DDIM,
    SOLVERS,
    Adaptive,
    AdaptiveSDE,
    Ancestral,
    AnnealedLangevin,
    Consistency,
    EulerMaruyama,
    Heun,
    Multistep,
    PredictorCorrector,
    RungeKutta,
    SingleStep,
    StochasticHeun,
    analytic_variance,
    find_solver,
    sample,
)
from unstir.samplers.exponential import COORDINATES, PREDICTIONS, step_coefficients
from unstir.samplers.modal import _coefficients, _Step

RING = 2.0 * torch.eye(5) - torch.roll(torch.eye(5), 1, 0) - torch.roll(torch.eye(5), -1, 0)
CASES = {
    "line": (Heat(VP(), blur=0.3), (5,)),
    "channels": (Heat(VE(0.01, 30.0), blur=0.2, d_min=0.02), (2, 4)),
    "image": (Heat(Cosine(), blur=0.25), (1, 3, 4)),
    "graph": (HeatOnGraph.from_laplacian(RING, Flow(), blur=1.0, d_min=0.1), (5,)),
}
every_case = pytest.mark.parametrize("case", CASES)
MEAN = 0.4
DETERMINISTIC = {
    "ddim": (DDIM(), 1),
    "multistep-1": (Multistep(1, 0), 1),
    "multistep-2": (Multistep(2, 0), 2),
    "multistep-2-corrected": (Multistep(2), 2),
    "multistep-3": (Multistep(3), 3),
    "multistep-4": (Multistep(4), 4),
    "dpmpp-2m": (find_solver("dpmpp-2m"), 2),
    "dpmpp-3m": (find_solver("dpmpp-3m"), 3),
    "deis": (find_solver("deis"), 3),
    "unipc": (find_solver("unipc"), 3),
    "heun": (Heun(), 2),
    "midpoint": (RungeKutta(2), 2),
    "rk3": (RungeKutta(3), 3),
    "rk4": (RungeKutta(4), 4),
    "single-2": (SingleStep(2), 2),
    "single-3": (SingleStep(3), 3),
    "single-2-epsilon": (SingleStep(2, "epsilon"), 2),
    "single-3-epsilon": (SingleStep(3, "epsilon"), 3),
}


def draw(*shape, step=0):
    index = torch.arange(shape[0])
    stream = noise.Stream.BLUR
    return noise.normal(shape[1:], seed=5, index=index, stream=stream, step=step, dtype=torch.float64)


def spectrum(case):
    """Variances of the modes, like those of a picture: large for slow modes."""
    schedule, event = CASES[case]
    modes = schedule.modes(event)
    return 0.9 / (1.0 + 0.1 * modes.spread(modes.rates)[0])


@cache
def gaussian(case):
    schedule, event = CASES[case]
    size = math.prod(event)
    basis = schedule.from_modes(torch.eye(size, dtype=torch.float64).reshape(size, *event)).reshape(
        size, size
    )
    covariance = basis.T @ (spectrum(case).reshape(-1, 1) * basis)
    return Gaussian(schedule, torch.full(event, MEAN, dtype=torch.float64), covariance=covariance)


@cache
def mixture(case):
    schedule, event = CASES[case]
    return GaussianMixture(schedule, 0.8 * draw(3, *event, step=1), stds=torch.tensor([0.4, 0.6, 0.5]))


def levels(schedule, steps, start=20.0, end=0.1):
    return schedule.time(-2.0 * torch.linspace(math.log(start), math.log(end), steps + 1).double())


def flow(case, x, t, s):
    """The exact end at s of the probability flow of the Gaussian from x at t."""
    schedule, event = CASES[case]
    modes = schedule.modes(event)
    mean = modes.analyse(torch.full((1, *event), MEAN, dtype=torch.float64))
    width = {r: (modes.alpha(r) ** 2 * spectrum(case) + modes.sigma(r) ** 2).sqrt() for r in (t, s)}
    u = modes.alpha(s) * mean + (modes.analyse(x) - modes.alpha(t) * mean) * width[s] / width[t]
    return modes.synthesise(u)


@cache
def integrated(case, denoiser, t, s):
    """The end of the flow of a denoiser by scipy, du/dt = f u - g^2 score / 2, mode by mode."""
    schedule, event = CASES[case]
    modes = schedule.modes(event)
    x = float(schedule.sigma(t)) * draw(2, *event)

    def slope(time, u):
        u = torch.from_numpy(u).reshape(2, *event)
        score = modes.analyse(denoiser.score(modes.synthesise(u), time))
        return (modes.drift(time) * u - 0.5 * modes.diffusion_squared(time) * score).numpy().ravel()

    start = modes.analyse(x).numpy().ravel()
    solution = solve_ivp(slope, (t, s), start, method="DOP853", rtol=1e-12, atol=1e-13)
    return x, modes.synthesise(torch.from_numpy(solution.y[:, -1]).reshape(2, *event))


@pytest.mark.parametrize("case", ["image", "graph"])
def test_scipys_flow_is_the_closed_form(case):
    t, s = float(CASES[case][0].time(-4.0)), float(CASES[case][0].time(3.0))
    x, end = integrated(case, gaussian(case), t, s)
    close(flow(case, x, t, s), end, atol=1e-9)


@pytest.mark.parametrize(
    ("case", "name"), [("graph" if n % 2 else "line", name) for n, name in enumerate(DETERMINISTIC)]
)
def test_the_order_of_convergence_is_that_of_the_solver(case, name):
    (schedule, event), (solver, order) = CASES[case], DETERMINISTIC[name]
    errors = []
    for steps in (40, 80):
        grid = levels(schedule, steps, 8.0, 0.1)
        x = float(schedule.sigma(grid[0])) * draw(2, *event)
        result = sample(gaussian(case), x_T=x, solver=solver, grid=grid)
        errors.append(float((result.x - flow(case, x, grid[0], grid[-1])).abs().max()))
    assert math.log2(errors[0] / errors[1]) > order - 0.35
    assert errors[1] < {1: 0.1, 2: 5e-3, 3: 5e-4, 4: 5e-5}[order]


@pytest.mark.parametrize(
    ("case", "name", "bound"),
    [
        ("channels", "multistep-3", 1e-3),
        ("image", "multistep-3", 1e-3),
        ("image", "multistep-4", 1e-3),
        ("image", "heun", 2e-2),
        ("image", "rk4", 1e-3),
        ("image", "single-3", 1e-3),
    ],
)
def test_modes_that_depend_on_each_other_converge_to_scipys_flow(case, name, bound):
    schedule, _ = CASES[case]
    grid = levels(schedule, 60, 8.0, 0.1)
    x, end = integrated(case, mixture(case), float(grid[0]), float(grid[-1]))
    result = sample(mixture(case), x_T=x, solver=DETERMINISTIC[name][0], grid=grid)
    assert float((result.x - end).abs().max()) < bound


@every_case
def test_the_default_solver_ends_at_the_data_of_the_flow(case):
    schedule, event = CASES[case]
    x = float(schedule.sigma(1.0)) * draw(3, *event)
    expected = flow(case, x, 1.0, 0.0)
    errors = [float((sample(gaussian(case), x_T=x, steps=n).x - expected).abs().max()) for n in (10, 20, 40)]
    assert errors[0] < 0.02
    assert errors[2] < 0.02 * errors[0]


@every_case
def test_the_adaptive_solver_keeps_its_tolerance(case):
    schedule, event = CASES[case]
    grid = levels(schedule, 1, 50.0, 0.05)
    x = float(schedule.sigma(grid[0])) * draw(2, *event)
    result = sample(gaussian(case), x_T=x, solver=Adaptive(1e-8, 1e-8), grid=grid)
    close(result.x, flow(case, x, grid[0], grid[-1]), atol=2e-6)


def test_the_adaptive_solver_follows_a_mixture():
    schedule, _ = CASES["image"]
    grid = levels(schedule, 1, 8.0, 0.1)
    x, end = integrated("image", mixture("image"), float(grid[0]), float(grid[-1]))
    close(sample(mixture("image"), x_T=x, solver=Adaptive(1e-9, 1e-9), grid=grid).x, end, atol=1e-6)


PLAIN = [name for name in SOLVERS if name != "ddpm-learned"]


@pytest.mark.parametrize("solver", PLAIN)
def test_without_a_blur_every_solver_is_that_of_the_base(solver):
    base, event = SCHEDULES["vp" if len(solver) % 2 else "flow"], (2, 3)
    means, stds = 0.8 * draw(3, *event, step=1), torch.tensor([0.4, 0.6, 0.5])
    x = 3.0 * draw(3, *event)
    grid = torch.cat([levels(base, 5), torch.zeros(1)])
    results = [
        sample(GaussianMixture(schedule, means, stds), x_T=x, solver=solver, grid=grid, seed=2)
        for schedule in (base, Heat(base, d_min=1.0))
    ]
    if solver in ("adaptive", "adaptive-sde"):  # the norm of an error relative to each entry is another one
        assert abs(results[0].nfe - results[1].nfe) < 0.2 * results[0].nfe
        close(results[1].x, results[0].x, atol=1e-3 if solver == "adaptive" else 0.3)
    else:
        assert results[0].nfe == results[1].nfe
        close(results[1].x, results[0].x, atol=1e-11)


def moments_of(case, solver, steps, count=3000, grid=None):
    """Samples in units of the modes' deviations about their means, (count, d)."""
    schedule, event = CASES[case]
    result = sample(gaussian(case), (count, *event), solver=solver, steps=steps, grid=grid, seed=4)
    modes = schedule.modes(event)
    mean = modes.analyse(torch.full((1, *event), MEAN, dtype=torch.float64))
    return (modes.analyse(result.x.double()) - mean).flatten(1), spectrum(case).flatten()


def recursion(case, grid, step):
    """Variance of every mode at the end of a grid of a solver x -> f x + N(0, v), which starts at sigma^2."""
    schedule, event = CASES[case]
    modes, data = schedule.modes(event), spectrum(case)
    times = grid.tolist()
    # The mean of the data is in the constant mode only, whose recursion has a constant: left out here.
    variance = modes.sigma(times[0]) ** 2
    for t, s in itertools.pairwise(times):
        gain = modes.alpha(t) * data / (modes.alpha(t) ** 2 * data + modes.sigma(t) ** 2)
        f, v = step(modes, gain, t, s)
        variance = f**2 * variance + v
    return variance.flatten()


def ddpm(kind):
    def step(modes, gain, t, s):
        a, b, std = modes.posterior_coefficients(s, t)
        one = torch.ones_like(gain)
        extra = modes.transition(one, s, t)[1] ** 2 if kind == "beta" else std**2
        return a * gain + b, extra if s > 0 else torch.zeros_like(gain)

    return step


def ddim(eta):
    def step(modes, gain, t, s):
        _, _, std = modes.posterior_coefficients(s, t)
        keep = (modes.sigma(s) ** 2 - (eta * std) ** 2).clamp(min=0.0).sqrt() / modes.sigma(t)
        return keep + (modes.alpha(s) - modes.alpha(t) * keep) * gain, (eta * std) ** 2

    return step


def euler_maruyama(modes, gain, t, s):
    if s == 0:
        return gain, torch.zeros_like(gain)
    score = (modes.alpha(t) * gain - 1) / modes.sigma(t) ** 2
    squared = modes.diffusion_squared(t)
    return 1 + (modes.drift(t) - squared * score) * (s - t), squared * (t - s)


def annealed(modes, gain, t, s):
    if s == 0:
        return gain, torch.zeros_like(gain)
    alpha, sigma, data = modes.alpha(s), modes.sigma(s), gain / (modes.alpha(t) - modes.alpha(t) ** 2 * gain)
    data = data * modes.sigma(t) ** 2  # back from gain = alpha l / (alpha^2 l + sigma^2)
    after = alpha**2 * data / (alpha**2 * data + sigma**2)
    schedule, share = modes.schedule, 0.25
    f, v = torch.ones_like(gain) * (schedule.alpha(s) / schedule.alpha(t)), torch.zeros_like(gain)
    for _ in range(3):
        keep = 1 + share * (after - 1)
        f, v = f * keep, v * keep**2 + sigma**2 * 2 * share
    return f, v


def renoise(modes, gain, t, s):
    return modes.alpha(s) * gain, modes.sigma(s) ** 2


RECURSIONS = {
    "ddpm": (Ancestral(), ddpm("beta-tilde")),
    "ddpm-beta": (Ancestral("beta"), ddpm("beta")),
    "ddim-0": (DDIM(0.0), ddim(0.0)),
    "ddim-half": (DDIM(0.5), ddim(0.5)),
    "ddim-1": (DDIM(1.0), ddim(1.0)),
    "euler-maruyama": (EulerMaruyama(), euler_maruyama),
    "consistency": (Consistency(), renoise),
    "annealed-langevin": (AnnealedLangevin(3, 0.5), annealed),
}


@pytest.mark.parametrize("name", RECURSIONS)
@pytest.mark.parametrize("case", ["line", "channels"])
def test_variances_at_a_few_steps_are_those_of_the_exact_recursion(case, name):
    solver, step = RECURSIONS[name]
    schedule, _ = CASES[case]
    grid = torch.cat(
        [schedule.time(-2.0 * torch.tensor([30.0, 5.0, 1.2, 0.5, 0.2]).double().log()), torch.zeros(1)]
    )
    if name == "euler-maruyama":  # at steps that it can take
        grid = torch.cat([torch.linspace(0.9, 0.05, 30).double(), torch.zeros(1)])
    u, _ = moments_of(case, solver, None, count=1500, grid=grid)
    expected = recursion(case, grid, step)
    for k in range(1, u.shape[1]):
        if k == u.shape[1] // 2 and case == "channels":
            continue  # the constant of the second channel
        check_moments(u[:, k] / expected[k].sqrt(), 0.0, 1.0, z=5.0)


FINE = {
    "multistep-sde": (find_solver("multistep-sde"), 60),
    "sa": (find_solver("sa"), 60),
    "dpmpp-2m-sde": (find_solver("dpmpp-2m-sde"), 60),
    "deis-sde": (Multistep(2, 0, prediction="epsilon", coordinate="log-snr", eta=0.7, last=1), 60),
    "v-sde": (Multistep(2, eta=1.0, last=1), 60),
    "stochastic-heun": (StochasticHeun(), 60),
    "ddpm": (Ancestral(), 150),
    "edm": (find_solver("edm"), 60),
    "adaptive-sde": (AdaptiveSDE(0.004, 0.004), 1),
    "predictor-corrector": (PredictorCorrector(corrections=1, snr=0.1), 150),
    "analytic": ("analytic", 60),
}


@pytest.mark.parametrize(
    ("case", "name"), [*(("line", name) for name in FINE), ("graph", "multistep-sde"), ("image", "edm")]
)
def test_stochastic_solvers_have_the_variances_of_the_data_at_many_steps(case, name):
    solver, steps = FINE[name]
    if solver == "analytic":
        data = gaussian(case).sample_data(200, seed=1)
        solver = Ancestral(analytic_variance(gaussian(case), data))
    u, data = moments_of(case, solver, steps, count=600)
    slack = 0.06 if name in ("predictor-corrector", "edm", "adaptive-sde") else 0.03
    for k in range(u.shape[1]):
        n = len(u)
        assert abs(float(u[:, k].mean())) < 4.5 * math.sqrt(float(data[k]) / n) + 0.01
        assert abs(float(u[:, k].var() / data[k]) - 1.0) < 4.5 * math.sqrt(2.0 / n) + slack


@pytest.mark.parametrize("solver", [Multistep(2, 0, prediction="x0", eta=1.0, last=1), StochasticHeun()])
def test_more_steps_converge_to_a_path_that_they_share(solver):
    schedule, event = CASES["line"]
    x = float(schedule.sigma(levels(schedule, 1)[0])) * draw(4, *event)
    ends = [
        sample(mixture("line"), x_T=x, solver=solver, grid=levels(schedule, n, 20.0, 0.2), seed=3).x
        for n in (10, 40, 200)
    ]
    coarse, fine = (float((end - ends[2]).square().mean().sqrt()) for end in ends[:2])
    assert fine < 0.5 * coarse
    assert fine < 0.12


@pytest.mark.parametrize(
    ("case", "solver"),
    [("line", "multistep"), ("channels", "ddpm"), ("image", "adaptive-sde"), ("graph", "multistep-sde")],
)
def test_a_sample_does_not_depend_on_its_batch_and_keeps_its_type(case, solver):
    _, event = CASES[case]
    denoiser = mixture(case)
    whole = sample(denoiser, (4, *event), solver=solver, steps=6, seed=9)
    part = sample(denoiser, (2, *event), solver=solver, steps=6, seed=9, first_index=2)
    assert whole.x.dtype == torch.float32
    assert whole.x.shape == (4, *event)
    close(part.x, whole.x[2:], atol=1e-6)


def test_states_on_the_way_are_those_of_entries():
    schedule, event = CASES["image"]
    seen = []
    x = float(schedule.sigma(1.0)) * draw(2, *event)
    result = sample(
        gaussian("image"), x_T=x, solver="rk4", steps=60, path=True, on_step=lambda p: seen.append(p.x)
    )
    assert torch.equal(result.path[0], x)
    assert torch.equal(result.path[-1], result.x)
    assert torch.equal(torch.stack(seen), result.path[1:])
    middle = 30
    expected = flow("image", result.path[1], float(result.grid[1]), float(result.grid[middle]))
    close(result.path[middle], expected, atol=1e-2)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("coordinate", COORDINATES)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_weights_of_a_mode_are_those_of_a_schedule_with_its_levels(prediction, coordinate, eta):
    schedule, event = CASES["line"]
    modes = schedule.modes(event)
    prediction, coordinate = PREDICTIONS[prediction], COORDINATES[coordinate]
    times = levels(schedule, 4, 10.0, 0.3).tolist()
    newest = 2
    nodes = tuple(times[newest::-1])
    step = _Step(prediction, coordinate, eta, 0.7, times[newest], times[newest + 1], nodes)
    keep, weights = _coefficients(modes, step)
    for k in range(5):

        def point(t, k=k):
            return tuple(
                float(f(t)[0, k]) for f in (modes.alpha, modes.sigma, lambda t: 0.5 * modes.log_snr(t))
            )

        ells = tuple(point(t)[2] for t in nodes)
        expected, each = step_coefficients(
            prediction, coordinate, eta, 0.7, point(times[newest]), point(times[newest + 1]), ells
        )
        close(keep[0, k], expected, rtol=1e-12)
        ours = [float(weight[0, k]) for weight in weights]
        close(torch.tensor(ours[: len(each)]), torch.tensor(each), rtol=1e-9, atol=1e-12)
        assert not any(ours[len(each) :])


# exp(-lambda tau) is 1e-130 and less for most of the way.
FADING = Heat(VP(), blur=3.0, d_min=0.0)
EPSILON = ("deis", "deis-rho")


@pytest.mark.parametrize("solver", [name for name in PLAIN if name not in EPSILON])
def test_modes_that_have_faded_out_stay_finite_and_of_the_size_of_the_data(solver):
    data = draw(20, 1, 6, 6)
    result = sample(Dataset(FADING, data), (2, 1, 6, 6), solver=solver, steps=8)
    assert float(result.x.abs().max()) < 10.0


@pytest.mark.parametrize("solver", [*EPSILON, SingleStep(2, "epsilon")])
def test_epsilon_says_nothing_of_modes_that_have_faded_out(solver):
    with pytest.raises(ValueError, match="x0 or v"):
        sample(Dataset(FADING, draw(4, 1, 6, 6)), (2, 1, 6, 6), solver=solver, steps=8)


def test_the_way_back_with_a_finite_data_set_ends_at_its_points():
    schedule = Heat(Cosine(), blur=0.4)
    data = draw(6, 1, 8, 8)
    x = sample(Dataset(schedule, data), (16, 1, 8, 8), steps=48).x.double()
    nearest = (x[:, None] - data).flatten(2).square().mean(2).min(1).values
    assert float(nearest.max()) < 1e-4


def test_a_learned_variance_is_refused_with_what_to_use():
    with pytest.raises(ValueError, match="beta-tilde"):
        sample(mixture("image"), (2, 1, 3, 4), solver="ddpm-learned", steps=3)


def test_steps_in_an_infinite_sde_are_refused():
    with pytest.raises(ValueError, match="infinite"):
        sample(mixture("image"), (2, 1, 3, 4), solver="euler-maruyama", steps=3)


def test_events_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="events of shape"):
        sample(mixture("image"), (2, 1, 4, 4), steps=3)


def test_rates_of_equal_modes_are_computed_once():
    modes = Heat().modes((3, 16, 16))
    assert len(modes.rates) < 140
    assert np.prod(modes.event) == 768
