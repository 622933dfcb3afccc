import pytest
import torch

from tests.helpers import PURE_NOISE, SCHEDULES, close
from unstir.denoisers import Dataset, Gaussian, GaussianMixture
from unstir.denoisers.denoiser import Rescheduled

X = torch.tensor([[-2.0, 0.3], [0.1, 0.2], [1.5, -1.0]], dtype=torch.float64)
MEANS = torch.tensor([[-0.8, 0.1], [0.5, 0.6]], dtype=torch.float64)


def gaussian(schedule):
    return Gaussian(schedule, MEANS[0], covariance=torch.tensor([[0.5, 0.2], [0.2, 0.3]]))


def mixture(schedule):
    return GaussianMixture(schedule, MEANS, stds=torch.tensor([0.2, 0.4]), labels=torch.tensor([0, 1]))


def data(schedule):
    return Dataset(schedule, MEANS)


@pytest.mark.parametrize("make", [gaussian, mixture, data], ids=lambda make: make.__name__)
@pytest.mark.parametrize("old", ["vp", "sub-vp", "cosine", "ve", "flow", "table"])
@pytest.mark.parametrize("new", ["vp", "sub-vp", "cosine", "ve", "flow", "table-zero", "zero-vp"])
def test_a_denoiser_seen_through_another_schedule_is_exact_there(make, old, new):
    old, new = SCHEDULES[old], SCHEDULES[new]
    seen, exact = Rescheduled(make(old), new), make(new)
    assert seen.schedule == new
    reach = new.time(old.log_snr(1.0)).item()
    for share in (1e-4, 0.1, 0.5, 0.9, 0.999):
        t = share * reach
        for left, right in zip(seen(X, t), exact(X, t), strict=True):
            close(left, right, rtol=1e-8, atol=1e-9)
        close(seen.score(X, t), exact.score(X, t), rtol=1e-6, atol=1e-6 / float(new.sigma(t)))


def test_times_may_differ_within_a_batch():
    seen = Rescheduled(mixture(SCHEDULES["vp"]), SCHEDULES["flow"])
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    close(seen(X, t).mean, mixture(SCHEDULES["flow"])(X, t).mean, rtol=1e-10)


def test_conditions_pass_through():
    label = torch.tensor([0, 1, -1])
    seen = Rescheduled(mixture(SCHEDULES["vp"]), SCHEDULES["ve"])
    exact = mixture(SCHEDULES["ve"])
    close(seen(X, 0.4, label=label).mean, exact(X, 0.4, label=label).mean, rtol=1e-10)


@pytest.mark.parametrize("old", ["vp", "vp-constant", "sub-vp", "ve-narrow", "table"])
@pytest.mark.parametrize("new", PURE_NOISE)
def test_noisier_levels_than_the_old_schedule_has_are_its_last(old, new):
    old, new = SCHEDULES[old], SCHEDULES[new]
    norm = (old.alpha(1.0) ** 2 + old.sigma(1.0) ** 2).sqrt()
    close(Rescheduled(gaussian(old), new)(X, 1.0).mean, gaussian(old)(X * norm, 1.0).mean, rtol=1e-12)


@pytest.mark.parametrize("old", ["vp", "ve", "flow", "table-zero"])
def test_without_noise_the_state_is_the_data(old):
    close(Rescheduled(gaussian(SCHEDULES[old]), SCHEDULES["cosine"])(X, 0.0).mean, X, rtol=1e-13, atol=1e-13)
