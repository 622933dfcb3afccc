"""A seed and a time that were put in are found in tables of any layout; chance is told from pattern."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from tests.datasets import ROOT, needs
from tests.physics.test_network_diffusion import network
from unstir.physics.connectome import best_time, fit_connectome, fit_values
from unstir.physics.connectome_data import canonical, match_regions, read_connectome, read_values
from unstir.physics.connectome_statistics import correlations
from unstir.physics.network_diffusion import NetworkDiffusion
from unstir.spaces import Graph

ENIGMA, RAJ = ROOT / "brain_enigma", ROOT / "brain_raj_and"
NAMES = [f"{side}_{part}" for side in ("L", "R") for part in "abcdefghijkl"]
QUICK = {"shuffles": 200, "networks": 30, "bootstraps": 100}


def measured(graph, seed=5, beta_t=1.2, noise=0.3, kind="normalised"):
    x = NetworkDiffusion(graph, kind).seeded([(seed,)], torch.tensor([beta_t], dtype=torch.float64))[0, 0]
    draws = torch.randn(len(x), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return x + noise * x.std() * draws


@pytest.fixture(scope="module")
def graph():
    return Graph(network(24, 3, 0.2), NAMES)


@pytest.mark.parametrize("kind", ["normalised", "combinatorial", "random-walk"])
def test_the_seed_and_the_time_that_were_put_in_are_found(graph, kind):
    fit = fit_values(graph, measured(graph, kind=kind), laplacian=kind, **QUICK)
    assert fit.seed.name == NAMES[5]
    assert fit.rank == 1
    low, high = fit.profile
    assert low is not None
    assert high is not None
    assert low < 1.2 < high
    assert fit.bootstrap[0] < 1.25
    assert fit.bootstrap[1] > 1.15
    assert fit.p_shuffled < 0.01
    assert fit.p_rewired < 0.1
    assert fit.pearson > 0.85


def test_without_noise_the_correlation_is_one_and_the_interval_is_narrow(graph):
    fit = fit_values(graph, 3.0 + 2.0 * measured(graph, noise=0.0), **QUICK)
    assert fit.pearson == pytest.approx(1.0, abs=1e-4)
    assert fit.spearman > 0.99
    assert fit.beta_t == pytest.approx(1.2, rel=0.02)
    torch.testing.assert_close(fit.predicted, fit.measured, rtol=0, atol=0.02)


def test_noise_gets_large_p_values_as_often_as_it_should(graph):
    draws = torch.Generator().manual_seed(0)
    p = [
        fit_values(
            graph,
            torch.randn(24, generator=draws, dtype=torch.float64),
            shuffles=100,
            networks=1,
            bootstraps=1,
        ).p_shuffled
        for _ in range(40)
    ]
    # A uniform p-value has mean 1/2; the search over seeds and times must not make it small.
    assert float(np.mean(p)) == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / 40))


def test_a_seed_that_is_given_is_ranked_among_all(graph):
    fit = fit_values(graph, measured(graph), seed_region="r-a", **QUICK)
    assert fit.given
    assert fit.seed.name == "R_a"
    assert 1 < fit.rank <= 24
    assert fit.pearson < fit.seeds[0].correlation
    both = fit_values(graph, measured(graph), seed_region="L_f + R_f", **QUICK)
    assert both.seed.name == "L_f + R_f"


def test_bilateral_seeds_are_pairs_of_one_region(graph):
    fit = fit_values(graph, measured(graph), bilateral=True, **QUICK)
    assert len(fit.seeds) == 12
    assert {len(seed.name.split(" + ")) for seed in fit.seeds} == {2}
    assert "L_f" in fit.seed.name


def test_the_profile_interval_of_the_time_covers_it_95_percent_of_the_time(graph):
    model, truth = NetworkDiffusion(graph), 1.2
    x = model.seeded([(5,)], torch.tensor([truth], dtype=torch.float64))[0, 0]
    draws = torch.randn(200, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inside = 0
    for noise in draws:
        _, (low, high), _ = best_time(model, (5,), x + 0.3 * x.std() * noise, torch.ones(24).bool(), 0.95)
        inside += (low or 0.0) < truth < (high or np.inf)
    assert inside / 200 == pytest.approx(0.95, abs=0.045)


def test_components_and_open_ends_and_uncertain_seeds_are_told():
    graph = Graph(torch.block_diag(network(8, 0), network(8, 1)))
    model = NetworkDiffusion(graph)
    late = model.seeded([(2,)], model.times(2)[1:])[0, 0]
    given = fit_values(graph, late + 0.1 * torch.arange(16.0).double().sin(), seed_region="2", **QUICK)
    assert given.components == 2
    assert given.profile[1] is None
    text = "\n".join(given.lines())
    assert "2 components; nothing reaches 8 of its regions" in text
    assert "not bounded on the late side" in text
    free = fit_values(graph, torch.arange(16.0).double().sin(), **QUICK)
    assert any("the seed is uncertain" in sentence for sentence in free.warnings())


def test_regions_without_a_value_are_left_out(graph):
    y = measured(graph)
    y[::4] = torch.nan
    fit = fit_values(graph, y, **QUICK)
    assert len(fit.regions) == 18
    assert len(fit.seeds) == 24
    with pytest.raises(ValueError, match="at least 6 are needed"):
        fit_values(graph, torch.full((24,), torch.nan).index_fill(0, torch.arange(5), 1.0))
    with pytest.raises(ValueError, match="the same in every region"):
        fit_values(graph, torch.ones(24))


def test_correlations_are_those_of_numpy_and_zero_for_a_uniform_state():
    x, y = torch.rand(3, 4, 9, dtype=torch.float64), torch.rand(9, dtype=torch.float64)
    x[0, 0] = 0.7
    found = correlations(x, y)
    assert float(found[0, 0]) == 0.0
    assert float(found[2, 1]) == pytest.approx(np.corrcoef(x[2, 1], y)[0, 1])


LAYOUTS = {
    "bare": (None, False, ","),
    "header": ("header", False, ","),
    "header and index": ("header", True, ";"),
    "index": (None, True, "\t"),
}


def write_matrix(path, weights, layout):
    header, index, mark = LAYOUTS[layout]
    rows = [[repr(float(x)) for x in row] for row in weights]
    if index:
        rows = [[name, *row] for name, row in zip(NAMES, rows, strict=True)]
    if header:
        rows.insert(0, ["", *NAMES] if index else list(NAMES))
    path.write_text("\n".join(mark.join(row) for row in rows))
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_a_matrix_is_the_same_network(tmp_path, graph, layout):
    weights = graph.adjacency.to_dense()
    found = read_connectome(write_matrix(tmp_path / "m.csv", weights, layout))
    torch.testing.assert_close(found.adjacency.to_dense(), weights)
    assert found.names == (NAMES if layout != "bare" else [str(i) for i in range(24)])


def test_regions_are_matched_by_name_in_any_order_and_spelling(tmp_path, graph):
    matrix = write_matrix(tmp_path / "m.csv", graph.adjacency.to_dense(), "header")
    y = measured(graph)
    order = np.random.default_rng(0).permutation(24)
    lines = ["group,region,value,n"] + [
        f"one,ctx-{NAMES[i][0].lower()}h-{NAMES[i][2:]},{float(y[i])!r},7" for i in order
    ]
    values = tmp_path / "v.csv"
    values.write_text("\n".join([*lines, "one,ctx-lh-unknown,0.5,7"]))
    found = fit_connectome(matrix, values, column="value")
    assert found.seed.name == NAMES[5]
    assert found.regions == tuple(NAMES)
    torch.testing.assert_close(found.measured, y)
    assert found.unmatched == ("ctx-lh-unknown",)
    assert found.warnings()[0] == "1 measured regions are not in the network: ctx-lh-unknown"
    lowered = fit_connectome(matrix, values, column="value", lowered=True)
    torch.testing.assert_close(lowered.measured, -y)


def test_spellings_of_one_region_are_one():
    for names in (
        ("ctx-lh-bankssts", "L_bankssts", "Bankssts_L"),
        ("Left-Thalamus-Proper", "L_Thalamus_Proper", "left thalamus"),
        ("Right-Accumbens-area", "Accumbens_area_R"),
    ):
        assert len({canonical(name) for name in names}) == 1
    assert canonical("L_insula") != canonical("R_insula")
    with pytest.raises(ValueError, match="stands twice"):
        match_regions(["L_a", "lh-a"], ["L_a"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda w: w.__setitem__((0, 1), 9.0), "asymmetric .row 1, column 2 is 9"),
        (
            lambda w: (w.__setitem__((3, 4), -1.0), w.__setitem__((4, 3), -1.0)),
            "row 4, column 5 .* at least 0",
        ),
        (lambda w: w.__setitem__((2, 2), np.nan), "row 3, column 3 .* is 'nan'"),
    ],
)
def test_a_matrix_that_is_no_connectome_is_one_sentence(tmp_path, graph, change, sentence):
    weights = graph.adjacency.to_dense().numpy()
    change(weights)
    with pytest.raises(ValueError, match=sentence):
        read_connectome(write_matrix(tmp_path / "m.csv", weights, "bare"))


def test_tables_that_do_not_fit_together_are_one_sentence(tmp_path, graph):
    matrix = write_matrix(tmp_path / "m.csv", graph.adjacency.to_dense(), "bare")
    values = tmp_path / "v.csv"
    values.write_text("region,a,b\nx,1,2\ny,3,4\n")
    with pytest.raises(ValueError, match="several columns of numbers; name one of a, b"):
        fit_connectome(matrix, values)
    with pytest.raises(ValueError, match="no column 'c'"):
        fit_connectome(matrix, values, column="c")
    with pytest.raises(ValueError, match="2 values for the 24 regions"):
        fit_connectome(matrix, values, column="a")
    values.write_text("region,a\nx,1\ny,\n")
    with pytest.raises(ValueError, match="the a of 'y' is ''"):
        read_values(values)
    matrix.write_text("1,2\n3,4\n5,6\n")
    with pytest.raises(ValueError, match="square table"):
        read_connectome(matrix)
    labels = tmp_path / "l.csv"
    labels.write_text("a,b,c")
    with pytest.raises(ValueError, match="3 names for the 24 regions"):
        read_connectome(write_matrix(matrix, graph.adjacency.to_dense(), "bare"), labels)


def test_an_unknown_seed_names_the_nearest(graph):
    with pytest.raises(ValueError, match="no region 'left b2'; did you mean 'left b'"):
        fit_values(graph, measured(graph), seed_region="left b2", **QUICK)


def test_the_report_is_plain_data_and_a_picture(graph):
    fit = fit_values(graph, measured(graph), **QUICK)
    plain = json.loads(json.dumps(fit.to_dict(), allow_nan=False))
    assert plain["parameters"]["beta_t"]["value"] == fit.beta_t
    assert len(plain["regions"]) == len(plain["seeds"]) == 24
    figure = Figure(figsize=(9, 5))
    fit.draw(figure)
    assert {axes.get_xlabel() for axes in figure.axes} >= {"rate times time, βt", "largest correlation r"}


@needs(ENIGMA)
def test_left_temporal_lobe_epilepsy_follows_the_connectome_beyond_chance():
    fit = fit_connectome(
        ENIGMA / "strucMatrix_ctx.csv",
        ENIGMA / "tlemtsl_case-controls_CortThick.csv",
        column="d_icv",
        labels=ENIGMA / "strucLabels_ctx.csv",
        lowered=True,
    )
    assert len(fit.regions) == 68
    assert fit.components == 1
    assert fit.seed.name.startswith("L_")
    assert fit.pearson > 0.4
    assert fit.p_shuffled < 0.01
    assert fit.p_rewired < 0.05


@needs(RAJ)
def test_atrophy_in_alzheimers_disease_begins_in_the_hippocampus_and_tau_in_the_temporal_lobe():
    from scipy.io import loadmat

    graph = read_connectome(RAJ / "mean80_fibercount.csv")
    regions = [str(name[0]) for name in loadmat(RAJ / "FSRegionList.mat")["RegionNames"].ravel()]
    place, unmatched = match_regions(graph.names, regions)
    assert not unmatched
    assert sorted(place) == list(range(86))
    assert place != sorted(place)  # the two files have different orders
    groups = loadmat(RAJ / "ADNI_group_data.mat")
    best = {}
    for column in ("ad_atrophy", "ad_tau"):
        y = torch.empty(86, dtype=torch.float64)
        y[place] = torch.from_numpy(groups[column][:, 0])
        best[column] = fit_values(graph, y, column=column, bilateral=True, networks=20, bootstraps=100)
        assert best[column].p_shuffled < 0.01
    assert "Hippocampus" in best["ad_atrophy"].seed.name
    assert best["ad_atrophy"].pearson > 0.65
    assert "temporal" in best["ad_tau"].seed.name
