import numpy as np
import torch
from scipy import stats

from tests.two_sample import kernel_test


def normals(seed, count=600, scale=1.0):
    return scale * torch.from_numpy(np.random.default_rng(seed).standard_normal((count, 2)))


def test_p_values_of_one_distribution_are_uniform():
    values = [
        kernel_test(normals(2 * k, 100), normals(2 * k + 1, 150), permutations=99, seed=k) for k in range(300)
    ]
    assert stats.kstest(values, "uniform").pvalue > 1e-3


def test_a_variance_that_is_wrong_by_15_percent_is_seen():
    # One test of a thousand samples sees it every second time; eight together do not miss it.
    values = [kernel_test(normals(2 * k, 1000, 1.15**0.5), normals(2 * k + 1, 1000)) for k in range(8)]
    assert np.mean(np.array(values) < 0.05) >= 0.4
    assert stats.combine_pvalues(values).pvalue < 1e-4


def test_a_mean_that_is_wrong_by_a_fifth_of_the_deviation_is_seen():
    assert kernel_test(normals(0) + 0.2, normals(1)) < 0.01


def test_equal_sets_are_as_alike_as_can_be():
    assert kernel_test(normals(0), normals(0)) == 1.0
