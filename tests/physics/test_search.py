import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from unstir.generators import diffusion
from unstir.physics.search import FacilitatedSearch, smoluchowski_time
from unstir.spaces import Axis, Grid

positive = st.floats(0.05, 20.0)


@given(length=positive, D=positive, rate=positive)
def test_the_chance_of_a_slide_is_the_mean_over_its_start(length, D, rate):
    search = FacilitatedSearch(length, D, rate, 1.0)
    half, scale = length / 2, search.sliding_length

    def chance(x):
        # cosh((half - x) / scale) / cosh(half / scale) without overflow
        return (math.exp(-x / scale) + math.exp((x - length) / scale)) / (1.0 + math.exp(-length / scale))

    mean = integrate.quad(chance, 0.0, half, points=[min(scale, half)])[0] / half
    assert search.found_in_a_slide() == pytest.approx(mean, rel=1e-6)


def test_the_mean_time_solves_the_equation_of_sliding_and_landing():
    # On the grid: D T'' - k (T - <T> - tau) = -1 with T = 0 at the site, <T> the mean over landings.
    search = FacilitatedSearch(3.0, 0.7, 2.0, 0.9)
    operator = diffusion(Grid(Axis(0.0, 3.0, 2000, boundary="absorb")), 0.7, sink=2.0)
    one = torch.ones(2000, dtype=torch.float64)
    supply = float(operator.solve(0.0, one).mean())  # of (1 - h) / k
    mean = supply * (1.0 + 2.0 * 0.9) / (1.0 - 2.0 * supply)
    assert search.mean_time() == pytest.approx(mean, rel=1e-5)


def test_long_dna_takes_l_over_lambda_times_both_times_and_short_dna_is_pure_sliding():
    search = FacilitatedSearch(1e5, 0.5, 3.0, 0.2)
    assert search.mean_time() == pytest.approx(search.long_mean_time(), rel=1e-4)
    slow = FacilitatedSearch(10.0, 0.5, 1e-9, 0.2)
    assert slow.mean_time() == pytest.approx(100.0 / (12 * 0.5), rel=1e-6)
    near = [FacilitatedSearch(2.0, 1.0, (1e-2 * f) ** 2, 0.2).mean_time() for f in (0.999999, 1.000001)]
    assert near[0] == pytest.approx(near[1], rel=1e-5)


def test_the_best_search_spends_as_long_sliding_as_in_solution():
    best = FacilitatedSearch(1e5, 0.5, 3.0, 0.2).optimum()
    assert best.tau_1d == pytest.approx(0.2, rel=1e-3)
    assert best.mean_time() == pytest.approx(1e5 * math.sqrt(0.2 / 0.5), rel=1e-3)
    for factor in (0.8, 1.25):
        other = FacilitatedSearch(1e5, 0.5, factor * best.off_rate, 0.2)
        assert other.mean_time() > best.mean_time()


def test_on_short_dna_coming_off_never_pays():
    best = FacilitatedSearch(1.0, 1.0, 1.0, 5.0).optimum()
    assert best.mean_time() == pytest.approx(1.0 / 12.0, rel=1e-3)


@pytest.mark.parametrize(("length", "rate", "tau"), [(20.0, 1.0, 0.5), (4.0, 1.0, 1.5), (2.0, 0.2, 1.0)])
def test_simulated_searches_take_the_mean_time(length, rate, tau):
    search = FacilitatedSearch(length, 1.0, rate, tau)
    found = search.simulate(4000, seed=1)
    q = search.found_in_a_slide()
    for values, mean in (
        (found.times, search.mean_time()),
        (found.rounds.double(), 1.0 / q),
        (found.sliding, (1.0 / q - 1.0) * search.tau_1d),
    ):
        assert float(values.mean()) == pytest.approx(mean, abs=4 * float(values.std()) / math.sqrt(4000))


def test_the_rounds_are_geometric():
    search = FacilitatedSearch(10.0, 1.0, 1.0, 0.5)
    rounds = search.simulate(4000, seed=2).rounds.numpy()
    law = stats.geom(search.found_in_a_slide())
    edges = law.ppf([0.2, 0.4, 0.6, 0.8]).tolist()
    seen = torch.bincount(torch.bucketize(torch.as_tensor(rounds).double(), torch.tensor(edges).double()))
    shares = torch.as_tensor(law.cdf([*edges, 1e9])).diff(prepend=torch.zeros(1).double())
    assert stats.chisquare(seen.numpy(), (shares * 4000).numpy()).pvalue > 1e-3


def test_the_law_does_not_depend_on_the_longest_step():
    search = FacilitatedSearch(5.0, 1.0, 1.0, 0.5)
    coarse, fine = search.simulate(3000, seed=3), search.simulate(3000, seed=4, longest_step=0.02)
    assert stats.ks_2samp(coarse.times.numpy(), fine.times.numpy()).pvalue > 1e-3


def test_a_searcher_does_the_same_in_any_company():
    search = FacilitatedSearch(5.0, 1.0, 1.0, 0.5)
    whole, part = search.simulate(30, seed=5), search.simulate(5, seed=5, first_index=10)
    assert torch.equal(whole.times[10:15], part.times)


def test_the_trace_rises_in_time_stays_on_the_ring_and_ends_at_the_site():
    found = FacilitatedSearch(5.0, 1.0, 1.0, 0.5).simulate(3, seed=6, trace=True, longest_step=0.05)
    time, place = found.trace.T
    assert bool((time.diff() >= 0).all())
    assert float(time[-1]) == pytest.approx(float(found.times[0]), rel=1e-12)
    assert float(place[-1]) in (0.0, 5.0)
    there = place[~place.isnan()]
    assert float(there.min()) >= 0.0
    assert float(there.max()) <= 5.0
    assert int(place.isnan().sum()) == int(found.rounds[0]) - 1


def test_a_purely_three_dimensional_search_takes_smoluchowskis_time():
    assert smoluchowski_time(1.0, 3.0, 0.01) == pytest.approx(1.0 / (0.12 * math.pi))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="the off_rate of a search is above 0 and finite, got 0"):
        FacilitatedSearch(1.0, 1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="excursion is at least 0"):
        FacilitatedSearch(1.0, 1.0, 1.0, -1.0)
    with pytest.raises(ValueError, match="give tau_3d > 0"):
        FacilitatedSearch(1.0, 1.0, 1.0, 0.0).optimum()
    with pytest.raises(ValueError, match="searchers and a step above 0"):
        FacilitatedSearch(1.0, 1.0, 1.0, 1.0).simulate(0)
    with pytest.raises(ValueError, match="volume, D and radius are above 0"):
        smoluchowski_time(1.0, 0.0, 1.0)
