"""Nonlinear measurements against the exact posterior, by quadrature on a fine grid."""

from itertools import pairwise

import pytest
import torch

from tests.helpers import close
from unstir.denoisers import Gaussian, GaussianMixture, given
from unstir.guidance import DPS, MMPS, as_operator
from unstir.processes import VP, Flow
from unstir.samplers import sample


def exact(prior, function, y, noise, points):
    """Mean and deviation of x, then of A(x), given y = A(x) + noise, from weights on points (N, d)."""
    likelihood = -0.5 * ((y - function(points)) ** 2).sum(1) / noise**2
    weight = (prior.log_density(points, 0.0) + likelihood).softmax(0)[:, None]
    moments = []
    for value in (points, function(points)):
        mean = (weight * value).sum(0)
        moments += [mean, (weight * (value - mean) ** 2).sum(0).sqrt()]
    return moments


def line(low=-4.0, high=4.0, count=4001):
    return torch.linspace(low, high, count, dtype=torch.float64)[:, None]


def plane(low=-3.0, high=4.0, count=281):
    side = torch.linspace(low, high, count, dtype=torch.float64)
    return torch.cartesian_prod(side, side)


def saturation(x):
    return torch.tanh(1.5 * x)


def magnitude(x):
    return x.norm(dim=1, keepdim=True)


def drawn(guided, count=2000, steps=40, solver="multistep"):
    width = guided.denoiser.means.shape[1]
    return sample(guided, (count, width), steps=steps, solver=solver).x.double()


def test_quadrature_is_exact_for_a_linear_measurement():
    prior = GaussianMixture(
        VP(), torch.tensor([[-0.8, 0.0], [0.9, 0.5]], dtype=torch.float64), stds=torch.tensor([0.4, 0.3])
    )
    matrix, y = torch.tensor([[1.0, 0.5]], dtype=torch.float64), torch.tensor([0.6], dtype=torch.float64)
    mean, deviation, _, _ = exact(prior, lambda x: x @ matrix.T, y, 0.3, plane())
    posterior = given(prior, y, matrix, 0.3)(torch.zeros(1, 2, dtype=torch.float64), 1.0)
    # Pure noise tells nothing, so the estimate there is the mean of the posterior.
    close(posterior.mean[0], mean, atol=0.01)
    close(posterior.variance[0].sqrt(), deviation, atol=0.01)


@pytest.mark.parametrize("schedule", [VP(), Flow()], ids=["vp", "flow"])
def test_the_magnitude_of_a_vector_leaves_its_direction_to_the_prior(schedule):
    prior = Gaussian(schedule, torch.tensor([1.0, 0.5], dtype=torch.float64), std=0.5)
    y, noise = torch.tensor([1.5], dtype=torch.float64), 0.1
    mean, deviation, length, scatter = exact(prior, magnitude, y, noise, plane())
    x = drawn(MMPS(prior, y, magnitude, noise))
    assert float(((x.mean(0) - mean) / deviation).abs().max()) < 0.13
    assert float((x.std(0) / deviation - 1.0).abs().max()) < 0.07
    assert abs(float(magnitude(x).mean() - length)) < 0.35 * float(scatter)
    assert abs(float(magnitude(x).std() / scatter) - 1.0) < 0.1
    # The gradient of the misfit finds the arc, too, and holds on to it more tightly than it should.
    x = drawn(DPS(prior, y, magnitude, noise))
    assert float(((x.mean(0) - mean) / deviation).abs().max()) < 0.25
    assert abs(float(magnitude(x).mean() - length)) < 0.6 * float(scatter)
    before = drawn(DPS(prior, y, magnitude, noise, weight=0.0))
    gap = (magnitude(x) - y).square().mean() / (magnitude(before) - y).square().mean()
    assert float(gap) < 0.5


@pytest.mark.parametrize(("value", "noise"), [(0.6, 0.2), (0.95, 0.1), (-0.5, 0.3)])
def test_a_saturating_sensor_is_inverted_with_its_lopsided_uncertainty(value, noise):
    prior = Gaussian(VP(), torch.tensor([0.3], dtype=torch.float64), std=0.8)
    y = torch.tensor([value], dtype=torch.float64)
    mean, deviation, _, _ = exact(prior, saturation, y, noise, line())
    for solver, steps, bound in (("multistep", 40, 0.65), ("ddpm", 100, 0.45)):
        x = drawn(MMPS(prior, y, saturation, noise), steps=steps, solver=solver)
        # Linearised at one point, it overlooks the curvature: some tenths of a deviation, as measured.
        assert float((x.mean(0) - mean).abs() / deviation) < bound
        assert 0.8 < float(x.std(0) / deviation) < 1.05
    # Without the measurement the estimate is off by more than that.
    assert float((prior.means[0] - mean).abs() / deviation) > 0.8


def test_linearisation_becomes_exact_as_the_prior_narrows():
    # The narrower the prior, the straighter A is across it: errors, in deviations, are of order one in it.
    errors = []
    for width in (0.2, 0.1, 0.05):
        prior = Gaussian(VP(), torch.tensor([0.5], dtype=torch.float64), std=width)
        noise, y = 0.5 * width, saturation(torch.tensor([0.5 + 0.7 * width], dtype=torch.float64))
        mean, deviation, _, _ = exact(prior, saturation, y, noise, line(0.5 - 8 * width, 0.5 + 8 * width))
        guided = MMPS(prior, y, saturation, noise)
        at_noise = guided(torch.zeros(1, 1, dtype=torch.float64), 1.0).mean[0]
        errors.append(float((at_noise - mean).abs() / deviation))
    assert errors[0] < 0.3
    assert all(0.45 < fine / coarse < 0.58 for coarse, fine in pairwise(errors))


def test_a_linear_function_is_treated_as_the_operator_it_is():
    prior = Gaussian(VP(), torch.tensor([0.3, -0.4], dtype=torch.float64), std=0.8)
    matrix, y = torch.tensor([[1.0, -2.0]], dtype=torch.float64), torch.tensor([0.4], dtype=torch.float64)
    x, t = torch.tensor([[0.5, -1.0], [2.0, 0.1]], dtype=torch.float64), torch.tensor([0.2, 0.7])
    for method in (DPS, MMPS):
        one = method(prior, y, as_operator(matrix), 0.2)(x, t).mean
        other = method(prior, y, lambda state: state @ matrix.T, 0.2)(x, t).mean
        close(one, other, atol=1e-12)


@pytest.mark.parametrize("method", [DPS, MMPS])
def test_measurements_of_many_sensors_one_for_each_sample(method):
    prior = Gaussian(VP(), torch.zeros(3, dtype=torch.float64), std=1.0)
    y = saturation(torch.tensor([[0.5, 0.1, -0.4], [-0.2, 0.8, 0.3]], dtype=torch.float64))
    together = method(prior, y, saturation, 0.1)(y, 0.4).mean
    for k in range(2):
        one = method(prior, y[k], saturation, 0.1)(y[k : k + 1], 0.4).mean
        close(together[k : k + 1], one, atol=1e-12)
