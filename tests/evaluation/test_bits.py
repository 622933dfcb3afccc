"""Bits per dimension of integers: known answers, bounds, and independence of the units."""

from __future__ import annotations

import math

import pytest
import torch

from tests.helpers import close
from unstir.denoisers import Denoiser, GaussianMixture, Posterior
from unstir.evaluation import bits_per_dimension, log_density
from unstir.processes import VP, Flow
from unstir.training import Scaling


class Box(Denoiser):
    """Data uniform on [0, width]: the posterior is a truncated Gaussian."""

    def __init__(self, width: float) -> None:
        super().__init__()
        self.schedule, self.width, self.sigma_data = VP(), width, width / 12**0.5

    def forward(self, x_t, t, **condition):
        _, low, high, centre, std = self.bounds(x_t, t)
        flip = low > 0  # keep both in the lower tail, where the logarithm of the integral is accurate
        a, b = torch.where(flip, -high, low), torch.where(flip, -low, high)
        log_mass = self.log_mass(a, b)
        half = 0.5 * math.log(2 * math.pi)
        mean = (-0.5 * a**2 - half - log_mass).exp() - (-0.5 * b**2 - half - log_mass).exp()
        return Posterior(centre + std * torch.where(flip, -mean, mean))

    def prior(self, x):
        """log p_1(x)."""
        alpha, low, high, _, _ = self.bounds(x, torch.ones(len(x), dtype=torch.float64))
        return (self.log_mass(low, high) - (alpha * self.width).log())[:, 0]

    def bounds(self, x_t, t):
        alpha, sigma = self.schedule.alpha(t)[:, None], self.schedule.sigma(t)[:, None]
        centre, std = x_t / alpha, sigma / alpha
        return alpha, -centre / std, (self.width - centre) / std, centre, std

    @staticmethod
    def log_mass(a, b):
        log_b = torch.special.log_ndtr(b)
        return log_b + torch.log(-torch.expm1(torch.special.log_ndtr(a) - log_b))


def uniform(bins: int):
    """The density of dequantised uniform integers."""
    return lambda x, draw: torch.where((x >= 0) & (x < bins), 0.0 * x - math.log(bins), -torch.inf).sum(1)


@pytest.mark.parametrize("bins", [1, 2, 256])
def test_uniform_integers_under_their_own_density_take_log2_of_their_number(bins):
    k = torch.arange(20).reshape(10, 2) % bins
    found = bits_per_dimension(uniform(bins), k, bins=bins)
    close(found.per_sample, torch.full((10,), math.log2(bins), dtype=torch.float64), atol=1e-12)
    assert found.value == pytest.approx(math.log2(bins), abs=1e-12)
    assert found.importance_value == pytest.approx(math.log2(bins), abs=1e-12)
    assert found.standard_error == pytest.approx(0.0, abs=1e-9)


def test_uniform_integers_take_their_bits_through_a_denoiser_and_its_probability_flow():
    box = Box(1.0)
    k = torch.arange(8)[:, None]
    found = bits_per_dimension(
        lambda x, draw: log_density(box, x, prior=box.prior).nats,
        k,
        bins=8,
        scaling=Scaling((0.0,), (8.0,)),
        draws=2,
    )
    close(found.per_sample, torch.full((8,), 3.0, dtype=torch.float64), atol=1e-3)


MIXTURE = GaussianMixture(Flow(), torch.tensor([[3.0], [9.0]]), torch.tensor([0.7, 2.0]))


def exact_log_probability(k):
    """log P(k) of floor(x), x from the mixture."""
    edges = torch.arange(17.0, dtype=torch.float64)
    cdf = sum(0.5 * torch.special.ndtr((edges - m) / s) for m, s in ((3.0, 0.7), (9.0, 2.0)))
    return (cdf[1:] - cdf[:-1]).log()[k]


def test_both_bounds_are_below_the_log_probability_and_the_weighted_one_reaches_it():
    k = torch.arange(1, 15)[:, None]
    truth = exact_log_probability(k[:, 0])
    found = bits_per_dimension(lambda x, draw: MIXTURE.log_density(x, 0.0), k, bins=16, draws=600)
    gap = truth - found.nats
    assert bool((gap > -4 * found.error).all())
    assert float(gap.max()) > 0.05  # the bin at the flank of the narrow component
    assert bool((found.importance >= found.nats).all())
    close(found.importance, truth, atol=0.06)
    few = bits_per_dimension(lambda x, draw: MIXTURE.log_density(x, 0.0), k, bins=16, draws=4)
    assert few.importance_value > found.importance_value - 0.02
    assert found.importance_value < found.value


def test_the_lower_bound_is_the_integral_of_the_log_density_over_the_bin():
    k = torch.tensor([[2], [4], [12]])
    found = bits_per_dimension(lambda x, draw: MIXTURE.log_density(x, 0.0), k, bins=16, draws=800)
    nodes = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    for row in range(3):
        integral = MIXTURE.log_density((k[row] + nodes)[:, None], 0.0).mean()
        assert abs(float(found.nats[row] - integral)) < 4 * float(found.error[row])


def test_the_offset_centres_the_density_on_the_integers():
    k = torch.tensor([[2], [5]])
    moved = GaussianMixture(Flow(), torch.tensor([[2.5], [8.5]]), torch.tensor([0.7, 2.0]))
    a = bits_per_dimension(lambda x, draw: MIXTURE.log_density(x, 0.0), k, bins=16)
    b = bits_per_dimension(lambda x, draw: moved.log_density(x, 0.0), k, bins=16, offset=-0.5)
    close(a.nats, b.nats, atol=1e-12)


@pytest.mark.parametrize(
    ("shift", "scale"), [((7.5,), (7.5,)), ((0.0,), (300.0,)), ((-3.0, 8.0), (2.0, 0.1))]
)
def test_the_bits_do_not_depend_on_the_units_of_the_model(shift, scale):
    generator = torch.Generator().manual_seed(0)
    means = 16 * torch.rand(2, 2, generator=generator, dtype=torch.float64)
    covariance = torch.diag(torch.tensor([4.0, 9.0], dtype=torch.float64)).expand(2, 2, 2)
    k = torch.randint(16, (3, 2), generator=generator)
    s = torch.tensor(scale, dtype=torch.float64).expand(2)
    original = GaussianMixture(Flow(), means, covariances=covariance)
    scaled = GaussianMixture(
        Flow(), (means - torch.tensor(shift)) / s, covariances=covariance / (s[:, None] * s)
    )
    a, b = (
        bits_per_dimension(
            lambda x, draw, model=model: (
                log_density(model, x, prior=lambda z: model.log_density(z, 1.0), tolerance=1e-7).nats
            ),
            k,
            bins=16,
            scaling=scaling,
            draws=2,
        )
        for model, scaling in ((original, Scaling()), (scaled, Scaling(shift, scale)))
    )
    close(a.nats, b.nats, atol=1e-5)
    assert a.value == pytest.approx(b.value, abs=1e-5)


def test_a_sample_has_the_same_dequantisation_whatever_its_batch():
    k = torch.arange(12).reshape(6, 2)
    seen = []
    for rows, first in ((slice(0, 6), 0), (slice(2, 4), 2)):
        bits_per_dimension(
            lambda x, draw: seen.append(x) or x.sum(1), k[rows], bins=16, draws=2, first_index=first
        )
    for draw in range(2):
        close(seen[2 + draw], seen[draw][2:4])
        assert bool((seen[draw].floor() == k).all())
    assert not torch.equal(seen[0], seen[1])


def test_standard_errors_are_of_the_draws_and_of_the_samples():
    k = torch.zeros(400, 1, dtype=torch.int64)
    found = bits_per_dimension(lambda x, draw: x[:, 0], k, bins=1, draws=100)
    close(found.error.mean(), (1 / 12) ** 0.5 / 10, rtol=0.05)
    assert found.standard_error == pytest.approx((1 / 1200) ** 0.5 / 20 / math.log(2), rel=0.15)
    single = bits_per_dimension(lambda x, draw: x[:, 0], k[:1], bins=1, draws=1)
    assert math.isnan(single.standard_error)
    assert bool(single.error.isnan().all())


def test_numbers_that_are_not_integers_of_the_range_are_refused():
    density = uniform(4)
    for k, sentence in (
        (torch.tensor([[4]]), "the data are integers 0 to 3, but hold 4"),
        (torch.tensor([[-1]]), "but hold -1"),
        (torch.tensor([[0.5]]), "but hold 0.5; .* use log_density for real numbers"),
        (torch.tensor([[torch.nan]]), "but hold nan"),
        (torch.tensor([1]), r"expected integers of shape \(batch, \*event\)"),
    ):
        with pytest.raises(ValueError, match=sentence):
            bits_per_dimension(density, k, bins=4)
    with pytest.raises(ValueError, match="dequantisation draws is at least 1, got 0"):
        bits_per_dimension(density, torch.tensor([[1]]), bins=4, draws=0)
    with pytest.raises(ValueError, match="at least 1 bin, got 0"):
        bits_per_dimension(density, torch.tensor([[1]]), bins=0)
