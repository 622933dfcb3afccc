"""Training under schedules that blur: the objective by mode, the bound, distillation, whole runs."""

import math

import pytest
import torch

from tests.helpers import close
from tests.training.tiny import network, points, settings
from unstir import noise
from unstir.denoisers import Gaussian, Posterior
from unstir.evaluation import log_density, variational_bound
from unstir.processes import V_PREDICTION, VP, Cosine, Flow, Heat, HeatOnGraph
from unstir.recipes import RunSettings, find_recipe
from unstir.samplers import Consistency, sample
from unstir.settings import parse_settings
from unstir.training import DistillationSettings, Objective, train
from unstir.training.bound import bound_term, prior_term
from unstir.training.distill import distill
from unstir.training.objective import weighted_error
from unstir.training.weighting import EDMWeighting, SigmoidWeighting, SNRWeighting, UniformWeighting

SCHEDULE, EVENT = Heat(VP(), blur=0.4), (5,)
MODES = SCHEDULE.modes(EVENT)
SPECTRUM = 0.8 / (1.0 + torch.arange(5, dtype=torch.float64))
T = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)


def draw(*shape, step=0):
    index, stream = torch.arange(shape[0]), noise.Stream.BLUR
    return noise.normal(shape[1:], seed=7, index=index, stream=stream, step=step, dtype=torch.float64)


def gaussian(schedule=SCHEDULE):
    basis = schedule.from_modes(torch.eye(5, dtype=torch.float64))
    return Gaussian(schedule, torch.full((5,), 0.3), covariance=basis.T @ (SPECTRUM[:, None] * basis))


@pytest.mark.parametrize(
    "weighting", [EDMWeighting(0.5), SNRWeighting(), SigmoidWeighting(), UniformWeighting(V_PREDICTION)]
)
def test_errors_are_weighed_mode_by_mode(weighting):
    error = draw(3, 5)
    weight = weighting(MODES, T)
    assert weight.shape == (3, 5)
    expected = (weight * MODES.analyse(error) ** 2).mean(1)
    close(weighted_error(weighting, SCHEDULE, error, T), expected, rtol=1e-12)


def test_an_untrained_network_starts_with_loss_one_at_every_level_for_white_data():
    # EDM's weighting is 1 / c_out^2, of each mode.
    s, n = 0.7, 4000
    denoiser = network(5, schedule=SCHEDULE, sigma_data=s).double()
    torch.nn.init.zeros_(denoiser.module.leave.weight)
    torch.nn.init.zeros_(denoiser.module.leave.bias)
    objective = Objective(EDMWeighting(s))
    for level in T.tolist():
        t = torch.full((n,), level, dtype=torch.float64)
        losses = objective.losses(denoiser, SCHEDULE, s * draw(n, 5), draw(n, 5, step=1), t, {})
        assert float(losses.detach().mean()) == pytest.approx(1.0, abs=0.05)


def test_without_a_blur_the_losses_are_those_of_the_base():
    x, e = draw(3, 5), draw(3, 5, step=1)
    for kind in ("simple", "bound"):
        ours, theirs = (
            Objective(EDMWeighting(), kind).losses(Gaussian(s, torch.zeros(5), 1.0), s, x, e, T, {})
            if kind == "simple"
            else Objective(EDMWeighting(), kind).losses(_without_variance(s), s, x, e, T, {})
            for s in (Heat(VP(), d_min=1.0), VP())
        )
        close(ours, theirs, rtol=1e-9)


def _without_variance(schedule):
    denoiser = Gaussian(schedule, torch.zeros(5), 1.0)
    return lambda x, t, **c: Posterior(denoiser(x, t, **c).mean)


@pytest.mark.parametrize("base", [VP(), Flow()])
def test_the_bound_is_above_the_log_likelihood_and_close_with_many_steps(base):
    schedule = Heat(base, blur=0.3, d_min=0.05)
    denoiser = gaussian(schedule)

    class Blind(type(denoiser)):
        def forward(self, x, t, **condition):
            return Posterior(super().forward(x, t, **condition).mean)

    denoiser.__class__ = Blind
    x = denoiser.sample_data(64, seed=2)
    grid = torch.linspace(1.0, 0.0, 101, dtype=torch.float64) ** 2
    bound = variational_bound(denoiser, x, grid, draws=3)
    exact = -denoiser.log_density(x, 0.0).mean()
    assert float(bound.total.mean()) > float(exact) - 0.02
    assert float(bound.total.mean()) < float(exact) + 0.4


def test_a_term_of_the_bound_is_the_divergence_of_two_gaussians_of_modes():
    s, t = torch.tensor([0.3, 0.5]).double(), torch.tensor([0.4, 0.8]).double()
    x_0, guess = draw(2, 5), draw(2, 5, step=1)
    a, _, std = MODES.posterior_coefficients(s, t)
    forward = MODES.transition(torch.ones(2, 5).double(), s, t)[1]
    p = torch.distributions.Normal(a * MODES.analyse(guess), MODES.sigma(t) * forward / MODES.sigma(t))
    q = torch.distributions.Normal(a * MODES.analyse(x_0), std)
    expected = torch.distributions.kl_divergence(q, p).mean(1)
    close(bound_term(SCHEDULE, x_0, Posterior(guess), s, t), expected, rtol=1e-9)


def test_the_prior_term_is_the_divergence_of_the_last_state_from_noise():
    x_0 = draw(3, 5)
    alpha, sigma = MODES.alpha(1.0), float(SCHEDULE.sigma(1.0))
    expected = 0.5 * ((alpha * MODES.analyse(x_0) / sigma) ** 2).mean(1)
    close(prior_term(SCHEDULE, x_0), expected, rtol=1e-12)


@pytest.mark.parametrize("divergence", ["exact", "hutch++"])
@pytest.mark.parametrize(
    "schedule",
    [
        SCHEDULE,
        Heat(Cosine(), blur=0.3),
        HeatOnGraph.from_laplacian(torch.eye(5) * 5 - torch.ones(5, 5), Flow()),
    ],
)
def test_the_log_density_along_the_flow_of_modes_is_the_closed_form(schedule, divergence):
    denoiser = gaussian(schedule)
    x = denoiser.sample_data(6, seed=3)
    found = log_density(
        denoiser, x, divergence=divergence, probes=5, prior=lambda z: denoiser.log_density(z, 1.0)
    )
    close(found.nats, denoiser.log_density(x, 0.0), atol=1e-4)


def test_a_network_learns_the_posterior_mean_of_a_gaussian():
    schedule = Heat(VP(), blur=0.4)
    data = gaussian(schedule).sample_data(4000, seed=1)
    student = network(5, schedule=schedule, width=48, sigma_data=0.7)
    rows = points(4000, 5)
    rows = type(rows)(data.float().numpy(), None)
    options = settings(
        samples=60_000, batch=256, learning_rate=5e-3, decay="cosine", ema=(0.1,), ema_width=0.1
    )
    for _ in train(student, rows, options):
        pass
    exact = gaussian(schedule)
    for t in (0.2, 0.5, 0.8):
        mean, std = schedule.marginal(data[:1000], t)
        x_t = mean + std * draw(1000, 5, step=9)
        with torch.no_grad():
            left = student(x_t.float(), t).mean - exact(x_t, t).mean
        assert float(left.square().mean().sqrt()) < 0.15 * float(SPECTRUM.mean().sqrt())


def test_the_student_of_an_exact_gaussian_is_its_consistency_function():
    schedule = Heat(Flow(), blur=0.3, d_min=0.05)
    modes, teacher = schedule.modes((5,)), gaussian(schedule)
    student = network(5, schedule=schedule, width=48, sigma_data=0.7)
    options = DistillationSettings(
        samples=30_000, batch=256, chains=1024, learning_rate=5e-3, teacher_steps=12
    )
    for _ in distill(student, teacher, (5,), options):
        pass
    x = draw(2000, 5) * float(schedule.sigma(1.0))
    with torch.no_grad():
        jumped = student(x.float(), 1.0).mean.double()
    mean = modes.analyse(torch.full((1, 5), 0.3, dtype=torch.float64))
    alpha, sigma = modes.alpha(1.0), modes.sigma(1.0)
    width = (alpha**2 * SPECTRUM + sigma**2).sqrt()
    u = mean + (modes.analyse(x) - alpha * mean) * SPECTRUM.sqrt() / width
    error = (modes.analyse(jumped) - u).square().mean().sqrt() / SPECTRUM.mean().sqrt()
    assert float(error) < 0.15
    assert bool(torch.isfinite(sample(student, (2, 5), solver=Consistency(), steps=3).x).all())


@pytest.mark.parametrize("kind", ["hybrid", "bound"])
def test_a_learned_variance_has_no_bound_of_modes(kind):
    denoiser = network(5, schedule=SCHEDULE, variance=True)
    with pytest.raises(ValueError, match="learned variance"):
        Objective(EDMWeighting(), kind).losses(
            denoiser, SCHEDULE, draw(3, 5).float(), draw(3, 5).float(), T, {}
        )


@pytest.mark.parametrize("value", ["heat", {"name": "heat"}])
def test_a_recipe_takes_the_schedule_by_name(value):
    plain = find_recipe("digits").model_dump(mode="json")
    made = parse_settings(RunSettings, plain | {"schedule": value})
    assert made.schedule["name"] == "heat"
    assert made.schedule["base"] == {"name": "vp", "beta_min": 0.1, "beta_max": 20.0}


def test_a_recipe_reads_numbers_of_the_base_that_yaml_took_for_text():
    plain = find_recipe("digits").model_dump(mode="json")
    schedule = {"name": "heat", "d_min": "1e-4", "base": {"name": "vp", "beta_min": "1e-1"}}
    made = parse_settings(RunSettings, plain | {"schedule": schedule})
    assert made.schedule["d_min"] == 1e-4
    assert made.schedule["base"]["beta_min"] == 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling": {"solver": "ddpm-learned"}}, "solver=ddpm"),
        (
            {
                "training": {
                    "samples": 10,
                    "objective": {"kind": "hybrid"},
                    "noise_levels": {"distribution": "uniform"},
                }
            },
            "objective.kind=simple",
        ),
    ],
)
def test_a_recipe_that_wants_a_learned_variance_of_modes_is_refused(changes, message):
    plain = find_recipe("digits").model_dump(mode="json")
    plain["network"]["variance"] = True
    with pytest.raises(ValueError, match=message):
        parse_settings(RunSettings, plain | {"schedule": "heat"} | changes)


def test_the_schedule_of_the_tests_blurs():
    assert float(MODES.kept(1.0).min()) < 0.01
    assert math.isclose(float(MODES.kept(1.0).max()), 1.0)
