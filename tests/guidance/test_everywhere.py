"""Guided denoisers are denoisers: every solver, every schedule and every noise type takes them."""

import pytest
import torch

from tests.helpers import SCHEDULES
from tests.two_sample import kernel_test
from unstir.denoisers import Gaussian, given
from unstir.guidance import MMPS, Classifier, ClassifierFree, LinearOperator
from unstir.guidance.tilt import NOISIEST
from unstir.processes import VP, Heat
from unstir.samplers import SOLVERS, sample

N, NOISE = 3, 0.3
G = torch.Generator().manual_seed(7)
ROOT = torch.randn(N, N, generator=G, dtype=torch.float64)
COVARIANCE = ROOT @ ROOT.T / N + 0.1 * torch.eye(N, dtype=torch.float64)
MATRIX = torch.randn(2, N, generator=G, dtype=torch.float64)
Y = torch.randn(2, generator=G, dtype=torch.float64)
EXCEPT = {"ddpm-learned": "needs a denoiser with a variance", "adaptive-sde": "see its own test"}


def compare(schedule, solver, steps):
    """Samples by a guided prior and by the exact posterior, from the same noise on the same grid."""
    prior = Gaussian(schedule, torch.zeros(N), covariance=COVARIANCE)
    exact = given(prior, Y, MATRIX, NOISE)
    exact.sigma_data = prior.sigma_data  # which the default grid and coordinate are scaled by
    guided = MMPS(prior, Y, MATRIX, NOISE, iterations=2)
    z = torch.randn(6, N, generator=G, dtype=torch.float64) * float(schedule.sigma(1.0))
    return [sample(denoiser, x_T=z, solver=solver, steps=steps, seed=2).x for denoiser in (guided, exact)]


@pytest.mark.parametrize("name", [name for name in SOLVERS if name not in EXCEPT])
def test_every_solver_takes_a_guided_denoiser(name):
    guided, exact = compare(VP(), name, 6)
    torch.testing.assert_close(guided, exact, rtol=0.0, atol=1e-6)


def test_the_adaptive_sde_samples_the_posterior():
    # Its steps follow the path of the noise, so round-off decides where it looks at that path.
    prior = Gaussian(VP(), torch.zeros(N), covariance=COVARIANCE)
    guided = MMPS(prior, Y, MATRIX, NOISE, iterations=2)
    x = sample(guided, (200, N), solver="adaptive-sde", seed=4).x
    assert kernel_test(x, given(prior, Y, MATRIX, NOISE).sample_data(200, seed=5)) > 0.01


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_takes_a_guided_denoiser(name):
    guided, exact = compare(SCHEDULES[name], "multistep", 8)
    # Beyond the noisiest level the guided mean is taken where data begin to show, e^-7 of a deviation away.
    beyond = float(SCHEDULES[name].log_snr(1.0)) < NOISIEST
    torch.testing.assert_close(guided, exact, rtol=0.0, atol=5e-3 if beyond else 1e-6)


def test_guidance_of_three_kinds_at_once():
    # A measurement, a critic and a condition, each in its own wrapper, in any order.
    prior = Gaussian(VP(), torch.zeros(N), covariance=COVARIANCE)
    b = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)

    def critic(x, t, **condition):
        return x @ b.to(x)

    x = torch.randn(4, N, generator=G, dtype=torch.float64)
    first = Classifier(MMPS(prior, Y, MATRIX, NOISE), critic, of="x_0")
    second = MMPS(Classifier(prior, critic, of="x_0"), Y, MATRIX, NOISE)
    guided = ClassifierFree(first, 1.0)
    assert torch.isfinite(sample(guided, (5, N), steps=8).x).all()
    # For Gaussian data both orders are Bayes' rule with both pieces of evidence.
    torch.testing.assert_close(first(x, 0.5).mean, second(x, 0.5).mean, rtol=0.0, atol=1e-8)


def test_a_blurring_schedule_on_an_image():
    # White data, the left half seen: the right half stays as it was.
    prior = Gaussian(Heat(), torch.zeros(1, 4, 4), std=1.0)
    left = LinearOperator(lambda x: x[..., :2], event=(1, 4, 4), name="left half")
    guided = MMPS(prior, torch.full((1, 4, 2), 0.8), left, 0.1, iterations=4)
    x = sample(guided, (400, 1, 4, 4), steps=25).x
    assert x[..., :2].mean() == pytest.approx(0.8 / 1.01, abs=0.05)
    assert x[..., 2:].std() == pytest.approx(1.0, abs=0.06)
