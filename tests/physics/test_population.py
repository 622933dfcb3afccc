import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from tests.helpers import close
from unstir.generators import diffusion
from unstir.physics.binomial import binomial, binomial_quantile
from unstir.physics.population import WrightFisher, fixation_of
from unstir.physics.population_formulas import absorption_time, fixation_probability, fixation_time
from unstir.spaces import Axis, Grid


def frequencies(copies):
    return torch.arange(copies + 1, dtype=torch.float64) / copies


@settings(max_examples=30)
@given(n=st.integers(1, 300), p=st.floats(0.0, 1.0), u=st.floats(1e-6, 1.0 - 1e-6))
def test_binomial_draws_are_the_quantiles_of_the_law(n, p, u):
    k = binomial_quantile(torch.tensor([u]).double(), n, torch.tensor([p]).double())
    law = stats.binom(n, p)
    assert law.cdf(int(k)) >= u - 1e-12
    assert int(k) == 0 or law.cdf(int(k) - 1) < u + 1e-12
    counts = torch.arange(-1, n + 2)
    close(binomial(counts, n, p), torch.as_tensor(law.pmf(counts)), atol=1e-13)


@settings(max_examples=30)
@given(n=st.integers(1, 60), s=st.floats(-0.9, 2.0), u=st.floats(0.0, 1.0), v=st.floats(0.0, 1.0))
def test_the_rows_of_the_matrix_sum_to_one_and_have_the_mean_of_the_parents(n, s, u, v):
    model = WrightFisher(n, s, u, v)
    P = model.matrix()
    close(P.sum(1), torch.ones(n + 1), atol=1e-12)
    close(P @ frequencies(n), model.parents(frequencies(n)), atol=1e-12)


def test_simulated_populations_have_the_law_of_the_chain():
    model = WrightFisher(30, 0.02, 0.01, 0.005)
    counts = model.simulate(torch.full((10000,), 12), 25, seed=1)
    law = torch.linalg.matrix_power(model.matrix(), 25)[12] * 10000
    seen = torch.bincount(counts, minlength=31).double()
    assert float(law.min()) > 5
    assert stats.chisquare(seen.numpy(), law.numpy()).pvalue > 1e-3


def test_a_population_drifts_the_same_way_in_any_company():
    model = WrightFisher(50, 0.01)
    whole = model.simulate(torch.arange(40), 30, path=True, seed=2)
    part = model.simulate(torch.arange(10, 15), 20, path=True, seed=2, first_index=10)
    assert whole.shape == (31, 40)
    assert torch.equal(whole[:21, 10:15], part)


@pytest.mark.parametrize("s", [-0.01, 0.0, 0.01])
def test_simulation_chain_and_diffusion_agree_with_kimuras_fixation_probability(s):
    model, x = WrightFisher(100, s), frequencies(100)
    chain = model.fixation()
    # The formula is the limit of small s; what it neglects is of relative order s.
    close(chain, fixation_probability(x, s, 100), atol=0.5 * abs(s) + 1e-11)
    operator = model.diffusion(400)
    (centres,) = operator.space.centers
    close(fixation_of(operator), fixation_probability(centres, s, 100), atol=3e-5)
    ends = model.simulate(torch.full((2000,), 40), 1500, seed=3)
    assert bool(((ends == 0) | (ends == 100)).all())
    assert stats.binomtest(int((ends == 100).sum()), 2000, float(chain[40])).pvalue > 1e-3


def test_the_diffusion_converges_to_kimura_with_order_two():
    errors = []
    for cells in (100, 200):
        operator = WrightFisher(100, 0.02).diffusion(cells)
        (x,) = operator.space.centers
        errors.append(float((fixation_of(operator) - fixation_probability(x, 0.02, 100)).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.1)


def test_the_chain_approaches_kimura_as_the_population_grows_at_constant_n_s():
    gaps = []
    for n in (50, 100, 200):
        s = 1.0 / n
        gaps.append(
            float((WrightFisher(n, s).fixation() - fixation_probability(frequencies(n), s, n)).abs().max())
        )
    assert gaps[0] / gaps[1] == pytest.approx(2.0, abs=0.2)
    assert gaps[1] / gaps[2] == pytest.approx(2.0, abs=0.2)


@given(s=st.floats(-0.5, 0.5), x=st.floats(0.0, 1.0))
def test_what_one_allele_wins_the_other_loses(s, x):
    total = fixation_probability(x, s, 1000) + fixation_probability(1.0 - x, -s, 1000)
    assert float(total) == pytest.approx(1.0, abs=1e-12)


def test_a_new_mutant_fixes_with_twice_its_advantage_and_a_neutral_one_with_one_in_2n():
    s, n = 0.01, 100_000
    expected = -math.expm1(-2 * s) / -math.expm1(-2 * n * s)
    assert float(fixation_probability(1 / n, s, n)) == pytest.approx(expected, rel=1e-12)
    assert float(fixation_probability(1 / n, s, n)) == pytest.approx(2 * s, rel=0.02)
    for tiny in (0.0, 1e-14, -1e-14, 1e-9):
        assert float(fixation_probability(1 / n, tiny, n)) == pytest.approx(1 / n, rel=1e-3)
    assert float(fixation_probability(1 / n, -1e-4, n)) == pytest.approx(2e-4 * math.exp(-20), rel=1e-3)


def test_heterozygosity_decays_as_the_chain_says_exactly():
    model, x = WrightFisher(40), frequencies(40)
    P = torch.linalg.matrix_power(model.matrix(), 25)
    close(P @ (2.0 * x * (1.0 - x)), model.heterozygosity(x, 25), atol=1e-12)


def test_the_diffusion_loses_heterozygosity_at_one_in_n_a_generation():
    operator = WrightFisher(100).diffusion(200)
    (x,) = operator.space.centers
    u = (-(((x - 0.4) / 0.1) ** 2)).exp()
    now = operator.space.integrate(u * x * (1.0 - x))
    later = operator.space.integrate(operator.exp(150.0, u) * x * (1.0 - x))
    assert float(later / now) == pytest.approx(math.exp(-1.5), rel=1e-4)


def test_times_to_absorption_and_fixation_agree_between_chain_diffusion_and_formula():
    n = 200
    model, x = WrightFisher(n), frequencies(n)
    # The chain counts whole generations and starts from whole copies: a few generations of 2 n = 400.
    close(model.absorption_time(), absorption_time(x, n), atol=2.5)
    close(model.fixation_time()[1:], fixation_time(x, n)[1:], atol=3.0)
    assert math.isnan(float(model.fixation_time()[0]))
    operator = model.diffusion(400)
    (centres,) = operator.space.centers
    solved = operator.T.solve(0.0, torch.ones(400, dtype=torch.float64))
    close(solved, absorption_time(centres, n), atol=0.03)
    assert float(fixation_time(0.0, n)) == 2 * n


def test_simulated_times_have_the_mean_of_the_chain():
    model = WrightFisher(40, 0.02)
    path = model.simulate(torch.full((2000,), 8), 600, path=True, seed=5)
    inside = ((path > 0) & (path < 40)).sum(0).double()
    assert float(inside.mean()) == pytest.approx(
        float(model.absorption_time()[8]), abs=4 * float(inside.std()) / math.sqrt(2000)
    )
    fixed = path[-1] == 40
    spread = 4 * float(inside[fixed].std()) / math.sqrt(int(fixed.sum()))
    assert float(inside[fixed].mean()) == pytest.approx(float(model.fixation_time()[8]), abs=spread)


def test_with_mutation_the_diffusion_settles_to_wrights_density_with_order_two():
    model, gaps = WrightFisher(200, 0.005, 0.01, 0.02), []
    for cells in (50, 100):
        operator = model.diffusion(cells)
        grid = operator.space
        edges = grid.axes[0].edges.tolist()

        def density(x):
            return math.exp(float(model.log_stationary(torch.tensor(x).double())) - 5.0)

        pairs = itertools.pairwise(edges)
        mass = torch.tensor([integrate.quad(density, a, b)[0] for a, b in pairs]).double()
        p = operator.stationary() * grid.volumes
        gaps.append(float((p - mass / mass.sum()).abs().sum()))
    assert math.log2(gaps[0] / gaps[1]) == pytest.approx(2.0, abs=0.2)
    assert gaps[1] < 1e-3


def test_the_sde_of_the_model_spreads_like_the_chain():
    model = WrightFisher(400, 0.01)
    grid = torch.linspace(0.0, 40.0, 41, dtype=torch.float64)
    x = model.sde().simulate(torch.full((4000, 1), 0.5).double(), grid, seed=2)
    law = torch.linalg.matrix_power(model.matrix(), 40)[200]
    mean = float(law @ frequencies(400))
    std = math.sqrt(float(law @ frequencies(400) ** 2) - mean**2)
    assert float(x.mean()) == pytest.approx(mean, abs=4 * std / math.sqrt(4000))
    assert float(x.std()) == pytest.approx(std, rel=4 / math.sqrt(8000))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="whole number of copies, at least 1, got 0"):
        WrightFisher(0)
    with pytest.raises(ValueError, match="above -1"):
        WrightFisher(10, -1.0)
    with pytest.raises(ValueError, match="mutation probabilities lie from 0 to 1"):
        WrightFisher(10, 0.0, 1.5)
    with pytest.raises(ValueError, match="set away and towards to 0"):
        WrightFisher(10, away=0.1).fixation()
    with pytest.raises(ValueError, match="only without selection and mutation"):
        WrightFisher(10, 0.1).heterozygosity(0.5, 3)
    with pytest.raises(ValueError, match="numbers from 0 to 10"):
        WrightFisher(10).simulate(torch.tensor([11]), 1)
    with pytest.raises(ValueError, match="frequency lies from 0 to 1"):
        fixation_probability(1.5, 0.1, 10)
    with pytest.raises(ValueError, match="absorbs at both ends"):
        fixation_of(diffusion(Grid(Axis(0.0, 1.0, 8))))
