"""The log-density of the probability flow, against closed forms."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from tests.helpers import SCHEDULES, close
from tests.training.tiny import network
from unstir.denoisers import Denoiser, FromFunction, Gaussian, GaussianMixture, Network, Posterior
from unstir.evaluation import Hutchinson, HutchPlusPlus, log_density
from unstir.networks import MLP
from unstir.processes import VE, VP, Cosine, Flow
from unstir.samplers import sample
from unstir.samplers.adaptive import Adaptive

NAMES = ["vp", "ve", "flow", "cosine", "sub-vp", "table"]


def mixture(schedule, event=(3,), seed=0) -> GaussianMixture:
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(3, *event, generator=generator, dtype=torch.float64)
    return GaussianMixture(schedule, means, torch.tensor([0.15, 0.4, 1.0]), labels=torch.tensor([0, 0, 1]))


def exactly(denoiser, x, *, condition=None, **options):
    """With the exact prior."""
    given = condition or {}
    return log_density(
        denoiser, x, prior=lambda z: denoiser.log_density(z, 1.0, **given), condition=condition, **options
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_log_density_of_a_mixture_is_its_closed_form(name):
    denoiser = mixture(SCHEDULES[name])
    x = denoiser.sample_data(8)
    found = exactly(denoiser, x)
    close(found.nats, denoiser.log_density(x, 0.0), atol=1e-5)
    assert found.nats.dtype == torch.float64
    assert not found.error.any()


@pytest.mark.parametrize("name", ["vp", "ve", "flow", "cosine"])
@pytest.mark.parametrize("std", [0.05, 1.0, 20.0])
def test_the_log_density_of_a_gaussian_of_any_width_is_its_closed_form(name, std):
    denoiser = Gaussian(SCHEDULES[name], torch.tensor([1.0, -0.5]), std)
    x = denoiser.sample_data(6)
    close(exactly(denoiser, x).nats, denoiser.log_density(x, 0.0), atol=1e-5)


@pytest.mark.parametrize("event", [(1,), (2, 2), (1, 2, 2), (1, 1, 2, 2)])
def test_events_of_every_rank_have_a_log_density(event):
    denoiser = mixture(Flow(), event)
    x = denoiser.sample_data(4)
    found = exactly(denoiser, x)
    close(found.nats, denoiser.log_density(x, 0.0), atol=1e-5)
    assert found.z.shape == x.shape


def test_a_condition_gives_the_conditional_density():
    denoiser = mixture(VP())
    x = denoiser.sample_data(6)
    label = torch.tensor([0, 1, -1, 0, 1, 1])
    found = exactly(denoiser, x, condition={"label": label})
    close(found.nats, denoiser.log_density(x, 0.0, label=label), atol=1e-5)


def test_without_a_prior_the_density_is_that_of_what_a_sampler_draws():
    pure = mixture(Flow())
    x = pure.sample_data(6)
    close(log_density(pure, x).nats, pure.log_density(x, 0.0), atol=1e-5)
    # VE ends short of pure noise: N(0, 3^2) flows to a Gaussian wider or narrower by the same ratio.
    schedule = VE(0.01, 3.0)
    gaussian = Gaussian(schedule, torch.zeros(2), 0.5)
    sigma = float(schedule.sigma(1.0))
    drawn = Gaussian(schedule, torch.zeros(2), 0.5 * sigma / math.hypot(sigma, 0.5))
    x = gaussian.sample_data(6)
    close(log_density(gaussian, x).nats, drawn.log_density(x, 0.0), atol=1e-5)


def test_the_latent_leads_back_to_the_data():
    for schedule in (VP(), VE(), Cosine()):
        denoiser = mixture(schedule)
        x = denoiser.sample_data(5)
        z = log_density(denoiser, x).z
        back = sample(denoiser, x_T=z, solver=Adaptive(1e-8, 1e-8)).x
        close(back, x, atol=1e-5)


@pytest.mark.parametrize("way", [Hutchinson(16), HutchPlusPlus(16, 2)], ids=["hutchinson", "hutch++"])
def test_random_divergences_agree_within_their_standard_errors(way):
    denoiser = mixture(VP(), (6,), seed=3)
    x = denoiser.sample_data(24)
    found = exactly(denoiser, x, divergence=way, tolerance=1e-4, seed=2)
    score = (found.nats - denoiser.log_density(x, 0.0)) / found.error
    assert float(found.error.min()) > 1e-3
    assert float(score.abs().max()) < 4.5
    assert abs(float(score.mean())) < 4 / 24**0.5
    assert 0.4 < float(score.var()) < 2.5


def test_hutch_plus_plus_is_exact_for_data_on_a_plane():
    basis = torch.linalg.qr(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)).double()).Q
    denoiser = Gaussian(VP(), torch.zeros(8), covariance=basis @ basis.T)
    x = denoiser.sample_data(3)
    # The plane has no density; that at a level of noise is the same question for both divergences.
    options = {"level": 0.1, "tolerance": 1e-6}
    exact = log_density(denoiser, x, **options)
    rough = log_density(denoiser, x, divergence=HutchPlusPlus(2, 2), **options)
    close(rough.nats, exact.nats, atol=1e-3)
    close(rough.error, torch.zeros(3), atol=1e-9)
    plain = log_density(denoiser, x, divergence=Hutchinson(6), level=0.1, tolerance=1e-5)
    assert float(plain.error.min()) > 0.01


def test_one_probe_has_no_standard_error_and_says_so_without_a_warning():
    denoiser = mixture(VP())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = log_density(denoiser, denoiser.sample_data(2), divergence="hutchinson", probes=1)
    assert bool(found.nats.isfinite().all())
    assert bool(found.error.isnan().all())


def test_a_sample_has_the_same_density_whatever_its_batch():
    denoiser = mixture(VP())
    x = denoiser.sample_data(6)
    for name in ("exact", "hutchinson", "hutch++"):
        whole = log_density(denoiser, x, divergence=name, probes=2, seed=5, tolerance=1e-5)
        part = log_density(denoiser, x[4:6], divergence=name, probes=2, seed=5, first_index=4, tolerance=1e-5)
        close(part.nats, whole.nats[4:6], atol=1e-9)
        close(part.error, whole.error[4:6], atol=1e-9)


def test_float32_is_accurate_to_its_level():
    denoiser = mixture(Cosine())
    x = denoiser.sample_data(8).float()
    found = exactly(denoiser, x)
    close(found.nats, denoiser.log_density(x, 0.0), atol=2e-3)
    assert found.z.dtype == torch.float32


@pytest.mark.parametrize("schedule", [VP(), Flow(), VE(0.01, 5.0)], ids=["vp", "flow", "ve"])
def test_the_density_of_any_network_integrates_to_one(schedule):
    denoiser = network(1, schedule=schedule, sigma_data=0.7).double()
    x = torch.linspace(-7.0, 7.0, 701, dtype=torch.float64)
    density = log_density(denoiser, x[:, None], tolerance=1e-6).nats.exp()
    assert float(torch.trapezoid(density, x)) == pytest.approx(1.0, abs=1e-4)


def test_the_denoiser_is_asked_in_evaluation_mode_and_left_as_it_was():
    denoiser = Network(MLP(2, width=8, layers=1, dropout=0.5), VP())
    torch.nn.init.normal_(denoiser.module.leave.weight, std=0.5)
    denoiser.train()
    denoiser.module.noise.eval()
    x = torch.zeros(2, 2)
    first, second = (log_density(denoiser, x).nats for _ in range(2))
    assert torch.equal(first, second)
    assert denoiser.training
    assert not denoiser.module.noise.training
    assert all(parameter.grad is None for parameter in denoiser.parameters())


def test_evaluations_are_counted():
    class Counting(Denoiser):
        schedule = VP()

        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, x_t, t, **condition):
            self.calls += 1
            return Posterior(0.5 * x_t)

        def cost(self, t):
            return 2

    denoiser = Counting()
    assert log_density(denoiser, torch.zeros(2, 2)).nfe == 2 * denoiser.calls > 0


def broken(x, t):
    return torch.where(t[:, None] > 0.5, torch.nan, x)


def test_a_mean_that_is_not_finite_is_said_with_its_time_and_log_snr():
    denoiser = FromFunction(broken, VP(), "x0")
    with pytest.raises(FloatingPointError, match=r"posterior mean is not finite at t = 0\.\d+ \(log-SNR -"):
        log_density(denoiser, torch.zeros(2, 2, dtype=torch.float64))
    with pytest.raises(FloatingPointError, match="Jacobian is not finite at t = "):
        log_density(FromFunction(lambda x, t: (x * 0).abs().sqrt(), VP(), "x0"), torch.zeros(2, 2))


GAUSSIAN = Gaussian(VP(), torch.zeros(2), 1.0)
WRONG = {
    "integers": (torch.zeros(2, 2, dtype=torch.int64), {}, "real numbers .* use bits_per_dimension"),
    "no event": (torch.zeros(2), {}, r"real numbers \(batch, \*event\)"),
    "shape": (torch.zeros(2, 3), {}, r"expected events of shape \(2,\), got \(3,\)"),
    "nan": (torch.full((1, 2), torch.nan), {}, "x_0 holds a value that is not finite"),
    "divergence": (torch.zeros(1, 2), {"divergence": "exat"}, "did you mean 'exact'"),
    "probes": (torch.zeros(1, 2), {"divergence": "hutch++", "probes": 0}, "probes is at least 1, got 0"),
    "level": (torch.zeros(1, 2), {"level": 0.0}, "the level sigma/alpha .* is above 0, got 0.0"),
    "tolerance": (torch.zeros(1, 2), {"tolerance": -1.0}, "tolerance lies between 0 and 1"),
    "condition": (torch.zeros(1, 2), {"condition": {"label": torch.zeros(3)}}, "has 3 entries for 1 samples"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_done_is_one_sentence(kind):
    x, options, sentence = WRONG[kind]
    with pytest.raises(ValueError, match=sentence):
        log_density(GAUSSIAN, x, **options)


def test_a_denoiser_that_cannot_be_differentiated_or_answers_in_another_shape_is_refused():
    with pytest.raises(ValueError, match="cannot be differentiated"):
        log_density(Detached(), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="must have the state's shape"):
        log_density(Wide(), torch.zeros(1, 2))


class Detached(Denoiser):
    schedule = VP()

    def forward(self, x_t, t, **condition):
        return Posterior(x_t.detach())


class Wide(Denoiser):
    schedule = VP()

    def forward(self, x_t, t, **condition):
        return Posterior(torch.cat([x_t, x_t], dim=1))
