import math

import pytest
import torch

from tests.helpers import SCHEDULES, close
from unstir.denoisers import Denoiser, Gaussian, GaussianMixture, Posterior, given
from unstir.guidance import DiffPIR, LinearOperator, Singular
from unstir.processes import VP, Flow, Heat
from unstir.samplers import DDIM, sample

N = 6
INDEX = torch.arange(N, dtype=torch.float64)
COVARIANCE = torch.exp(-(INDEX[:, None] - INDEX).abs() / 3)
MATRIX = torch.randn(3, N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0.4, -1.0, 0.2], dtype=torch.float64)
X = torch.randn(5, N, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def mixture(schedule):
    means = torch.stack([torch.full((N,), -0.8, dtype=torch.float64), torch.linspace(-0.5, 1, N).double()])
    return GaussianMixture(schedule, means, covariances=torch.stack([0.15 * COVARIANCE, 0.2 * COVARIANCE]))


def minimiser(mean, y, matrix, noise, weight):
    """Of |(y - A x) / noise|^2 + weight |x - mean|^2 by the normal equations."""
    white = matrix / noise.reshape(-1, 1)
    left = white.T @ white + weight * torch.eye(mean.shape[1], dtype=torch.float64)
    return torch.linalg.solve(left, (white.T @ (y / noise) + weight * mean).T).T


def energy(x, y):
    x, y = x.double(), y.double()
    return float(2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean())


def function_pair():
    """The same matrix without a cheap decomposition: tall enough that conjugate gradients are taken."""
    rows = 60000
    weights = torch.linspace(0.5, 1.5, rows, dtype=torch.float64) / math.sqrt(rows)
    return LinearOperator(lambda x: x.sum(1, keepdim=True) * weights.to(x), event=(N,), name="sum"), weights


@pytest.mark.parametrize("name", ["vp", "ve", "sub-vp", "flow", "table"])
@pytest.mark.parametrize("strength", [0.5, 8.0])
def test_the_estimate_minimises_the_proximal_objective(name, strength):
    exact = mixture(SCHEDULES[name])
    for noise in (torch.tensor(0.3), torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)):
        guided = DiffPIR(exact, Y, MATRIX, noise, strength=strength)
        for t in (0.1, 0.5, 0.9):
            ratio = float(exact.schedule.sigma(t) / exact.schedule.alpha(t))
            mean = exact(X, t).mean
            expected = minimiser(mean, Y, MATRIX, noise.double().expand(3), strength / ratio**2)
            close(guided(X, t).mean, expected, rtol=1e-5, atol=1e-5 if noise.ndim else 1e-9)


def test_singular_values_and_conjugate_gradients_agree():
    calls = []

    def count(x):
        calls.append(0)
        return x @ MATRIX.T.to(x)

    u, s, v = torch.linalg.svd(MATRIX, full_matrices=False)
    singular = Singular(
        s, lambda x: x @ v.T.to(x), lambda c: c @ v.to(c), lambda y: y @ u.to(y), lambda c: c @ u.T.to(c)
    )
    operator = LinearOperator(count, event=(N,), singular=singular)
    exact = mixture(VP())
    calls.clear()
    closed = DiffPIR(exact, Y, operator, 0.2)(X, 0.5).mean
    assert len(calls) == 2  # the residual and the adjoint, and no iterations
    iterated = DiffPIR(exact, Y, MATRIX, torch.full((3,), 0.2))(X, 0.5).mean
    close(closed, iterated, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_long_measurement_is_solved_by_conjugate_gradients(dtype):
    operator, weights = function_pair()
    exact = Gaussian(Flow(), torch.zeros(N, dtype=torch.float64), std=0.8)
    x = X.to(dtype)
    mean = exact(x, 0.6).mean
    y = (2.0 * weights).to(dtype)
    c = 1.5**2 / 8.0
    # Along the sum the problem is one of a single number.
    energy_of = float((weights**2).sum())
    gain = c * energy_of / (0.01 + c * N * energy_of)
    expected = mean.double() + gain * (2.0 - mean.double().sum(1, keepdim=True))
    close(DiffPIR(exact, y, operator, 0.1)(x, 0.6).mean, expected, atol=1e-5)


def test_one_step_for_a_nonlinear_measurement_is_that_of_gauss_and_newton():
    exact = Gaussian(VP(), torch.full((N,), 0.7, dtype=torch.float64), std=0.5)
    t, noise = 0.4, 0.2
    mean = exact(X, t).mean
    guided = DiffPIR(exact, torch.ones(N, dtype=torch.float64), lambda x: x**2, noise)(X, t).mean
    c = float((VP().sigma(t) / VP().alpha(t)) ** 2) / 8.0
    slope = 2 * mean
    close(guided, mean + c * slope * (1 - mean**2) / (c * slope**2 + noise**2), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["vp", "ve", "flow", "zero-table"])
def test_the_ends_of_the_schedule_are_finite(name):
    # At pure noise the estimate is free to fit; at no noise nothing moves it.
    exact = mixture(SCHEDULES[name])
    guided = DiffPIR(exact, Y, MATRIX, 0.1)
    start = guided(X.float(), 1.0).mean
    close(start.double() @ MATRIX.T, Y.expand(5, 3), atol=2e-2)
    close(guided(X, 0.0).mean, exact(X, 0.0).mean, atol=1e-12)


def test_each_sample_has_its_own_time_and_measurement():
    exact = mixture(Flow())
    t = torch.tensor([0.1, 0.3, 0.5, 0.7, 1.0], dtype=torch.float64)
    y = torch.stack([k * Y for k in range(5)])
    together = DiffPIR(exact, y, MATRIX, 0.1)(X, t).mean
    for k in range(5):
        alone = DiffPIR(exact, y[k], MATRIX, 0.1)(X[k : k + 1], float(t[k])).mean
        close(together[k : k + 1], alone, rtol=1e-6, atol=1e-9)


def test_under_a_schedule_that_blurs_each_mode_is_weighed_by_its_own_noise():
    schedule = Heat(VP(), blur=0.2)
    exact = Gaussian(schedule, torch.zeros(N, dtype=torch.float64), std=0.7)
    t, noise, modes = 0.4, 0.3, schedule.modes((N,))
    mean = exact(X, t).mean
    basis = schedule.to_modes(torch.eye(N, dtype=torch.float64))
    weight = basis @ torch.diag(8.0 * (modes.alpha(t) / modes.sigma(t))[0] ** 2) @ basis.T
    left = MATRIX.T @ MATRIX / noise**2 + weight
    expected = torch.linalg.solve(left, (MATRIX.T @ Y / noise**2)[:, None] + weight @ mean.T).T
    close(DiffPIR(exact, Y, MATRIX, noise)(X, t).mean, expected, rtol=1e-4, atol=1e-5)
    assert torch.isfinite(sample(DiffPIR(exact, Y, MATRIX, noise), (4, N), solver=DDIM(0.5)).x).all()


class Frozen(Denoiser):
    """A denoiser that cannot be differentiated."""

    def __init__(self, exact):
        super().__init__()
        self.exact, self.schedule = exact, exact.schedule

    def forward(self, x_t, t, **condition):
        return Posterior(self.exact(x_t, t).mean.detach())


def test_the_denoiser_is_asked_once_and_not_differentiated():
    exact = mixture(VP())
    x = X.clone().requires_grad_()
    guided = DiffPIR(Frozen(exact), Y, MATRIX, 0.1)
    assert not guided(x, 0.5).mean.requires_grad
    assert sample(guided, (2, N), solver=DDIM(0.5), steps=7).nfe == 7


def test_guidance_nests_by_gradients_through_the_proximal_step():
    exact = mixture(VP())
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(DiffPIR(exact, Y, MATRIX, 0.1)(x, 0.5).mean.sum(), x)
    step = 1e-5 * torch.ones_like(X)
    ahead, behind = (DiffPIR(exact, Y, MATRIX, 0.1)(X + h, 0.5).mean.sum() for h in (step, -step))
    close(gradient.sum(), (ahead - behind) / 2e-5, rtol=1e-6)


def test_a_mixture_posterior_is_approached_and_more_noise_in_the_steps_helps():
    exact = mixture(VP())
    posterior = given(exact, Y, MATRIX, 0.2)
    truth = posterior.sample_data(1024, seed=1)
    guided = DiffPIR(exact, Y, MATRIX, 0.2, strength=1.0)
    unguided = energy(sample(exact, (1024, N), steps=30).x, truth)
    distance = [energy(sample(guided, (1024, N), solver=DDIM(eta), steps=50).x, truth) for eta in (0.0, 1.0)]
    assert distance[1] < distance[0] < 0.4 * unguided
    # It is no posterior sampler: two exact sets are 0.002 apart.
    assert distance[1] > 0.01


@pytest.mark.parametrize("strength", [0.0, -1.0, math.inf, math.nan])
def test_a_strength_that_is_none_is_refused(strength):
    with pytest.raises(ValueError, match="the strength of DiffPIR is above 0"):
        DiffPIR(mixture(VP()), Y, MATRIX, 0.1, strength=strength)
