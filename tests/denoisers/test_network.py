import math

import pytest
import torch
from torch import nn

from tests.helpers import PURE_NOISE, SCHEDULES, close
from unstir.denoisers import Gaussian, GaussianMixture, Network
from unstir.denoisers.network import LOG_SNR_LIMIT, LOG_VARIANCE_RANGE
from unstir.networks import MLP
from unstir.processes import EPSILON, SCORE, TARGETS, V_PREDICTION, VELOCITY, VP, X0, Cosine, Flow

every_target = pytest.mark.parametrize("target", list(TARGETS.values()), ids=lambda target: target.name)
every_schedule = pytest.mark.parametrize("name", SCHEDULES)
TIMES = torch.tensor([0.001, 0.1132, 0.5132, 0.9132, 0.999], dtype=torch.float64)
ONES = torch.ones(1, 1, dtype=torch.float64)
S = 0.6


class Constant(nn.Module):
    """F is the same everywhere; records what it was given."""

    def __init__(self, value, variance=None):
        super().__init__()
        self.value = value
        self.variance = variance is not None
        self.log_variance = variance

    def forward(self, x, log_snr, **condition):
        self.seen, self.log_snr, self.condition = x, log_snr, condition
        out = torch.full_like(x, self.value)
        return torch.cat([out, torch.full_like(x, self.log_variance)], 1) if self.variance else out


class Function(nn.Module):
    """F of x_t, whatever the preconditioned input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, log_snr):
        return self.function()


def skip_and_out(schedule, target, t):
    zero, one = (Network(Constant(v), schedule, target, S)(ONES, t).mean for v in (0.0, 1.0))
    return zero, one - zero


@every_schedule
def test_the_module_sees_unit_variance(name):
    schedule, module = SCHEDULES[name], Constant(0.0)
    for t in [0.0, *TIMES.tolist(), 1.0]:
        Network(module, schedule, V_PREDICTION, S)(ONES, t)
        # x_t = alpha x_0 + sigma epsilon has variance alpha^2 s^2 + sigma^2.
        close(module.seen**2 * (schedule.alpha(t) ** 2 * S**2 + schedule.sigma(t) ** 2), ONES, rtol=1e-13)


@every_target
@every_schedule
def test_the_module_is_asked_for_unit_variance(name, target):
    schedule = SCHEDULES[name]
    for t in TIMES.tolist():
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        skip, out = skip_and_out(schedule, target, t)
        # The F that gives x_0 is (x_0 - skip (alpha x_0 + sigma epsilon)) / out.
        of_data, of_noise = (1 - skip * alpha) / out * S, -skip * sigma / out
        # 1 - skip alpha cancels where there is hardly any noise.
        close(of_data**2 + of_noise**2, ONES, rtol=1e-12 + 1e-14 * float((alpha * S / sigma) ** 2))


def exact_f(target, denoiser, x_t, t):
    """The posterior mean of what the docstring says that F is, from an exact denoiser."""
    schedule = denoiser.schedule
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    if target in (EPSILON, SCORE):
        return denoiser.epsilon(x_t, t)
    if target == X0:
        return denoiser(x_t, t).mean / S
    if target == VELOCITY:
        p, q = schedule.alpha_derivative(t), schedule.sigma_derivative(t)
        return denoiser.velocity(x_t, t) / ((p * S) ** 2 + q**2).sqrt()
    n = ((alpha * S) ** 2 + sigma**2).sqrt()  # v of the data scaled to unit variance
    return (alpha * S * denoiser.epsilon(x_t, t) - sigma * denoiser(x_t, t).mean / S) / n


@every_target
@every_schedule
def test_the_exact_prediction_of_every_target_gives_the_exact_posterior_mean(name, target):
    schedule = SCHEDULES[name]
    means = torch.tensor([[-0.5], [0.5]], dtype=torch.float64)
    exact = GaussianMixture(schedule, means, stds=torch.tensor([0.2, 0.3]))
    x_t = torch.tensor([[-1.0], [0.1], [0.7]], dtype=torch.float64)
    for t in TIMES.tolist():
        network = Network(Function(lambda t=t: exact_f(target, exact, x_t, t)), schedule, target, S)
        # From epsilon to data the error grows with sigma / alpha.
        loss = 1 + float(schedule.sigma(t) / schedule.alpha(t)) ** (target != X0)
        close(network(x_t, t).mean, exact(x_t, t).mean, rtol=1e-11, atol=1e-12 * loss)


@every_schedule
def test_zero_is_exact_for_gaussian_data_under_v(name):
    schedule = SCHEDULES[name]
    network = Network(Constant(0.0, variance=0.0), schedule, V_PREDICTION, S)
    x_t = torch.tensor([[-1.0], [0.1], [0.7]], dtype=torch.float64)
    for t in [0.0, *TIMES.tolist(), 1.0]:
        expected = Gaussian(schedule, torch.zeros(1), S)(x_t, t)
        close(network(x_t, t).mean, expected.mean, rtol=1e-12)
        close(network(x_t, t).variance, expected.variance, rtol=1e-12)


@every_target
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_float_a_scalar_tensor_and_a_batch_of_times_agree(target, dtype):
    torch.manual_seed(0)
    module = MLP(3, width=16, layers=1, variance=True)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    module.to(dtype)
    network = Network(module, Cosine(), target, S)
    x = torch.randn(4, 3, dtype=dtype)
    for t in (0.0, 0.3, 0.999):
        one = network(x, t)
        scalar = network(x, torch.tensor(t, dtype=torch.float64))
        batch = network(x, torch.full((4,), t, dtype=torch.float64))
        tolerance = 16 * torch.finfo(dtype).eps
        size = float(one.mean.detach().abs().max()) + 1.0
        for other in (scalar, batch):
            close(other.mean, one.mean, rtol=tolerance, atol=tolerance * size)
            close(other.variance, one.variance, rtol=tolerance)
            assert other.mean.dtype == other.variance.dtype == dtype


def test_every_sample_has_its_own_time():
    network = Network(Constant(0.5), VP(), EPSILON)
    x, t = torch.ones(3, 2, dtype=torch.float64), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    together = network(x, t).mean
    for k in range(3):
        close(together[k : k + 1], network(x[k : k + 1], float(t[k])).mean, rtol=1e-14)


@every_target
@every_schedule
@pytest.mark.parametrize("kind", [float, torch.tensor], ids=["float", "tensor"])
def test_at_the_data_the_mean_is_finite(name, target, kind):
    module = Constant(0.7, variance=0.0)
    posterior = Network(module, SCHEDULES[name], target, S)(ONES, kind(0.0))
    close(posterior.mean, 0.7 * S * ONES if target == X0 else ONES, rtol=1e-14)
    close(posterior.variance, 0 * ONES)
    close(module.log_snr, torch.tensor([LOG_SNR_LIMIT]))


@pytest.mark.parametrize("target", [X0, V_PREDICTION, VELOCITY], ids=lambda target: target.name)
@pytest.mark.parametrize("name", PURE_NOISE)
@pytest.mark.parametrize("kind", [float, torch.tensor], ids=["float", "tensor"])
def test_at_pure_noise_the_mean_is_finite_and_depends_on_the_module_only(name, target, kind):
    module = Constant(0.7, variance=0.0)
    network = Network(module, SCHEDULES[name], target, S)
    posterior = network(ONES, kind(1.0))
    assert torch.isfinite(posterior.mean).all()
    close(posterior.variance, S**2 * ONES, rtol=1e-14)
    close(module.log_snr, torch.tensor([-LOG_SNR_LIMIT]))
    if target == V_PREDICTION:
        close(posterior.mean, -0.7 * S * ONES, rtol=1e-14)


def test_the_variance_head_is_the_log_in_units_of_gaussian_data():
    schedule, t = Flow(), 0.4
    gaussian = Gaussian(schedule, torch.zeros(1), S)(ONES, t).variance
    for head in (-30.0, -1.0, 0.0, 2.0, 30.0):
        variance = Network(Constant(0.0, variance=head), schedule, sigma_data=S)(ONES, t).variance
        low, high = LOG_VARIANCE_RANGE
        close(variance, gaussian * math.exp(min(max(head, low), high)), rtol=1e-13)


def test_without_a_head_there_is_no_variance():
    assert Network(Constant(0.0), VP())(ONES, 0.5).variance is None


def test_conditions_reach_the_module():
    module = Constant(0.0)
    label = torch.tensor([3])
    Network(module, VP())(ONES, 0.5, label=label)
    assert module.condition["label"] is label


@pytest.mark.parametrize("sigma_data", [0.0, -1.0, math.nan])
def test_sigma_data_that_is_not_positive_is_refused(sigma_data):
    with pytest.raises(ValueError, match="sigma_data is the standard deviation of the data, above 0"):
        Network(Constant(0.0), VP(), sigma_data=sigma_data)
