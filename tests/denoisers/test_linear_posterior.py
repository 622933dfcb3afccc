import pytest
import torch
from hypothesis import given as provided
from hypothesis import strategies as st

from tests.helpers import close
from unstir.denoisers import Gaussian, GaussianMixture, given
from unstir.processes import VP, Heat


def problem(seed, n=4, m=2, components=3):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    roots = normal(components, n, n)
    covariances = roots @ roots.mT / n + 0.05 * torch.eye(n, dtype=torch.float64)
    weights = torch.rand(components, generator=g, dtype=torch.float64) + 0.1
    mixture = GaussianMixture(VP(), 2 * normal(components, n), covariances=covariances, weights=weights)
    return mixture, normal(m, n), normal(m)


@provided(st.integers(0, 10**6))
def test_the_density_is_prior_times_likelihood_over_evidence(seed):
    mixture, matrix, y = problem(seed)
    posterior = given(mixture, y, matrix, 0.7)
    x = posterior.sample_data(6, seed=1)
    likelihood = -0.5 * ((y - x @ matrix.T) / 0.7).square().sum(1)
    difference = posterior.log_density(x, 0.0) - mixture.log_density(x, 0.0) - likelihood
    close(difference, difference[:1].expand(6), atol=1e-7)


def test_the_weights_are_those_of_the_components_evidence():
    mixture, matrix, y = problem(3)
    posterior = given(mixture, y, matrix, 0.5)
    noise = 0.25 * torch.eye(2, dtype=torch.float64)
    expected = torch.stack(
        [
            torch.distributions.MultivariateNormal(matrix @ mean, matrix @ c @ matrix.T + noise).log_prob(y)
            for mean, c in zip(mixture.means, mixture.covariances, strict=True)
        ]
    )
    close(posterior.log_weights, (mixture.log_weights + expected).log_softmax(0), atol=1e-12)


def test_two_measurements_in_turn_are_both_at_once():
    mixture, matrix, y = problem(4)
    once = given(mixture, y, matrix, torch.tensor([0.3, 0.9], dtype=torch.float64))
    turns = given(given(mixture, y[:1], matrix[:1], 0.3), y[1:], matrix[1:], 0.9)
    close(once.means, turns.means, atol=1e-10)
    close(once.covariances, turns.covariances, atol=1e-10)
    close(once.log_weights, turns.log_weights, atol=1e-10)


def test_a_precise_measurement_of_everything_leaves_no_choice():
    mixture, _, _ = problem(5)
    x = mixture.sample_data(1, seed=2)[0]
    posterior = given(mixture, x, torch.eye(4, dtype=torch.float64), 1e-4)
    close(posterior.sample_data(20), x.expand(20, 4), atol=1e-3)


def test_events_keep_their_shape_and_components_their_labels():
    means = torch.randn(2, 1, 2, 3, dtype=torch.float64)
    mixture = GaussianMixture(VP(), means, stds=torch.tensor([0.5, 0.6]), labels=torch.tensor([4, 7]))
    posterior = given(mixture, torch.zeros(2), torch.randn(2, 6), 0.5)
    assert posterior.event == (1, 2, 3)
    assert posterior.labels.tolist() == [4, 7]
    assert posterior(torch.zeros(3, 1, 2, 3), 0.5).mean.shape == (3, 1, 2, 3)


def test_covariances_of_a_blurring_schedule_come_out_of_its_modes():
    schedule = Heat()
    line = Gaussian(schedule, torch.zeros(1, 4), std=0.8)
    close(line.covariances[0], 0.64 * torch.eye(4, dtype=torch.float64), atol=1e-12)


def test_what_does_not_fit_is_refused():
    mixture, matrix, y = problem(6)
    with pytest.raises(ValueError, match=r"has the shape \(2, 4\), got \(2, 3\)"):
        given(mixture, y, matrix[:, :3], 0.1)
    with pytest.raises(ValueError, match="standard deviation above 0"):
        given(mixture, y, matrix, 0.0)
