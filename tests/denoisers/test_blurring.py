"""Exact and learned denoisers under schedules that blur, against dense linear algebra in entries."""

import math

import pytest
import torch

from tests.helpers import SCHEDULES, close
from tests.training.tiny import network
from unstir import noise
from unstir.denoisers import (
    Dataset,
    FromFunction,
    Gaussian,
    GaussianMixture,
    GridDensity,
    Network,
    Rescheduled,
)
from unstir.guidance import ClassifierFree
from unstir.processes import TARGETS, V_PREDICTION, VP, Cosine, Flow, Heat, HeatOnGraph
from unstir.spaces import Axis, Grid

TRIANGLE = torch.tensor([[2.0, -1.0, -1.0], [-1.0, 2.0, -1.0], [-1.0, -1.0, 2.0]])
CASES = {
    "line": (Heat(VP(), blur=0.3), (4,)),
    "image": (Heat(Cosine(), blur=0.3, d_min=0.0), (2, 2, 3)),
    "graph": (HeatOnGraph.from_laplacian(TRIANGLE, Flow()), (2, 3)),
}
every_case = pytest.mark.parametrize("case", CASES)
T = torch.tensor([0.15, 0.5, 0.8], dtype=torch.float64)


def draw(*shape, step=0):
    index, stream = torch.arange(shape[0]), noise.Stream.BLUR
    return noise.normal(shape[1:], seed=6, index=index, stream=stream, step=step, dtype=torch.float64)


def operator(schedule, event, t):
    """A with E[x_t | x_0] = A x_0, (d, d)."""
    size = math.prod(event)
    rows = schedule.marginal(torch.eye(size, dtype=torch.float64).reshape(size, *event), t)[0]
    return rows.reshape(size, size).T


def mixture(schedule, event):
    means = draw(3, *event, step=1)
    return GaussianMixture(
        schedule,
        means,
        torch.tensor([0.3, 0.6, 1.0], dtype=torch.float64),
        weights=torch.tensor([1.0, 2.0, 1.0]),
    )


@every_case
def test_the_posterior_of_a_mixture_is_that_of_the_blurred_components(case):
    schedule, event = CASES[case]
    denoiser, x, d = mixture(schedule, event), draw(3, *event), math.prod(event)
    posterior, log_density = denoiser(x, T), denoiser.log_density(x, T)
    for i, t in enumerate(T.tolist()):
        a, sigma = operator(schedule, event, t), float(schedule.sigma(t))
        joint, means, variances = [], [], []
        for mean, std, weight in zip(denoiser.means, (0.3, 0.6, 1.0), (0.25, 0.5, 0.25), strict=True):
            total = std**2 * a @ a.T + sigma**2 * torch.eye(d, dtype=torch.float64)
            gain = std**2 * a.T @ torch.linalg.inv(total)
            law = torch.distributions.MultivariateNormal(a @ mean, total)
            joint.append(law.log_prob(x[i].flatten()) + math.log(weight))
            means.append(mean + gain @ (x[i].flatten() - a @ mean))
            variances.append(std**2 * (1.0 - (gain @ a).diagonal()))
        share = torch.stack(joint).softmax(0)[:, None]
        mean = (share * torch.stack(means)).sum(0)
        variance = (share * (torch.stack(variances) + (torch.stack(means) - mean) ** 2)).sum(0)
        close(posterior.mean[i].flatten(), mean, atol=1e-10)
        close(posterior.variance[i].flatten(), variance, atol=1e-10)
        close(log_density[i], torch.stack(joint).logsumexp(0), rtol=1e-10)


@every_case
def test_covariances_that_are_diagonal_in_the_modes_are_taken_as_they_are(case):
    schedule, event = CASES[case]
    modes, d = schedule.modes(event), math.prod(event)
    spectrum = 1.0 / (1.0 + torch.arange(d, dtype=torch.float64)).reshape(1, *event)
    basis = modes.synthesise(torch.eye(d, dtype=torch.float64).reshape(d, *event)).reshape(d, d)
    covariance = basis.T @ (spectrum.reshape(d, 1) * basis)
    denoiser = Gaussian(schedule, torch.zeros(event), covariance=covariance)
    x = draw(3, *event)
    alpha, sigma = modes.alpha(T), modes.sigma(T)
    gain = alpha * spectrum / (alpha**2 * spectrum + sigma**2)
    close(denoiser(x, T).mean, modes.synthesise(gain * modes.analyse(x)), atol=1e-12)
    data = denoiser.sample_data(4000, seed=1)
    found = modes.analyse(data).var(0) / spectrum[0]
    assert float((found - 1).abs().max()) < 0.12


@every_case
def test_the_score_is_the_gradient_of_the_log_density(case):
    schedule, event = CASES[case]
    denoiser, x = mixture(schedule, event), draw(3, *event).requires_grad_()
    (slope,) = torch.autograd.grad(denoiser.log_density(x, T).sum(), x)
    close(denoiser.score(x.detach(), T), slope, rtol=1e-9, atol=1e-10)


@every_case
def test_the_posterior_of_a_data_set_weighs_blurred_points(case):
    schedule, event = CASES[case]
    data, x = draw(7, *event, step=2), draw(3, *event)
    posterior = Dataset(schedule, data, chunk=3)(x, T)
    for i, t in enumerate(T.tolist()):
        blurred = schedule.marginal(data, t)[0]
        distance = (x[i] - blurred).flatten(1).square().sum(1)
        weights = (-distance / (2 * float(schedule.sigma(t)) ** 2)).softmax(0)
        mean = torch.einsum("n,n...->...", weights, data)
        close(posterior.mean[i], mean, atol=1e-10)


@pytest.mark.parametrize("target", TARGETS)
@every_case
def test_a_function_that_predicts_any_target_is_the_denoiser_it_came_from(case, target):
    schedule, event = CASES[case]
    exact = mixture(schedule, event)
    function = FromFunction(
        lambda x, t: exact.predict(TARGETS[target], x, t), schedule, target, time="continuous"
    )
    x = draw(3, *event)
    smallest = float(schedule.modes(event).alpha(T).min())
    if smallest < 1e-6 and target in ("epsilon", "score"):
        return  # these say nothing of modes that have faded out
    close(function(x, T).mean, exact(x, T).mean, atol=1e-6)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("base", ["vp", "flow", "cosine"])
def test_a_network_without_blur_is_that_of_the_base(target, base):
    ours, theirs = (
        network(6, schedule=s, target=TARGETS[target], sigma_data=0.5).double()
        for s in (Heat(SCHEDULES[base], d_min=1.0, channels=False), SCHEDULES[base])
    )
    x = draw(3, 6)
    close(ours(x, T).mean, theirs(x, T).mean, rtol=1e-10, atol=1e-11)
    close(ours(x, 0.4).mean, theirs(x, 0.4).mean, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("t", [0.3, 0.9])
def test_a_network_sees_and_predicts_unit_variance_in_every_mode_of_white_data(t):
    schedule, s = Heat(VP(), blur=0.5), 0.7
    modes = schedule.modes((5,))
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, x, log_snr):
            seen.append(x)
            return torch.zeros_like(x)

    x_0, e = s * draw(20000, 5, step=3), draw(20000, 5, step=4)
    mean, std = schedule.marginal(x_0, t)
    x_t = mean + std * e
    denoiser = Network(Spy(), schedule, V_PREDICTION, s)
    guess = denoiser(x_t, t).mean
    close(modes.analyse(seen[0]).var(0), torch.ones(5), atol=0.05)
    # F is what is left, (skip x_t - x_0) / out, in every mode.
    alpha, sigma = modes.alpha(t), modes.sigma(t)
    out = sigma * s / (alpha**2 * s**2 + sigma**2).sqrt()
    left = modes.analyse(guess - x_0) / out
    close(left.var(0), torch.ones(5), atol=0.05)


def test_one_time_and_a_time_for_each_sample_give_a_network_the_same():
    denoiser = network(6, schedule=Heat(channels=False))
    x = draw(3, 6).float()
    close(denoiser(x, 0.4).mean, denoiser(x, torch.full((3,), 0.4)).mean, atol=1e-6)


def test_guidance_is_linear_under_a_blur_too():
    schedule, event = CASES["line"]
    labelled = GaussianMixture(
        schedule, draw(2, *event), torch.tensor([0.5, 0.5]), labels=torch.tensor([0, 1])
    )
    x, label = draw(3, *event, step=5), torch.tensor([0, 1, 0])
    guided = ClassifierFree(labelled, 1.5)
    epsilon = 2.5 * labelled.epsilon(x, T, label=label) - 1.5 * labelled.epsilon(x, T)
    close(guided.epsilon(x, T, label=label), epsilon, rtol=1e-8, atol=1e-8)


def test_a_covariance_that_is_not_diagonal_in_the_modes_is_refused():
    with pytest.raises(ValueError, match="diagonal in its modes"):
        Gaussian(Heat(), torch.zeros(3), covariance=torch.diag(torch.tensor([1.0, 2.0, 3.0])))


@pytest.mark.parametrize(("old", "new"), [(Heat(), VP()), (VP(), Heat()), (Heat(), Heat(blur=0.1))])
def test_a_blur_belongs_to_its_noise_levels(old, new):
    denoiser = Gaussian(old, torch.zeros(3), 1.0)
    with pytest.raises(ValueError, match="under its own schedule"):
        Rescheduled(denoiser, new)
    assert Rescheduled(denoiser, old).schedule == old


def test_a_density_on_a_grid_of_entries_is_refused():
    grid = Grid(Axis(-1.0, 1.0, 4), Axis(-1.0, 1.0, 4))
    with pytest.raises(ValueError, match="does not blur"):
        GridDensity(Heat(), grid, torch.ones(4, 4))
