from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.stats import wasserstein_distance
from torch import Tensor

from unstir import noise
from unstir.evaluation import (
    GaussianKernels,
    PolynomialKernel,
    frechet_distance,
    kernel_distance,
    mmd,
    sliced_wasserstein,
)
from unstir.evaluation.distances import _directions
from unstir.evaluation.inputs import subset

PAIRS = (frechet_distance, sliced_wasserstein, mmd, kernel_distance)


def draw(*shape: int, seed: int = 0) -> Tensor:
    index = torch.arange(shape[0])
    return noise.normal(shape[1:], seed=seed, index=index, stream=noise.Stream.DATA, dtype=torch.float64)


def with_moments(z: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """z moved so that its sample mean and covariance are exactly these."""
    z = z - z.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(z.T.cov()), z.T, upper=False).T
    return white @ torch.linalg.cholesky(covariance).T + mean


def test_frechet_distance_of_gaussians_is_the_closed_form_of_dowson_and_landau():
    root_a, root_b = draw(5, 5, seed=1), draw(5, 5, seed=2)
    cov_a, cov_b = root_a @ root_a.T + torch.eye(5), root_b @ root_b.T + torch.eye(5)
    mean = torch.arange(5.0, dtype=torch.float64)
    a, b = with_moments(draw(50, 5), mean, cov_a), with_moments(draw(70, 5, seed=3), -mean, cov_b)
    root = torch.from_numpy(sqrtm((cov_a @ cov_b).numpy()).real)
    expected = (2 * mean).square().sum() + (cov_a + cov_b - 2 * root).trace()
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-10)


def test_frechet_distance_of_commuting_covariances_is_that_of_their_deviations():
    std_a, std_b = torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([2.0, 0.5, 3.0]).double()
    zero = torch.zeros(3, dtype=torch.float64)
    a = with_moments(draw(40, 3), zero, (std_a**2).diag())
    b = with_moments(draw(40, 3, seed=1), zero, (std_b**2).diag())
    assert frechet_distance(a, b) == pytest.approx(float(((std_a - std_b) ** 2).sum()), rel=1e-10)


@pytest.mark.parametrize("n", [3, 200])
def test_frechet_distance_of_a_translation_is_its_squared_length_even_for_singular_covariances(n):
    a = draw(n, 20)
    a[:, 5:] = 0.0
    shift = torch.full((20,), 0.1, dtype=torch.float64)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-12)
    assert frechet_distance(a, a + shift) == pytest.approx(0.2, rel=1e-10)


def test_frechet_distance_falls_like_one_over_n_as_its_docstring_says():
    reference = draw(20_000, 8)
    values = [frechet_distance(draw(n, 8, seed=n), reference) for n in (100, 400, 1600)]
    assert 2.5 < values[0] / values[1] < 6
    assert 2.5 < values[1] / values[2] < 6


@given(
    n=st.integers(1, 30), m=st.integers(1, 30), p=st.sampled_from([1.0, 2.0, 3.0]), seed=st.integers(0, 999)
)
def test_wasserstein_on_the_line_is_exact_for_any_sizes(n, m, p, seed):
    a, b = draw(n, seed=seed), draw(m, seed=seed + 1000)
    # Repeating each value gives equal sizes, for which sorting pairs the values.
    same_a, same_b = a.repeat_interleave(m).sort().values, b.repeat_interleave(n).sort().values
    expected = float((same_a - same_b).abs().pow(p).mean()) ** (1 / p)
    assert sliced_wasserstein(a, b, projections=3, p=p) == pytest.approx(expected, rel=1e-10, abs=1e-12)
    if p == 1:
        scipy = wasserstein_distance(a.numpy(), b.numpy())
        assert sliced_wasserstein(a, b, p=1) == pytest.approx(scipy, rel=1e-10)


def test_sliced_wasserstein_of_a_shift_is_its_length_over_the_root_of_the_dimension():
    a, shift = draw(100, 2, 3), draw(2, 3, seed=5)
    length = float(shift.norm())
    # Orthogonal blocks make the average of squares exact where d divides the number of projections.
    assert sliced_wasserstein(a, a + shift, projections=60) == pytest.approx(length / 6**0.5, rel=1e-10)
    mean_cosine = math.gamma(3) / (math.sqrt(math.pi) * math.gamma(3.5))
    assert sliced_wasserstein(a, a + shift, projections=6000, p=1) == pytest.approx(
        length * mean_cosine, rel=0.03
    )


def test_sliced_wasserstein_directions_follow_the_seed_and_are_uniform():
    a, b = draw(50, 4), draw(30, 4, seed=1)
    assert sliced_wasserstein(a, b, seed=1) == sliced_wasserstein(a, b, seed=1)
    assert sliced_wasserstein(a, b, seed=1) != sliced_wasserstein(a, b, seed=2)
    assert sliced_wasserstein(a, b, seed=1) == pytest.approx(sliced_wasserstein(a, b, seed=2), rel=0.05)


@pytest.mark.parametrize(("d", "count"), [(6, 2), (6, 6), (3, 7), (1, 5)])
def test_directions_are_unit_vectors_orthogonal_within_blocks(d, count):
    found = _directions(d, count, 0, torch.device("cpu"))
    assert found.shape == (count if d > 1 else 1, d)
    for block in found.split(d):
        assert torch.allclose(block @ block.T, torch.eye(len(block)).double(), atol=1e-12)


def gaussian_mmd(shift: float, bandwidth: float, d: int) -> float:
    """MMD^2 of N(0, I) and N(shift, I) in d dimensions: x - y is Gaussian, so its kernel mean is known."""
    spread = 1 + 2 / bandwidth**2
    return 2 * spread ** (-d / 2) * (1 - math.exp(-d * shift**2 / (2 * bandwidth**2 * spread)))


def test_mmd_of_gaussians_has_the_closed_form():
    kernel = GaussianKernels((2.0,))
    a, b = draw(4000, 3), draw(3000, 3, seed=1) + 0.5
    assert mmd(a, b, kernel) == pytest.approx(gaussian_mmd(0.5, 2.0, 3), rel=0.06)


def test_mmd_of_equal_distributions_scatters_round_zero():
    values = torch.tensor([mmd(draw(60, 2, seed=s), draw(40, 2, seed=s + 500)) for s in range(100)])
    assert abs(float(values.mean())) < 4 * float(values.std()) / 10
    assert 20 < int((values < 0).sum()) < 90
    shifted = mmd(draw(60, 2), draw(40, 2, seed=1) + 1.0)
    assert shifted > float(values.max())


def test_mmd_equals_the_definition_whatever_the_chunks(monkeypatch):
    a, b, kernel = draw(30, 2), draw(20, 2, seed=1), PolynomialKernel()
    within = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in (kernel(a, a), kernel(b, b))]
    expected = float(within[0] + within[1] - 2 * kernel(a, b).mean())
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-10)
    monkeypatch.setattr("unstir.evaluation.distances.rows_at_once", lambda columns: 7)
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-10)


def test_mmd_does_not_mind_where_the_origin_is():
    a, b = draw(50, 3), draw(40, 3, seed=1) + 1.0
    assert mmd(a + 1e6, b + 1e6) == pytest.approx(mmd(a, b), rel=1e-6)


def test_bandwidths_lie_round_the_median_distance():
    a, b = torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [7.0]])
    assert GaussianKernels.around_median(a, b).bandwidths == (0.75, 1.5, 3.0, 6.0, 12.0)
    assert GaussianKernels.around_median(a[:1].repeat(9, 1), b[:1].repeat(9, 1)).bandwidths[2] == 3.0
    assert GaussianKernels.around_median(torch.zeros(3, 1), torch.zeros(2, 1)).bandwidths[2] == 1.0


@given(
    n=st.integers(2, 12),
    m=st.integers(2, 12),
    event=st.lists(st.integers(1, 3), max_size=3),
    seed=st.integers(0, 99),
)
def test_distances_take_any_event_are_symmetric_and_know_no_order(n, m, event, seed):
    a, b = draw(n, *event, seed=seed), draw(m, *event, seed=seed + 100) + 0.5
    order = noise.permutation(n, seed=seed, stream=noise.Stream.DATA)
    for distance in PAIRS:
        value = distance(a, b)
        assert isinstance(value, float)
        assert distance(a[order], b) == pytest.approx(value, rel=1e-8, abs=1e-10)
        assert distance(b, a) == pytest.approx(value, rel=1e-8, abs=1e-10)
        assert distance(a.reshape(n, -1), b.reshape(m, -1)) == value
    for distance in PAIRS[:2]:
        assert distance(a, b) >= 0
        assert distance(a, a[order]) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("distance", PAIRS)
def test_what_cannot_be_compared_is_said_in_one_sentence(distance):
    a = draw(5, 3)
    broken = a.clone()
    broken[2, 1] = torch.nan
    with pytest.raises(ValueError, match="not finite, first in sample 2"):
        distance(a, broken)
    with pytest.raises(ValueError, match=r"one shape, got \(3,\) and \(2,\)"):
        distance(a, a[:, :2])
    with pytest.raises(ValueError, match=r"a needs at least \d samples, got 0"):
        distance(a[:0], a)
    with pytest.raises(ValueError, match="real samples"):
        distance(a.to(torch.complex64), a)
    with pytest.raises(ValueError, match="real samples"):
        distance(a[:, :0], a[:, :0])


def test_settings_out_of_range_are_said_in_one_sentence():
    a = draw(5, 3)
    with pytest.raises(ValueError, match="at least 1"):
        sliced_wasserstein(a, a, projections=0)
    with pytest.raises(ValueError, match="at least 1"):
        sliced_wasserstein(a, a, p=0.5)
    with pytest.raises(ValueError, match="positive numbers"):
        GaussianKernels((1.0, 0.0))
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        frechet_distance(a[:1], a)


def test_a_subset_keeps_the_shares_of_labels():
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    chosen = subset(labels, 20, seed=3, labels=labels)
    assert chosen.bincount().tolist() == [12, 6, 2]
    assert len(subset(torch.arange(100), 20, seed=3, labels=labels).unique()) == 20
    assert subset(torch.arange(100), 20, seed=3).tolist() != subset(torch.arange(100), 20, seed=4).tolist()
