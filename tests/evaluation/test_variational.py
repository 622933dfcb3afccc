"""The variational bound, term by term: tight where the chain is exact, above the truth elsewhere."""

from __future__ import annotations

import math

import pytest
import torch

from tests.helpers import close
from unstir.denoisers import Denoiser, FromFunction, Gaussian, GaussianMixture, Posterior
from unstir.evaluation import variational_bound
from unstir.evaluation.variational import discretised_term
from unstir.processes import VP, Cosine, Flow
from unstir.samplers import grids
from unstir.training.bound import bound_term, prior_term


class MeanOnly(Denoiser):
    """Another denoiser without its posterior variance."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser, self.schedule = denoiser, denoiser.schedule

    def forward(self, x_t, t, **condition):
        return Posterior(self.denoiser(x_t, t, **condition).mean)


def gaussian(schedule) -> Gaussian:
    return Gaussian(schedule, torch.tensor([0.3, -0.2]), 0.7)


def uniform(steps):
    return grids.uniform(VP(), steps)


def mean_and_error(values):
    return float(values.mean()), float(values.std() / len(values) ** 0.5)


@pytest.mark.parametrize("schedule", [VP(), Cosine(), Flow()], ids=["vp", "cosine", "flow"])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_with_the_exact_variance_of_gaussian_data_the_bound_is_the_truth_at_any_number_of_steps(
    schedule, steps
):
    denoiser = gaussian(schedule)
    x = denoiser.sample_data(300)
    found = variational_bound(denoiser, x, uniform(steps), draws=16)
    gap = found.total + denoiser.log_density(x, 0.0)
    # The one gap left is that of the noise: q(x_1) is not quite N(0, sigma_1^2).
    error = float(found.error.square().sum().sqrt()) / 300
    assert float(gap.mean()) == pytest.approx(0.0, abs=4 * error + 1e-12)
    assert bool((gap.abs() <= 6 * found.error + 1e-12).all())  # Student's t of 15 degrees


def test_with_the_forward_variance_the_gap_falls_like_one_over_the_steps():
    exact = gaussian(VP())
    x = exact.sample_data(2000)
    gaps = []
    for steps in (8, 16, 32, 64):
        # The same noise in both makes the difference precise.
        a = variational_bound(MeanOnly(exact), x, uniform(steps)).total
        b = variational_bound(exact, x, uniform(steps)).total
        gaps.append(mean_and_error(a - b))
    assert all(value > 3 * error for value, error in gaps)
    order = math.log(gaps[0][0] / gaps[-1][0]) / math.log(8)
    assert 0.85 < order < 1.3, gaps


@pytest.mark.parametrize("known", [True, False], ids=["variance", "mean only"])
def test_the_bound_of_a_mixture_is_above_the_truth_and_falls_towards_it(known):
    exact = GaussianMixture(Flow(), torch.tensor([[1.0, 1.0], [-1.0, 0.0]]), torch.tensor([0.2, 0.4]))
    denoiser = exact if known else MeanOnly(exact)
    x = exact.sample_data(1000)
    gaps = []
    for steps in (4, 16, 128):
        total = variational_bound(denoiser, x, uniform(steps), draws=2).total
        gaps.append(mean_and_error(total + exact.log_density(x, 0.0)))
    assert all(value > -3 * error for value, error in gaps)
    assert gaps[0][0] > gaps[1][0] + 4 * gaps[1][1]
    assert gaps[1][0] > gaps[2][0]
    assert gaps[2][0] < 0.06


def test_the_terms_are_those_of_one_step_each_and_add_up():
    denoiser = gaussian(VP())
    x = denoiser.sample_data(1).expand(4000, 2)
    grid = torch.tensor([1.0, 0.6, 0.2, 0.0], dtype=torch.float64)
    found = variational_bound(denoiser, x, grid)
    assert found.terms.shape == (4000, 2)
    close(found.total, found.prior + found.terms.sum(1) + found.reconstruction, atol=1e-12)
    close(found.prior, 2 * prior_term(VP(), x), atol=1e-12)
    columns = (*found.terms.T, found.reconstruction)
    for t, s, column in zip((1.0, 0.6, 0.2), (0.6, 0.2, 0.0), columns, strict=True):
        # Gauss-Hermite quadrature over the noise, exact for a quadratic.
        eps = torch.tensor([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)], dtype=torch.float64)
        x_t = VP().alpha(t) * x[:4] + VP().sigma(t) * eps
        times = (torch.full((4,), u, dtype=torch.float64) for u in (s, t))
        expected = 2 * bound_term(VP(), x[:4], denoiser(x_t, t), *times).mean()
        value, error = mean_and_error(column)
        assert abs(value - float(expected)) < 4 * error
    assert variational_bound(denoiser, x[:5], torch.tensor([1.0, 0.0])).terms.shape == (5, 0)


def test_a_sample_has_the_same_bound_whatever_its_batch():
    denoiser = gaussian(VP())
    x = denoiser.sample_data(6)
    whole = variational_bound(denoiser, x, uniform(5), draws=2, seed=3)
    part = variational_bound(denoiser, x[2:4], uniform(5), draws=2, seed=3, first_index=2)
    close(part.total, whole.total[2:4], atol=1e-12)
    close(part.error, whole.error[2:4], atol=1e-12)
    assert not torch.equal(variational_bound(denoiser, x, uniform(5), seed=4).total, whole.total)
    assert bool(variational_bound(denoiser, x, uniform(5)).error.isnan().all())


@pytest.mark.parametrize("bins", [2, 5, 256])
@pytest.mark.parametrize("known", [True, False], ids=["variance", "mean only"])
def test_the_discretised_decoder_is_a_distribution_over_the_bins(bins, known):
    values = torch.linspace(-1.0, 1.0, bins, dtype=torch.float64)
    t = torch.full((bins,), 0.05, dtype=torch.float64)
    for mean in (-3.0, -0.97, 0.1, 1.4):
        variance = torch.full((bins, 1), 0.003, dtype=torch.float64) if known else None
        posterior = Posterior(torch.full((bins, 1), mean, dtype=torch.float64), variance)
        nats = discretised_term(VP(), values[:, None], posterior, t, bins)
        assert float((-nats).exp().sum()) == pytest.approx(1.0, abs=1e-10)
        assert bool(nats.isfinite().all())


def test_the_bound_of_integers_is_above_their_entropy_and_comes_close():
    bins, weights = 4, torch.tensor([0.5, 0.25, 0.125, 0.125])
    values = torch.linspace(-1.0, 1.0, bins)[:, None]
    denoiser = GaussianMixture(VP(), values, torch.zeros(bins), weights=weights)
    share = torch.tensor([0, 0, 0, 0, 1, 1, 2, 3])
    x = values[share].repeat(400, 1)
    entropy = 1.75 * math.log(2)
    found = []
    for steps in (10, 200):
        bound = variational_bound(denoiser, x, uniform(steps), bins=bins)
        found.append(float(bound.total.mean()))
    assert found[0] > found[1] > entropy
    assert found[1] < entropy + 0.06
    assert float(bound.reconstruction.mean()) < 1e-3


def test_what_cannot_be_done_is_one_sentence():
    denoiser, x = gaussian(VP()), torch.zeros(2, 2)
    for options, sentence in (
        ({"grid": torch.tensor([0.9, 0.0])}, "from noise, t = 1, to data, t = 0; got 0.9 to 0"),
        ({"grid": torch.tensor([1.0, 0.1])}, "got 1 to 0.1"),
        ({"grid": torch.tensor([0.0, 1.0])}, "decrease strictly"),
        ({"draws": 0}, "draws of the bound is at least 1, got 0"),
        ({"bins": 1}, "at least 2 bins, got 1"),
        ({"bins": 256}, r"256 integers scaled linearly to \[-1, 1\], but hold 0; leave bins out"),
        ({"condition": {"label": torch.zeros(3)}}, "'label' has 3 entries for 2 samples"),
    ):
        with pytest.raises(ValueError, match=sentence):
            variational_bound(denoiser, x, **({"grid": uniform(4)} | options))
    nothing = FromFunction(lambda x, t: x * torch.nan, VP(), "x0")
    with pytest.raises(FloatingPointError, match=r"from t = 1 \(log-SNR -10.*\) to 0.75 is not finite"):
        variational_bound(nothing, x, uniform(4))
