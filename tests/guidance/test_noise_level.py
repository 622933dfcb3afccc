import math
from functools import partial

import pytest
import torch
from scipy import optimize

from tests.guidance.test_measurements import random
from tests.helpers import close
from unstir.denoisers import Gaussian, GaussianMixture, given
from unstir.guidance import MMPS
from unstir.guidance.noise_level import estimate_noise
from unstir.processes import VP, Flow


class Problem:
    """Gaussian data, a random matrix, measurements of one noise level, and its exact maximum likelihood."""

    def __init__(self, schedule, m, n, count, noise):
        root = random(n, n, seed=5) / math.sqrt(n)
        self.covariance = root @ root.T + 0.05 * torch.eye(n)
        self.mean, self.matrix = random(1, n, seed=6)[0], random(m, n, seed=7) / math.sqrt(n)
        self.denoiser = Gaussian(schedule, self.mean, covariance=self.covariance)
        x = self.denoiser.sample_data(count, seed=3)
        self.y = x @ self.matrix.T + noise * random(count, m, seed=9)

    def best(self):
        found = optimize.minimize_scalar(
            self.loss, bounds=(-6.0, 2.0), method="bounded", options={"xatol": 1e-9}
        )
        return math.exp(found.x)

    def loss(self, log_noise):
        m = len(self.matrix)
        spread = self.matrix @ self.covariance @ self.matrix.T + math.exp(2 * log_noise) * torch.eye(m)
        law = torch.distributions.MultivariateNormal(self.matrix @ self.mean, spread)
        return -float(law.log_prob(self.y).sum())


@pytest.mark.parametrize(
    ("schedule", "m", "n", "noise"), [(VP(), 6, 4, 0.3), (Flow(), 8, 8, 0.8)], ids=["vp", "flow"]
)
def test_the_estimate_maximises_the_likelihood_of_gaussian_data(schedule, m, n, noise):
    problem = Problem(schedule, m, n, 20, noise)
    best = problem.best()
    found = estimate_noise(
        problem.denoiser, problem.y, problem.matrix, method=partial(MMPS, iterations=4), samples=50
    )
    assert found.converged
    assert found.error < 0.03 * best
    assert abs(found.noise - best) < 4.0 * found.error
    assert found.samples.shape == (20, 50, n)
    assert found.path[0] > 1.5 * best


def test_one_measurement_of_many_entries_and_any_method():
    problem = Problem(VP(), 40, 4, 1, 0.5)

    def exactly(denoiser, y, operator, noise):
        assert y.shape == (200, 40)
        return given(denoiser, y[0], operator.matrix, noise)

    found = estimate_noise(problem.denoiser, problem.y[0], problem.matrix, method=exactly, samples=200)
    assert found.converged
    assert abs(found.noise - problem.best()) < 4.0 * found.error < 0.05 * found.noise
    # The samples are those of the posterior at that noise.
    posterior = given(problem.denoiser, problem.y[0], problem.matrix, found.noise)
    deviation = posterior.covariances[0].diagonal().sqrt()
    gap = (found.samples.double().mean(0) - posterior.means[0]) / deviation
    assert float(gap.abs().max()) < 4.5 / math.sqrt(200)


def test_the_round_after_infinite_noise_is_that_of_the_prior():
    # With one round the first estimate is the misfit of prior samples: sqrt(|y - A mu|^2 + tr A C A^T) / m.
    problem = Problem(VP(), 6, 4, 4, 0.3)
    found = estimate_noise(problem.denoiser, problem.y, problem.matrix, samples=500, rounds=1)
    assert not found.converged
    spread = problem.matrix @ problem.covariance @ problem.matrix.T
    residual = problem.y - problem.matrix @ problem.mean
    expected = math.sqrt(float((residual**2).mean() + spread.diagonal().mean()))
    assert math.isclose(float(found.path[0]), expected, rel_tol=0.05)


def test_acceleration_reaches_the_fixed_point_of_the_plain_iteration():
    # Where x explains most of the misfit, plain rounds go 1/6 of the way each; extrapolation is not fooled.
    problem = Problem(VP(), 4, 6, 40, 0.3)
    arguments = problem.denoiser, problem.y, problem.matrix
    found = estimate_noise(*arguments, samples=10, tolerance=1e-3)
    assert found.converged
    assert len(found.path) <= 14
    again = estimate_noise(*arguments, samples=10, tolerance=1e-4)
    assert math.isclose(found.noise, again.noise, rel_tol=3e-3)


def test_a_nonlinear_measurement_with_a_known_answer():
    # x is known up to 1e-3, so the misfit is the noise.
    denoiser = Gaussian(VP(), torch.full((2,), 0.7, dtype=torch.float64), std=1e-3)
    y = math.tanh(0.7) + 0.2 * random(50, 2)
    found = estimate_noise(denoiser, y, torch.tanh, event=(2,), samples=4)
    exact = float((y - math.tanh(0.7)).square().mean().sqrt())
    assert math.isclose(found.noise, exact, rel_tol=2e-3)


def test_conditions_go_to_their_measurements():
    means = torch.tensor([[-3.0], [3.0]], dtype=torch.float64)
    denoiser = GaussianMixture(VP(), means, stds=torch.full((2,), 0.01), labels=torch.tensor([0, 1]))
    label = torch.tensor([0, 1] * 10)
    y = means[label] + 0.5 * random(20, 1)
    found = estimate_noise(
        denoiser, y, torch.eye(1), samples=3, condition={"label": label}, method=partial(MMPS, iterations=1)
    )
    assert math.isclose(found.noise, float((y - means[label]).square().mean().sqrt()), rel_tol=0.01)


def test_the_estimate_repeats_and_depends_on_the_seed():
    problem = Problem(VP(), 6, 4, 4, 0.3)
    arguments = problem.denoiser, problem.y, problem.matrix
    one, again = (estimate_noise(*arguments, samples=5, rounds=2) for _ in range(2))
    other = estimate_noise(*arguments, samples=5, rounds=2, seed=1)
    close(one.path, again.path)
    assert one.noise != other.noise


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 0}, "at least 1 sample"),
        ({"rounds": 0}, "at least 1 round"),
        ({"tolerance": 0.0}, "tolerance above 0"),
        ({"y": torch.zeros(2, 5)}, "but y has shape"),
        ({"y": torch.full((6,), math.nan)}, "not finite"),
        ({"operator": torch.tanh}, "does not know the shape"),
    ],
)
def test_bad_settings_are_one_clear_sentence(changes, message):
    problem = Problem(VP(), 6, 4, 1, 0.3)
    arguments = {"y": problem.y[0], "operator": problem.matrix} | changes
    with pytest.raises(ValueError, match=message):
        estimate_noise(problem.denoiser, **arguments)
