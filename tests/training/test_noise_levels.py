"""Training times: their distribution, their evenness, and their following of the loss."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from tests.helpers import SCHEDULES
from unstir.processes import VP, Flow
from unstir.training import LogNormal, NoiseLevels, NoiseLevelSettings, Uniform
from unstir.training.build import build_noise_levels


def shares(levels, index, seed=0):
    return levels.draw(VP(), seed=seed, index=index)[2]


@pytest.mark.parametrize("name", ["vp", "ve", "flow", "cosine"])
def test_log_normal_times_have_normal_quantiles_of_the_log_noise_level(name):
    schedule = SCHEDULES[name]
    u = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    log_ratio = -0.5 * schedule.log_snr(LogNormal(-0.4, 1.2).times(schedule, u)).numpy()
    expected = scipy.stats.norm.ppf(u.numpy(), -0.4, 1.2)
    lowest = -0.5 * float(schedule.log_snr(1.0))
    np.testing.assert_allclose(log_ratio, np.minimum(expected, lowest), rtol=1e-9, atol=1e-9)


def test_uniform_times_are_uniform_and_end_where_noise_is_negligible():
    u = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    for schedule in (VP(), Flow()):
        t = Uniform().times(schedule, u)
        assert float(schedule.log_snr(t[0])) == pytest.approx(20.0, abs=1e-6)
        assert float(t[-1]) == pytest.approx(1.0, abs=1e-12)
        np.testing.assert_allclose(torch.diff(t).numpy() / float(t[-1] - t[0]), [0.25, 0.25, 0.5])


@pytest.mark.parametrize("stratified", [True, False])
def test_shares_are_uniform(stratified):
    u = shares(NoiseLevels(Uniform(), stratified=stratified), torch.arange(20_000))
    assert scipy.stats.kstest(u.numpy(), "uniform").pvalue > 1e-4
    assert 0 < float(u.min()) < float(u.max()) < 1


@pytest.mark.parametrize("first", [0, 12_345, 10**10, 2**55])
def test_any_run_of_stratified_samples_covers_the_levels_more_evenly_than_chance(first):
    n = 256
    index = torch.arange(first, first + n)
    discrepancy = {
        stratified: scipy.stats.kstest(
            shares(NoiseLevels(Uniform(), stratified=stratified), index).numpy(), "uniform"
        ).statistic
        for stratified in (True, False)
    }
    assert discrepancy[True] < 4.0 / n
    assert discrepancy[True] < discrepancy[False] / 2


@pytest.mark.parametrize("stratified", [True, False])
def test_times_do_not_depend_on_how_samples_are_cut_into_batches(stratified):
    levels, index = NoiseLevels(LogNormal(), stratified=stratified), torch.arange(100, 200)
    whole = levels.draw(VP(), seed=3, index=index)
    for place, value in enumerate(whole):
        pieces = [levels.draw(VP(), seed=3, index=part)[place] for part in index.split(7)]
        # Vectorised functions may differ from scalar ones in the last bit.
        torch.testing.assert_close(torch.cat(pieces), value, rtol=1e-12, atol=0)
    other = levels.draw(VP(), seed=4, index=index)
    assert not torch.equal(whole[0], other[0])


def profile(u):
    """A loss that falls a hundredfold over the levels."""
    return torch.exp(-4.6 * u)


def trained_levels(stratified=True):
    levels = NoiseLevels(Uniform(), stratified=stratified, loss_aware=True)
    for start in range(0, 40_000, 1000):
        u = shares(levels, torch.arange(start, start + 1000))
        levels.observe(u, profile(u))
    return levels


def test_loss_aware_levels_follow_the_loss():
    density = trained_levels().density()
    middle = (torch.arange(64, dtype=torch.float64) + 0.5) / 64
    loss = profile(middle)
    expected = 0.1 + 0.9 * loss / loss.mean()
    torch.testing.assert_close(density, expected, rtol=0.02, atol=0)
    assert float(density.mean()) == pytest.approx(1.0)


def test_loss_aware_draws_have_the_density_and_weights_that_undo_it():
    levels = trained_levels(stratified=False)
    _, weights, u = levels.draw(VP(), seed=5, index=torch.arange(50_000))
    counts = torch.bincount((u * 64).long(), minlength=64).double()
    expected = levels.density() * 50_000 / 64
    assert float(((counts - expected) ** 2 / expected).sum()) < scipy.stats.chi2.ppf(0.9999, 63)
    for f in (torch.ones_like, profile, lambda u: torch.sin(20 * u)):
        weighted = weights * f(u)
        plain = f((torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000).mean()
        error = float(weighted.mean() - plain)
        assert abs(error) < 4.5 * float(weighted.std()) / 50_000**0.5
    assert float((weights * profile(u)).var()) < 0.2 * float(profile(torch.rand(50_000)).var())


def test_loss_aware_levels_stay_plain_until_every_bin_was_seen_and_when_switched_off():
    fresh = NoiseLevels(Uniform(), loss_aware=True)
    assert torch.equal(fresh.density(), torch.ones(64, dtype=torch.float64))
    off = NoiseLevels(Uniform(), loss_aware=False)
    for start in range(0, 10_000, 1000):
        u = shares(off, torch.arange(start, start + 1000))
        off.observe(u, profile(u))
    assert torch.equal(off.density(), torch.ones(64, dtype=torch.float64))
    _, weights, _ = off.draw(VP(), seed=0, index=torch.arange(10))
    assert torch.equal(weights, torch.ones(10, dtype=torch.float64))


def test_settings_choose_the_noise_levels():
    made = build_noise_levels(NoiseLevelSettings(mean=-1.2, std=0.7, stratified=False, loss_aware=True))
    assert made.distribution == LogNormal(-1.2, 0.7)
    assert (made.stratified, made.loss_aware) == (False, True)
    assert build_noise_levels(NoiseLevelSettings(distribution="uniform")).distribution == Uniform()
