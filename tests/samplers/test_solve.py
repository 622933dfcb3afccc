import math

import pytest
import torch

from tests.helpers import PURE_NOISE, SCHEDULES, close
from unstir import noise
from unstir.denoisers import Denoiser, Gaussian, GaussianMixture, Posterior
from unstir.processes import VE, VP, Cosine, Flow
from unstir.samplers import (
    DDIM,
    GRIDS,
    SOLVERS,
    EulerMaruyama,
    Heun,
    Multistep,
    arctan,
    check_grid,
    cosine,
    find_grid,
    find_solver,
    karras,
    leading,
    log_snr,
    quadratic,
    sample,
    trailing,
    uniform,
)

every_solver = pytest.mark.parametrize("solver", SOLVERS)
MEANS = torch.tensor([[-1.0, 0.5], [1.0, 0.3]])


def mixture(schedule):
    return GaussianMixture(schedule, MEANS, stds=torch.tensor([0.3, 0.4]), labels=torch.tensor([0, 1]))


class Recorder(Denoiser):
    """The mixture, and what it was called with."""

    def __init__(self, schedule, break_below=-1.0):
        super().__init__()
        self.exact, self.schedule, self.calls = mixture(schedule), schedule, []
        self.break_below = break_below

    def forward(self, x_t, t, **condition):
        self.calls.append((x_t, t, condition))
        posterior = self.exact(x_t, t, **condition)
        if bool((torch.as_tensor(t) < self.break_below).any()):
            return Posterior(posterior.mean * math.nan, posterior.variance)
        return posterior


@every_solver
def test_a_sample_is_the_same_in_any_batch(solver):
    denoiser = mixture(VP())
    whole = sample(denoiser, (5, 2), solver=solver, steps=6, seed=4).x
    for first, size in ((0, 1), (3, 2)):
        part = sample(denoiser, (size, 2), solver=solver, steps=6, seed=4, first_index=first).x
        close(part, whole[first : first + size], rtol=1e-5, atol=1e-5)  # float32 sums in another order
    assert whole.dtype == torch.float32
    assert not torch.equal(whole, sample(denoiser, (5, 2), solver=solver, steps=6, seed=5).x)


@every_solver
def test_noise_of_the_steps_depends_on_the_sample_when_the_start_is_given(solver):
    denoiser, x_T = mixture(VP()), torch.ones(4, 2, dtype=torch.float64)
    whole = sample(denoiser, x_T=x_T, solver=solver, steps=6)
    part = sample(denoiser, x_T=x_T[:2], solver=solver, steps=6, first_index=2)
    close(part.x, whole.x[2:], rtol=1e-10)
    random = ("ddpm", "edm", "euler-maruyama", "stochastic", "predictor", "annealed", "consistency", "sa")
    stochastic = solver.startswith(random)
    stochastic |= solver.endswith("sde")
    assert torch.equal(whole.x[0], whole.x[1]) != stochastic


@pytest.mark.parametrize("solver", [name for name in SOLVERS if name != "euler-maruyama"])
@pytest.mark.parametrize("name", PURE_NOISE)
def test_schedules_that_end_in_pure_noise_are_sampled_from_there(solver, name):
    schedule = SCHEDULES[name]
    # The adaptive ones take as many steps as they need between any two times.
    for steps in (1, 2, 3) if solver.startswith("adaptive") else (1, 2, 3, 50):
        result = sample(mixture(schedule), (64, 2), solver=solver, steps=steps, grid="arctan")
        assert float(result.grid[0]) == 1.0
        assert float(result.grid[-1]) == 0.0
        assert torch.isfinite(result.x).all()
    nearest = torch.cdist(result.x, MEANS).amin(1)
    assert float(nearest.quantile(0.9)) < 4 * 0.4


@pytest.mark.parametrize("name", PURE_NOISE)
def test_the_sde_of_pure_noise_is_refused_with_advice_that_works(name):
    denoiser = mixture(SCHEDULES[name])
    with pytest.raises(
        ValueError, match=r"infinite at t = 1; take a grid that starts later, such as 'karras'"
    ):
        sample(denoiser, (2, 2), solver="euler-maruyama")
    result = sample(denoiser, (64, 2), solver="euler-maruyama", grid="karras", steps=200)
    assert float(torch.cdist(result.x, MEANS).amin(1).quantile(0.9)) < 4 * 0.4


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("grid", GRIDS)
def test_named_grids_fall_strictly_to_zero_at_any_number_of_steps(name, grid):
    for steps in (1, 2, 3, 10, 50, 1000):
        times = GRIDS[grid](SCHEDULES[name], steps)
        assert len(times) == steps + 1
        assert times.dtype == torch.float64
        assert float(times[-1]) == 0.0
        check_grid(times)


def test_the_arctan_grid_is_uniform_in_its_variable():
    times = arctan(VP(), 20)
    angles = torch.atan((-0.5 * VP().log_snr(times[:-1]) + 0.17) / 1.3)
    close(angles.diff(), angles.diff()[:1].expand(19), rtol=1e-9)
    assert float(times[0]) == 1.0
    close(-0.5 * VP().log_snr(times[-2]), math.log(0.65 / 20), rtol=1e-12)
    close(-0.5 * VP().log_snr(arctan(VP(), 20, end=0.3)[-2]), math.log(0.3), rtol=1e-12)
    scaled = arctan(VE(sigma_max=80.0), 20, sigma_data=0.5)
    inner = -0.5 * VE().log_snr(scaled[1:-1]) - math.log(0.5)
    close(inner[-1], math.log(0.65 / 20), rtol=1e-9)
    places = torch.atan((torch.cat([torch.tensor([math.log(160.0)]), inner]) + 0.17) / 1.3)
    close(places.diff(), places.diff()[:1].expand(19), rtol=1e-6)


def test_a_schedule_of_little_noise_has_room_for_all_steps():
    times = check_grid(arctan(VE(0.01, 0.02), 10))
    assert len(times) == 11


def test_the_cosine_grid_is_uniform_in_the_angle_and_on_its_own_schedule_in_time():
    for name in ("vp", "flow", "ve"):
        times = cosine(SCHEDULES[name], 8)
        angles = torch.atan(torch.exp(-0.5 * SCHEDULES[name].log_snr(times)))
        close(angles.diff(), angles.diff()[:1].expand(8), rtol=1e-6)
    close(cosine(Cosine(0.0), 8), uniform(Cosine(0.0), 8), atol=1e-12)


def test_the_quadratic_grid_is_squared():
    close(quadratic(VP(), 4), torch.tensor([1.0, 0.5625, 0.25, 0.0625, 0.0]))


def test_the_leading_grid_is_that_of_the_table():
    # Lin et al. 2024, table 2: 1000 steps, 10 of them: 1, 101, ..., 901 counted from 1.
    close(leading(VP(), 10) * 1000, torch.tensor([*range(901, 0, -100), 0.0]), rtol=1e-12)
    close(leading(VP(), 10, offset=1) * 1000, torch.tensor([*range(902, 0, -100), 0.0]), rtol=1e-12)
    assert torch.equal(leading(VP(), 1000), trailing(VP(), 1000))
    with pytest.raises(ValueError, match="a table of 10 steps has no sub-sequence of 11 steps"):
        leading(VP(), 11, table=10)
    with pytest.raises(ValueError, match="an offset of 500 leaves the table"):
        leading(VP(), 10, offset=500)


def test_the_log_snr_grid_is_uniform_in_log_snr():
    levels = VP().log_snr(log_snr(VP(), 10, end=0.1)[:-1])
    close(levels.diff(), levels.diff()[:1].expand(9), rtol=1e-9)
    close(levels[0], -2 * math.log(100.0), rtol=1e-9)
    close(levels[-1], -2 * math.log(0.1), rtol=1e-9)


def test_the_karras_grid_is_that_of_the_paper():
    schedule = VE(sigma_max=100.0)
    sigmas = schedule.sigma(karras(schedule, 18))
    i = torch.arange(18, dtype=torch.float64)
    expected = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    close(sigmas[:-1], expected, rtol=1e-9)


def test_the_trailing_grid_takes_steps_of_the_table():
    close(trailing(VP(), 4), torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0]))
    close(trailing(VP(), 3) * 1000, torch.tensor([1000.0, 667.0, 333.0, 0.0]), rtol=1e-15)
    assert torch.equal(trailing(VP(), 1000), torch.arange(1000, -1, -1, dtype=torch.float64) / 1000)
    with pytest.raises(ValueError, match="a table of 10 steps has no sub-sequence of 11 steps"):
        trailing(VP(), 11, table=10)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([1.0], r"at least two times, got shape \(1,\)"),
        (1.0, "at least two times"),
        ([[1.0, 0.0]], "at least two times"),
        ([1.1, 0.0], r"finite and lie in \[0, 1\]"),
        ([1.0, -0.1], "finite and lie"),
        ([math.nan, 0.0], "finite and lie"),
        ([1.0, 0.5, 0.5, 0.0], "decrease strictly"),
        ([0.0, 1.0], "decrease strictly"),
    ],
)
def test_a_grid_that_is_none_is_refused(grid, message):
    with pytest.raises(ValueError, match=message):
        sample(mixture(VP()), (1, 2), grid=torch.tensor(grid))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("steps", [0, -3])
def test_less_than_one_step_is_refused(grid, steps):
    with pytest.raises(ValueError, match=f"at least 1 step, got {steps}"):
        sample(mixture(VP()), (1, 2), steps=steps, grid=grid)


def test_grids_may_be_tensors_functions_and_names():
    x = [sample(mixture(VP()), (2, 2), steps=8, grid=g).x for g in ("uniform", uniform, uniform(VP(), 8))]
    assert torch.equal(x[0], x[1])
    assert torch.equal(x[0], x[2])


def test_the_default_grids_are_the_solvers_own():
    denoiser = mixture(VP())
    expected = arctan(VP(), 7, sigma_data=denoiser.sigma_data)
    assert torch.equal(sample(denoiser, (1, 2), steps=7).grid, expected)
    assert torch.equal(sample(mixture(VP()), (1, 2), solver=EulerMaruyama(), steps=7).grid, uniform(VP(), 7))
    assert torch.equal(sample(mixture(VP()), (1, 2), solver=Heun(), steps=7).grid, karras(VP(), 7))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: find_solver("hein"), "unknown solver 'hein'; did you mean 'heun'?"),
        (lambda: find_solver("ddmp"), "did you mean 'ddpm'?"),
        (lambda: find_solver("zzz"), "unknown solver 'zzz'; there are multistep, multistep-1, "),
        (lambda: find_grid("kerras"), "unknown grid 'kerras'; did you mean 'karras'?"),
        (lambda: sample(mixture(VP()), (1, 2), solver="multistep2"), "unknown solver 'multistep2'; did"),
        (lambda: sample(mixture(VP()), (1, 2), grid="arc"), "unknown grid 'arc'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(call, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        call()


@pytest.mark.parametrize("table", [SOLVERS, GRIDS], ids=["solvers", "grids"])
def test_every_name_is_found(table):
    for name in table:
        assert (find_solver if table is SOLVERS else find_grid)(name) is not None


def test_a_state_that_is_not_finite_stops_the_run_and_says_where():
    broken = Recorder(VP(), break_below=0.45)
    grid = torch.tensor([1.0, 0.6, 0.4, 0.0])
    expected = (
        rf"after step 3 of 3, from t = 0\.4 \(log-SNR {float(VP().log_snr(0.4)):.4g}\); check the denoiser"
    )
    with pytest.raises(FloatingPointError, match=expected):
        sample(broken, (2, 2), solver="ddim", grid=grid)
    broken = Recorder(VP(), break_below=0.7)
    with pytest.raises(
        FloatingPointError, match=rf"step 2 of 3, from t = 0\.6 \(log-SNR {float(VP().log_snr(0.6)):.4g}\)"
    ):
        sample(broken, (2, 2), solver="ddim", grid=grid)


def test_a_start_that_is_not_finite_stops_the_run():
    with pytest.raises(FloatingPointError, match="not finite at the start, at t = 1"):
        sample(mixture(VP()), x_T=torch.tensor([[math.inf, 0.0]]))


@pytest.mark.parametrize(
    ("solver", "evaluations"),
    [
        ("multistep", 9),
        ("ddim", 9),
        ("ddpm", 9),
        ("euler-maruyama", 9),
        ("euler", 9),
        ("heun", 17),
        ("edm", 17),
        ("rk4", 33),
        ("dpm-solver-2s", 17),
        ("dpm-solver-3s", 25),
    ],
)
def test_evaluations_are_counted(solver, evaluations):
    denoiser = Recorder(VP())
    result = sample(denoiser, (3, 2), solver=solver, steps=9)
    assert result.nfe == len(denoiser.calls) == evaluations


def test_the_path_holds_the_states_at_the_times_of_the_grid():
    result = sample(mixture(VP()), (3, 2), steps=5, path=True)
    assert result.path.shape == (6, 3, 2)
    assert result.grid.shape == (6,)
    assert torch.equal(result.path[-1], result.x)
    z = noise.normal((2,), seed=0, index=torch.arange(3), stream=noise.Stream.START)
    close(result.path[0], z * VP().sigma(1.0), rtol=1e-7)
    assert sample(mixture(VP()), (3, 2), steps=5).path is None


def test_on_step_is_told_after_every_step():
    seen = []
    result = sample(mixture(VP()), (3, 2), steps=4, on_step=seen.append, path=True)
    assert [progress.step for progress in seen] == [1, 2, 3, 4]
    assert {progress.steps for progress in seen} == {4}
    assert [progress.t for progress in seen] == result.grid[1:].tolist()
    for progress, x in zip(seen, result.path[1:], strict=True):
        assert torch.equal(progress.x, x)


def test_the_start_may_be_given_and_is_left_alone():
    x_T = torch.ones(3, 2)
    copy = x_T.clone()
    a = sample(mixture(VP()), x_T=x_T)
    assert torch.equal(a.x, sample(mixture(VP()), (3, 2), x_T=x_T).x)
    assert torch.equal(x_T, copy)
    assert sample(mixture(VP()), x_T=x_T.double()).x.dtype == torch.float64


def test_the_start_is_noise_of_the_first_time_of_the_grid():
    grid = torch.tensor([0.5, 0.2, 0.0])
    z = noise.normal((2,), seed=7, index=torch.arange(3), stream=noise.Stream.START)
    result = sample(mixture(VP()), (3, 2), grid=grid, seed=7, path=True)
    close(result.path[0], z * VP().sigma(0.5), rtol=1e-7)


def test_shapes_that_are_missing_or_contradict_are_refused():
    with pytest.raises(ValueError, match=r"either a shape \(batch, \*event\) or a starting noise x_T"):
        sample(mixture(VP()))
    with pytest.raises(ValueError, match=r"x_T has shape \(3, 2\), but the shape asked for is \(4, 2\)"):
        sample(mixture(VP()), (4, 2), x_T=torch.ones(3, 2))
    with pytest.raises(ValueError, match="condition 'label' has 2 entries for 3 samples"):
        sample(mixture(VP()), (3, 2), condition={"label": torch.zeros(2)})


@every_solver
def test_conditions_reach_the_denoiser_at_every_evaluation(solver):
    label = torch.tensor([0, 1, 1])
    denoiser = Recorder(VP())
    sample(denoiser, (3, 2), solver=solver, steps=4, condition={"label": label})
    assert len(denoiser.calls) >= 4
    assert all(condition["label"] is label for _, _, condition in denoiser.calls)


def test_labels_choose_the_component():
    label = torch.arange(40) % 2
    x = sample(mixture(VP()), (40, 2), condition={"label": label}).x
    assert torch.equal(torch.cdist(x, MEANS).argmin(1), label)


@every_solver
def test_the_global_generator_is_left_alone(solver):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    sample(mixture(VP()), (2, 2), solver=solver, steps=3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("solver", [n for n in SOLVERS if getattr(find_solver(n), "last", 1) == 1])
def test_the_last_step_returns_the_posterior_mean(solver):
    denoiser = Recorder(VP())
    grid = torch.tensor([1.0, 0.5, 0.1, 0.0])
    result = sample(denoiser, (3, 2), solver=solver, grid=grid)
    x, t, _ = denoiser.calls[-1]
    close(result.x, denoiser.exact(x, t).mean, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("solver", [Multistep(3), Heun(1.0), DDIM(0.5)], ids=["multistep", "heun", "ddim"])
def test_a_solver_keeps_nothing_between_runs(solver):
    denoiser = mixture(Cosine())
    first = sample(denoiser, (3, 2), solver=solver, steps=6).x
    sample(mixture(Flow()), (2, 2), solver=solver, steps=3, seed=9)
    assert torch.equal(first, sample(denoiser, (3, 2), solver=solver, steps=6).x)


def test_sampling_builds_no_graph():
    network = torch.nn.Linear(2, 2)

    class Learned(Denoiser):
        schedule = VP()

        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x_t, t, **condition):
            return Posterior(self.network(x_t))

    assert not sample(Learned(), (2, 2), steps=3).x.requires_grad


def test_a_gaussian_is_sampled_to_its_moments_by_default():
    x = sample(Gaussian(VP(), torch.full((2,), 3.0), 0.5), (4000, 2)).x.double()
    close(x.mean(), 3.0, atol=0.05)
    close(x.std(), 0.5, rtol=0.03)


class Answer(Denoiser):
    """Answers what it is told to."""

    schedule = VP()

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x_t, t, **condition):
        mean = self.answer(x_t)
        return Posterior(mean, torch.ones_like(mean))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: x[:, :1], r"answered \(3, 1\) torch.float32 to a state of \(3, 2\) torch.float32"),
        (lambda x: x[:1], r"answered \(1, 2\)"),
        (lambda x: x.double(), r"answered \(3, 2\) torch.float64 to a state of \(3, 2\) torch.float32"),
        (lambda x: x.half(), "must have the state's shape and type"),
    ],
)
@every_solver
def test_an_answer_of_another_shape_or_type_is_refused(solver, answer, message):
    grid = torch.tensor([0.9, 0.5, 0.0])
    with pytest.raises(ValueError, match=message):
        sample(Answer(answer), (3, 2), solver=solver, grid=grid)


@every_solver
def test_a_denoiser_that_returns_nan_stops_the_run_with_a_noise_level(solver):
    with pytest.raises(FloatingPointError, match="log-SNR"):
        sample(Answer(lambda x: x * math.nan), (3, 2), solver=solver, grid=torch.tensor([0.9, 0.5, 0.0]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
@every_solver
def test_half_precision_networks_are_sampled_to_the_end(solver, dtype):
    from unstir.denoisers import Network
    from unstir.networks import MLP

    torch.manual_seed(0)
    module = MLP(2, width=8, layers=1, variance=True)
    torch.nn.init.normal_(module.leave.weight, std=0.1)
    for schedule in (VP(), Cosine()):
        denoiser = Network(module.to(dtype), schedule, sigma_data=0.7)
        grid = torch.tensor([0.999, 0.8, 0.5, 0.1, 0.0]) if "euler-m" in solver else None
        x = sample(denoiser, (3, 2), solver=solver, steps=5, grid=grid).x
        assert x.dtype == torch.float32
        assert torch.isfinite(x).all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("euler-maruyama", {"rtol": 0.1}, "the solver 'euler-maruyama' has no option 'rtol'; it takes none"),
        ("stochastic-heun", {"atol": 0.1}, "has no option 'atol'"),
        ("adaptive-sde", {"tolerance": 0.1}, "has no option 'tolerance'; it takes rtol, atol"),
        ("multistep", {"order": 7}, "orders 1 to 4, got 7"),
        ("multistep", {"eta": "much"}, "an option of the solver 'multistep' is of the wrong kind"),
    ],
)
def test_an_option_that_a_solver_does_not_have_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        find_solver(name, **options)


def test_options_reach_the_solver():
    assert find_solver("multistep", order=2, eta=0.5).eta == 0.5
    assert find_solver("heun", churn=3.0).churn == 3.0
