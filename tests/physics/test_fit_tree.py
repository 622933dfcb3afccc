from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import torch

from tests.datasets import ROOT, needs
from tests.helpers import close
from unstir.physics.draw_tree import heights
from unstir.physics.fit_tree import fit_tree
from unstir.physics.phylo_sphere import fit_sphere, great_circle, simulate_sphere, unit_vectors
from unstir.physics.phylo_statistics import dispersal
from unstir.simulations.render import new_figure
from unstir.spaces import Tree

FLOAT = torch.float64
DATA = ROOT / "phylo_yfv_tree"
REAL = needs(DATA)
NEWICK = "(((A:1,B:1):1,(C:0.5,D:1.2):1.1):0.5,(E:2,F:1.5):0.8);"
PLACES = "name;lat;long\nB;1.5;10\nA;1;11\nC;-2;12\nD;-2.5;13\n\nE;4;7\nF;5;6.5\n"
REGIONS = "Region,Taxon\nnorth,A\nnorth,B\nsouth,C\nsouth,D\nnorth,E\n?,F\n"


@pytest.fixture
def files(tmp_path):
    for name, text in (("tree.nwk", NEWICK), ("places.csv", PLACES), ("regions.csv", REGIONS)):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_places_from_a_table_are_matched_by_name_and_fitted_on_the_globe(files):
    fit = fit_tree(files / "tree.nwk", files / "places.csv")
    tree = Tree.from_newick(NEWICK)
    known = {"A": (1, 11), "B": (1.5, 10), "C": (-2, 12), "D": (-2.5, 13), "E": (4, 7), "F": (5, 6.5)}
    tips = torch.tensor([known[name] for name in tree.tip_names], dtype=FLOAT)
    close(fit.locations.motion.D, fit_sphere(tree, tips).D, rtol=1e-12)
    close(fit.locations.motion.places[tree.tips], tips, atol=1e-9)


def test_regions_from_a_table_give_rates_inside_their_intervals_and_unknown_tips_a_guess(files):
    fit = fit_tree(files / "tree.nwk", regions=files / "regions.csv", model="equal").regions
    assert fit.names == ["north", "south"]
    (rate,) = fit.rates
    assert rate.low < rate.value < rate.high
    tree = Tree.from_newick(NEWICK)
    at = {name: i for i, name in enumerate(tree.names)}
    close(fit.marginals[at["C"]], torch.tensor([0.0, 1.0]), atol=1e-12)
    assert 0.5 < float(fit.marginals[at["F"], 0]) < 1.0


def test_a_fit_is_sentences_plain_numbers_and_a_picture(files):
    fit = fit_tree(files / "tree.nwk", files / "places.csv", files / "regions.csv", unit="month")
    text = "\n".join(fit.lines())
    for part in ("6 tips", "km^2/month", "km^2/day", "root at latitude", "rate north - south", "root: "):
        assert part in text
    plain = json.loads(json.dumps(fit.to_dict(), allow_nan=False))
    assert plain["locations"]["D_km2_per_day"] == pytest.approx(
        plain["locations"]["D_km2_per_unit"] / 30.4375
    )
    assert len(plain["locations"]["nodes"]) == len(plain["regions"]["nodes"]) == 11
    figure = new_figure((9.0, 6.0))
    fit.draw(figure)
    figure.canvas.draw()
    assert len(figure.axes) == 5


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.replace("A;1;11", "A;;11"), "line 3: the column 'lat' is empty"),
        (lambda s: s.replace("A;1;11\n", ""), "no line for the tip 'A'"),
        (lambda s: s.replace("A;1;11", "A;x;11"), "line 3: latitude and longitude of 'A'"),
        (lambda s: s.replace("A;1;11", "A;95;11"), "latitude 95"),
        (lambda s: s.replace("A;1;11", "Z;1;11"), "line 3: there is no tip 'Z'"),
        (lambda s: s.replace("A;1;11", "B;1;11"), "line 3: tip 'B' is there twice, first in line 2"),
        (lambda s: s.replace("lat", "north"), "has no column 'latitude'"),
        (lambda s: "", "holds no table"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_with_its_line(files, change, sentence):
    (files / "places.csv").write_text(change(PLACES))
    with pytest.raises(ValueError, match=sentence):
        fit_tree(files / "tree.nwk", files / "places.csv")


def test_choices_that_cannot_be_are_said(files):
    tree = files / "tree.nwk"
    with pytest.raises(ValueError, match="did you mean 'equal'"):
        fit_tree(tree, regions=files / "regions.csv", model="equl")
    with pytest.raises(ValueError, match="unit of time 'century'"):
        fit_tree(tree, files / "places.csv", unit="century")
    with pytest.raises(ValueError, match="no annotations location1"):
        fit_tree(tree)
    with pytest.raises(ValueError, match="no annotation 'host'"):
        fit_tree(tree, annotation="host")
    (files / "regions.csv").write_text(REGIONS.replace("south", "north"))
    with pytest.raises(ValueError, match="all tips are in one region"):
        fit_tree(tree, regions=files / "regions.csv")


def test_branches_are_drawn_without_crossing():
    tree = Tree.yule(30, seed=1)
    y = heights(tree)
    assert sorted(y[tree.tips].tolist()) == list(range(30))
    for node in range(len(tree)):
        below = [node]
        for child in range(len(tree)):
            at = child
            while at >= 0 and at != node:
                at = int(tree.parent[at])
            if at == node:
                below.append(child)
        ends = sorted(float(y[i]) for i in set(below) & set(tree.tips.tolist()))
        assert ends == [ends[0] + i for i in range(len(ends))]
        assert ends[0] <= float(y[node]) <= ends[-1]


def test_the_weighted_coefficient_of_true_histories_is_the_diffusion_coefficient():
    tree = Tree.yule(60, seed=2)
    D = 5000.0
    found = [
        dispersal(tree, x).diffusion / D
        for x in simulate_sphere(tree, D, torch.tensor([0.0, 0.0]), 50, seed=1)
    ]
    # Each of 118 edges is an exponential variable with the weight of its duration.
    weight = tree.length / tree.length.sum()
    error = math.sqrt(float(weight.square().sum()) / 50)
    assert abs(sum(found) / 50 - 1) < 4 * error


@REAL
def test_yellow_fever_spreads_as_fast_as_its_posterior_trees_say():
    for number in (288, 549):
        tree, places = _extraction(DATA / f"TreeExtractions_{number}.csv")
        fit = fit_sphere(tree, places[tree.tips])
        theirs = dispersal(tree, places)
        # Their lineages change speed (a relaxed walk) and ours do not: the same order, not the same number.
        assert 0.5 < float(fit.D) / theirs.diffusion < 2.0
        gap = 6371.0 * great_circle(unit_vectors(fit.places[tree.root]), unit_vectors(places[tree.root]))
        assert float(gap) < 4 * float(fit.deviations[tree.root]) * math.sqrt(2)


def _extraction(path: Path) -> tuple[Tree, torch.Tensor]:
    """A posterior tree with the places of all nodes, from a table of its edges."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    nodes = sorted({int(row[key]) for row in rows for key in ("node1", "node2")})
    at = {node: i for i, node in enumerate(nodes)}
    parent = torch.full((len(nodes),), -1)
    length = torch.zeros(len(nodes), dtype=FLOAT)
    places = torch.zeros(len(nodes), 2, dtype=FLOAT)
    for row in rows:
        above, node = at[int(row["node1"])], at[int(row["node2"])]
        parent[node], length[node] = above, float(row["length"])
        places[node] = torch.tensor([float(row["endLat"]), float(row["endLon"])])
        if not places[above].any():
            places[above] = torch.tensor([float(row["startLat"]), float(row["startLon"])])
    return Tree(parent, length), places
