"""The exact denoiser and the exact posterior, held against dense Gaussian algebra."""

from __future__ import annotations

import math

import pytest
import torch

from unstir.denoisers import Gaussian, given
from unstir.guidance import LinearOperator, mask
from unstir.processes import VP, Flow
from unstir.recipes.fields.exact import PairDenoiser, exact_posterior
from unstir.recipes.fields.poisson import PoissonProblem


def dense_covariance(problem):
    """(d, d) of the flattened pair, in the units of the fields."""
    n = math.prod(problem.shape)
    columns = problem.pairs(torch.eye(n, dtype=torch.float64).reshape(n, *problem.shape)).flatten(1)
    return columns.T @ columns


def dense(problem, schedule, scaled=True):
    covariance = dense_covariance(problem)
    if scaled:
        scale = torch.tensor(problem.deviations).double().repeat_interleave(math.prod(problem.shape))
        covariance = covariance / scale / scale[:, None]
    return Gaussian(schedule, torch.zeros(2, *problem.shape, dtype=torch.float64), covariance=covariance)


@pytest.mark.parametrize("boundary", ["absorb", "reflect", "periodic"])
@pytest.mark.parametrize("schedule", [VP(), Flow()])
def test_the_denoiser_is_that_of_the_dense_gaussian(boundary, schedule):
    problem = PoissonProblem((5, 4), boundary=boundary)
    x = torch.randn(3, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for t in (0.1, 0.5, 0.9):
        found = PairDenoiser(schedule, problem)(x, t)
        expected = dense(problem, schedule)(x, t)
        torch.testing.assert_close(found.mean, expected.mean, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(found.variance, expected.variance, rtol=1e-6, atol=1e-8)


def test_a_denoiser_that_is_not_joined_treats_each_field_alone():
    problem = PoissonProblem(5)
    denoiser = PairDenoiser(VP(), problem, joined=False)
    x = torch.randn(2, 2, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    changed = x.clone()
    changed[:, 0] += 1.0
    torch.testing.assert_close(denoiser(x, 0.4).mean[:, 1], denoiser(changed, 0.4).mean[:, 1])
    assert not torch.equal(denoiser(x, 0.4).mean[:, 0], denoiser(changed, 0.4).mean[:, 0])


def test_gradients_reach_both_fields():
    x = torch.randn(1, 2, 6, 6, requires_grad=True)
    PairDenoiser(VP(), PoissonProblem(6))(x, 0.5).mean[:, 1].square().sum().backward()
    assert bool((x.grad.flatten(2).abs().sum(2) > 0).all())


@pytest.mark.parametrize("noise", [0.05, torch.linspace(0.02, 0.2, 5)])
def test_the_posterior_is_that_of_dense_conditioning(noise):
    problem = PoissonProblem((4, 5))
    keep = torch.zeros(2, 4, 5, dtype=torch.bool)
    keep[1, [0, 2, 3], [1, 4, 2]] = True
    keep[0, 1, :2] = True
    operator = mask(keep)
    y = torch.tensor([0.3, -0.2, 0.01, 0.02, -0.03])
    found = exact_posterior(problem, y, operator, noise)
    expected = given(dense(problem, VP(), scaled=False), y, operator.matrix, noise)
    torch.testing.assert_close(found.mean, expected.means[0].reshape(2, 4, 5), rtol=1e-7, atol=1e-9)
    variance = expected.covariances[0].diagonal().reshape(2, 4, 5)
    torch.testing.assert_close(found.deviation, variance.sqrt(), rtol=1e-6, atol=1e-8)


def test_exact_samples_have_the_mean_and_deviation_of_the_posterior():
    problem = PoissonProblem(6)
    keep = torch.zeros(2, 6, 6, dtype=torch.bool)
    keep[1, ::2, ::3] = True
    posterior = exact_posterior(problem, torch.linspace(-0.05, 0.05, 6), mask(keep), 0.01)
    x = posterior.sample(4000, seed=2)
    error = (x.mean(0) - posterior.mean) / posterior.deviation
    assert float(error.abs().max()) < 5 / math.sqrt(4000)
    assert float((x.std(0) / posterior.deviation - 1).abs().max()) < 5 / math.sqrt(2 * 4000)


def test_sensors_never_raise_the_deviation():
    problem = PoissonProblem(6)
    keep = torch.zeros(2, 6, 6, dtype=torch.bool)
    keep[1, 2, 3] = True
    posterior = exact_posterior(problem, torch.zeros(1), mask(keep), 0.01)
    assert bool((posterior.deviation <= posterior.prior_deviation + 1e-12).all())
    assert float(posterior.deviation[1, 2, 3]) < 0.01


def test_the_whole_source_without_noise_gives_the_exact_potential():
    problem = PoissonProblem(6)
    source, potential = problem.draw(1, seed=5)
    keep = torch.zeros(2, 6, 6, dtype=torch.bool)
    keep[0] = True
    posterior = exact_posterior(problem, source.flatten(), mask(keep), 1e-6)
    torch.testing.assert_close(posterior.mean[1], potential[0, 0].double(), rtol=1e-4, atol=1e-7)


def test_another_number_of_measurements_or_no_noise_is_one_sentence():
    problem = PoissonProblem(4)
    keep = torch.zeros(2, 4, 4, dtype=torch.bool)
    keep[0, 0, :2] = True
    with pytest.raises(ValueError, match="takes 2 numbers"):
        exact_posterior(problem, torch.zeros(3), mask(keep), 0.1)
    with pytest.raises(ValueError, match="above 0"):
        exact_posterior(problem, torch.zeros(2), mask(keep), 0.0)
    single = LinearOperator(lambda x: x[:, 0].flatten(1), event=(1, 4, 4))
    with pytest.raises(ValueError, match=r"events \(2, 4, 4\)"):
        exact_posterior(problem, torch.zeros(16), single, 0.1)
    with pytest.raises(ValueError, match="expected events of shape"):
        PairDenoiser(VP(), problem)(torch.zeros(1, 1, 4, 4), 0.5)
